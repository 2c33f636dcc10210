package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
)

// An action is served as a stage is: what it asks for is masked, what it does on hosts is shown, and its block sees
// what stands in the environment.
func TestCall(t *testing.T) {
	t.Parallel()
	const given, own, late = "S3NTINEL-from-vault", "S3NTINEL-of-the-environment", "S3NTINEL-of-the-block"
	w := newWorld(t, "a.a", "b.b")
	w.describe["a"] = core.Description{Name: "a", Capabilities: []core.Capability{"secrets", "playbook", "events"}}
	w.secrets["vault"] = given
	w.hidden["lab"] = []string{own}
	w.playbookDo = []core.TaskResult{{Host: "web-1", Task: "fetch " + given, Status: "ok"}}
	w.pastRun("01OLD", "old", "b.b", map[string]any{"release": "r1"})
	w.pipeline.Hidden = func() []string { // is read when the block is evaluated
		if w.scopes["a.a"] == nil {
			return nil
		}
		return []string{late}
	}
	w.actions["a.a"] = func(ctx context.Context, j core.Job, name string, args map[string]string, emit func(core.Message)) error {
		if name != "promote" || args["to"] != "all" || j.Info.Environment != "lab" || j.Info.Run != "" || j.Info.StateDir != "/stages/a.a" {
			return fmt.Errorf("called %s %v for %+v", name, args, j.Info)
		}
		s, err := j.Capabilities.Secret(ctx, "vault")
		if err != nil || s != given {
			return fmt.Errorf("got %q, %w", s, err)
		}
		emit(logLine("token=" + given + " and " + own + late))
		emit(logLine("wrapped: S3NTINEL-from"))
		emit(logLine("-vault"))
		emit(core.Message{Table: &core.Table{Columns: []string{"X"}, Rows: [][]string{{given}}}})
		emit(core.Message{Output: &core.Output{Name: "o", Value: given}})
		if err := j.Capabilities.Publish(ctx, core.Event{Kind: "release.promoted", Summary: given}); err != nil {
			return err
		}
		if err := j.Capabilities.Playbook(ctx, core.PlaybookRun{}, nil); err != nil {
			return err
		}
		return &core.Failure{Reason: "no " + given}
	}
	outputs, err := w.engine.Call(t.Context(), w.pipeline, core.CallOptions{Type: "a", Action: "promote", Args: map[string]string{"to": "all"}})
	if _, ok := errors.AsType[*core.Failure](err); !ok || err.Error() != "no ***" {
		t.Errorf("got %v", err)
	}
	if got := w.scopes["a.a"]["b.b"]["release"]; got != "r1" {
		t.Errorf("the block saw the release %v", got)
	}
	all, err := json.Marshal([]any{outputs, w.shown, w.published})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(all), "S3NTINEL") {
		t.Errorf("a secret was shown: %s", all)
	}
	var got []string
	for _, e := range w.shown {
		if e.ID == "" || e.Time.IsZero() || e.Environment != "lab" || e.Source != "a.a" {
			t.Errorf("incomplete: %+v", e)
		}
		got = append(got, e.Kind+" "+e.Summary)
	}
	want := "log token=*** and ***|log wrapped: ***|log ***|table |release.promoted ***|task fetch ***"
	if strings.Join(got, "|") != want {
		t.Errorf("got %q, want %s", got, want)
	}
	if len(w.events) > 0 || len(w.prepared) > 0 || w.closed != 1 {
		t.Errorf("%d events recorded, %v prepared, %d plugins closed", len(w.events), w.prepared, w.closed)
	}
}

// An action that asks nothing of hosts leaves its environment alone.
func TestCallWithoutHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a")
	w.hidden["lab"] = []string{"visible"}
	w.actions["a.a"] = func(_ context.Context, j core.Job, _ string, _ map[string]string, emit func(core.Message)) error {
		if j.Capabilities != nil {
			return errors.New("has capabilities")
		}
		emit(logLine("visible"))
		return &core.SkipError{Reason: "nothing to do"}
	}
	_, err := w.engine.Call(t.Context(), w.pipeline, core.CallOptions{Type: "a"})
	if _, ok := errors.AsType[*core.SkipError](err); !ok || len(w.shown) != 1 || w.shown[0].Summary != "visible" {
		t.Errorf("got %v, shown %+v", err, w.shown)
	}
}

func TestCallChooses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		stages   []string
		environs []string
		own      string
		options  core.CallOptions
		want     string
	}{
		"the only one":          {[]string{"a.a"}, []string{"lab"}, "", core.CallOptions{Type: "a"}, "a.a in lab"},
		"one of several":        {[]string{"a.a", "a.b"}, []string{"lab"}, "", core.CallOptions{Type: "a", Name: "b"}, "a.b in lab"},
		"several":               {[]string{"a.a", "a.b"}, nil, "", core.CallOptions{Type: "a"}, "there are several stages of type a; choose one with --stage: a, b"},
		"none of the type":      {[]string{"a.a"}, nil, "", core.CallOptions{Type: "z"}, "stage of type z not found; /shop/pipeline.hcl has none; the action needs the arguments of one"},
		"none of the name":      {[]string{"a.app"}, nil, "", core.CallOptions{Type: "a", Name: "ap"}, "stage a ap not found; did you mean app?"},
		"the stage's own":       {[]string{"a.a"}, []string{"lab", "other"}, "other", core.CallOptions{Type: "a"}, "a.a in other"},
		"as asked for":          {[]string{"a.a"}, []string{"lab", "other"}, "other", core.CallOptions{Type: "a", Environment: "lab"}, "a.a in lab"},
		"none":                  {[]string{"a.a"}, []string{"lab", "other"}, "", core.CallOptions{Type: "a"}, "a.a in "},
		"environment not there": {[]string{"a.a"}, []string{"lab"}, "", core.CallOptions{Type: "a", Environment: "lub"}, "environment lub not found; did you mean lab?"},
		"the environment's":     {[]string{"a.a", "a.b"}, []string{"lab"}, "", core.CallOptions{Type: "a", Action: "whole"}, "a.a in lab, held lab"},
		"of another one":        {[]string{"a.a", "a.b"}, []string{"lab", "other"}, "other", core.CallOptions{Type: "a", Action: "whole", Environment: "lab"}, "a.a in lab, held lab"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.stages...)
			w.pipeline.Environments = nil
			for _, env := range tt.environs {
				w.pipeline.Environments = append(w.pipeline.Environments, core.Environment{Name: env})
			}
			got := ""
			for i, s := range w.pipeline.Stages {
				w.pipeline.Stages[i].Environment = tt.own
				w.actions[s.ID()] = func(_ context.Context, j core.Job, _ string, _ map[string]string, _ func(core.Message)) error {
					got = strings.Join(append([]string{string(j.Info.Stage) + " in " + j.Info.Environment}, w.prepared...), ", ")
					return nil
				}
			}
			if _, err := w.engine.Call(t.Context(), w.pipeline, tt.options); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	_, err := newWorld(t, "a.a", "a.b").engine.Call(t.Context(), newWorld(t, "a.a", "a.b").pipeline, core.CallOptions{Type: "a"})
	if _, ok := errors.AsType[*engine.AmbiguousError](err); !ok {
		t.Errorf("got %T", err)
	}
}

// TestCallHeld has an action that is about an environment refused while another command works there.
func TestCallHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a")
	w.barred = map[string]error{"lab": &core.LockedError{Environment: "lab"}}
	w.actions["a.a"] = func(context.Context, core.Job, string, map[string]string, func(core.Message)) error {
		t.Error("the action was called")
		return nil
	}
	_, err := w.engine.Call(t.Context(), w.pipeline, core.CallOptions{Type: "a", Action: "whole"})
	if _, ok := errors.AsType[*core.LockedError](err); !ok {
		t.Errorf("got %v", err)
	}
}

func TestTriggers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.a", "b.b < a.a")
	w.pipeline.Environments = append(w.pipeline.Environments, core.Environment{Name: "production"})
	w.pipeline.Triggers = []core.Trigger{
		{Name: "try", Branches: []string{"try/*"}, Environment: "lab", Until: "a.a"},
		{Name: "push", Branches: []string{"main"}, Environment: "production"},
		{Name: "both", Branches: []string{"main"}, Environment: "lab", Until: "a.a"},
	}
	for branch, tt := range map[string]struct{ asked, env, want string }{
		"main":    {"", "production", "a.a passed, b.b passed"},
		"try/it":  {"", "lab", "a.a passed, b.b skipped"},
		"try/a/b": {"", "", "a.a passed, b.b passed"},
		"other":   {"lab", "lab", "a.a passed, b.b passed"},
	} {
		r, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc", Branch: branch, Environment: tt.asked})
		if err != nil || r.Environment != tt.env || statuses(r) != tt.want {
			t.Errorf("%s: in %q %s, %v", branch, r.Environment, statuses(r), err)
		}
	}
	r, err := w.engine.Run(t.Context(), w.pipeline, core.RunOptions{Commit: "abc", Branch: "main", Environment: "lab"})
	if err != nil || r.Environment != "lab" || statuses(r) != "a.a passed, b.b skipped" {
		t.Errorf("the trigger of the environment that is asked for: in %q %s, %v", r.Environment, statuses(r), err)
	}
}
