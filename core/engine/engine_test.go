package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func fails(reason string) script {
	return func(context.Context, core.Job, func(core.Message)) error { return &core.Failure{Reason: reason} }
}

func TestRunOutcomes(t *testing.T) {
	t.Parallel()
	diamond := []string{"build.app", "test.unit < build.app", "lint.all < build.app", "deploy.shop < test.unit lint.all"}
	tests := map[string]struct {
		stages  []string
		prepare func(w *world)
		want    string
		status  core.Status
		reasons map[core.StageID]string
		reason  string
	}{
		"all pass": {
			stages: diamond, status: core.Passed,
			want: "build.app passed, test.unit passed, lint.all passed, deploy.shop passed",
		},
		"a failure leaves its dependants pending and lets siblings end": {
			stages:  diamond,
			prepare: func(w *world) { w.scripts["test.unit"] = fails("2 of 9 tests failed") },
			want:    "build.app passed, test.unit failed, lint.all passed, deploy.shop pending",
			status:  core.Failed,
			reason:  "test.unit: 2 of 9 tests failed",
			reasons: map[core.StageID]string{"test.unit": "2 of 9 tests failed", "deploy.shop": "needs test.unit"},
		},
		"a far dependant names what it needs": {
			stages:  []string{"a.a", "b.b < a.a", "c.c < b.b"},
			prepare: func(w *world) { w.scripts["a.a"] = fails("no") },
			want:    "a.a failed, b.b pending, c.c pending",
			status:  core.Failed,
			reason:  "a.a: no",
			reasons: map[core.StageID]string{"b.b": "needs a.a", "c.c": "needs b.b"},
		},
		"nothing begins after a failure": {
			stages: []string{"a.a", "b.b"},
			prepare: func(w *world) {
				w.engine.Parallel = 1
				w.scripts["a.a"] = fails("no")
			},
			want: "a.a failed, b.b pending", status: core.Failed, reason: "a.a: no",
			reasons: map[core.StageID]string{"b.b": "not started, because a.a failed"},
		},
		"on_failure continue goes on": {
			stages: diamond,
			prepare: func(w *world) {
				w.scripts["lint.all"] = fails("ugly")
				w.stage("lint.all").OnFailure = core.Continue
			},
			want:   "build.app passed, test.unit passed, lint.all failed, deploy.shop passed",
			status: core.PassedWithFailures,
			reason: "lint.all failed, which does not stop the run",
		},
		"a condition skips a stage and those that need it": {
			stages:  diamond,
			prepare: func(w *world) { w.stage("test.unit").When.Branches = []string{"release/*", "stable"} },
			want:    "build.app passed, test.unit skipped, lint.all passed, deploy.shop skipped",
			status:  core.Passed,
			reasons: map[core.StageID]string{
				"test.unit": "branch main is not release/* or stable", "deploy.shop": "needs test.unit, which was skipped",
			},
		},
		"a condition on the environment": {
			stages:  []string{"a.a"},
			prepare: func(w *world) { w.stage("a.a").When.Environments = []string{"production"} },
			want:    "a.a skipped", status: core.Passed,
			reasons: map[core.StageID]string{"a.a": "environment lab is not production"},
		},
		"no path has changed": {
			stages: []string{"a.a", "b.b < a.a"},
			prepare: func(w *world) {
				w.describe["a"] = core.Description{Name: "a", Outputs: []core.OutputDoc{{Name: "file"}}}
				w.stage("a.a").When.Paths = core.Paths{"web/**"}
				w.stage("b.b").References = []core.Reference{{Stage: "a.a", Output: "file"}}
				w.passed = func(id core.StageID, o core.RunOptions) (*core.Pass, error) {
					if id != "a.a" || o.Commit != "abc" {
						return nil, fmt.Errorf("asked about %s at %s", id, o.Commit)
					}
					return &core.Pass{Run: "01OLD", Commit: "old", Outputs: map[string]any{"file": "old"}}, nil
				}
				w.changed = func(from, to string) ([]string, error) {
					if from != "old" || to != "abc" {
						return nil, fmt.Errorf("asked about %s and %s", from, to)
					}
					return []string{"docs/web"}, nil
				}
				w.scripts["b.b"] = func(context.Context, core.Job, func(core.Message)) error {
					if got := w.scopes["b.b"]["a.a"]["file"]; got != "old" {
						return fmt.Errorf("the output is %v", got)
					}
					return nil
				}
			},
			want: "a.a skipped, b.b passed", status: core.Passed,
			reasons: map[core.StageID]string{"a.a": "nothing in web/** changed since run 01OLD"},
		},
		"a path has changed": {
			stages: []string{"a.a"},
			prepare: func(w *world) {
				w.stage("a.a").When.Paths = core.Paths{"web/**"}
				w.passed = func(core.StageID, core.RunOptions) (*core.Pass, error) {
					return &core.Pass{Run: "01OLD", Commit: "old"}, nil
				}
				w.changed = func(string, string) ([]string, error) { return []string{"README.md", "web/index.html"}, nil }
			},
			want: "a.a passed", status: core.Passed,
		},
		"nobody knows what has changed": {
			stages: []string{"a.a", "b.b < a.a", "c.c"},
			prepare: func(w *world) {
				for _, id := range []core.StageID{"a.a", "b.b", "c.c"} {
					w.stage(id).When.Paths = core.Paths{"web/**"}
				}
				w.passed = func(id core.StageID, _ core.RunOptions) (*core.Pass, error) {
					switch id {
					case "a.a":
						return nil, nil
					case "b.b":
						return nil, errors.New("the disk is broken")
					}
					return &core.Pass{Run: "01OLD", Commit: "old"}, nil
				}
				w.changed = func(string, string) ([]string, error) { return nil, errors.New("the commit is gone") }
			},
			want: "a.a passed, b.b passed, c.c passed", status: core.Passed,
		},
		"conditions that hold": {
			stages: []string{"a.a"},
			prepare: func(w *world) {
				w.stage("a.a").When = core.When{Branches: []string{"ma*"}, Environments: []string{"lab"}}
			},
			want: "a.a passed", status: core.Passed,
		},
		"a stage with nothing to do lets others go on": {
			stages: []string{"a.a", "b.b < a.a"},
			prepare: func(w *world) {
				w.scripts["a.a"] = func(context.Context, core.Job, func(core.Message)) error {
					return &core.SkipError{Reason: "no tests"}
				}
			},
			want: "a.a skipped, b.b passed", status: core.Passed,
			reasons: map[core.StageID]string{"a.a": "no tests"},
		},
		"an output that a failed stage did not give": {
			stages: []string{"a.a", "b.b < a.a"},
			prepare: func(w *world) {
				w.scripts["a.a"] = fails("no")
				w.stage("a.a").OnFailure = core.Continue
				w.describe["a"] = core.Description{Name: "a", Outputs: []core.OutputDoc{{Name: "file"}}}
				w.stage("b.b").References = []core.Reference{{Stage: "a.a", Output: "file"}}
			},
			want: "a.a failed, b.b skipped", status: core.PassedWithFailures, reason: "a.a failed, which does not stop the run",
			reasons: map[core.StageID]string{"b.b": "needs output file of a.a, which failed"},
		},
		"a plugin that dies": {
			stages: []string{"a.a", "a.b"},
			prepare: func(w *world) {
				w.scripts["a.a"] = func(context.Context, core.Job, func(core.Message)) error {
					return errors.New("plugin a: exit status 2: panic: oh no")
				}
			},
			want: "a.a failed, a.b passed", status: core.Failed, reason: "a.a: plugin a: exit status 2: panic: oh no",
		},
		"an environment that cannot be prepared": {
			stages: []string{"a.a", "b.b"},
			prepare: func(w *world) {
				w.describe["a"] = core.Description{Name: "a", Capabilities: []core.Capability{"playbook"}}
				w.prepare = func(string) error { return errors.New("terraform: no quota") }
				w.stage("a.a").Retries = 3
			},
			want: "a.a failed, b.b passed", status: core.Failed, reason: "a.a: prepare environment lab: terraform: no quota",
		},
		"a commit that cannot be checked out": {
			stages:  []string{"a.a"},
			prepare: func(w *world) { w.checkout = errors.New("no such commit") },
			want:    "a.a pending", status: core.Failed, reason: "check out commit abc: no such commit",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.stages...)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			r := w.run(t.Context())
			if got := statuses(r); got != tt.want {
				t.Errorf("stages: got %s, want %s", got, tt.want)
			}
			if r.Status != tt.status || r.Reason != tt.reason {
				t.Errorf("run: got %s %q, want %s %q", r.Status, r.Reason, tt.status, tt.reason)
			}
			for id, want := range tt.reasons {
				if got := reason(r, id); got != want {
					t.Errorf("%s: got reason %q, want %q", id, got, want)
				}
			}
			if w.closed != len(w.opened) && !strings.Contains(strings.Join(w.opened, " "), "missing") {
				t.Errorf("%d plugins were opened, %d closed", len(w.opened), w.closed)
			}
			last := w.runs[len(w.runs)-1]
			if last.Status != tt.status || last.Ended.IsZero() || statuses(last) != tt.want {
				t.Errorf("recorded: %s, %s, ended %v", last.Status, statuses(last), last.Ended)
			}
		})
	}
}

// Two stages that wait for each other can only pass when both run at once.
func TestRunsIndependentStagesTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b", "c.c < a.a b.b")
	var meeting sync.WaitGroup
	meeting.Add(2)
	meet := func(context.Context, core.Job, func(core.Message)) error {
		meeting.Done()
		meeting.Wait()
		return nil
	}
	w.scripts["a.a"], w.scripts["b.b"] = meet, meet
	if r := w.run(t.Context()); r.Status != core.Passed {
		t.Errorf("got %s", statuses(r))
	}
}

func TestRunsNoMoreThanParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "a.b", "a.c", "a.d", "a.e")
	w.engine.Parallel = 2
	var now, most atomic.Int32
	for _, s := range w.pipeline.Stages {
		w.scripts[s.ID()] = func(context.Context, core.Job, func(core.Message)) error {
			for n, m := now.Add(1), most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			defer now.Add(-1)
			return nil
		}
	}
	if r := w.run(t.Context()); r.Status != core.Passed || most.Load() > 2 {
		t.Errorf("%s with %d at once", r.Status, most.Load())
	}
}

func TestOneProcessPerStage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "a.b < a.a", "b.b")
	if r := w.run(t.Context()); r.Status != core.Passed { // a process refuses a second stage
		t.Errorf("got %s", statuses(r))
	}
	if len(w.opened) != 3 { // the one that checked both stages of type a runs the first
		t.Errorf("opened %v", w.opened)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		errs     []error
		retries  int
		want     core.Status
		attempts int
		reason   string
		took     time.Duration
	}{
		"passes at last": {[]error{errors.New("x"), errors.New("y"), nil}, 5, core.Passed, 3, "", 3 * time.Second},
		"used up": {
			[]error{errors.New("x"), errors.New("y"), errors.New("z")}, 2, core.Failed, 3, "z (3 attempts)", 3 * time.Second,
		},
		"no retries": {[]error{errors.New("x")}, 0, core.Failed, 1, "x", 0},
		"a gate may be flaky": {
			[]error{&core.Failure{Reason: "no"}, nil}, 1, core.Passed, 2, "", time.Second,
		},
		"a wrong block stays wrong": {
			[]error{&core.Failure{Reason: "block", Diagnostics: core.Diagnostics{{Summary: "x"}}}}, 3, core.Failed, 1, "block", 0,
		},
		"a skip is no failure": {[]error{&core.SkipError{Reason: "nothing"}}, 3, core.Skipped, 1, "nothing", 0},
		"pauses double up to half a minute": {
			slices.Repeat([]error{errors.New("x")}, 8), 7, core.Failed, 8, "x (8 attempts)", (1 + 2 + 4 + 8 + 16 + 30 + 30) * time.Second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a.a")
				w.stage("a.a").Retries = tt.retries
				n := 0
				w.scripts["a.a"] = func(context.Context, core.Job, func(core.Message)) error {
					n++
					return tt.errs[n-1]
				}
				r := w.run(t.Context())
				s := r.Stages[0]
				if s.Status != tt.want || s.Attempts != tt.attempts || s.Reason != tt.reason {
					t.Errorf("got %s after %d attempts, %q", s.Status, s.Attempts, s.Reason)
				}
				if took := r.Ended.Sub(r.Started); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if got := len(w.kinds(core.KindStageRetrying)); got != tt.attempts-1 {
					t.Errorf("%d retries announced, want %d", got, tt.attempts-1)
				}
			})
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		do   script
		took time.Duration
	}{
		"a stage that listens": {
			func(ctx context.Context, _ core.Job, _ func(core.Message)) error { <-ctx.Done(); return ctx.Err() }, 90 * time.Second,
		},
		"a stage that cleans up": {
			func(ctx context.Context, _ core.Job, _ func(core.Message)) error {
				<-ctx.Done()
				time.Sleep(5 * time.Second)
				return ctx.Err()
			}, 95 * time.Second,
		},
		"a stage that does not listen is ended with its process": {
			func(ctx context.Context, _ core.Job, _ func(core.Message)) error { return hang(ctx) }, 115 * time.Second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a.a", "b.b < a.a")
				w.stage("a.a").Timeout = 90 * time.Second
				w.scripts["a.a"] = tt.do
				r := w.run(t.Context())
				if got := statuses(r); got != "a.a failed, b.b pending" || reason(r, "a.a") != "timed out after 1m30s" {
					t.Errorf("got %s, %q", got, reason(r, "a.a"))
				}
				if took := r.Ended.Sub(r.Started); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
			})
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b", "c.c < a.a")
	ctx, cancel := context.WithCancel(t.Context())
	w.scripts["a.a"] = func(ctx context.Context, _ core.Job, _ func(core.Message)) error {
		cancel()
		<-ctx.Done()
		return fmt.Errorf("run command: %w", ctx.Err())
	}
	w.scripts["b.b"] = func(ctx context.Context, _ core.Job, emit func(core.Message)) error {
		<-ctx.Done()
		emit(logLine("put everything back"))
		return ctx.Err()
	}
	r := w.run(ctx)
	if got := statuses(r); got != "a.a cancelled, b.b cancelled, c.c pending" || r.Status != core.Cancelled {
		t.Errorf("got %s, run %s", got, r.Status)
	}
	if r.Reason != "interrupted" || reason(r, "a.a") != "interrupted" || reason(r, "c.c") != "needs a.a" {
		t.Errorf("reasons: %q, %q, %q", r.Reason, reason(r, "a.a"), reason(r, "c.c"))
	}
	if got := w.kinds(core.KindLog, core.KindRunCancelled); !slices.Equal(got, []string{
		"b.b log put everything back", "run run.cancelled interrupted",
	}) {
		t.Errorf("journal: %q", got)
	}
	if last := w.runs[len(w.runs)-1]; last.Status != core.Cancelled || last.Ended.IsZero() {
		t.Errorf("recorded: %+v", last)
	}
}

func TestCancelledBeforeItBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("told to stop")
	cancel(why)
	if _, err := w.engine.Run(ctx, w.pipeline, core.RunOptions{}); !errors.Is(err, why) || len(w.runs) > 0 {
		t.Errorf("got %v, %d records", err, len(w.runs))
	}
}

func TestStoreFailureEndsTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b < a.a")
	full := errors.New("no space left on device")
	w.scripts["a.a"] = func(context.Context, core.Job, func(core.Message)) error {
		w.mu.Lock()
		w.putError = full
		w.mu.Unlock()
		return nil
	}
	r, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc"})
	if !errors.Is(err, full) || r.Status != core.Cancelled {
		t.Errorf("got %s, %v", r.Status, err)
	}
	if got := statuses(r); got != "a.a passed, b.b pending" {
		t.Errorf("got %s", got)
	}
}

func TestFloodFailsItsStage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a")
	line := strings.Repeat("x", 1<<20)
	w.engine.Emit = nil
	w.scripts["a.a"] = func(ctx context.Context, _ core.Job, emit func(core.Message)) error {
		for ctx.Err() == nil {
			emit(logLine(line))
		}
		return ctx.Err()
	}
	if r := w.run(t.Context()); reason(r, "a.a") != "flooded its log: more than 64 MiB" {
		t.Errorf("got %s %q", statuses(r), reason(r, "a.a"))
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b < a.a", "c.c < b.b", "d.d")
	r, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc", Until: "b.b"})
	if err != nil {
		t.Fatal(err)
	}
	if got := statuses(r); got != "a.a passed, b.b passed, c.c skipped, d.d skipped" {
		t.Errorf("got %s", got)
	}
	w = newWorld(t, "a.a", "b.b < a.a", "b.c", "d.d < b.b")
	r, err = w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc", Until: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if got := statuses(r); got != "a.a passed, b.b passed, b.c passed, d.d skipped" {
		t.Errorf("up to a type: got %s", got)
	}
	_, err = w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc", Until: "c.c"})
	if err == nil || err.Error() != "stage c.c not found; did you mean b.c?" {
		t.Errorf("got %v", err)
	}
	_, err = w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Environment: "lap"})
	if err == nil || err.Error() != "environment lap not found; did you mean lab?" {
		t.Errorf("got %v", err)
	}
}

func TestOutputsReachTheStagesAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b < a.a", "c.c")
	w.pipeline.Secrets = []string{"hunter22"}
	w.scripts["a.a"] = func(_ context.Context, _ core.Job, emit func(core.Message)) error {
		emit(core.Message{Output: &core.Output{Name: "file", Value: "a.tar"}})
		emit(core.Message{Output: &core.Output{Name: "token", Value: "hunter22"}})
		return nil
	}
	r := w.run(t.Context())
	if got := w.scopes["b.b"]["a.a"]; got["file"] != "a.tar" || got["token"] != "hunter22" {
		t.Errorf("scope of b.b: %v", w.scopes["b.b"])
	}
	if got := r.Stages[0].Outputs; got["file"] != "a.tar" || got["token"] != "***" {
		t.Errorf("recorded outputs: %v", got)
	}
}

func TestJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "a.b", "b.b")
	var got core.RunInfo
	w.scripts["a.a"] = func(_ context.Context, j core.Job, _ func(core.Message)) error {
		got = j.Info
		if j.Capabilities != nil {
			return errors.New("capabilities that were not declared")
		}
		return nil
	}
	r := w.run(t.Context())
	want := core.RunInfo{
		Run: r.ID, Pipeline: "shop", Stage: "a.a", Commit: "abc", Branch: "main", Environment: "lab",
		Workspace: "/runs/" + string(r.ID) + "/src/app", StateDir: "/stages/a.a",
		Stages: []core.StageID{"a.a", "a.b"},
	}
	if !reflect.DeepEqual(got, want) || r.Status != core.Passed {
		t.Errorf("got  %+v\nwant %+v (%s)", got, want, r.Reason)
	}
	if r.Stages[0].Plugin != "sha256:a" || r.Stages[0].Attempts != 1 {
		t.Errorf("result: %+v", r.Stages[0])
	}
}

func TestEnvironmentIsPreparedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "a.b", "b.b", "a.c")
	w.pipeline.Environments = append(w.pipeline.Environments, core.Environment{Name: "other"})
	w.describe["a"] = core.Description{Name: "a", Capabilities: []core.Capability{"inventory"}}
	w.describe["b"] = core.Description{Name: "b", Capabilities: []core.Capability{"artifacts"}}
	w.stage("a.c").Environment = "other"
	r := w.run(t.Context())
	if r.Status != core.Passed {
		t.Fatalf("got %s: %s", statuses(r), r.Reason)
	}
	if w.preparedFor != r.ID {
		t.Errorf("prepared for run %q, want %q", w.preparedFor, r.ID)
	}
	slices.Sort(w.prepared)
	if !slices.Equal(w.prepared, []string{"lab", "other"}) {
		t.Errorf("prepared %v", w.prepared)
	}
	got := w.kinds("environment.")
	slices.Sort(got)
	if !slices.Equal(got, []string{
		"environment.lab environment.preparing preparing", "environment.lab environment.ready ready",
		"environment.other environment.preparing preparing", "environment.other environment.ready ready",
	}) {
		t.Errorf("events: %q", got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "missing.b", "agentonly.c", "d.d < a.a", "e.e")
	w.describe["a"] = core.Description{Name: "a", Outputs: []core.OutputDoc{{Name: "artifact"}}}
	w.describe["e"] = core.Description{Name: "e", Capabilities: []core.Capability{"inventory"}}
	w.check["d.d"] = core.Diagnostics{{Summary: "Invalid d stage", Detail: "want host:port", Range: at(4, 5)}}
	w.stage("d.d").References = []core.Reference{
		{Stage: "a.a", Output: "artefact", Range: at(4, 20)},
		{Stage: "a.a", Output: "artifact", Range: at(4, 40)},
		{Stage: "missing.b", Output: "x", Range: at(4, 60)},
	}
	broken := errors.New("loop")
	w.stage("e.e").Scope = func(string, map[core.StageID]map[string]any) (core.Scope, error) { return core.Scope{}, broken }
	got := w.engine.Validate(t.Context(), w.pipeline, "lab").Error()
	want := strings.Join([]string{
		`pipeline.hcl:2,1-9: No plugin for stage "missing"; put troop-plugin-missing into ~/.troop/plugins`,
		`pipeline.hcl:3,1-9: Plugin "agentonly" is not a stage; it has an agent or actions only; take the block out`,
		`pipeline.hcl:4,5-13: Invalid d stage; want host:port`,
		`pipeline.hcl:4,20-28: Stage a.a has no output "artefact"; did you mean artifact?`,
		`pipeline.hcl:5,1-9: Stage e.e cannot be checked; loop`,
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if w.closed != 4 {
		t.Errorf("%d plugins closed, want 4", w.closed)
	}

	_, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc"})
	if diags := core.Diagnostics(nil); !errors.As(err, &diags) || !strings.Contains(err.Error(), "Stage e.e needs an environment") {
		t.Errorf("Run: %v", err)
	}
	if len(w.runs)+len(w.events)+len(w.prepared) > 0 {
		t.Error("a run that was refused left something behind")
	}
}

// together lets no plugin start before a number of them are about to.
type together struct {
	core.Plugins
	all *sync.WaitGroup
}

func (p together) Open(ctx context.Context, typ string) (core.Plugin, error) {
	p.all.Done()
	p.all.Wait()
	return p.Plugins.Open(ctx, typ)
}

func TestPluginsStartTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b < a.a", "c.c < b.b")
	var all sync.WaitGroup
	all.Add(3)
	w.engine.Plugins = together{w, &all}
	done := make(chan core.Diagnostics)
	go func() { done <- w.engine.Validate(t.Context(), w.pipeline, "lab") }()
	select {
	case diags := <-done:
		if len(diags) > 0 {
			t.Error(diags)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("each plugin waits for the one before it")
	}
}

func at(line, column int) core.Range {
	return core.Range{File: "pipeline.hcl", Start: core.Pos{Line: line, Column: column}, End: core.Pos{Line: line, Column: column + 8}}
}

// TestEnvironmentIsNeeded holds that a run without an environment is refused for the stages that are going to run only.
func TestEnvironmentIsNeeded(t *testing.T) {
	t.Parallel()
	hosts := func(w *world) {
		w.describe["b"] = core.Description{Name: "b", Stage: true, Capabilities: []core.Capability{"inventory"}}
	}
	tests := map[string]struct {
		prepare func(w *world)
		options core.RunOptions
		want    string // empty: it runs
	}{
		"hosts":               {hosts, core.RunOptions{}, "pipeline.hcl:2,1-9: Stage b.b needs an environment; It works on hosts"},
		"hosts, chosen":       {hosts, core.RunOptions{Environment: "lab"}, ""},
		"hosts, not reached":  {hosts, core.RunOptions{Until: "a.a"}, ""},
		"hosts, not wanted":   {func(w *world) { hosts(w); w.stage("b.b").When.Environments = []string{"lab"} }, core.RunOptions{}, ""},
		"hosts, other branch": {func(w *world) { hosts(w); w.stage("b.b").When.Branches = []string{"main"} }, core.RunOptions{Branch: "x"}, ""},
		"hosts, its own":      {func(w *world) { hosts(w); w.stage("b.b").Environment = "lab" }, core.RunOptions{}, ""},
		"hosts, for its other faces": {
			func(w *world) {
				w.describe["b"] = core.Description{
					Name: "b", Stage: true, Agent: &core.Agent{Capabilities: []core.Capability{"state", "events"}},
					Actions: []core.Action{{Name: "status", Capabilities: []core.Capability{"inventory"}}},
				}
				w.scripts["b.b"] = func(_ context.Context, j core.Job, _ func(core.Message)) error {
					if j.Capabilities != nil {
						return errors.New("has those of the agent")
					}
					return nil
				}
			},
			core.RunOptions{},
			"",
		},
		"the name of it": {
			func(w *world) { w.stage("b.b").EnvironmentName = at(7, 3) },
			core.RunOptions{},
			"pipeline.hcl:7,3-11: Stage b.b needs an environment; It uses environment.name",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "a.a", "b.b < a.a")
			tt.prepare(w)
			r, err := w.engine.Run(t.Context(), w.pipeline, tt.options)
			if err == nil && r.Status != core.Passed {
				t.Errorf("the run is %s: %+v", r.Status, r.Stages)
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestGrantIsNeeded holds that a stage whose plugin asks for more than the usual is refused unless the manifest grants it.
func TestGrantIsNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b")
	w.describe["a"] = core.Description{Name: "a", Stage: true, Capabilities: []core.Capability{"events", core.Storage}}
	options := core.RunOptions{Environment: "lab"}
	want := `pipeline.hcl:1,1-9: Stage a.a asks for "storage"; Its plugin wants to send files to the storage host`
	if diags := w.engine.Validate(t.Context(), w.pipeline, "lab"); len(diags) != 1 || !strings.HasPrefix(diags.Error(), want) {
		t.Errorf("validate: %v, want %s", diags, want)
	}
	if _, err := w.engine.Run(t.Context(), w.pipeline, options); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("run: %v, want %s", err, want)
	}
	w.stage("a.a").Grants = []core.Capability{core.Storage}
	if diags := w.engine.Validate(t.Context(), w.pipeline, "lab"); len(diags) > 0 {
		t.Errorf("granted: %v", diags)
	}
	if run, err := w.engine.Run(t.Context(), w.pipeline, options); err != nil || run.Status != core.Passed {
		t.Errorf("granted: %v, %v", run.Status, err)
	}
}

func TestGraphIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		stages []string
		want   string
	}{
		"unknown": {[]string{"a.a < b.b"}, "stage a.a needs b.b: stage b.b not found"},
		"twice":   {[]string{"a.a", "a.a"}, "stage a.a is there twice"},
		"itself":  {[]string{"a.a < a.a"}, "stages need each other: a.a needs a.a"},
		"cycle": {
			[]string{"a.a", "b.b < a.a d.d", "c.c < b.b", "d.d < c.c"},
			"stages need each other: b.b needs d.d needs c.c needs b.b",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.stages...)
			if _, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{}); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestMessagesBecomeEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a")
	w.describe["a"] = core.Description{Name: "a", Capabilities: []core.Capability{"playbook", "events"}}
	w.playbookDo = []core.TaskResult{{Host: "web-1", Task: "install", Status: "failed", Message: "no space", Path: "main.yml:3"}}
	limit := 70.0
	w.scripts["a.a"] = func(ctx context.Context, j core.Job, emit func(core.Message)) error {
		emit(core.Message{Log: &core.Log{Line: "hello", Error: true}})
		emit(core.Message{Progress: &core.Progress{Done: 1, Total: 2, Text: "half"}})
		emit(core.Message{Progress: &core.Progress{Done: 1, Total: 2, Text: "too soon"}})
		emit(core.Message{Finding: &core.Finding{Path: "a.js", Line: 3, Severity: "error", Rule: "semi", Message: "missing ;"}})
		emit(core.Message{Metric: &core.Metric{Name: "coverage", Value: 65, Unit: "%", Limit: &limit}})
		emit(core.Message{Table: &core.Table{Columns: []string{"X"}, Rows: [][]string{{"y"}}}})
		emit(core.Message{Event: &core.Event{Kind: "stage.passed", Source: "somebody", Summary: "liar"}})
		if err := j.Capabilities.Publish(ctx, core.Event{Kind: "release.promoted", Summary: "done"}); err != nil {
			return err
		}
		if err := j.Capabilities.Playbook(ctx, core.PlaybookRun{}, nil); err != nil {
			return err
		}
		return &core.Failure{Reason: "bad block", Diagnostics: core.Diagnostics{{
			Summary: "Invalid value", Detail: "want 1", Range: core.Range{File: "pipeline.hcl", Start: core.Pos{Line: 7, Column: 2}},
		}}}
	}
	w.run(t.Context())
	var got []string
	for _, e := range w.shown {
		if e.Source != "a.a" || e.Kind == core.KindStageFailed || e.Kind == core.KindStageStarted {
			continue
		}
		if e.ID == "" || e.Time.IsZero() || e.Run == "" || e.Environment != "lab" {
			t.Errorf("incomplete: %+v", e)
		}
		data, err := json.Marshal(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s", e.Kind, e.Severity, e.Host, e.Summary, data))
	}
	want := []string{
		`log|info||hello|{"error":true}`,
		`progress|info||half|{"done":1,"total":2}`,
		`finding|info||missing ;|{"column":0,"line":3,"path":"a.js","rule":"semi","severity":"error"}`,
		`metric|info||coverage|{"limit":70,"name":"coverage","unit":"%","value":65}`,
		`table|info|||{"columns":["X"],"rows":[["y"]]}`,
		`plugin.stage.passed|info||liar|null`,
		`release.promoted|info||done|null`,
		`task|warning|web-1|install|{"message":"no space","path":"main.yml:3","seconds":0,"status":"failed"}`,
		`finding|info||Invalid value; want 1|{"column":2,"line":7,"path":"pipeline.hcl","rule":"","severity":"error"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(w.published) != 1 || w.published[0].Source != "a.a" || w.published[0].ID == "" {
		t.Errorf("published: %+v", w.published)
	}
	if slices.ContainsFunc(w.events, func(e core.Event) bool { return e.Kind == core.KindProgress }) {
		t.Error("progress is in the journal")
	}
}

// Whatever a stage does with its secrets, nothing that leaves the run holds one.
func TestSecretsNeverLeave(t *testing.T) {
	t.Parallel()
	const (
		word  = "S3NTINEL-word"
		key   = "-----BEGIN KEY-----\nS3NTINELline1\nS3NTINELline2==\n-----END KEY-----\n"
		where = "smtp://ops:S3NTINELpa%40ss@mail.example.org:25"
		given = "S3NTINEL-from-vault"
	)
	w := newWorld(t, "a.a", "b.b")
	w.pipeline.Secrets = []string{word, key, where}
	w.secrets["vault"] = given
	w.describe["a"] = core.Description{Name: "a", Capabilities: []core.Capability{"secrets", "events", "playbook"}}
	w.playbookDo = []core.TaskResult{{Host: "web-1", Task: word, Status: "failed", Message: key}}
	w.scripts["a.a"] = func(ctx context.Context, j core.Job, emit func(core.Message)) error {
		s, err := j.Capabilities.Secret(ctx, "vault")
		if err != nil || s != given {
			return fmt.Errorf("got %q, %w", s, err)
		}
		for _, line := range []string{"token=" + word + ";", given + given, "password S3NTINELpa%40ss", "or S3NTINELpa@ss"} {
			emit(logLine(line))
		}
		for line := range strings.Lines(key) {
			emit(logLine("  " + strings.TrimSuffix(line, "\n")))
		}
		emit(logLine("wrapped: S3NTIN")) // a value spread over lines
		emit(logLine("EL-word and more"))
		emit(core.Message{Log: &core.Log{Line: "S3NTINEL-fr", Error: true}})
		emit(core.Message{Log: &core.Log{Line: "om-", Error: true}})
		emit(core.Message{Log: &core.Log{Line: "vault", Error: true}})
		emit(core.Message{Log: &core.Log{Line: fmt.Sprintf("%q", key), Error: true}})
		emit(core.Message{Output: &core.Output{Name: "o", Value: map[string]any{"k": []any{word, map[string]any{word: key}}}}})
		emit(core.Message{Finding: &core.Finding{Path: word, Line: 1, Rule: word, Message: "found " + word}})
		emit(core.Message{Metric: &core.Metric{Name: word, Unit: word}})
		emit(core.Message{Progress: &core.Progress{Text: word}})
		emit(core.Message{Table: &core.Table{Columns: []string{word}, Rows: [][]string{{key}}}})
		if err := j.Capabilities.Publish(ctx, core.Event{Kind: "x", Summary: word, Key: word, Data: map[string]any{"k": where}}); err != nil {
			return err
		}
		if err := j.Capabilities.Playbook(ctx, core.PlaybookRun{}, nil); err != nil {
			return err
		}
		return fmt.Errorf("connect to %s: %s", where, key)
	}
	w.scripts["b.b"] = func(context.Context, core.Job, func(core.Message)) error { return &core.SkipError{Reason: word} }
	r := w.run(t.Context())
	all, err := json.Marshal([]any{r, w.runs, w.events, w.shown, w.published})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if rest := all[i:]; strings.HasPrefix(string(rest), "S3NTIN") {
			t.Errorf("a secret left the run: …%s…", rest[:min(len(rest), 60)])
		}
	}
	for _, want := range []string{"b.b stage.skipped ***", "a.a log token=***;", "a.a log or ***", "a.a log wrapped: ***", "a.a log *** and more"} {
		if !slices.Contains(w.kinds("log", "stage.skipped"), want) {
			t.Errorf("the journal lacks %q: %q", want, w.kinds("log", "stage.skipped"))
		}
	}
}

// TestStrangersRunNothing has a user who may not open an environment: nothing runs when a stage would need its hosts, and
// what needs none runs.
func TestStrangersRunNothing(t *testing.T) {
	w := newWorld(t, "build.app", "deploy.app < build.app", "check.app < build.app")
	w.describe["deploy"] = core.Description{Stage: true, Capabilities: []core.Capability{"inventory"}}
	w.describe["check"] = w.describe["deploy"]
	w.stage("check.app").When = core.When{Environments: []string{"production"}} // does not run
	w.barred = map[string]error{"lab": errors.New("you are no member")}
	run, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Environment: "lab"})
	if err == nil || err.Error() != "you are no member" || run.ID != "" || len(w.events) > 0 {
		t.Errorf("%v; the run %s has begun: %v", err, run.ID, w.events)
	}
	for _, until := range []core.StageID{"build", "check"} {
		if run, err = w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Environment: "lab", Until: until}); err != nil || !run.Status.Passed() {
			t.Errorf("up to %s: %s, %v", until, run.Status, err)
		}
	}
}
