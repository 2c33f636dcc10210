package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
)

// script is what a fake stage does when it runs.
type script func(ctx context.Context, j core.Job, emit func(core.Message)) error

// action is what a fake plugin does when it is called.
type action func(ctx context.Context, j core.Job, name string, args map[string]string, emit func(core.Message)) error

// world is everything around an engine, in memory.
type world struct {
	core.NoCapabilities
	t        testing.TB
	pipeline *core.Pipeline
	engine   *engine.Engine

	mu          sync.Mutex
	scripts     map[core.StageID]script
	describe    map[string]core.Description
	check       map[core.StageID]core.Diagnostics
	opened      []string
	closed      int
	scopes      map[core.StageID]map[core.StageID]map[string]any // what each stage's expressions saw
	runs        []core.Run
	events      []core.Event // of the journal
	shown       []core.Event // given to Emit
	putError    error
	prepare     func(env string) error
	prepared    []string
	preparedFor core.RunID
	checkout    error
	secrets     map[string]string
	published   []core.Event
	playbookDo  []core.TaskResult
	passed      func(id core.StageID, o core.RunOptions) (*core.Pass, error)
	changed     func(from, to string) ([]string, error)
	actions     map[core.StageID]action
	hidden      map[string][]string // secrets of environments
	barred      map[string]error    // environments that this user may not open
	processes   []string            // of every plugin
}

// newWorld makes a pipeline of stages, each written "TYPE.NAME" or "TYPE.NAME < NEED NEED".
func newWorld(t testing.TB, stages ...string) *world {
	t.Helper()
	w := &world{
		t:        t,
		scripts:  map[core.StageID]script{},
		describe: map[string]core.Description{},
		check:    map[core.StageID]core.Diagnostics{},
		scopes:   map[core.StageID]map[core.StageID]map[string]any{},
		secrets:  map[string]string{},
		actions:  map[core.StageID]action{},
		hidden:   map[string][]string{},
	}
	w.pipeline = &core.Pipeline{Name: "shop", File: "/shop/pipeline.hcl", Environments: []core.Environment{{Name: "lab"}}}
	for i, text := range stages {
		id, needs, _ := strings.Cut(text, " < ")
		typ, name, _ := strings.Cut(id, ".")
		s := core.Stage{
			Type: typ, Name: name, OnFailure: core.Stop,
			Range: core.Range{File: "pipeline.hcl", Start: core.Pos{Line: i + 1, Column: 1}, End: core.Pos{Line: i + 1, Column: 9}},
		}
		for n := range strings.FieldsSeq(needs) {
			s.Needs = append(s.Needs, core.StageID(n))
		}
		s.Scope = func(_ string, outputs map[core.StageID]map[string]any) (core.Scope, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.scopes[core.StageID(id)] = outputs
			return core.Scope{}, nil
		}
		w.pipeline.Stages = append(w.pipeline.Stages, s)
	}
	w.engine = &engine.Engine{
		Plugins: w, Store: w, Folders: w, Source: w, Environments: w, Parallel: 8,
		Emit: func(e core.Event) { w.shown = append(w.shown, e) },
	}
	return w
}

func (w *world) stage(id core.StageID) *core.Stage {
	for i := range w.pipeline.Stages {
		if w.pipeline.Stages[i].ID() == id {
			return &w.pipeline.Stages[i]
		}
	}
	w.t.Fatalf("no stage %s", id)
	return nil
}

func (w *world) run(ctx context.Context) core.Run {
	w.t.Helper()
	r, err := w.engine.Run(ctx, w.pipeline, core.RunOptions{Commit: "abc", Branch: "main", Environment: "lab"})
	if err != nil {
		w.t.Fatalf("Run: %v", err)
	}
	return r
}

// statuses is "TYPE.NAME status" of every stage.
func statuses(r core.Run) string {
	var out []string
	for _, s := range r.Stages {
		out = append(out, fmt.Sprintf("%s %s", s.ID, s.Status))
	}
	return strings.Join(out, ", ")
}

func reason(r core.Run, id core.StageID) string {
	for _, s := range r.Stages {
		if s.ID == id {
			return s.Reason
		}
	}
	return ""
}

// kinds lists "SOURCE KIND SUMMARY" of the journal, of the kinds with one of the prefixes.
func (w *world) kinds(prefixes ...string) []string {
	var out []string
	for _, e := range w.events {
		for _, p := range prefixes {
			if strings.HasPrefix(e.Kind, p) {
				out = append(out, e.Source+" "+e.Kind+" "+e.Summary)
			}
		}
	}
	return out
}

func (w *world) Open(_ context.Context, typ string) (core.Plugin, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened = append(w.opened, typ)
	if typ == "missing" {
		return nil, &core.NotFoundError{What: "plugin", Name: typ, Remedy: "put troop-plugin-missing into ~/.troop/plugins"}
	}
	d, ok := w.describe[typ]
	if !ok {
		d = core.Description{Name: typ}
	}
	d.Stage = typ != "agentonly"
	return &process{w: w, desc: d, dead: make(chan struct{})}, nil
}

func (w *world) PutRun(_ context.Context, r core.Run) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = append(w.runs, r)
	return w.putError
}

func (w *world) PutStage(_ context.Context, id core.RunID, r core.StageResult) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := &w.runs[len(w.runs)-1]
	i := slices.IndexFunc(last.Stages, func(s core.StageResult) bool { return s.ID == r.ID })
	if last.ID != id || i < 0 {
		return fmt.Errorf("no stage %s in run %s", r.ID, id)
	}
	last.Stages[i] = r
	return w.putError
}

func (w *world) History(context.Context, string, func(error)) (core.History, error) { return w, nil }

func (w *world) Same(_ context.Context, id core.StageID, inputs core.Digest) (*core.StageResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, run := range slices.Backward(w.runs) {
		for _, r := range run.Stages {
			if inputs != "" && r.ID == id && r.Inputs == inputs && r.Status == core.Passed {
				r.Reused = run.ID
				return &r, nil
			}
		}
	}
	return nil, nil
}

func (w *world) Passed(_ context.Context, id core.StageID, o core.RunOptions) (*core.Pass, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.passed == nil {
		return nil, nil
	}
	return w.passed(id, o)
}

func (w *world) Changed(_ context.Context, from, to string) ([]string, error) {
	return w.changed(from, to)
}

// pastRun records a run that passed before, in which a stage gave some outputs.
func (w *world) pastRun(id core.RunID, commit string, stage core.StageID, outputs map[string]any) {
	w.runs = append(w.runs, core.Run{
		ID: id, Pipeline: "shop", Commit: commit, Branch: "main", Environment: "lab", Status: core.Passed,
		Stages: []core.StageResult{{ID: stage, Status: core.Passed, Outputs: outputs}},
	})
}

func (w *world) Runs(_ context.Context, f core.RunFilter) ([]core.Run, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []core.Run
	for _, r := range slices.Backward(w.runs) { // each as it was last put
		known := slices.ContainsFunc(found, func(newer core.Run) bool { return newer.ID == r.ID })
		if !known && (f.Pipeline == "" || f.Pipeline == r.Pipeline) && (f.Environment == "" || f.Environment == r.Environment) &&
			(len(f.Statuses) == 0 || slices.Contains(f.Statuses, r.Status)) && (f.Limit == 0 || len(found) < f.Limit) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (w *world) Append(_ context.Context, e core.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

func (w *world) Workspace(id core.RunID) (string, error) { return "/runs/" + string(id) + "/src", nil }

func (w *world) StageState(_ string, id core.StageID) (string, error) {
	return "/stages/" + string(id), nil
}

func (w *world) Publish(_ context.Context, e core.Event) error {
	w.published = append(w.published, e)
	return nil
}

func (w *world) Checkout(_ context.Context, _, dir string) (string, error) {
	return dir + "/app", w.checkout
}

func (w *world) Admit(_ context.Context, _ *core.Pipeline, env string) error { return w.barred[env] }

func (w *world) Hold(_ context.Context, _ *core.Pipeline, env string) error {
	w.prepared = append(w.prepared, "held "+env)
	return w.barred[env]
}

func (w *world) Secrets(_ *core.Pipeline, env string) ([]string, error) { return w.hidden[env], nil }

func (w *world) Prepare(_ context.Context, _ *core.Pipeline, run core.RunID, env string, emit func(core.Event)) error {
	w.mu.Lock()
	w.preparedFor = run
	w.prepared = append(w.prepared, env)
	w.mu.Unlock()
	emit(core.Event{Kind: core.KindLog, Summary: "apply"})
	if w.prepare == nil {
		return nil
	}
	return w.prepare(env)
}

func (w *world) Capabilities(*core.Pipeline, core.Job) core.Capabilities { return w }

func (w *world) Secret(_ context.Context, name string) (string, error) { return w.secrets[name], nil }

func (w *world) Playbook(_ context.Context, _ core.PlaybookRun, each func(core.TaskResult)) error {
	for _, t := range w.playbookDo {
		each(t)
	}
	return nil
}

// process is a plugin that was opened. It may be used for one stage only.
type process struct {
	w    *world
	desc core.Description
	mu   sync.Mutex
	ran  bool
	once sync.Once
	dead chan struct{}
}

// Description adds actions, which have the capabilities of the stage.
func (p *process) Description() core.Description {
	d := p.desc
	for _, name := range []string{"", "promote", "whole"} {
		d.Actions = append(d.Actions, core.Action{Name: name, Capabilities: d.Capabilities, Whole: name == "whole"})
	}
	return d
}

func (p *process) Processes() []string { return p.w.processes }

func (p *process) Digest() core.Digest { return core.Digest("sha256:" + p.desc.Name) }

func (p *process) Check(_ context.Context, c core.Config) (core.Diagnostics, error) {
	return p.w.check[core.StageID(p.desc.Name+"."+c.Name)], nil
}

func (p *process) Run(ctx context.Context, j core.Job, emit func(core.Message)) error {
	p.mu.Lock()
	again := p.ran
	p.ran = true
	p.mu.Unlock()
	if again {
		return errors.New("this process has run a stage already")
	}
	if s := p.w.scripts[j.Info.Stage]; s != nil {
		return s(context.WithValue(ctx, deadKey{}, p.dead), j, emit)
	}
	return nil
}

type deadKey struct{}

// hang ignores its context, as a broken plugin does, until its process is closed.
func hang(ctx context.Context) error {
	<-ctx.Value(deadKey{}).(chan struct{})
	return errors.New("plugin died")
}

func (p *process) Watch(context.Context, core.Job, func(core.Message)) error {
	return errors.New("no agent")
}

func (p *process) Call(ctx context.Context, j core.Job, name string, args map[string]string, emit func(core.Message)) error {
	if do := p.w.actions[j.Info.Stage]; do != nil {
		return do(context.WithValue(ctx, deadKey{}, p.dead), j, name, args, emit)
	}
	return errors.New("no actions")
}

func (p *process) Close() error {
	p.once.Do(func() {
		close(p.dead)
		p.w.mu.Lock()
		p.w.closed++
		p.w.mu.Unlock()
	})
	return nil
}

func logLine(s string) core.Message { return core.Message{Log: &core.Log{Line: s}} }
