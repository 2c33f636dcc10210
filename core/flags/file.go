package flags

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// definition is a flag in a file of flagd's.
type definition struct {
	State     string          `json:"state"`
	Variants  map[string]any  `json:"variants"`
	Default   *string         `json:"defaultVariant"`
	Targeting json.RawMessage `json:"targeting,omitempty"`
	Metadata  map[string]any  `json:"metadata,omitempty"`
}

// Import reads a file of flags in flagd's format. Shared rules ($evaluators) are written into the flags that refer to them,
// and the metadata of the file into each flag's. Every flag is checked.
func Import(data []byte) ([]Flag, error) {
	var file struct {
		Flags      map[string]definition `json:"flags"`
		Evaluators map[string]any        `json:"$evaluators"`
		Metadata   map[string]any        `json:"metadata"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("read a file of flagd's: %w", err)
	}
	if len(file.Flags) == 0 {
		return nil, fmt.Errorf(`read a file of flagd's: no object "flags" with a flag in it`)
	}
	out := make([]Flag, 0, len(file.Flags))
	for _, name := range slices.Sorted(maps.Keys(file.Flags)) {
		d := file.Flags[name]
		f := Flag{Name: name, State: d.State, Variants: d.Variants, Metadata: d.Metadata}
		if f.State == "" {
			f.State = Enabled
		}
		if d.Default != nil {
			f.Default = *d.Default
		}
		if len(file.Metadata) > 0 {
			f.Metadata = maps.Clone(file.Metadata)
			maps.Copy(f.Metadata, d.Metadata)
		}
		var err error
		if f.Targeting, err = inline(d.Targeting, file.Evaluators); err != nil {
			return nil, fmt.Errorf("flag %s: %w", name, err)
		}
		c := compile(f)
		if c.err != nil {
			return nil, c.err
		}
		out = append(out, c.Flag)
	}
	return out, nil
}

// Export writes flags as a file of flagd's: what they are, not who changed them and when.
func Export(list []Flag) ([]byte, error) {
	all := make(map[string]definition, len(list))
	for _, f := range list {
		d := definition{State: f.State, Variants: f.Variants, Targeting: f.Targeting, Metadata: f.Metadata}
		if f.Default != "" {
			d.Default = &f.Default
		}
		all[f.Name] = d
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"flags": all}); err != nil {
		return nil, fmt.Errorf("write a file of flagd's: %w", err)
	}
	return out.Bytes(), nil
}

// inline replaces {"$ref": "name"} by the shared rule of that name.
func inline(rule json.RawMessage, shared map[string]any) (json.RawMessage, error) {
	if len(rule) == 0 || !bytes.Contains(rule, []byte(`"$ref"`)) {
		return rule, nil
	}
	var v any
	if err := json.Unmarshal(rule, &v); err != nil {
		return nil, err
	}
	v, err := replaceRefs(v, shared, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func replaceRefs(v any, shared map[string]any, within []string) (any, error) {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = replaceRefs(e, shared, within); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		if name, ok := v["$ref"].(string); ok {
			rule, known := shared[name]
			if !known {
				return nil, fmt.Errorf("$ref %q is not in $evaluators", name)
			}
			if slices.Contains(within, name) || len(within) > 8 {
				return nil, fmt.Errorf("$ref goes in circles: %s", strings.Join(append(within, name), ", "))
			}
			return replaceRefs(rule, shared, append(slices.Clip(within), name))
		}
		out := make(map[string]any, len(v))
		for key, e := range v {
			var err error
			if out[key], err = replaceRefs(e, shared, within); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}
