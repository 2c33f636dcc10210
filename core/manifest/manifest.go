// Package manifest turns a pipeline.hcl into a core.Pipeline. It is the only package that knows HCL's grammar of
// a pipeline: it reads the file, checks everything in it that can be checked without starting a plugin, and reports
// every mistake at once, with its place and its remedy. What a stage's block says to its plugin stays source text;
// of it, this package knows only what the text refers to. It runs in the troop program and is imported by its
// commands; nothing in it prints or touches more than the files that the manifest names.
package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// Options are what a manifest may depend on beside its own text.
type Options struct {
	Vars     map[string]string // values of variables, as given by -var; they win over every other source
	VarFiles []string          // files of variables, as given by -var-file; a later file wins
	// Env looks up an environment variable. Nil is os.LookupEnv.
	Env func(name string) (value string, ok bool)
	// Secret reads the value of a secret. Nil leaves all of them unknown: then only their blocks are checked.
	Secret func(core.SecretSource) (string, error)
	// Environment is the one that is going to be used. When set, the blocks of others are not needed.
	Environment string
	Need        Need
	Modules     []string // root modules that ship with troop; nil: every bare word is taken
	Playbooks   []string // playbooks that ship with troop; nil: every bare name is taken
	Reserved    []string // names that no environment may have: the store's own folders
}

// Need is what of a manifest is going to be used. For the rest, an environment variable that is not set is a warning
// only, and no secret is read.
type Need int

// What can be needed.
const (
	Everything      Need = iota // for a run
	EnvironmentOnly             // to plan, or to call a stage's action: secrets of stages are read when their scope is made
	Nothing                     // to look at what is there, such as hosts
)

// Sources holds the text of the files that diagnostics point into, by the name in their ranges. Files of variables
// are left out, since a line of theirs may be a secret.
type Sources map[string][]byte

// Load reads the manifest at path: a file, or a folder as Find takes it. When the file cannot be parsed the pipeline
// is nil. When there are other mistakes it holds what was understood: good for checking its stages too, not for
// running them. Load touches nothing and is safe for concurrent use.
func Load(path string, o Options) (*core.Pipeline, Sources, core.Diagnostics) {
	file, diags := Find(path)
	if diags.HasErrors() {
		return nil, Sources{}, diags
	}
	src, diags := read(file)
	if diags.HasErrors() {
		return nil, Sources{}, diags
	}
	sources := Sources{file: src}
	body, diags := parse(file, src)
	if body == nil {
		return nil, sources, finish(diags, nil)
	}
	l := newLoader(file, src, o)
	l.diags = diags
	l.load(body)
	return l.pipeline, sources, finish(l.diags, l.pipeline.Secrets)
}

// loader holds what is known of one manifest while it is read, and afterwards what Scope needs.
type loader struct {
	opts     Options
	src      []byte
	pipeline *core.Pipeline
	diags    core.Diagnostics

	variables    map[string]*variable
	locals       map[string]*local
	sources      map[string]*source // of secrets
	environments map[string]bool
	stages       map[string]*stageDecl // by TYPE.NAME as declared
	order        []*stageDecl
	functions    map[string]function.Function
	budget       *budget            // of loading; each scope that is made later has its own
	environ      map[string]*string // environment variables that were looked up; nil: not set
	unset        map[missing]bool   // environment variables that were reported
	loaded       bool               // nothing of this changes any more, so that scopes can be made concurrently
	edges        map[edge]hcl.Range // where a stage refers to another
	secrets      secrets
}

func newLoader(file string, src []byte, o Options) *loader {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	l := &loader{
		opts:         o,
		src:          src,
		pipeline:     &core.Pipeline{File: file, Dir: filepath.Dir(file)},
		variables:    map[string]*variable{},
		locals:       map[string]*local{},
		sources:      map[string]*source{},
		environments: map[string]bool{},
		stages:       map[string]*stageDecl{},
		environ:      map[string]*string{},
		unset:        map[missing]bool{},
		edges:        map[edge]hcl.Range{},
	}
	l.functions = functions(l.pipeline.Dir, l.lookupEnv, o.Need != Everything)
	l.budget = newBudget(l.functions)
	return l
}

// load walks the blocks in the order in which they need each other: names first, then values, then what refers to
// both.
func (l *loader) load(body *hclsyntax.Body) {
	blocks := l.content(body, &manifestGrammar)
	byType := map[string][]*hclsyntax.Block{}
	for _, b := range blocks {
		byType[b.Type] = append(byType[b.Type], b)
	}
	l.declareVariables(byType["variable"])
	l.declareLocals(byType["locals"])
	l.declareEnvironments(byType["environment"])
	l.declarePipeline(byType["pipeline"])
	l.readVariables()
	l.declareSecrets(byType["secret"])
	l.declareStages(byType["stage"])
	l.checkLocals()
	l.readSource(byType["pipeline"])
	l.readEnvironments(byType["environment"])
	l.readStages()
	l.readTriggers(byType["trigger"])
	l.readSchedules(byType["schedule"])
	l.readNotifiers(byType["notify"])
	l.checkCycles()
	l.pipeline.Secrets = l.secrets.list()
	l.pipeline.Hidden = l.hidden
	l.loaded = true
}

// maxExit is the highest exit status that no shell takes for a signal or for a command that it could not start.
const maxExit = 125

// declarePipeline takes the name only: expressions may refer to it.
func (l *loader) declarePipeline(blocks []*hclsyntax.Block) {
	if len(blocks) == 0 {
		start := core.Pos{Line: 1, Column: 1}
		l.errorAt(core.Range{File: l.pipeline.File, Start: start, End: start}, "Missing pipeline block",
			"A manifest names its pipeline: pipeline \"NAME\" { source { path = \".\" } }.")
		return
	}
	l.onlyOne(blocks, "pipeline")
	if l.labels(blocks[0], "NAME") && l.name(blocks[0], 0, "pipeline") {
		l.pipeline.Name = blocks[0].Labels[0]
	}
}

func (l *loader) readSource(blocks []*hclsyntax.Block) {
	l.pipeline.Source.Path = l.pipeline.Dir
	if len(blocks) == 0 {
		return
	}
	inner := l.content(blocks[0].Body, &pipelineGrammar)
	if a := blocks[0].Body.Attributes["exit_with_failures"]; a != nil {
		status, ok := l.integer(a, site{})
		if ok && status > maxExit {
			l.errorf(a.Expr.Range(), "Invalid exit status", "An exit status is a number from 0, all is well, to %d.", maxExit)
		}
		l.pipeline.ExitWithFailures = status
	}
	if a := blocks[0].Body.Attributes["runs_on"]; a != nil {
		l.pipeline.RunsOn, _ = l.strs(a, site{})
		for i, label := range l.pipeline.RunsOn {
			if !core.IsLabel(label) {
				l.errorf(item(a.Expr, i), "Invalid label", "%q is no label of a worker. Write small letters, digits, dots, - and _: \"arm64\".", shorten(label))
			}
		}
	}
	l.readStore(ofType(inner, "store"))
	l.readTeam(ofType(inner, "team"))
	if s := l.pipeline.Store; s != nil && len(l.pipeline.Team) == 0 && len(ofType(inner, "team")) == 0 {
		l.errorAt(s.Range, "Missing team block",
			"What is private in a shared store is encrypted for a team. Beside the store: team { member \"NAME\" { keys = [\"ssh-ed25519 …\"] } }.")
	}
	inner = ofType(inner, "source")
	l.onlyOne(inner, "source")
	if len(inner) == 0 {
		return
	}
	l.content(inner[0].Body, &sourceGrammar)
	if a := inner[0].Body.Attributes["filters"]; a != nil {
		l.pipeline.Source.Filters, _ = l.strs(a, site{})
	}
	attr := inner[0].Body.Attributes["path"]
	if attr == nil {
		l.missing(inner[0], "path", `path = "."`)
		return
	}
	path, ok := l.str(attr, site{})
	if !ok {
		return
	}
	full := l.resolve(path)
	if info, err := os.Stat(full); err != nil || !info.IsDir() {
		l.errorf(attr.Expr.Range(), "Source folder not found",
			"%s is not a folder. The path starts at the manifest's folder and leads to a git work tree.", display(full))
		return
	}
	l.pipeline.Source.Path = full
}

// resolve makes a path of the manifest absolute.
func (l *loader) resolve(path string) string {
	if home, err := os.UserHomeDir(); err == nil && (path == "~" || strings.HasPrefix(path, "~/")) {
		path = home + path[1:]
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(l.pipeline.Dir, path)
}

// finish sorts diagnostics by place, drops those said twice and hides secrets in them: an error text of a function
// may quote its argument.
func finish(diags core.Diagnostics, hidden []string) core.Diagnostics {
	slices.SortStableFunc(diags, func(a, b core.Diagnostic) int {
		if c := strings.Compare(a.Range.File, b.Range.File); c != 0 {
			return c
		}
		return a.Range.Start.Byte - b.Range.Start.Byte
	})
	seen := map[core.Diagnostic]bool{}
	diags = slices.DeleteFunc(diags, func(d core.Diagnostic) bool {
		again := seen[d]
		seen[d] = true
		return again
	})
	secrets := mask.New(hidden...)
	for i := range diags {
		diags[i].Detail = secrets.String(diags[i].Detail)
	}
	return diags
}

// parse returns nil when the text has no usable syntax tree.
func parse(file string, src []byte) (*hclsyntax.Body, core.Diagnostics) {
	if d := tooDeep(file, src); d != nil {
		return nil, core.Diagnostics{*d}
	}
	f, found := hclsyntax.ParseConfig(src, file, hcl.InitialPos)
	diags, fatal := syntaxErrors(found, src)
	if fatal {
		return nil, diags
	}
	body, ok := f.Body.(*hclsyntax.Body)
	if !ok {
		return nil, diags
	}
	if len(bytes.TrimSpace(src)) == 0 || (len(body.Attributes) == 0 && len(body.Blocks) == 0) {
		return nil, core.Diagnostics{{
			Summary: "Empty manifest",
			Detail:  "There is nothing in this file. Start with pipeline \"NAME\" { source { path = \".\" } } and a stage.",
			Range:   core.Range{File: file, Start: core.Pos{Line: 1, Column: 1}, End: core.Pos{Line: 1, Column: 1}},
		}}
	}
	if huge := immense(body); len(huge) > 0 {
		return nil, append(diags, huge...)
	}
	return body, diags
}
