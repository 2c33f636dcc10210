package sdk

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// Foreign decodes the blocks of a plugin whose language has no HCL: the core's half of the protocol does for it
// what this SDK does for a plugin in Go, with the same words. Only sdk/client uses it.
type Foreign struct {
	name   string
	schema *blockSchema
	block  reflect.Type // a struct of the schema's arguments, as JSON has them
}

// NewForeign reads what a plugin says of its block. An error is a mistake of the plugin's author.
func NewForeign(d *wire.Description) (*Foreign, error) {
	s, t, err := schemaFromWire(d.GetConfig(), nil)
	if err != nil {
		return nil, fmt.Errorf("read description: %w", err)
	}
	return &Foreign{d.GetName(), s, t}, nil
}

// Decode puts a block's values into c, lets the plugin check them, and finds the places that its complaints
// mean. Values that are not known are mistakes, unless partial allows them.
func (f *Foreign) Decode(c *wire.Config, partial bool, check func() ([]*wire.Diagnostic, error)) ([]*wire.Diagnostic, error) {
	target := reflect.New(f.block)
	d, body, err := decodeBlock(f.name, c, f.schema, target, partial)
	if err != nil {
		return nil, err
	}
	diags := diagnosticsToWire(d.diags)
	if !d.diags.HasErrors() {
		if c.Values, err = json.Marshal(target.Interface()); err != nil {
			return nil, fmt.Errorf("encode values: %w", err)
		}
		said, err := check()
		if err != nil {
			return nil, err
		}
		for _, w := range said {
			if w.GetPath() != "" && d.attrUnknown(w.GetPath()) {
				continue
			}
			if w.GetSummary() == "" {
				w.Summary = "Invalid " + f.name + " stage"
			}
			if w.GetRange() == nil {
				w.Range = rangeToWire(place(body, w.GetPath()))
			}
			diags = append(diags, w)
		}
	}
	slices.SortStableFunc(diags, func(a, b *wire.Diagnostic) int {
		return int(a.GetRange().GetStartByte() - b.GetRange().GetStartByte())
	})
	return diags, nil
}

// maxNesting is how deep the blocks of a description may be nested.
const maxNesting = 16

// schemaFromWire is the reverse of blockSchema.toWire. What a Go author's struct is, reflection makes here.
func schemaFromWire(b *wire.Block, labels []string, outer ...string) (*blockSchema, reflect.Type, error) {
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
	for _, a := range b.GetAttributes() {
		t, err := typeNamed(a.GetType())
		if err != nil {
			return nil, nil, fmt.Errorf("argument %q: %w", a.GetName(), err)
		}
		t = reflect.PointerTo(t) // nil is absent
		index, err := field(a.GetName(), t)
		if err != nil {
			return nil, nil, err
		}
		x := attrSchema{
			name: a.GetName(), index: index, typ: t, required: a.GetRequired(),
			fallback: a.GetDefault(), doc: a.GetDoc(), sensitive: a.GetSensitive(),
		}
		if err := x.setDefault(a.GetDefault() != ""); err != nil {
			return nil, nil, fmt.Errorf("argument %q: %w", a.GetName(), err)
		}
		s.attrs = append(s.attrs, x)
	}
	for _, n := range b.GetBlocks() {
		block, elem, err := schemaFromWire(n.GetBlock(), n.GetLabels(), append(slices.Clone(outer), n.GetType())...)
		if err != nil {
			return nil, nil, err
		}
		x := nestedSchema{
			name: n.GetType(), elem: elem, pointer: true, many: n.GetMany(), required: n.GetRequired(), doc: n.GetDoc(), block: block,
		}
		t := reflect.PointerTo(elem)
		if x.many {
			t = reflect.SliceOf(t)
		}
		if x.index, err = field(n.GetType(), t); err != nil {
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

// seconds and byteCount are durations and sizes for languages that have no such types: JSON numbers.
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
