package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/core"
)

// The roots of references.
const (
	rootVar         = "var"
	rootLocal       = "local"
	rootEnv         = "env"
	rootSecret      = "secret"
	rootPipeline    = "pipeline"
	rootEnvironment = "environment"
	rootStage       = "stage"
	rootEach        = "each"
)

var roots = []string{rootVar, rootLocal, rootEnv, rootSecret, rootPipeline, rootEnvironment, rootStage, rootEach}

// foreignRoots are remedies for references that work elsewhere.
var foreignRoots = map[string]string{
	"path":      "Relative paths start at the manifest's folder, so that path.module is not needed.",
	"count":     "Stages are repeated with for_each; its values are each.key and each.value.",
	"self":      "A block cannot refer to itself.",
	"data":      "Terraform's data sources belong in a Terraform module.",
	"module":    "Terraform's modules are not known here; a stage asks for the hosts of its environment.",
	"terraform": "Terraform's values are not known here; the name of the environment is environment.name.",
	"vars":      "A variable is referred to as var.NAME.",
	"locals":    "A local value is referred to as local.NAME.",
	"stages":    "A stage is referred to as stage.TYPE.NAME.",
	"secrets":   "A secret is referred to as secret.NAME.",
}

// restless are functions of Terraform that give something else each time.
var restless = []string{"bcrypt", "plantimestamp", "timestamp", "uuid"}

// foreignFunctions are remedies for calls that work in Terraform.
var foreignFunctions = map[string]string{
	"abspath":        "Relative paths start at the manifest's folder, so that it is not needed.",
	"base64sha256":   "There is sha256, in hexadecimal.",
	"filebase64":     "There is base64encode(file(\"PATH\")), for text.",
	"filesha256":     "There is sha256(file(\"PATH\")), for text.",
	"fileset":        "Files are found by: glob(\"src/**/*.js\").",
	"nonsensitive":   "What is secret stays secret.",
	"pathexpand":     "A path may start with ~/ where a file is expected.",
	"templatefile":   "Write the text in the manifest, with ${ … } in it: <<EOT … EOT.",
	"templatestring": "Write the text in the manifest, with ${ … } in it: <<EOT … EOT.",
	"yamldecode":     "There are jsondecode and csvdecode.",
	"yamlencode":     "There is jsonencode, which YAML reads too.",
}

// reference is what a traversal means.
type reference struct {
	root  string
	name  string     // second step
	stage *stageDecl // root stage
	key   string     // of one instance of a repeated stage; empty: all
	keyed bool
	// output of the stage, or empty for all
	output string
	rng    hcl.Range
}

// site says where an expression stands, and so what it may refer to and what is known there.
type site struct {
	run         bool   // evaluated in a run: stages and environment.name may be referred to
	varsOnly    bool   // conditions of variables, sources of secrets
	environment string // known name of the environment
	each        map[string]cty.Value
	optional    bool // belongs to an environment that is not going to be used
}

// check reports what is wrong with the references and functions in expr, and returns the references.
func (l *loader) check(expr hclsyntax.Expression, s site) ([]reference, bool) {
	ok := l.checkFunctions(expr)
	var refs []reference
	for _, t := range expr.Variables() {
		r, good := l.reference(t, s)
		if good {
			refs = append(refs, r)
		}
		ok = ok && good
	}
	return refs, ok
}

func (l *loader) checkFunctions(expr hclsyntax.Expression) bool {
	ok := true
	diags := hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
		call, is := n.(*hclsyntax.FunctionCallExpr)
		if !is {
			return nil
		}
		if _, known := l.functions[call.Name]; !known {
			ok = false
			names := slices.Sorted(maps.Keys(l.functions))
			hint := didYouMean(call.Name, names)
			if text, foreign := foreignFunctions[call.Name]; foreign {
				hint = " " + text
			}
			if slices.Contains(restless, call.Name) {
				hint = " A manifest means the same whenever it is read, so that functions with a result of their own are left out."
			}
			l.errorf(call.NameRange, "Unknown function", "There is no function %q.%s", call.Name, hint)
		}
		return nil
	})
	return ok && !diags.HasErrors()
}

func (l *loader) reference(t hcl.Traversal, s site) (reference, bool) {
	r := reference{root: t.RootName(), rng: t.SourceRange()}
	r.name, _ = step(t, 1)
	if s.varsOnly && r.root != rootVar && slices.Contains(roots, r.root) {
		l.errorf(r.rng, "Invalid reference", "Here variables can be referred to, and nothing else: var.NAME.")
		return r, false
	}
	if slices.Contains(roots, r.root) && r.name == "" {
		l.errorf(r.rng, "Incomplete reference", "%s", completeForm(r.root))
		return r, false
	}
	switch r.root {
	case rootVar:
		return r, l.known(r, l.variables[r.name] != nil, "variable", slices.Collect(maps.Keys(l.variables)))
	case rootLocal:
		if !l.known(r, l.locals[r.name] != nil, "local value", slices.Collect(maps.Keys(l.locals))) {
			return r, false
		}
		return r, l.early(r, s)
	case rootEnv:
		return r, l.environmentVariable(r, s)
	case rootSecret:
		if !l.known(r, l.sources[r.name] != nil, "secret", slices.Collect(maps.Keys(l.sources))) {
			return r, false
		}
		if l.needed(s) {
			l.add(l.fetch(l.sources[r.name]))
		}
		return r, true
	case rootPipeline:
		return r, l.onlyName(r)
	case rootEnvironment:
		if !l.onlyName(r) {
			return r, false
		}
		if !s.run && s.environment == "" {
			l.errorf(r.rng, "Value not known yet",
				"The environment is chosen when a run starts, so environment.name can be used inside of stages and environments only.")
			return r, false
		}
		return r, true
	case rootEach:
		if s.each == nil {
			l.errorf(r.rng, "Invalid reference", "each.key and each.value are known in a stage with for_each only.")
			return r, false
		}
		return r, l.known(r, r.name == "key" || r.name == "value", "value each."+r.name, []string{"key", "value"})
	case rootStage:
		return l.stageReference(t, r, s)
	}
	l.unknownRoot(t, r)
	return r, false
}

// step returns the i-th step of t when it is a name.
func step(t hcl.Traversal, i int) (string, bool) {
	if i >= len(t) {
		return "", false
	}
	switch x := t[i].(type) {
	case hcl.TraverseAttr:
		return x.Name, true
	case hcl.TraverseIndex:
		if x.Key.Type() == cty.String && x.Key.IsKnown() && !x.Key.IsNull() {
			return x.Key.AsString(), true
		}
	}
	return "", false
}

func completeForm(root string) string {
	switch root {
	case rootStage:
		return "A stage is referred to as stage.TYPE.NAME, and its output as stage.TYPE.NAME.OUTPUT."
	case rootPipeline, rootEnvironment:
		return fmt.Sprintf("Of the %s, only %s.name can be referred to.", root, root)
	case rootEach:
		return "Write each.key or each.value."
	}
	return fmt.Sprintf("A name has to follow: %s.NAME.", root)
}

func (l *loader) known(r reference, ok bool, what string, names []string) bool {
	if ok {
		return true
	}
	slices.Sort(names)
	detail := fmt.Sprintf("There is no %s %q.%s", what, r.name, didYouMean(r.name, names))
	if r.root == rootEach {
		detail = completeForm(rootEach)
	} else if core.Nearest(r.name, names) == "" && r.root == rootVar {
		detail += fmt.Sprintf(" Declare it: variable %q {}.", r.name)
	} else if core.Nearest(r.name, names) == "" && r.root == rootLocal {
		detail += fmt.Sprintf(" Set it: locals { %s = … }.", r.name)
	} else if core.Nearest(r.name, names) == "" && r.root == rootSecret {
		detail += fmt.Sprintf(" Declare it: secret %q { … }; an environment variable is env.%s.", r.name, r.name)
	}
	l.errorf(r.rng, "Unknown "+map[string]string{rootVar: "variable", rootLocal: "local value", rootSecret: "secret", rootEach: "reference"}[r.root], "%s", detail)
	return false
}

func (l *loader) onlyName(r reference) bool {
	if r.name == "name" {
		return true
	}
	l.errorf(r.rng, "Unknown reference", "%s", completeForm(r.root))
	return false
}

// early reports a local value that is not known before a run where that is too late.
func (l *loader) early(r reference, s site) bool {
	if s.run {
		return true
	}
	late := l.locals[r.name].late(l, map[string]bool{})
	if late == nil || (late.root == rootEnvironment && s.environment != "") {
		return true
	}
	l.errorf(r.rng, "Value not known yet",
		"local.%s is known only in a run, because it refers to %s (%s).", r.name, late.text(), place(late.rng))
	return false
}

// text is the reference as people write it.
func (r reference) text() string {
	if r.root == rootStage {
		return "stage." + r.stage.id
	}
	return r.root + "." + r.name
}

func (l *loader) stageReference(t hcl.Traversal, r reference, s site) (reference, bool) {
	name, ok := step(t, 2)
	if !ok {
		l.errorf(r.rng, "Incomplete reference", "%s", completeForm(rootStage))
		return r, false
	}
	if !s.run {
		l.errorf(r.rng, "Value not known yet",
			"What a stage hands on is known only after it ran, so stage.%s.%s can be used inside of stages only.", r.name, name)
		return r, false
	}
	r.stage = l.stages[r.name+"."+name]
	if r.stage == nil {
		l.errorf(r.rng, "Unknown stage", "%s", l.unknownStage(r.name, name))
		return r, false
	}
	if r.stage.repeated() && len(t) > 3 {
		if i, is := t[3].(hcl.TraverseIndex); is {
			r.key, r.keyed = step(hcl.Traversal{t[0], i}, 1)
			r.output, _ = step(t, 4)
		} else {
			l.errorf(r.rng, "Incomplete reference",
				"stage.%s is repeated with for_each; name one of its instances: stage.%s[\"KEY\"].", r.stage.id, r.stage.id)
			return r, false
		}
	}
	if !r.stage.repeated() {
		r.output, _ = step(t, 3)
	}
	return r, true
}

// unknownStage finds the stage that was meant by a wrong type or name.
func (l *loader) unknownStage(typ, name string) string {
	text := fmt.Sprintf("There is no stage %q %q.", typ, name)
	var full, sameName, sameType []string
	for _, d := range l.order {
		full = append(full, d.id)
		if d.name == name {
			sameName = append(sameName, d.id)
		}
		if d.typ == typ {
			sameType = append(sameType, d.id)
		}
	}
	near := core.Nearest(typ+"."+name, full)
	if near == "" && len(sameName) == 1 {
		near = sameName[0]
	}
	if near == "" && len(sameType) == 1 {
		near = sameType[0]
	}
	switch {
	case near != "":
		return text + fmt.Sprintf(" Did you mean stage.%s?", near)
	case len(sameType) > 0:
		return text + " Stages of this type: stage." + strings.Join(sameType, ", stage.") + "."
	case len(full) > 0:
		return text + " The stages are: stage." + strings.Join(full[:min(len(full), 12)], ", stage.") + "."
	}
	return text
}

func (l *loader) unknownRoot(t hcl.Traversal, r reference) {
	if hint, ok := foreignRoots[r.root]; ok {
		l.errorf(r.rng, "Unknown reference", "%s", hint)
		return
	}
	if d := l.stages[r.root+"."+r.name]; d != nil {
		l.errorf(r.rng, "Unknown reference", "There is no value %q. Did you mean stage.%s?", r.root+"."+r.name, d.id)
		return
	}
	for _, d := range l.order {
		if r.name != "" && d.typ == r.root {
			l.errorf(r.rng, "Unknown reference", "%s A stage is referred to with stage. in front.", l.unknownStage(r.root, r.name))
			return
		}
	}
	for name := range l.variables {
		if len(t) == 1 && name == r.root {
			l.errorf(r.rng, "Unknown reference", "There is no value %q. Did you mean var.%s?", r.root, name)
			return
		}
	}
	for name := range l.locals {
		if len(t) == 1 && name == r.root {
			l.errorf(r.rng, "Unknown reference", "There is no value %q. Did you mean local.%s?", r.root, name)
			return
		}
	}
	if near := core.Nearest(r.root, roots); near != "" && len(t) > 1 {
		l.errorf(r.rng, "Unknown reference", "There is no value %q. Did you mean %q?", r.root, near)
		return
	}
	l.errorf(r.rng, "Unknown reference",
		"There is no value %q. A text stands in quotes: \"%s\". References start with var, local, env, secret, stage, pipeline or environment.",
		r.root, r.root)
}

// missing is an environment variable that is not set, for something that is going to be used or not.
type missing struct {
	name     string
	optional bool
}

// environmentVariable reports one that is not set, once for each name. One that may be missing is unknown then.
func (l *loader) environmentVariable(r reference, s site) bool {
	if _, ok, _ := l.lookupEnv(r.name); ok {
		return true
	}
	optional := !l.needed(s)
	key := missing{r.name, optional}
	if l.unset[key] {
		return optional
	}
	l.unset[key] = true
	if optional {
		l.warnf(r.rng, "Environment variable not set",
			"%s is not set. What stands here cannot be used until it is: export %s=….", r.name, r.name)
		return true
	}
	l.errorf(r.rng, "Environment variable not set", "%s is not set. Set it before you call troop: export %s=….", r.name, r.name)
	return false
}

// lookupEnv remembers what it reads: all of it is secret. In a run it reads nothing more, since what is not known to
// be secret before a run would not be masked in it.
func (l *loader) lookupEnv(name string) (string, bool, error) {
	known, looked := l.environ[name]
	if !looked && l.loaded {
		return "", false, fmt.Errorf("the name of an environment variable has to be known before the run; %s was not", name)
	}
	if !looked {
		if v, ok := l.opts.Env(name); ok {
			known = &v
			l.secrets.add(v)
		}
		l.environ[name] = known
	}
	if known == nil {
		return "", false, nil
	}
	return *known, true, nil
}
