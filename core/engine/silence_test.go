package engine_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func TestSilenceIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a.a")
		w.processes = []string{"npm test (pid 7)", "  node mocha --token hunter22 (pid 8)"}
		w.pipeline.Secrets = []string{"hunter22"}
		w.scripts["a.a"] = func(_ context.Context, _ core.Job, emit func(core.Message)) error {
			time.Sleep(90 * time.Second)
			emit(logLine("still here"))
			time.Sleep(119 * time.Second)
			emit(logLine("and here"))
			time.Sleep(5 * time.Minute)
			emit(logLine("there again"))
			time.Sleep(130 * time.Second) // less than the time until a third report of the silence before
			return nil
		}
		w.run(t.Context())
		const waits = "waiting for npm test (pid 7) > node mocha --token *** (pid 8)"
		want := []string{
			"a.a stage.silent no output for 2m; " + waits, "a.a stage.silent no output for 4m; " + waits,
			"a.a stage.silent no output for 2m; " + waits,
		}
		if got := w.kinds("stage.silent"); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for _, e := range w.events {
			if e.Kind == core.KindStageSilent && e.Severity != core.Warning {
				t.Errorf("severity %s", e.Severity)
			}
		}
	})
}

func TestDefaultTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a.a")
		w.processes = []string{"sleep infinity (pid 7)"}
		w.scripts["a.a"] = func(ctx context.Context, _ core.Job, _ func(core.Message)) error {
			<-ctx.Done()
			return ctx.Err()
		}
		r := w.run(t.Context())
		const want = "timed out after 1h, which is what a stage has without timeout in its block; it was silent, waiting for sleep infinity (pid 7)"
		if got := reason(r, "a.a"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if took := r.Ended.Sub(r.Started); took != time.Hour {
			t.Errorf("took %s", took)
		}
	})
}

func TestPassedWithFailuresIsAnEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b")
	w.scripts["a.a"] = fails("ugly")
	w.stage("a.a").OnFailure = core.Continue
	if r := w.run(t.Context()); !r.Status.Passed() || r.Status == core.Passed {
		t.Errorf("status %q", r.Status)
	}
	last := w.events[len(w.events)-1]
	if last.Kind != core.KindRunPassedWithFailures || last.Severity != core.Warning || !strings.Contains(last.Summary, "a.a failed") ||
		!slices.Equal(last.Data["failed"].([]string), []string{"a.a"}) {
		t.Errorf("got %+v", last)
	}
}

func TestDirtyIsNotDeployedWhereSomebodyApproves(t *testing.T) {
	t.Parallel()
	for approve, want := range map[bool]string{true: "a.a passed, b.b failed", false: "a.a passed, b.b passed"} {
		w := newWorld(t, "a.a", "b.b < a.a")
		w.describe["b"] = core.Description{Name: "b", Capabilities: []core.Capability{"playbook"}}
		w.pipeline.Environments[0].Terraform = &core.TerraformConfig{Review: core.Review{Approve: approve}}
		r, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc", Environment: "lab", Dirty: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := statuses(r); got != want || !r.Dirty {
			t.Errorf("approve = %v: %s, dirty %v", approve, got, r.Dirty)
		}
		if approve && (len(w.prepared) > 0 || !strings.Contains(reason(r, "b.b"), "prepare environment lab: uncommitted changes never go")) {
			t.Errorf("prepared %q: %s", w.prepared, reason(r, "b.b"))
		}
	}
}

func TestTriggerOfATag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b < a.a")
	w.pipeline.Environments = []core.Environment{{Name: "lab"}, {Name: "production"}}
	w.pipeline.Triggers = []core.Trigger{
		{Branches: []string{"main", "v*"}, Environment: "lab"}, {Tags: []string{"v*"}, Environment: "production", Until: "a.a"},
	}
	for _, tt := range []struct {
		o    core.RunOptions
		env  string
		want string
	}{
		{core.RunOptions{Branch: "main"}, "lab", "a.a passed, b.b passed"},
		{core.RunOptions{Tag: "v1"}, "production", "a.a passed, b.b skipped"},
		{core.RunOptions{Tag: "w1"}, "", "a.a passed, b.b passed"},
	} {
		tt.o.Commit = "abc"
		r, err := w.engine.Run(t.Context(), w.pipeline, tt.o)
		if err != nil || r.Environment != tt.env || r.Tag != tt.o.Tag || statuses(r) != tt.want {
			t.Errorf("%+v: in %q, %s, %v", tt.o, r.Environment, statuses(r), err)
		}
	}
}
