package sdk

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// Foreign decodes blocks for a plugin in a language without HCL. It does in the core what this SDK does in a Go plugin,
// with the same messages. Only sdk/client uses it.
type Foreign struct {
	name   string
	schema *blockSchema
	block  reflect.Type // struct type with the schema's arguments, for JSON
}

// NewForeign reads the schema in a plugin's description. An error is a mistake of the plugin's author.
func NewForeign(d contract.Description) (*Foreign, error) {
	s, t, err := schemaFrom(d.Config, nil)
	if err != nil {
		return nil, fmt.Errorf("read description: %w", err)
	}
	return &Foreign{d.Name, s, t}, nil
}

// Decode decodes a block, lets the plugin check the values, and finds the positions of its errors. Unknown values are
// mistakes unless partial is true. The values are nil if the block cannot be decoded.
func (f *Foreign) Decode(c contract.Config, partial bool, check func(values []byte) ([]*wire.Diagnostic, error)) (values []byte, diags contract.Diagnostics, err error) {
	target := reflect.New(f.block)
	d, body, err := decodeBlock(f.name, c, f.schema, target, partial)
	if err != nil {
		return nil, nil, err
	}
	diags = diagnostics(d.diags)
	if !d.diags.HasErrors() {
		if values, err = json.Marshal(target.Interface()); err != nil {
			return nil, nil, fmt.Errorf("encode values: %w", err)
		}
		refused, err := check(values)
		if err != nil {
			return nil, nil, err
		}
		for i, x := range wire.DecodeDiagnostics(refused) {
			path := refused[i].GetPath()
			if path != "" && d.attrUnknown(path) {
				continue
			}
			if x.Summary == "" {
				x.Summary = "Invalid " + f.name + " stage"
			}
			if refused[i].GetRange() == nil {
				x.Range = rangeOf(place(body, path))
			}
			diags = append(diags, x)
		}
	}
	slices.SortStableFunc(diags, func(a, b contract.Diagnostic) int { return a.Range.Start.Byte - b.Range.Start.Byte })
	return values, diags, nil
}

// maxNesting is the maximum nesting depth of blocks.
const maxNesting = 16

// schemaFrom is the reverse of blockSchema.describe. It builds with reflection the struct that a Go author would write.
func schemaFrom(b contract.BlockSchema, labels []string, outer ...string) (*blockSchema, reflect.Type, error) {
	if len(outer) > maxNesting {
		return nil, nil, fmt.Errorf("blocks are nested more than %d deep", maxNesting)
	}
	s := &blockSchema{}
	var fields []reflect.StructField
	seen := map[string]bool{}
	field := func(name string, t reflect.Type) ([]int, error) {
		if !hclsyntax.ValidIdentifier(name) || seen[name] {
			return nil, fmt.Errorf("%q: want an identifier, once in a block", strings.Join(append(outer, name), "."))
		}
		seen[name] = true
		fields = append(fields, reflect.StructField{
			Name: fmt.Sprintf("F%d", len(fields)), Type: t, Tag: reflect.StructTag(`json:"` + name + `,omitempty"`),
		})
		return []int{len(fields) - 1}, nil
	}
	for _, l := range labels {
		index, err := field(l, reflect.TypeFor[string]())
		if err != nil {
			return nil, nil, err
		}
		s.labels = append(s.labels, labelSchema{l, index})
	}
	for _, a := range b.Attributes {
		t, err := typeNamed(a.Type)
		if err != nil {
			return nil, nil, fmt.Errorf("argument %q: %w", a.Name, err)
		}
		t = reflect.PointerTo(t) // nil: absent
		index, err := field(a.Name, t)
		if err != nil {
			return nil, nil, err
		}
		x := attrSchema{
			name: a.Name, index: index, typ: t, required: a.Required,
			fallback: a.Default, doc: a.Doc, sensitive: a.Sensitive,
		}
		if err := x.setDefault(a.Default != ""); err != nil {
			return nil, nil, fmt.Errorf("argument %q: %w", a.Name, err)
		}
		s.attrs = append(s.attrs, x)
	}
	for _, n := range b.Blocks {
		block, elem, err := schemaFrom(n.Block, n.Labels, append(slices.Clone(outer), n.Type)...)
		if err != nil {
			return nil, nil, err
		}
		x := nestedSchema{
			name: n.Type, elem: elem, pointer: true, many: n.Many, required: n.Required, doc: n.Doc, block: block,
		}
		t := reflect.PointerTo(elem)
		if x.many {
			t = reflect.SliceOf(t)
		}
		if x.index, err = field(n.Type, t); err != nil {
			return nil, nil, err
		}
		s.blocks = append(s.blocks, x)
	}
	return s, reflect.StructOf(fields), nil
}

// typeNamed is the reverse of typeName.
func typeNamed(name string) (reflect.Type, error) {
	switch name {
	case "string":
		return reflect.TypeFor[string](), nil
	case "bool":
		return reflect.TypeFor[bool](), nil
	case "number":
		return reflect.TypeFor[float64](), nil
	case "duration":
		return secondsType, nil
	case "size":
		return bytesType, nil
	}
	kind, elem, ok := strings.Cut(name, "(")
	elem, closed := strings.CutSuffix(elem, ")")
	if ok && closed && (kind == "list" || kind == "map") && strings.Count(elem, "(") < maxNesting {
		t, err := typeNamed(elem)
		if err != nil {
			return nil, err
		}
		if kind == "list" {
			return reflect.SliceOf(t), nil
		}
		return reflect.MapOf(reflect.TypeFor[string](), t), nil
	}
	return nil, fmt.Errorf("type %q: want string, bool, number, duration, size, list(…) or map(…)", name)
}

// seconds and byteCount are durations and sizes as JSON numbers.
type (
	seconds   Duration
	byteCount Size
)

var (
	secondsType = reflect.TypeFor[seconds]()
	bytesType   = reflect.TypeFor[byteCount]()
)

func (s *seconds) UnmarshalText(text []byte) error   { return (*Duration)(s).UnmarshalText(text) }
func (b *byteCount) UnmarshalText(text []byte) error { return (*Size)(b).UnmarshalText(text) }

func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }
