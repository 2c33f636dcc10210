package manifest

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/seed-b96de936/troop/core"
)

// A plugin evaluates the expressions of its block with nothing but the values it is given: it has no functions, no
// files and no for_each. So what needs those is computed here and stands in the plugin's text as a name, (_0), padded
// to the length of what it replaces, which keeps every position in the block as it is in the manifest.

// compiled is what a stage's scope is made of.
type compiled struct {
	l        *loader
	each     map[string]cty.Value
	refs     []reference // that still stand in the text
	computed []computation
	whole    []argumentOf
}

// argumentOf is an argument of a stage's block, as it is written.
type argumentOf struct {
	*hclsyntax.Attribute
	refs []reference
}

// computation is an expression evaluated by the core, and the name under which the plugin finds its value.
type computation struct {
	name  string
	expr  hclsyntax.Expression
	refs  []reference
	value cty.Value // NilVal: not known before a run
}

// compile checks the expressions of a stage's block and takes it apart into the text for the plugin and its scope.
func (l *loader) compile(s *core.Stage, d *stageDecl, i instance) {
	body := d.block.Body
	start, end := d.block.OpenBraceRange.End, d.block.CloseBraceRange.Start
	text := slices.Clone(l.src[start.Byte:end.Byte])
	c := &compiled{l: l, each: i.each(d)}
	where := site{run: true, each: c.each, optional: l.idle(s.When)}
	for _, a := range blockAttributes(body, true) {
		refs, ok := l.check(a.Expr, where)
		l.dependencies(s, refs, map[string]bool{})
		if !ok {
			continue
		}
		c.whole = append(c.whole, argumentOf{a, refs})
		replaced := c.split(a.Expr)
		for _, x := range replaced {
			r := x.expr.Range()
			fill(text[r.Start.Byte-start.Byte:r.End.Byte-start.Byte], x.name)
		}
		for _, r := range refs {
			if !slices.ContainsFunc(replaced, func(x computation) bool { return contains(x.expr, r) }) {
				c.refs = append(c.refs, r)
			}
		}
		for j := range replaced {
			for _, r := range refs {
				if contains(replaced[j].expr, r) {
					replaced[j].refs = append(replaced[j].refs, r)
				}
			}
		}
		c.computed = append(c.computed, replaced...)
	}
	c.try(where)
	s.Block = core.Block{Source: text, Start: posOf(start), File: l.pipeline.File}
	s.Scope = c.scope
}

// idle tells a stage that will not run in the environment that is going to be used.
func (l *loader) idle(w core.When) bool {
	return l.opts.Environment != "" && len(w.Environments) > 0 && !slices.Contains(w.Environments, l.opts.Environment)
}

// blockAttributes are those of body and of the blocks in it, without the core's own on the top level.
func blockAttributes(body *hclsyntax.Body, top bool) []*hclsyntax.Attribute {
	var out []*hclsyntax.Attribute
	for _, a := range attributes(body) {
		if !top || !stageGrammar.hasArgument(a.Name) {
			out = append(out, a)
		}
	}
	for _, b := range body.Blocks {
		if !top || !stageGrammar.hasBlock(b.Type) {
			out = append(out, blockAttributes(b.Body, false)...)
		}
	}
	return out
}

func contains(expr hclsyntax.Expression, r reference) bool {
	e := expr.Range()
	return e.Start.Byte <= r.rng.Start.Byte && r.rng.End.Byte <= e.End.Byte
}

// split finds the outermost expressions in expr that a plugin cannot evaluate: calls, uses of each, and loops with
// one of them inside, since the loop's variable is known within it only.
func (c *compiled) split(expr hclsyntax.Expression) []computation {
	f := &finder{each: c.each != nil}
	_ = hclsyntax.Walk(expr, f)
	var out []computation
	for _, e := range f.found {
		out = append(out, computation{name: "_" + strconv.FormatInt(int64(len(c.computed)+len(out)), 36), expr: e})
	}
	return out
}

// fill replaces an expression. A name is always shorter than what it stands for, by at least the parentheses.
func fill(text []byte, name string) {
	name = "(" + name
	for i := range text {
		switch {
		case i < len(name):
			text[i] = name[i]
		case text[i] != '\n' && text[i] != '\r':
			text[i] = ' '
		}
	}
	text[len(text)-1] = ')'
}

// dependencies makes a need of every stage that refs lead to, through local values too. The place of a need, and of a
// use of environment.name, is where
// the stage's block says it; that of an output, where it is named.
func (l *loader) dependencies(s *core.Stage, refs []reference, seen map[string]bool) {
	for _, r := range refs {
		l.dependency(s, r, r.rng, seen)
	}
}

func (l *loader) dependency(s *core.Stage, r reference, at hcl.Range, seen map[string]bool) {
	switch r.root {
	case rootLocal:
		if seen[r.name] {
			return
		}
		seen[r.name] = true
		for _, x := range l.locals[r.name].refs {
			l.dependency(s, x, at, seen)
		}
	case rootEnvironment:
		if s.EnvironmentName == (core.Range{}) {
			s.EnvironmentName = rangeOf(at)
		}
	case rootStage:
		ids := l.instancesOf(r)
		for _, id := range ids {
			s.Needs = append(s.Needs, id)
			l.depend(s.ID(), id, at)
		}
		if r.output != "" && len(ids) == 1 {
			s.References = append(s.References, core.Reference{Stage: ids[0], Output: r.output, Range: rangeOf(r.rng)})
		}
	}
}

// try computes what can be computed now: mistakes are found before a run, and files are read once.
func (c *compiled) try(where site) {
	m := c.l.moment(where)
	for i, x := range c.computed {
		v, good, diags := m.eval(x.expr, x.refs)
		if !good {
			continue // of a local value: reported there
		}
		c.l.add(diags)
		c.l.secrets.addMarked(v)
		switch {
		case diags.HasErrors():
			c.computed[i].value = cty.DynamicVal // so that nobody says it again
		case v.IsWhollyKnown():
			c.computed[i].value = v
		}
	}
	for _, a := range c.whole {
		v, good, _ := m.eval(a.Expr, a.refs) // its other mistakes are said above, or by the plugin
		if good && a.Name == "command" {
			c.l.visible(a.Attribute, v)
		}
	}
	c.l.add(m.budget.diags())
}

// visible refuses secrets in a command: every user of a machine can read its command lines.
func (l *loader) visible(a *hclsyntax.Attribute, v cty.Value) {
	const summary, remedy = "Sensitive value in a command", "Every user of the machine can read a command line. Hand the value over in the environment, env = { TOKEN = secret.NAME }, and let the command read $TOKEN."
	list, marks := v.Unmark()
	if len(marks) == 0 && list.IsKnown() && !list.IsNull() && list.CanIterateElements() {
		i := 0
		for it := list.ElementIterator(); it.Next(); i++ {
			if _, word := it.Element(); word.ContainsMarked() {
				l.errorf(item(a.Expr, i), summary, "%s", remedy)
			}
		}
		return
	}
	if v.ContainsMarked() {
		l.errorf(a.Expr.Range(), summary, "%s", remedy)
	}
}

// scope is core.Stage.Scope.
func (c *compiled) scope(env string, outputs map[core.StageID]map[string]any) (core.Scope, error) {
	m := c.l.moment(site{run: true, environment: env, each: c.each})
	m.outputs, m.fetch, m.budget = outputs, true, newBudget(c.l.functions)
	tree, diags := m.values(c.refs)
	values := map[string]cty.Value{}
	for root, names := range tree {
		values[root] = cty.ObjectVal(names)
	}
	for _, x := range c.computed {
		if x.value != cty.NilVal {
			values[x.name] = x.value
			continue
		}
		v, _, found := m.eval(x.expr, x.refs)
		diags = append(diags, found...)
		values[x.name] = v
	}
	if !diags.HasErrors() { // the plugin evaluates the whole, with no limit
		for _, a := range c.whole {
			_, _, _ = m.eval(a.Expr, a.refs)
		}
		diags = append(diags, m.budget.diags()...)
	}
	if diags.HasErrors() {
		var out core.Diagnostics
		for _, d := range diags {
			out = append(out, diagnostic(d))
		}
		return core.Scope{}, finish(out, c.l.hidden())
	}
	out, err := encode(values)
	if err != nil {
		return core.Scope{}, err
	}
	out.Secrets = m.secrets(c.refs, c.computed)
	return out, nil
}

func encode(values map[string]cty.Value) (core.Scope, error) {
	v, _ := cty.ObjectVal(values).UnmarkDeep()
	typ, err := ctyjson.MarshalType(v.Type())
	if err != nil {
		return core.Scope{}, fmt.Errorf("encode type of scope: %w", err)
	}
	value, err := msgpack.Marshal(v, v.Type())
	if err != nil {
		return core.Scope{}, fmt.Errorf("encode scope: %w", err)
	}
	return core.Scope{Type: typ, Value: value}, nil
}

// finder collects expressions for split.
type finder struct {
	each   bool
	inside int // depth of calls, the outermost of which was taken
	open   []opened
	found  []hclsyntax.Expression
}

// opened is a loop or a template that is being walked.
type opened struct {
	first int  // of the expressions found inside
	whole bool // take it whole: a loop inside, written with %{ for }, cannot stand alone
}

func (f *finder) Enter(n hclsyntax.Node) hcl.Diagnostics {
	switch x := n.(type) {
	case *hclsyntax.FunctionCallExpr:
		if f.inside == 0 {
			f.found = append(f.found, x)
		}
		f.inside++
	case *hclsyntax.ScopeTraversalExpr:
		if f.each && f.inside == 0 && x.Traversal.RootName() == rootEach {
			f.found = append(f.found, x)
		}
	case *hclsyntax.ForExpr, *hclsyntax.TemplateExpr, *hclsyntax.TemplateWrapExpr, *hclsyntax.TemplateJoinExpr:
		f.open = append(f.open, opened{first: len(f.found)})
	}
	return nil
}

func (f *finder) Exit(n hclsyntax.Node) hcl.Diagnostics {
	switch x := n.(type) {
	case *hclsyntax.FunctionCallExpr:
		f.inside--
	case *hclsyntax.TemplateJoinExpr:
		if o := f.pop(); len(f.found) > o.first {
			f.open[len(f.open)-1].whole = true // the template around it
		}
	case *hclsyntax.ForExpr:
		if o := f.pop(); len(f.found) > o.first {
			f.found = append(f.found[:o.first], x)
		}
	case *hclsyntax.TemplateExpr:
		if o := f.pop(); o.whole {
			f.found = append(f.found[:o.first], x)
		}
	case *hclsyntax.TemplateWrapExpr:
		if o := f.pop(); o.whole {
			f.found = append(f.found[:o.first], x)
		}
	}
	return nil
}

func (f *finder) pop() opened {
	o := f.open[len(f.open)-1]
	f.open = f.open[:len(f.open)-1]
	return o
}
