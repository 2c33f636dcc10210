package manifest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/seed-b96de936/troop/core"
)

// envPrefix of the environment variables that give values to a manifest's variables.
const envPrefix = "TROOP_VAR_"

type variable struct {
	name      string
	block     *hclsyntax.Block
	typ       cty.Type // DynamicPseudoType: any
	defaults  *typeexpr.Defaults
	fallback  *hclsyntax.Attribute // nil: has to be given
	sensitive bool
	rules     []*hclsyntax.Block

	value   cty.Value // unknown after a mistake
	refused bool      // a value was given, but a wrong one
	from    hcl.Range // where the value stands, or the variable
}

// declareVariables takes names, types and defaults: what needs no other block.
func (l *loader) declareVariables(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		if !l.labels(b, "NAME") || !l.name(b, 0, "variable") {
			continue
		}
		if first := l.variables[b.Labels[0]]; first != nil {
			l.duplicate(b, "variable", first.block)
			continue
		}
		v := &variable{name: b.Labels[0], block: b, typ: cty.DynamicPseudoType, value: cty.DynamicVal, from: b.DefRange()}
		l.variables[v.name] = v
		v.rules = l.content(b.Body, &variableGrammar)
		if a := b.Body.Attributes["type"]; a != nil {
			typ, defaults, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
			if diags.HasErrors() {
				l.typeError(diags[0], a.Expr)
			} else {
				v.typ, v.defaults = typ, defaults
			}
		}
		if a := b.Body.Attributes["sensitive"]; a != nil {
			v.sensitive, _ = l.boolean(a, site{})
		}
		if a := b.Body.Attributes["description"]; a != nil {
			_, _ = l.str(a, site{})
		}
		v.fallback = b.Body.Attributes["default"]
	}
}

var typeNames = []string{"any", "bool", "list", "map", "number", "object", "optional", "set", "string", "tuple"}

func (l *loader) typeError(d *hcl.Diagnostic, expr hclsyntax.Expression) {
	where := expr.Range()
	if d.Subject != nil {
		where = *d.Subject
	}
	hint := ""
	if v, diags := expr.Value(nil); !diags.HasErrors() && v.Type() == cty.String {
		hint = " A type stands without quotes."
	} else if word := hcl.ExprAsKeyword(expr); word != "" {
		hint = didYouMean(word, typeNames)
	}
	l.errorf(where, "Invalid type of variable",
		"A type is string, number, bool, any, list(…), set(…), map(…), object({ … }) or tuple([ … ]).%s", hint)
}

func (l *loader) duplicate(b *hclsyntax.Block, what string, first *hclsyntax.Block) {
	l.errorf(b.DefRange(), "Duplicate "+what, "%s is declared already, at %s.", header(b), place(first.DefRange()))
}

// header is the first line of a block, without its brace.
func header(b *hclsyntax.Block) string { return headerOf(b.Type, b.Labels) }

func headerOf(typ string, labels []string) string {
	var text strings.Builder
	text.WriteString(typ)
	for _, label := range labels {
		fmt.Fprintf(&text, " %q", label)
	}
	return text.String()
}

// readVariables finds the values: the default, then the environment, then the files in their order, then -var.
func (l *loader) readVariables() {
	given := map[string]cty.Value{}
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		v := l.variables[name]
		l.readDefault(v)
		if text, ok := l.opts.Env(envPrefix + name); ok {
			if value, good := l.parseValue(v, text, envPrefix+name); good {
				given[name] = value
			}
		}
	}
	for _, file := range l.opts.VarFiles {
		l.readVarFile(file, given)
	}
	for _, name := range slices.Sorted(maps.Keys(l.opts.Vars)) {
		v := l.variables[name]
		if v == nil {
			names := slices.Sorted(maps.Keys(l.variables))
			l.errorAt(core.Range{}, "Unknown variable",
				fmt.Sprintf("-var %s: the manifest has no variable %q.%s", name, name, didYouMean(name, names)))
			continue
		}
		if value, good := l.parseValue(v, l.opts.Vars[name], "-var "+name); good {
			given[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		l.settle(l.variables[name], given)
	}
	for _, name := range slices.Sorted(maps.Keys(l.variables)) {
		l.validate(l.variables[name])
	}
}

func (l *loader) readDefault(v *variable) {
	if v.fallback == nil {
		return
	}
	for _, t := range v.fallback.Expr.Variables() {
		l.errorf(t.SourceRange(), "Reference in a default",
			"The default of a variable is a plain value. Use locals for a value that depends on others.")
		return
	}
	if !l.checkFunctions(v.fallback.Expr) {
		return
	}
	value, diags := l.budget.value(v.fallback.Expr, nil)
	l.add(diags)
	if diags.HasErrors() {
		return
	}
	if value, ok := l.convert(v, value, v.fallback.Expr.Range(), "default"); ok {
		v.value, v.from = value, v.fallback.Expr.Range()
	}
}

// convert fits a value to the variable's type.
func (l *loader) convert(v *variable, value cty.Value, r hcl.Range, from string) (cty.Value, bool) {
	if v.defaults != nil && !value.IsNull() && value.IsKnown() {
		value = v.defaults.Apply(value)
	}
	out, err := convert.Convert(value, v.typ)
	if err != nil {
		v.refused = true
		l.errorf(r, "Wrong type of variable", "%s: the variable %q is of type %s; %s.",
			from, v.name, typeexpr.TypeString(v.typ), err.Error())
		return cty.DynamicVal, false
	}
	return out, true
}

// parseValue reads a value given as text. A string is taken as it is; else the text is an expression of HCL.
func (l *loader) parseValue(v *variable, text, from string) (cty.Value, bool) {
	typ := v.typ
	if typ == cty.DynamicPseudoType && v.value.IsKnown() && !v.value.IsNull() {
		typ = v.value.Type()
	}
	if typ.IsPrimitiveType() || typ == cty.DynamicPseudoType {
		value, err := convert.Convert(cty.StringVal(text), typ)
		if err != nil {
			v.refused = true
			l.errorf(v.block.DefRange(), "Wrong type of variable", "%s: the variable %q is of type %s; %s.",
				from, v.name, typeexpr.TypeString(typ), err.Error())
			return cty.DynamicVal, false
		}
		return value, true
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), from, hcl.InitialPos)
	var value cty.Value
	if !diags.HasErrors() {
		value, diags = l.budget.constant(expr)
	}
	if diags.HasErrors() {
		v.refused = true
		l.errorf(v.block.DefRange(), "Wrong type of variable",
			"%s: the variable %q is of type %s. Its value is written as in a manifest; this text cannot be read.", from, v.name, typeexpr.TypeString(v.typ))
		return cty.DynamicVal, false
	}
	return l.convert(v, value, v.block.DefRange(), from)
}

// readVarFile reads NAME = VALUE lines, or one JSON object.
func (l *loader) readVarFile(file string, given map[string]cty.Value) {
	src, err := readLimited(file)
	if err != nil {
		l.errorAt(core.Range{}, "File of variables cannot be read", fmt.Sprintf("-var-file %s: %v.", file, err))
		return
	}
	set := func(name string, r hcl.Range, value cty.Value) {
		v := l.variables[name]
		if v == nil {
			names := slices.Sorted(maps.Keys(l.variables))
			l.warnf(r, "Unknown variable", "%s: the manifest has no variable %q.%s", display(file), name, didYouMean(name, names))
			return
		}
		if value, ok := l.convert(v, value, r, display(file)); ok {
			given[name] = value
		}
	}
	if filepath.Ext(file) == ".json" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(src, &object); err != nil {
			l.errorAt(core.Range{}, "File of variables cannot be read", fmt.Sprintf("-var-file %s: %v.", file, err))
			return
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			var value ctyjson.SimpleJSONValue
			if err := value.UnmarshalJSON(object[name]); err == nil {
				set(name, hcl.Range{}, value.Value)
			}
		}
		return
	}
	body, diags := parse(file, src)
	l.diags = append(l.diags, diags...)
	if body == nil {
		return
	}
	for _, b := range body.Blocks {
		l.errorf(b.DefRange(), "Block in a file of variables", "Such a file holds NAME = VALUE lines only.")
	}
	for _, a := range attributes(body) {
		value, diags := l.budget.constant(a.Expr)
		if diags.HasErrors() {
			l.errorf(a.Expr.Range(), "Invalid value", "A value in a file of variables is plain, without references and functions.")
			continue
		}
		set(a.Name, a.NameRange, value)
	}
}

func readLimited(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, reason(err)
	}
	defer func() { _ = f.Close() }()
	return readAll(f)
}

// readAll reads a file of at most 1 MiB.
func readAll(f *os.File) ([]byte, error) {
	src, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(src) > maxSize {
		return nil, fmt.Errorf("larger than 1 MiB")
	}
	return src, nil
}

func (l *loader) settle(v *variable, given map[string]cty.Value) {
	if value, ok := given[v.name]; ok {
		v.value, v.from = value, v.block.DefRange()
	} else if v.fallback == nil && !v.refused {
		l.errorf(v.block.DefRange(), "No value for a variable",
			"Give it with -var %s=…, with %s%s=… in the environment, or with a default.", v.name, envPrefix, v.name)
	}
	if v.sensitive {
		l.secrets.addValue(v.value)
		v.value = v.value.Mark(sensitive)
	}
}

// validate applies the variable's own conditions.
func (l *loader) validate(v *variable) {
	for _, b := range v.rules {
		l.content(b.Body, &validationGrammar)
		condition, message := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
		if condition == nil {
			l.missing(b, "condition", fmt.Sprintf("condition = var.%s > 0", v.name))
			continue
		}
		if message == nil {
			l.missing(b, "error_message", `error_message = "It has to be …"`)
			continue
		}
		ok, good := l.boolean(condition, site{varsOnly: true})
		text, goodText := l.str(message, site{varsOnly: true})
		if good && goodText && !ok {
			l.errorf(v.from, "Invalid value of variable", "%s (Checked at %s.)", text, place(condition.Expr.Range()))
		}
	}
}
