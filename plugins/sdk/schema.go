package sdk

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// blockSchema is the schema of a manifest block, read from a struct's tags.
type blockSchema struct {
	attrs  []attrSchema
	blocks []nestedSchema
	labels []labelSchema
}

type attrSchema struct {
	name      string
	index     []int // field index
	typ       reflect.Type
	required  bool
	fallback  string // HCL source
	value     cty.Value
	doc       string
	sensitive bool
}

type nestedSchema struct {
	name     string
	index    []int
	elem     reflect.Type // the struct
	pointer  bool         // *T or []*T
	many     bool
	required bool
	doc      string
	block    *blockSchema
}

type labelSchema struct {
	name  string
	index []int
}

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType    = reflect.TypeFor[Duration]()
	sizeType        = reflect.TypeFor[Size]()
)

// schemaOf reads the tags of a struct. An error is a mistake of the plugin's author.
func schemaOf(t reflect.Type) (*blockSchema, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("configuration type %s: want a struct", t)
	}
	s := &blockSchema{}
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("hcl")
		if !ok || f.Anonymous {
			continue
		}
		name, kind, _ := strings.Cut(tag, ",")
		if !f.IsExported() || !hclsyntax.ValidIdentifier(name) || names[name] {
			return nil, fmt.Errorf("field %s.%s: want an exported field and a unique name in tag %q", t, f.Name, tag)
		}
		names[name] = true
		if err := s.add(f, name, kind); err != nil {
			return nil, fmt.Errorf("field %s.%s: %w", t, f.Name, err)
		}
	}
	return s, nil
}

func (s *blockSchema) add(f reflect.StructField, name, kind string) error {
	doc := f.Tag.Get("doc")
	switch kind {
	case "label":
		if f.Type.Kind() != reflect.String {
			return fmt.Errorf("a label is a string, not %s", f.Type)
		}
		s.labels = append(s.labels, labelSchema{name, f.Index})
	case "block":
		n := nestedSchema{name: name, index: f.Index, elem: f.Type, doc: doc, required: true}
		if n.elem.Kind() == reflect.Slice {
			n.many, n.required, n.elem = true, false, n.elem.Elem()
		}
		if n.elem.Kind() == reflect.Pointer {
			n.pointer, n.required, n.elem = true, false, n.elem.Elem()
		}
		block, err := schemaOf(n.elem)
		if err != nil {
			return err
		}
		n.block = block
		s.blocks = append(s.blocks, n)
	case "", "attr", "optional":
		fallback, hasDefault := f.Tag.Lookup("default")
		a := attrSchema{
			name: name, index: f.Index, typ: f.Type, doc: doc, fallback: fallback,
			required:  kind != "optional" && !hasDefault && f.Type.Kind() != reflect.Pointer,
			sensitive: f.Tag.Get("sensitive") == "true",
		}
		if err := a.setDefault(hasDefault); err != nil {
			return err
		}
		s.attrs = append(s.attrs, a)
	default:
		return fmt.Errorf("unknown kind %q of argument", kind)
	}
	return nil
}

// setDefault evaluates the default, if any, and checks that it fits the field.
func (a *attrSchema) setDefault(has bool) error {
	want, err := ctyType(a.typ)
	if err != nil || !has {
		return err
	}
	expr, diags := hclsyntax.ParseExpression([]byte(a.fallback), "default", hcl.InitialPos)
	if diags.HasErrors() {
		return fmt.Errorf("default %q: %w", a.fallback, diags)
	}
	var d decoder
	if d.immense(expr) {
		return fmt.Errorf("default %q: %w", a.fallback, d.diags)
	}
	v, diags := expr.Value(nil)
	if diags.HasErrors() {
		return fmt.Errorf("default %q: %w", a.fallback, diags)
	}
	if a.value, err = convert.Convert(v, want); err != nil {
		return fmt.Errorf("default %q: %w", a.fallback, err)
	}
	if p := assign(reflect.New(a.typ).Elem(), a.value, nil); len(p) > 0 {
		return fmt.Errorf("default %q: %s", a.fallback, p[0].text)
	}
	return nil
}

// ctyType is the type that a value is converted to before it is assigned to a field of type t.
func ctyType(t reflect.Type) (cty.Type, error) {
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return cty.String, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return ctyType(t.Elem())
	case reflect.String:
		return cty.String, nil
	case reflect.Bool:
		return cty.Bool, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return cty.Number, nil
	case reflect.Slice:
		elem, err := ctyType(t.Elem())
		return cty.List(elem), err
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			elem, err := ctyType(t.Elem())
			return cty.Map(elem), err
		}
	}
	return cty.DynamicPseudoType, fmt.Errorf("type %s cannot hold an argument", t)
}

// typeName is the name of a field's type on reference pages.
func typeName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t == durationType, t == secondsType:
		return "duration"
	case t == sizeType, t == bytesType:
		return "size"
	case reflect.PointerTo(t).Implements(textUnmarshaler) || t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Bool:
		return "bool"
	case t.Kind() == reflect.Slice:
		return "list(" + typeName(t.Elem()) + ")"
	case t.Kind() == reflect.Map:
		return "map(" + typeName(t.Elem()) + ")"
	}
	return "number"
}

// describe returns the block's schema for the plugin's description.
func (s *blockSchema) describe() contract.BlockSchema {
	var b contract.BlockSchema
	for _, a := range s.attrs {
		b.Attributes = append(b.Attributes, contract.Attribute{
			Name: a.name, Type: typeName(a.typ), Required: a.required, Default: a.fallback, Doc: a.doc, Sensitive: a.sensitive,
		})
	}
	for _, n := range s.blocks {
		x := contract.NestedBlock{Type: n.name, Required: n.required, Many: n.many, Doc: n.doc, Block: n.block.describe()}
		for _, l := range n.block.labels {
			x.Labels = append(x.Labels, l.name)
		}
		b.Blocks = append(b.Blocks, x)
	}
	return b
}

func (s *blockSchema) attr(name string) *attrSchema {
	for i := range s.attrs {
		if s.attrs[i].name == name {
			return &s.attrs[i]
		}
	}
	return nil
}

func (s *blockSchema) block(name string) *nestedSchema {
	for i := range s.blocks {
		if s.blocks[i].name == name {
			return &s.blocks[i]
		}
	}
	return nil
}
