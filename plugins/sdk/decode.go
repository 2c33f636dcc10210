package sdk

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/gocty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// reserved are the core's own arguments of every stage.
var reserved = []string{"needs", "when", "timeout", "retries", "on_failure", "environment", "for_each", "grants"}

// decoder decodes the text of one block into a struct and records positions.
type decoder struct {
	stage   string // type, for messages
	ctx     *hcl.EvalContext
	partial bool // unknown values are allowed and leave fields zero
	diags   hcl.Diagnostics
	unknown map[string]bool // paths of attributes with unknown values
}

// decodeBlock decodes c into target, a pointer to a struct. An error is a protocol error; all mistakes in the block are in
// the decoder's diagnostics.
func decodeBlock(stage string, c contract.Config, s *blockSchema, target reflect.Value, partial bool) (*decoder, *hclsyntax.Body, error) {
	scope, err := decodeScope(c.Scope)
	if err != nil {
		return nil, nil, err
	}
	d := &decoder{stage: stage, partial: partial, unknown: map[string]bool{}, ctx: &hcl.EvalContext{Variables: scope}}
	start := hcl.Pos{Line: max(c.Block.Start.Line, 1), Column: max(c.Block.Start.Column, 1), Byte: c.Block.Start.Byte}
	file, diags := hclsyntax.ParseConfig(c.Block.Source, c.Block.File, start)
	d.diags = diags
	body, ok := file.Body.(*hclsyntax.Body)
	if diags.HasErrors() || !ok || d.immense(body) {
		return d, body, nil
	}
	for _, name := range reserved {
		delete(body.Attributes, name)
	}
	body.Blocks = slices.DeleteFunc(body.Blocks, func(b *hclsyntax.Block) bool { return slices.Contains(reserved, b.Type) })
	d.body(body, body.MissingItemRange(), s, target.Elem(), stage+" stage", "")
	return d, body, nil
}

func decodeScope(s contract.Scope) (map[string]cty.Value, error) {
	if len(s.Type) == 0 {
		return nil, nil
	}
	t, err := ctyjson.UnmarshalType(s.Type)
	if err != nil {
		return nil, fmt.Errorf("decode type of scope: %w", err)
	}
	v, err := msgpack.Unmarshal(s.Value, t)
	if err != nil {
		return nil, fmt.Errorf("decode scope: %w", err)
	}
	if !t.IsObjectType() || !v.IsKnown() || v.IsNull() {
		return nil, errors.New("decode scope: want a known object")
	}
	err = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if immense(v) {
			return false, errors.New("decode scope: a number is too large, or has too many decimals")
		}
		return true, nil
	})
	return v.AsValueMap(), err
}

// immense reports whether a value is a number with too many digits: formatting 1e9999999 would take minutes.
func immense(v cty.Value) bool {
	if v.Type() != cty.Number || !v.IsKnown() || v.IsNull() {
		return false
	}
	n := v.AsBigFloat()
	exponent := n.MantExp(nil)
	return !n.IsInf() && (exponent > maxExponent || exponent < -maxExponent)
}

// maxExponent is a little more than the maximum exponent of a float64; no field can hold more.
const maxExponent = 1100

// immense reports numbers in a block or an expression that are too large to evaluate.
func (d *decoder) immense(n hclsyntax.Node) bool {
	before := len(d.diags)
	_ = hclsyntax.VisitAll(n, func(n hclsyntax.Node) hcl.Diagnostics {
		if lit, ok := n.(*hclsyntax.LiteralValueExpr); ok && immense(lit.Val) {
			d.errorf(lit.SrcRange, "Wrong value", "The number is too large, or has too many decimals.")
		}
		return nil
	})
	return len(d.diags) > before
}

func (d *decoder) errorf(r hcl.Range, summary, format string, args ...any) {
	d.diags = append(d.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &r,
	})
}

// body decodes one block. where names it in messages; path is its prefix in BadAttr paths ("" or "rule[1].").
func (d *decoder) body(b *hclsyntax.Body, header hcl.Range, s *blockSchema, v reflect.Value, where, path string) {
	d.unknownNames(b, s, where)
	for _, a := range s.attrs {
		attr, ok := b.Attributes[a.name]
		switch {
		case ok:
			d.attr(attr, &a, v.FieldByIndex(a.index), path+a.name)
		case a.required:
			d.errorf(header, "Missing argument", "A %s needs the argument %q (%s).", where, a.name, typeName(a.typ))
		case a.value != cty.NilVal:
			assign(v.FieldByIndex(a.index), a.value, nil)
		}
	}
	for _, n := range s.blocks {
		d.nested(b, header, &n, v.FieldByIndex(n.index), where, path)
	}
}

func (d *decoder) nested(b *hclsyntax.Body, header hcl.Range, n *nestedSchema, field reflect.Value, where, path string) {
	count := 0
	for _, block := range b.Blocks {
		if block.Type != n.name {
			continue
		}
		if count++; count > 1 && !n.many {
			d.errorf(block.DefRange(), "Duplicate block", "A %s takes one block %q.", where, n.name)
			continue
		}
		elem := reflect.New(n.elem)
		at := fmt.Sprintf("%s%s.", path, n.name)
		if n.many {
			at = fmt.Sprintf("%s%s[%d].", path, n.name, count-1)
		}
		if len(block.Labels) != len(n.block.labels) {
			d.errorf(block.DefRange(), "Wrong labels", "Write %s.", blockUsage(n))
		} else {
			for i, l := range n.block.labels {
				elem.Elem().FieldByIndex(l.index).SetString(block.Labels[i])
			}
		}
		d.body(block.Body, block.DefRange(), n.block, elem.Elem(), n.name+" block", at)
		value := elem.Elem()
		if n.pointer {
			value = elem
		}
		if n.many {
			field.Set(reflect.Append(field, value))
		} else {
			field.Set(value)
		}
	}
	if count == 0 && n.required {
		d.errorf(header, "Missing block", "A %s needs a block: %s.", where, blockUsage(n))
	}
}

func blockUsage(n *nestedSchema) string {
	var b strings.Builder
	b.WriteString(n.name)
	for _, l := range n.block.labels {
		b.WriteString(` "` + strings.ToUpper(l.name) + `"`)
	}
	return b.String() + " { … }"
}

// unknownNames reports arguments and blocks that are not in the schema.
func (d *decoder) unknownNames(b *hclsyntax.Body, s *blockSchema, where string) {
	var attrs, blocks []string
	for _, a := range s.attrs {
		attrs = append(attrs, a.name)
	}
	for _, n := range s.blocks {
		blocks = append(blocks, n.name)
	}
	for name, attr := range b.Attributes {
		if s.attr(name) != nil {
			continue
		}
		if n := s.block(name); n != nil {
			d.errorf(attr.NameRange, "Unsupported argument", "%q is a block here: write %s, without an equals sign.", name, blockUsage(n))
			continue
		}
		d.errorf(attr.NameRange, "Unsupported argument", "A %s has no argument %q.%s", where, name, suggest(name, attrs, blocks))
	}
	for _, block := range b.Blocks {
		if s.block(block.Type) != nil {
			continue
		}
		if s.attr(block.Type) != nil {
			d.errorf(block.TypeRange, "Unsupported block", "%q is an argument here: write %s = …, with an equals sign.", block.Type, block.Type)
			continue
		}
		d.errorf(block.TypeRange, "Unsupported block", "A %s has no block %q.%s", where, block.Type, suggest(block.Type, blocks, attrs))
	}
}

// suggest proposes a name, preferably of the same kind, or lists all names.
func suggest(name string, lists ...[]string) string {
	for _, list := range lists {
		if best := contract.Nearest(name, list); best != "" {
			return fmt.Sprintf(" Did you mean %q?", best)
		}
	}
	if len(lists[0]) == 0 {
		return ""
	}
	return " It has " + strings.Join(lists[0], ", ") + "."
}

func (d *decoder) attr(attr *hclsyntax.Attribute, a *attrSchema, field reflect.Value, path string) {
	v, diags := attr.Expr.Value(d.ctx)
	for _, x := range diags {
		x.EvalContext, x.Expression = nil, nil
	}
	d.diags = append(d.diags, diags...)
	if diags.HasErrors() {
		return
	}
	v, _ = v.UnmarkDeep()
	want, _ := ctyType(a.typ) // schemaOf has checked the type
	converted, err := convert.Convert(v, want)
	if err != nil {
		path, err := wrongPart(v, want, err)
		d.errorf(exprAt(attr.Expr, path).Range(), "Wrong type", "The argument %q is a %s: %s.", a.name, typeName(a.typ), err)
		return
	}
	v = converted
	if !v.IsWhollyKnown() {
		d.unknown[path] = true
		if !d.partial {
			d.errorf(attr.Expr.Range(), "Unknown value", "The value of %q is unknown: the stage that it comes from has not run, or has no such output.", a.name)
		}
		return
	}
	if v.IsNull() {
		if a.required {
			d.errorf(attr.Expr.Range(), "Missing value", "The argument %q must not be null.", a.name)
		} else if a.value != cty.NilVal {
			assign(field, a.value, nil)
		}
		return
	}
	for _, p := range assign(field, v, nil) {
		d.errorf(exprAt(attr.Expr, p.path).Range(), "Wrong value", "%s.", upperFirst(p.text))
	}
}

// wrongPart finds the innermost element that cannot be converted, with its error. err is the error of the whole.
func wrongPart(v cty.Value, want cty.Type, err error) (cty.Path, error) {
	if !want.IsCollectionType() || !v.CanIterateElements() {
		return nil, err
	}
	for it := v.ElementIterator(); it.Next(); {
		key, elem := it.Element()
		if _, elemErr := convert.Convert(elem, want.ElementType()); elemErr != nil {
			path, err := wrongPart(elem, want.ElementType(), elemErr)
			return append(cty.Path{cty.IndexStep{Key: key}}, path...), err
		}
	}
	return nil, err
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// problem is a value that does not fit, and its path within the attribute.
type problem struct {
	path cty.Path
	text string
}

// assign assigns a known value of the type given by ctyType to a field.
func assign(field reflect.Value, v cty.Value, path cty.Path) []problem {
	if v.IsNull() {
		if path == nil {
			return nil
		}
		return []problem{{path, "want a value, got null"}}
	}
	t := field.Type()
	if t.Kind() == reflect.Pointer {
		elem := reflect.New(t.Elem())
		p := assign(elem.Elem(), v, path)
		field.Set(elem)
		return p
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](field.Addr()); ok {
		if err := u.UnmarshalText([]byte(v.AsString())); err != nil {
			return []problem{{path, err.Error()}}
		}
		return nil
	}
	var problems []problem
	switch t.Kind() {
	case reflect.Slice:
		list := reflect.MakeSlice(t, v.LengthInt(), v.LengthInt())
		for it := v.ElementIterator(); it.Next(); {
			key, x := it.Element()
			i, _ := key.AsBigFloat().Int64()
			problems = append(problems, assign(list.Index(int(i)), x, append(slices.Clone(path), cty.IndexStep{Key: key}))...)
		}
		field.Set(list)
	case reflect.Map:
		m := reflect.MakeMap(t)
		for it := v.ElementIterator(); it.Next(); {
			key, x := it.Element()
			elem := reflect.New(t.Elem()).Elem()
			problems = append(problems, assign(elem, x, append(slices.Clone(path), cty.IndexStep{Key: key}))...)
			m.SetMapIndex(reflect.ValueOf(key.AsString()).Convert(t.Key()), elem)
		}
		field.Set(m)
	default:
		if err := gocty.FromCtyValue(v, field.Addr().Interface()); err != nil {
			problems = append(problems, problem{path, err.Error()})
		}
	}
	return problems
}

// exprAt follows a path into a literal list or map as far as possible.
func exprAt(expr hclsyntax.Expression, path cty.Path) hclsyntax.Expression {
	for _, step := range path {
		var key cty.Value
		switch s := step.(type) {
		case cty.IndexStep:
			key = s.Key
		case cty.GetAttrStep:
			key = cty.StringVal(s.Name)
		}
		next := elementExpr(expr, key)
		if next == nil {
			return expr
		}
		expr = next
	}
	return expr
}

func elementExpr(expr hclsyntax.Expression, key cty.Value) hclsyntax.Expression {
	switch e := expr.(type) {
	case *hclsyntax.TupleConsExpr:
		if key.Type() == cty.Number {
			if i, _ := key.AsBigFloat().Int64(); i >= 0 && int(i) < len(e.Exprs) {
				return e.Exprs[i]
			}
		}
	case *hclsyntax.ObjectConsExpr:
		for _, item := range e.Items {
			k, diags := item.KeyExpr.Value(nil)
			if !diags.HasErrors() && k.Type() == cty.String && key.Type() == cty.String && k.AsString() == key.AsString() {
				return item.ValueExpr
			}
		}
	}
	return nil
}
