package manifest

import (
	"encoding/json"
	"math/big"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/seed-b96de936/troop/core"
)

// moment is what is known when an expression is evaluated.
type moment struct {
	l           *loader
	environment cty.Value // name, or unknown
	outputs     map[core.StageID]map[string]any
	each        map[string]cty.Value
	fetch       bool // read the secrets that are asked for
	budget      *budget
	locals      map[string]cty.Value // computed so far
}

// moment of the time before a run.
func (l *loader) moment(s site) *moment {
	environment := cty.UnknownVal(cty.String)
	if s.environment != "" {
		environment = cty.StringVal(s.environment)
	}
	return &moment{l: l, environment: environment, each: s.each, fetch: l.needed(s), locals: map[string]cty.Value{}, budget: l.budget}
}

// eval evaluates an expression with the values of refs, and no others. It is not good when one of them has no value,
// which has been reported where that is written.
func (m *moment) eval(expr hclsyntax.Expression, refs []reference) (v cty.Value, good bool, diags hcl.Diagnostics) {
	tree, diags := m.values(refs)
	if diags.HasErrors() {
		return cty.DynamicVal, false, diags
	}
	vars := map[string]cty.Value{}
	for root, v := range tree {
		vars[root] = cty.ObjectVal(v)
	}
	v, diags = m.budget.value(expr, vars)
	return v, true, diags
}

// values is the tree root → name → value of refs.
func (m *moment) values(refs []reference) (map[string]map[string]cty.Value, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	tree := map[string]map[string]cty.Value{}
	stages := map[string]map[string]cty.Value{}
	for _, r := range refs {
		if tree[r.root] == nil {
			tree[r.root] = map[string]cty.Value{}
		}
		switch r.root {
		case rootVar:
			tree[r.root][r.name] = m.l.variables[r.name].value
		case rootLocal:
			v, d := m.local(m.l.locals[r.name])
			diags = append(diags, d...)
			tree[r.root][r.name] = v
		case rootEnv:
			v := cty.UnknownVal(cty.String)
			if text := m.l.environ[r.name]; text != nil {
				v = cty.StringVal(*text)
			}
			tree[r.root][r.name] = v.Mark(sensitive)
		case rootSecret:
			x := m.l.sources[r.name]
			if m.fetch {
				diags = append(diags, m.l.fetch(x)...)
			}
			tree[r.root][r.name] = x.current()
		case rootPipeline:
			tree[r.root][r.name] = cty.StringVal(m.l.pipeline.Name)
		case rootEnvironment:
			tree[r.root][r.name] = m.environment
		case rootEach:
			tree[r.root][r.name] = m.each[r.name]
		case rootStage:
			if stages[r.stage.typ] == nil {
				stages[r.stage.typ] = map[string]cty.Value{}
			}
			stages[r.stage.typ][r.stage.name] = m.stage(r.stage)
		}
	}
	for typ, names := range stages {
		tree[rootStage][typ] = cty.ObjectVal(names)
	}
	return tree, diags
}

func (m *moment) local(x *local) (cty.Value, hcl.Diagnostics) {
	if v, ok := m.locals[x.name]; ok {
		return v, nil
	}
	m.locals[x.name] = cty.DynamicVal
	if !x.good {
		return cty.DynamicVal, nil
	}
	v, _, diags := m.eval(x.attr.Expr, x.refs)
	if !diags.HasErrors() {
		m.locals[x.name] = v
	}
	return m.locals[x.name], diags
}

// stage is the object of a stage's outputs, or a map of those of its instances.
func (m *moment) stage(d *stageDecl) cty.Value {
	if !d.repeated() {
		return outputs(m.outputs, core.StageID(d.id))
	}
	instances := map[string]cty.Value{}
	for _, i := range d.instances {
		instances[i.key] = outputs(m.outputs, i.id(d))
	}
	return cty.ObjectVal(instances)
}

func outputs(known map[core.StageID]map[string]any, id core.StageID) cty.Value {
	values, ok := known[id]
	if !ok {
		return cty.DynamicVal
	}
	if values == nil {
		values = map[string]any{}
	}
	text, err := json.Marshal(values)
	if err != nil {
		return cty.DynamicVal
	}
	var v ctyjson.SimpleJSONValue
	if err := v.UnmarshalJSON(text); err != nil {
		return cty.DynamicVal
	}
	return v.Value
}

// value checks and evaluates an expression of the core's own grammar. It is not ok when something is wrong with it,
// or with what it refers to; that has been reported then.
func (l *loader) value(expr hclsyntax.Expression, s site) (cty.Value, bool) {
	v, ok := l.partly(expr, s)
	return v, ok && v.IsWhollyKnown()
}

// partly is value for what may be unknown.
func (l *loader) partly(expr hclsyntax.Expression, s site) (cty.Value, bool) {
	refs, ok := l.check(expr, s)
	if !ok {
		return cty.DynamicVal, false
	}
	v, good, diags := l.moment(s).eval(expr, refs)
	if !good {
		return cty.DynamicVal, false // of a local value: reported there
	}
	l.add(diags)
	return v, !diags.HasErrors()
}

// typed evaluates an argument and converts it. Null is not ok, silently: it means that the argument is not set.
func (l *loader) typed(a *hclsyntax.Attribute, s site, want cty.Type, name string) (cty.Value, bool) {
	v, ok := l.value(a.Expr, s)
	if !ok {
		return v, false
	}
	l.secrets.addMarked(v)
	v, _ = v.UnmarkDeep()
	if v.IsNull() {
		return v, false
	}
	out, err := convert.Convert(v, want)
	if err != nil || hasNull(out) {
		l.errorf(a.Expr.Range(), "Wrong type", "%q wants %s, but this is %s.", a.Name, name, kind(v))
		return out, false
	}
	return out, true
}

func hasNull(v cty.Value) bool {
	if v.Type().IsPrimitiveType() {
		return false
	}
	for _, x := range v.AsValueSlice() {
		if x.IsNull() {
			return true
		}
	}
	return false
}

// kind names a value's type for people.
func kind(v cty.Value) string {
	t := v.Type()
	switch {
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		return "a list"
	case t.IsObjectType(), t.IsMapType():
		return "a map"
	}
	return t.FriendlyName()
}

func (l *loader) str(a *hclsyntax.Attribute, s site) (string, bool) {
	v, ok := l.typed(a, s, cty.String, `a string, such as "text"`)
	if !ok {
		return "", false
	}
	return v.AsString(), true
}

func (l *loader) boolean(a *hclsyntax.Attribute, s site) (value, ok bool) {
	v, ok := l.typed(a, s, cty.Bool, "true or false")
	if !ok {
		return false, false
	}
	return v.True(), true
}

func (l *loader) strs(a *hclsyntax.Attribute, s site) ([]string, bool) {
	v, ok := l.typed(a, s, cty.List(cty.String), `a list of strings, such as ["text"]`)
	if !ok {
		return nil, false
	}
	var out []string
	for _, x := range v.AsValueSlice() {
		out = append(out, x.AsString())
	}
	return out, true
}

// item is the place of the i-th item of a list, or of the whole expression when it is not written as one.
func item(expr hclsyntax.Expression, i int) hcl.Range {
	if list, ok := expr.(*hclsyntax.TupleConsExpr); ok && i < len(list.Exprs) {
		return list.Exprs[i].Range()
	}
	return expr.Range()
}

// entry is the place of a key of a map, or of the whole expression when it is not written as one.
func entry(expr hclsyntax.Expression, key string) hcl.Range {
	if object, ok := expr.(*hclsyntax.ObjectConsExpr); ok {
		for _, x := range object.Items {
			if v, diags := x.KeyExpr.Value(nil); !diags.HasErrors() && v.RawEquals(cty.StringVal(key)) {
				return x.KeyExpr.Range()
			}
		}
	}
	return expr.Range()
}

// integer is a whole number from 0 to a million.
func (l *loader) integer(a *hclsyntax.Attribute, s site) (int, bool) {
	v, ok := l.typed(a, s, cty.Number, "a number")
	if !ok {
		return 0, false
	}
	n, exact := v.AsBigFloat().Int64()
	if exact != big.Exact || n < 0 || n > 1_000_000 {
		l.errorf(a.Expr.Range(), "Invalid number", "%q wants a whole number that is not negative, such as 2.", a.Name)
		return 0, false
	}
	return int(n), true
}

func (l *loader) duration(a *hclsyntax.Attribute, s site) time.Duration {
	v, ok := l.typed(a, s, cty.String, `a duration, such as "90s"`)
	if !ok {
		return 0
	}
	text := v.AsString()
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		l.errorf(a.Expr.Range(), "Invalid duration",
			"%q is not a duration. Write a number with a unit, one of ms, s, m and h: \"90s\", \"1h30m\".", shorten(text))
	case d <= 0:
		l.errorf(a.Expr.Range(), "Invalid duration", "%q wants a duration above zero; leave it out for none.", a.Name)
	}
	return d
}

// object is a map of any values, as Go values. A value within it that is not known is nil.
func (l *loader) object(a *hclsyntax.Attribute, s site) map[string]any {
	v, ok := l.partly(a.Expr, s)
	if !ok || !unmarked(v).IsKnown() {
		return nil
	}
	l.secrets.addMarked(v)
	v, _ = v.UnmarkDeep()
	if v.IsNull() {
		return nil
	}
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		l.errorf(a.Expr.Range(), "Wrong type", "%q wants a map, such as { name = \"value\" }, but this is %s.", a.Name, kind(v))
		return nil
	}
	m, _ := goValue(v).(map[string]any)
	return m
}

// goValue turns a value into string, bool, int64, float64, []any, map[string]any or, when it is null or not known, nil.
func goValue(v cty.Value) any {
	t := v.Type()
	switch {
	case !v.IsKnown() || v.IsNull():
		return nil
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		if n, exact := v.AsBigFloat().Int64(); exact == big.Exact {
			return n
		}
		f, _ := v.AsBigFloat().Float64()
		return f
	case t.IsObjectType(), t.IsMapType():
		m := map[string]any{}
		for k, x := range v.AsValueMap() {
			m[k] = goValue(x)
		}
		return m
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		list := []any{}
		for _, x := range v.AsValueSlice() {
			list = append(list, goValue(x))
		}
		return list
	}
	return nil
}
