package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

// cached makes a pipeline whose build, test and lint are cacheable and work in the workspace; deploy is neither.
func cached(t *testing.T) (w *world, ran map[core.StageID]int) {
	w = newWorld(t, "build.app", "test.unit < build.app", "lint.all < build.app", "deploy.shop < build.app test.unit lint.all")
	ran = map[core.StageID]int{}
	for _, s := range w.pipeline.Stages {
		if s.Type != "deploy" {
			w.describe[s.Type] = core.Description{Name: s.Type, Cacheable: true, Capabilities: []core.Capability{"workspace"}}
		}
		w.counts(ran, s.ID(), nil)
	}
	return w, ran
}

// counts has a stage count its runs, and give an output.
func (w *world) counts(ran map[core.StageID]int, id core.StageID, err error) {
	w.scripts[id] = func(_ context.Context, _ core.Job, emit func(core.Message)) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		ran[id]++
		emit(core.Message{Output: &core.Output{Name: "digest", Value: "of " + string(id)}})
		return err
	}
}

func (w *world) with(t *testing.T, o core.RunOptions) core.Run {
	t.Helper()
	o.Environment = "lab"
	r, err := w.engine.Run(t.Context(), w.pipeline, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestUnchangedStagesAreSkipped(t *testing.T) {
	t.Parallel()
	w, ran := cached(t)
	first := w.run(t.Context())
	second := w.run(t.Context())
	if got, want := statuses(second), "build.app skipped, test.unit skipped, lint.all skipped, deploy.shop passed"; got != want {
		t.Errorf("the second run: %s, want %s", got, want)
	}
	if got := reason(second, "test.unit"); !strings.HasPrefix(got, "unchanged since it passed in run "+string(first.ID[:10])) {
		t.Errorf("reason: %q", got)
	}
	if got := w.scopes["deploy.shop"]["build.app"]["digest"]; got != "of build.app" {
		t.Errorf("deploy got the output %v", got)
	}
	third := w.run(t.Context())
	if got := third.Stages[0].Reused; got != first.ID || ran["build.app"] != 1 || ran["deploy.shop"] != 3 {
		t.Errorf("reused from %s, want %s; %v", got, first.ID, ran)
	}
	for name, o := range map[string]core.RunOptions{
		"another commit": {Commit: "def", Branch: "main"},
		"another branch": {Commit: "abc", Branch: "next"},
		"forced":         {Commit: "abc", Branch: "main", Force: true},
	} {
		before := ran["build.app"]
		if w.with(t, o); ran["build.app"] != before+1 {
			t.Errorf("%s: the build did not run", name)
		}
	}
	w.pipeline.Stages[0].Block.Source = []byte("command = []")
	before := ran["test.unit"]
	if r := w.run(t.Context()); ran["test.unit"] != before+1 || r.Stages[0].Status != core.Passed {
		t.Errorf("another block: %s", statuses(r))
	}
}

// What has to run finds in the workspace what the stages before it left there.
func TestAStageThatRunsBringsBackItsWorkspace(t *testing.T) {
	t.Parallel()
	w, ran := cached(t)
	w.counts(ran, "test.unit", &core.Failure{Reason: "no"})
	if r := w.run(t.Context()); r.Status != core.Failed {
		t.Fatalf("the first run %s", r.Status)
	}
	w.counts(ran, "test.unit", nil)
	r := w.run(t.Context())
	if got, want := statuses(r), "build.app passed, test.unit passed, lint.all skipped, deploy.shop passed"; got != want {
		t.Errorf("the second run: %s, want %s", got, want)
	}
	w.describe["deploy"] = core.Description{Name: "deploy", Capabilities: []core.Capability{"workspace"}}
	if r := w.run(t.Context()); strings.Contains(statuses(r), "skipped") {
		t.Errorf("a deploy that needs the workspace: %s", statuses(r))
	}
}

func TestSecretsAreNotReused(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(w *world){
		"in an output": func(w *world) { w.pipeline.Secrets = []string{"of build.app"} },
		"in the scope": func(w *world) {
			w.pipeline.Secrets = []string{"hunter22"}
			w.stage("build.app").Scope = func(string, map[core.StageID]map[string]any) (core.Scope, error) {
				return core.Scope{Value: []byte("\xa8hunter22")}, nil
			}
		},
	} {
		w, ran := cached(t)
		prepare(w)
		w.run(t.Context())
		if r := w.run(t.Context()); ran["build.app"] != 2 || r.Stages[0].Inputs != "" {
			t.Errorf("%s: built %d times, inputs %q", name, ran["build.app"], r.Stages[0].Inputs)
		}
	}
}

// TestFrom runs a stage, or those of a type, again: what needs them runs too, and what does not stays as it was.
func TestFrom(t *testing.T) {
	t.Parallel()
	w, _ := cached(t)
	w.run(t.Context())
	for from, want := range map[core.StageID]string{
		"":            "build.app skipped, test.unit skipped, lint.all skipped, deploy.shop passed",
		"lint.all":    "build.app passed, test.unit skipped, lint.all passed, deploy.shop passed", // the build brings back the workspace
		"test":        "build.app passed, test.unit passed, lint.all skipped, deploy.shop passed",
		"deploy.shop": "build.app skipped, test.unit skipped, lint.all skipped, deploy.shop passed",
	} {
		if got := statuses(w.with(t, core.RunOptions{Commit: "abc", Branch: "main", From: from})); got != want {
			t.Errorf("from %q: %s, want %s", from, got, want)
		}
	}
	var missing *core.NotFoundError
	if _, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc", From: "tset"}); !errors.As(err, &missing) || missing.Name != "tset" {
		t.Errorf("a stage that is not there: %v", err)
	}
}
