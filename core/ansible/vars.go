package ansible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// extraVars writes variables as YAML. Strings that look like templates are tagged !unsafe, so that Ansible does not
// evaluate them. Later maps win.
func extraVars(sets ...map[string]any) ([]byte, error) {
	all := map[string]any{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return toYAML(all, oneLine)
}

// Layouts.
const (
	oneLine = -1
	pretty  = 0 // one line per map entry
)

// toYAML writes a value in YAML's flow style. Strings that look like templates are tagged !unsafe.
func toYAML(v any, layout int) ([]byte, error) {
	plain, err := json.Marshal(v) // reduces every Go value to JSON's types
	if err != nil {
		return nil, fmt.Errorf("write variables: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(plain))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("write variables: %w", err)
	}
	var b bytes.Buffer
	writeYAML(&b, v, layout)
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// writeYAML writes a decoded JSON value. depth indents the entries of maps, unless they go on one line.
func writeYAML(b *bytes.Buffer, v any, depth int) {
	inner := depth
	if depth != oneLine {
		inner++
	}
	newLine := func(depth int) {
		if depth != oneLine {
			b.WriteString("\n" + strings.Repeat("  ", depth))
		}
	}
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteByte(',')
			}
			if i > 0 && depth == oneLine {
				b.WriteByte(' ')
			}
			newLine(inner)
			writeString(b, k)
			b.WriteString(": ")
			writeYAML(b, v[k], inner)
		}
		if len(v) > 0 {
			newLine(depth)
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, x := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeYAML(b, x, oneLine)
		}
		b.WriteByte(']')
	case string:
		if strings.Contains(v, "{{") || strings.Contains(v, "{%") || strings.Contains(v, "{#") {
			b.WriteString("!unsafe ")
		}
		writeString(b, v)
	case nil:
		b.WriteString("null")
	default: // bool, json.Number
		fmt.Fprint(b, v)
	}
}

// writeString writes a double-quoted scalar and escapes what YAML considers not printable.
func writeString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r == utf8.RuneError || r <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
}
