package manifest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/core"
)

// keyPattern of the keys of for_each.
var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// maxInstances of one stage, made by for_each.
const maxInstances = 100

// stageDecl is a stage as it is written. With for_each it stands for several.
type stageDecl struct {
	typ, name string
	id        string // TYPE.NAME
	block     *hclsyntax.Block
	forEach   *hclsyntax.Attribute // nil: one instance, with an empty key
	instances []instance
}

// instance is one stage of the pipeline.
type instance struct {
	key   string
	value cty.Value
}

func (d *stageDecl) repeated() bool { return d.forEach != nil }

// id of an instance: TYPE.NAME, or TYPE.NAME-KEY.
func (i instance) id(d *stageDecl) core.StageID {
	if d.repeated() {
		return core.StageID(d.id + "-" + i.key)
	}
	return core.StageID(d.id)
}

// each is what each.key and each.value mean; nil without for_each.
func (i instance) each(d *stageDecl) map[string]cty.Value {
	if !d.repeated() {
		return nil
	}
	return map[string]cty.Value{"key": cty.StringVal(i.key), "value": i.value}
}

func (l *loader) declareStages(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		if !l.labels(b, "TYPE", "NAME") {
			continue
		}
		if !typePattern.MatchString(b.Labels[0]) || len(b.Labels[0]) > maxName {
			l.errorf(b.LabelRanges[0], "Invalid type of stage",
				"%q cannot be a type: it is the name of a plugin, of small letters, digits and single dashes.", shorten(b.Labels[0]))
			continue
		}
		if !l.name(b, 1, "stage") {
			continue
		}
		d := &stageDecl{
			typ: b.Labels[0], name: b.Labels[1], id: b.Labels[0] + "." + b.Labels[1],
			block: b, forEach: b.Body.Attributes["for_each"],
		}
		if first := l.stages[d.id]; first != nil {
			l.duplicate(b, "stage", first.block)
			continue
		}
		l.stages[d.id] = d
		l.order = append(l.order, d)
	}
}

// readStages makes the instances first, because the stages refer to each other's.
func (l *loader) readStages() {
	taken := map[core.StageID]*stageDecl{}
	for _, d := range l.order {
		l.expand(d)
		d.instances = slices.DeleteFunc(d.instances, func(i instance) bool {
			id := i.id(d)
			other := taken[id]
			if other != nil {
				l.errorf(d.block.DefRange(), "Duplicate stage", "This makes a stage %s, which %s at %s makes already.", id, header(other.block), place(other.block.DefRange()))
			}
			taken[id] = d
			return other != nil
		})
	}
	for _, d := range l.order {
		for _, i := range d.instances {
			l.pipeline.Stages = append(l.pipeline.Stages, l.stage(d, i))
		}
	}
}

// expand evaluates for_each.
func (l *loader) expand(d *stageDecl) {
	if !d.repeated() {
		d.instances = []instance{{}}
		return
	}
	expr := d.forEach.Expr
	v, ok := l.value(expr, site{})
	if !ok {
		return
	}
	if v.IsMarked() || v.ContainsMarked() {
		l.errorf(expr.Range(), "Sensitive for_each", "The keys become names of stages, so that they cannot be secret.")
		return
	}
	items, ok := forEachItems(v)
	if !ok {
		l.errorf(expr.Range(), "Wrong type", "\"for_each\" wants a list of strings or a map, such as [\"18\", \"20\"] or { small = 1, large = 4 }, but this is %s.", kind(v))
		return
	}
	if len(items) > maxInstances {
		l.errorf(expr.Range(), "Too many stages", "This makes %d stages; %d is the most.", len(items), maxInstances)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(items)) {
		if !keyPattern.MatchString(key) || len(d.name)+1+len(key) > maxName {
			l.errorf(expr.Range(), "Invalid name", "%q cannot be a part of a stage's name: letters, digits, - and _ can.", shorten(key))
			continue
		}
		d.instances = append(d.instances, instance{key: key, value: items[key]})
	}
}

func forEachItems(v cty.Value) (map[string]cty.Value, bool) {
	if v.IsNull() {
		return nil, false
	}
	t := v.Type()
	if t.IsObjectType() || t.IsMapType() {
		return v.AsValueMap(), true
	}
	if !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		return nil, false
	}
	items := map[string]cty.Value{}
	for _, x := range v.AsValueSlice() {
		if x.IsNull() || x.Type() != cty.String {
			return nil, false
		}
		items[x.AsString()] = x
	}
	return items, true
}

func (l *loader) stage(d *stageDecl, i instance) core.Stage {
	s := core.Stage{
		Type: d.typ, Name: string(i.id(d))[len(d.typ)+1:],
		OnFailure: core.Stop,
		Timeout:   core.DefaultTimeout,
		Range:     rangeOf(d.block.DefRange()),
	}
	body := d.block.Body
	place := site{each: i.each(d)}
	if a := body.Attributes["needs"]; a != nil {
		l.needs(&s, a)
	}
	if a := body.Attributes["timeout"]; a != nil {
		s.Timeout = l.duration(a, place)
	}
	if a := body.Attributes["retries"]; a != nil {
		s.Retries, _ = l.integer(a, place)
	}
	if a := body.Attributes["on_failure"]; a != nil {
		if text, ok := l.str(a, place); ok {
			s.OnFailure = l.onFailure(a, text)
		}
	}
	if a := body.Attributes["environment"]; a != nil {
		if name, ok := l.str(a, place); ok && l.checkEnvironment(a.Expr.Range(), name) {
			s.Environment = name
		}
	}
	if a := body.Attributes["grants"]; a != nil {
		s.Grants = l.grants(a, place)
	}
	l.checkMeta(body)
	if when := ofType(body.Blocks, "when"); len(when) > 0 {
		l.onlyOne(when, "when")
		s.When = l.when(when[0])
	}
	l.compile(&s, d, i)
	slices.Sort(s.Needs)
	s.Needs = slices.Compact(s.Needs)
	return s
}

// grants are capabilities of which the manifest decides who has them.
func (l *loader) grants(a *hclsyntax.Attribute, place site) []core.Capability {
	var grantable []string
	for _, c := range core.AllCapabilities() {
		if c.NeedsGrant() {
			grantable = append(grantable, string(c))
		}
	}
	var granted []core.Capability
	names, _ := l.strs(a, place)
	for i, name := range names {
		if !slices.Contains(grantable, name) {
			l.errorf(item(a.Expr, i), "Unknown grant", "There is no grant %q.%s A stage can be granted %s.", shorten(name), didYouMean(name, grantable), allOf(grantable))
			continue
		}
		granted = append(granted, core.Capability(name))
	}
	return granted
}

// checkMeta reports arguments of the core written as blocks or the other way round, and those known from elsewhere,
// which no plugin can have.
func (l *loader) checkMeta(body *hclsyntax.Body) {
	for _, a := range attributes(body) {
		if stageGrammar.hasBlock(a.Name) {
			l.errorf(a.NameRange, "Block written as an argument", "%q is a block: %s { branches = [\"main\"] }.", a.Name, a.Name)
		}
		if hint, ok := stageGrammar.hints[a.Name]; ok {
			l.errorf(a.NameRange, "Unknown argument", "%s", hint)
		}
	}
	for _, b := range body.Blocks {
		if stageGrammar.hasArgument(b.Type) {
			l.errorf(b.TypeRange, "Argument written as a block", "%q is an argument: write it with an equals sign, %s = ….", b.Type, b.Type)
		}
		if hint, ok := stageGrammar.hints[b.Type]; ok {
			l.errorf(b.TypeRange, "Unknown block", "%s", hint)
		}
	}
}

func (l *loader) onFailure(a *hclsyntax.Attribute, text string) core.OnFailure {
	known := []string{string(core.Stop), string(core.Continue)}
	if slices.Contains(known, text) {
		return core.OnFailure(text)
	}
	l.errorf(a.Expr.Range(), "Invalid on_failure",
		"%q is neither \"stop\", which ends the run, nor \"continue\", which goes on as if the stage had passed.%s", shorten(text), didYouMean(text, known))
	return core.Stop
}

func (l *loader) when(b *hclsyntax.Block) core.When {
	l.labels(b)
	l.content(b.Body, &whenGrammar)
	var w core.When
	if a := b.Body.Attributes["branches"]; a != nil {
		w.Branches = l.patterns(a, "branch")
	}
	if a := b.Body.Attributes["environments"]; a != nil {
		list, ok := l.strs(a, site{})
		if ok && len(list) == 0 {
			l.errorf(a.Expr.Range(), "Empty list", "\"environments\" names no environment, so that the stage would never run. Leave it out for all.")
		}
		for i, name := range list {
			l.checkEnvironment(item(a.Expr, i), name)
		}
		w.Environments = list
	}
	if a := b.Body.Attributes["paths"]; a != nil {
		w.Paths = l.paths(a)
	}
	return w
}

func (l *loader) paths(a *hclsyntax.Attribute) core.Paths {
	list, ok := l.strs(a, site{})
	if ok && len(list) == 0 {
		l.errorf(a.Expr.Range(), "Empty list", "\"paths\" names no file, so that the stage would never run. Leave it out for all.")
	}
	taking := false
	for i, p := range list {
		name, out := strings.CutPrefix(p, "!")
		taking = taking || !out
		_, err := path.Match(strings.ReplaceAll(name, "**", "*"), "")
		switch {
		case err != nil || strings.TrimSpace(name) != name || name == "":
			l.errorf(item(a.Expr, i), "Invalid pattern", "%q is no pattern of files. Write a path, or use ** and *: \"web/**\", \"**/*.go\", \"!docs\".", shorten(p))
		case path.IsAbs(name) || slices.Contains(strings.Split(name, "/"), ".."):
			l.errorf(item(a.Expr, i), "Invalid pattern", "%q leaves the source folder. A pattern starts there: \"web/**\".", shorten(p))
		}
	}
	if ok && !taking && len(list) > 0 {
		l.errorf(a.Expr.Range(), "Invalid pattern", "Every pattern leaves files out, so that none is left. Start with \"**\" for all.")
	}
	return list
}

// needs reads a list of references, one by one.
func (l *loader) needs(s *core.Stage, a *hclsyntax.Attribute) {
	list, ok := a.Expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		l.errorf(a.Expr.Range(), "Wrong type", "\"needs\" wants a list of stages, in brackets: needs = [stage.TYPE.NAME].")
		return
	}
	for _, item := range list.Exprs {
		for _, id := range l.stageIDs(item) {
			s.Needs = append(s.Needs, id)
			l.depend(s.ID(), id, item.Range())
		}
	}
}

// stageIDs reads an expression that names a stage: one, or all instances of a repeated one.
func (l *loader) stageIDs(expr hclsyntax.Expression) []core.StageID {
	t, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		l.errorf(expr.Range(), "Not a stage", "A stage is named without quotes: stage.TYPE.NAME.%s", l.quotedStage(expr))
		return nil
	}
	if root := t.RootName(); root != rootStage && slices.Contains(roots, root) {
		l.errorf(expr.Range(), "Not a stage", "A stage is named as stage.TYPE.NAME.")
		return nil
	}
	r, ok := l.reference(t, site{run: true})
	if !ok {
		return nil
	}
	if extra := len(t) - 3; extra > 1 || (extra == 1 && !r.keyed) {
		l.errorf(expr.Range(), "Not a stage", "Here the stage itself is named, without an output: stage.%s.", r.stage.id)
		return nil
	}
	return l.instancesOf(r)
}

func (l *loader) quotedStage(expr hclsyntax.Expression) string {
	v, diags := expr.Value(nil)
	if diags.HasErrors() || v.Type() != cty.String || !v.IsKnown() || v.IsNull() {
		return ""
	}
	text := v.AsString()
	for _, d := range l.order {
		if text == d.id || text == d.name || text == "stage."+d.id {
			return fmt.Sprintf(" Did you mean stage.%s?", d.id)
		}
	}
	return ""
}

// instancesOf are the stages that a reference names.
func (l *loader) instancesOf(r reference) []core.StageID {
	var ids []core.StageID
	var keys []string
	for _, i := range r.stage.instances {
		keys = append(keys, i.key)
		if !r.keyed || i.key == r.key {
			ids = append(ids, i.id(r.stage))
		}
	}
	if r.keyed && len(ids) == 0 && len(keys) > 0 {
		l.errorf(r.rng, "Unknown stage", "stage.%s has no instance %q; it has %s.%s", r.stage.id, r.key, allOf(keys), didYouMean(r.key, keys))
	}
	return ids
}
