package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

type nothing struct{}

var allCapabilities = []sdk.Capability{
	sdk.Inventory, sdk.Playbook, sdk.Agents, sdk.Artifacts, sdk.Flags, sdk.State, sdk.Events, sdk.Notify, sdk.Secrets,
}

// runs is a stage that does what a test says.
func runs(caps []sdk.Capability, run func(context.Context, *sdk.Job) error) sdk.Stage[nothing] {
	return sdk.Stage[nothing]{
		Name: "job", Version: "1.0.0", Capabilities: caps,
		Run: func(ctx context.Context, _ *nothing, job *sdk.Job) error { return run(ctx, job) },
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	r := sdktest.Run(t, runs([]sdk.Capability{sdk.Workspace}, func(ctx context.Context, job *sdk.Job) error {
		if err := job.Exec(ctx, sdk.Command{Args: []string{"sh", "-c", "pwd; echo $A >&2"}, Env: []string{"A=b"}}); err != nil {
			return err
		}
		var lines []string
		err := job.Exec(ctx, sdk.Command{
			Args: []string{"sh", "-c", "for i in $(seq 30); do echo $i; done; exit 3"}, Dir: "/",
			Line: func(line string, _ bool) { lines = append(lines, line) },
		})
		e := (*sdk.ExitError)(nil)
		if !errors.As(err, &e) || e.Code != 3 || len(e.Last) != 20 || e.Last[19] != "30" || len(lines) != 30 {
			return fmt.Errorf("%d lines, and %w", len(lines), err)
		}
		if err := job.Exec(ctx, sdk.Command{Args: []string{"/no/such/program"}}); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("missing program: %w", err)
		}
		if err := job.Exec(ctx, sdk.Command{}); err == nil {
			return errors.New("no arguments, no error")
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if err := job.Exec(short, sdk.Command{Args: []string{"sleep", "60"}}); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("deadline: %w", err)
		}
		return e
	}), "", sdktest.Options{Info: sdk.RunInfo{Workspace: dir}})
	if r.Err == nil || r.Err.Error() != "sh: exit status 3: 30" {
		t.Errorf("error %v", r.Err)
	}
	if !reflect.DeepEqual(r.Logs, []string{dir, "b"}) && !reflect.DeepEqual(r.Logs, []string{"b", dir}) || !reflect.DeepEqual(r.Warnings, []string{"b"}) {
		t.Errorf("log %q, warnings %q", r.Logs, r.Warnings)
	}
}

func TestCapabilities(t *testing.T) {
	fake := &sdktest.Fake{
		Hosts:   []sdk.Host{{Name: "web-1", Role: "production", Address: "10.0.0.1", PrivateAddress: "10.0.0.2", User: "root", Port: 22}},
		Secrets: map[string]string{"token": "hunter2"},
		OnPlaybook: func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
			return []sdk.TaskResult{{Host: "web-1", Task: "install", Status: "changed", Facts: map[string]any{"slot": p.Vars["slot"]}}}, nil
		},
	}
	file := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	steps := map[string]func(context.Context, *sdk.Job) (any, error){
		"hosts": func(ctx context.Context, j *sdk.Job) (any, error) { return j.Hosts(ctx) },
		"playbook": func(ctx context.Context, j *sdk.Job) (any, error) {
			return j.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: sdk.HostNames("web-1"), Vars: map[string]any{"slot": "a"}})
		},
		"install": func(ctx context.Context, j *sdk.Job) (any, error) { return nil, j.InstallAgent(ctx, "web-1") },
		"artifact": func(ctx context.Context, j *sdk.Job) (any, error) {
			a, err := j.PutArtifact(ctx, file)
			if err != nil {
				return nil, err
			}
			b, err := j.Artifact(ctx, a.Digest)
			return []any{a == b, a.Size}, err
		},
		"flag": func(ctx context.Context, j *sdk.Job) (any, error) {
			before, err := j.Flag(ctx, "f")
			if err != nil {
				return nil, err
			}
			err = j.SetFlag(ctx, "f", map[string]any{"on": true})
			after, errAfter := j.Flag(ctx, "f")
			return []any{before, after}, errors.Join(err, errAfter)
		},
		"state": func(ctx context.Context, j *sdk.Job) (any, error) {
			a, err := j.State(ctx, "k")
			if err != nil {
				return nil, err
			}
			b, err := j.SetState(ctx, "k", []byte("v"))
			if err != nil {
				return nil, err
			}
			var seen []string
			stop := errors.New("stop")
			err = j.WatchState(ctx, "", func(e sdk.Entry) error {
				if seen = append(seen, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Version)); len(seen) == 2 {
					return stop
				}
				_, err := j.SetState(ctx, "k", []byte("w"))
				return err
			})
			if !errors.Is(err, stop) {
				return nil, err
			}
			return []any{a.Version, b.Version, seen}, nil
		},
		"events": func(ctx context.Context, j *sdk.Job) (any, error) {
			began := time.Now()
			err := errors.Join(
				j.Publish(ctx, sdk.Event{Kind: "a.x", Severity: sdk.Info, Time: began, Data: map[string]any{"n": 1}}),
				j.Notify(ctx, sdk.Event{Kind: "a.y", Severity: sdk.Alert, Time: began}))
			if err != nil {
				return nil, err
			}
			var got []string
			stop := errors.New("stop")
			err = j.Subscribe(ctx, sdk.EventFilter{Kinds: []string{"a."}, Severities: []sdk.Severity{sdk.Alert}, Since: began}, func(e sdk.Event) error {
				got = append(got, e.Kind)
				return stop
			})
			if !errors.Is(err, stop) {
				return nil, err
			}
			return got, nil
		},
		"secret": func(ctx context.Context, j *sdk.Job) (any, error) { return j.Secret(ctx, "token") },
	}
	want := map[string]any{
		"hosts":    fake.Hosts,
		"playbook": []sdk.TaskResult{{Host: "web-1", Task: "install", Status: "changed", Facts: map[string]any{"slot": "a"}}},
		"install":  nil,
		"artifact": []any{true, int64(7)},
		"flag":     []any{nil, map[string]any{"on": true}},
		"state":    []any{int64(0), int64(1), []string{"k=v@1", "k=w@2"}},
		"events":   []string{"a.y"},
		"secret":   "hunter2",
	}
	for name, step := range steps {
		var got any
		r := sdktest.Run(t, runs(allCapabilities, func(ctx context.Context, j *sdk.Job) (err error) {
			got, err = step(ctx, j)
			return err
		}), "", sdktest.Options{Fake: fake})
		if r.Err != nil || !reflect.DeepEqual(got, want[name]) {
			t.Errorf("%s: %#v, %v; want %#v", name, got, r.Err, want[name])
		}
		r = sdktest.Run(t, runs(nil, func(ctx context.Context, j *sdk.Job) error {
			_, err := step(ctx, j)
			return err
		}), "", sdktest.Options{Fake: fake})
		if r.Err == nil || !strings.Contains(r.Err.Error(), "is not declared") {
			t.Errorf("%s, not declared: %v", name, r.Err)
		}
	}
	if p := fake.Playbooks(); len(p) != 1 || p[0].Name != "release.yml" || p[0].Hosts[0] != "web-1" {
		t.Errorf("playbooks %+v", p)
	}
	if e := fake.Published(); len(e) != 2 || len(fake.Notified()) != 1 || e[0].Data["n"] != 1.0 {
		t.Errorf("published %+v", e)
	}
}

func TestPlaybookErrorNamesHostAndTask(t *testing.T) {
	fake := &sdktest.Fake{OnPlaybook: func(sdk.PlaybookRun) ([]sdk.TaskResult, error) {
		return []sdk.TaskResult{{Host: "a", Task: "one", Status: "ok"}, {Host: "b", Task: "two", Status: "failed", Message: "no space"}}, errors.New("2 hosts, 1 failed")
	}}
	r := sdktest.Run(t, runs(allCapabilities, func(ctx context.Context, j *sdk.Job) error {
		results, err := j.Playbook(ctx, sdk.PlaybookRun{Name: "x.yml"})
		if len(results) != 2 {
			return fmt.Errorf("%d results", len(results))
		}
		return err
	}), "", sdktest.Options{Fake: fake})
	if want := `run playbook x.yml: 2 hosts, 1 failed: host b, task "two": no space`; r.Err == nil || r.Err.Error() != want {
		t.Errorf("got %v, want %s", r.Err, want)
	}
}

func TestCancelReachesCapabilities(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the stage's time is up"))
	defer cancel()
	var inner error
	r := sdktest.RunContext(ctx, t, runs(allCapabilities, func(ctx context.Context, j *sdk.Job) error {
		inner = j.WatchState(ctx, "", func(sdk.Entry) error { return nil })
		return inner
	}), "")
	if r.Err == nil || r.Err.Error() != "the stage's time is up" {
		t.Errorf("the core reads %v", r.Err)
	}
	if !errors.Is(inner, context.DeadlineExceeded) || !strings.Contains(inner.Error(), "the stage's time is up") {
		t.Errorf("the plugin reads %v", inner)
	}
}

// TestEndedCallIsCancelled ends a call in the core while the plugin has not been told of any cancellation yet.
func TestEndedCallIsCancelled(t *testing.T) {
	fake := &sdktest.Fake{OnPlaybook: func(sdk.PlaybookRun) ([]sdk.TaskResult, error) {
		return nil, fmt.Errorf("interrupted: %w", context.Canceled)
	}}
	sdktest.Run(t, runs(allCapabilities, func(ctx context.Context, j *sdk.Job) error {
		_, err := j.Playbook(ctx, sdk.PlaybookRun{Name: "x.yml"})
		if !errors.Is(err, context.Canceled) || err.Error() != "run playbook x.yml: interrupted: context canceled" || ctx.Err() != nil {
			t.Errorf("got %v, context %v", err, ctx.Err())
		}
		return nil
	}), "", sdktest.Options{Fake: fake})
}

// TestFaces holds that each face has its own capabilities, and the stage's when it does not say.
func TestFaces(t *testing.T) {
	t.Parallel()
	try := func(ctx context.Context, job *sdk.Job) error {
		_, stateErr := job.State(ctx, "k")
		_, flagErr := job.Flag(ctx, "f")
		for _, err := range []error{stateErr, flagErr} {
			if err != nil && !errors.Is(err, sdk.ErrRefused) {
				return err
			}
		}
		return sdk.Skipf("state %v, flags %v, workspace %v", stateErr == nil, flagErr == nil, job.Info.Workspace != "")
	}
	act := func(ctx context.Context, _ *nothing, _ sdk.Args, job *sdk.Job) error { return try(ctx, job) }
	stage := sdk.Stage[nothing]{
		Name: "faces", Version: "1.0.0", Capabilities: []sdk.Capability{sdk.Flags, sdk.Workspace},
		Run: func(ctx context.Context, _ *nothing, job *sdk.Job) error { return try(ctx, job) },
		Agent: &sdk.Agent[nothing]{
			Capabilities: []sdk.Capability{sdk.State},
			Watch:        func(ctx context.Context, _ *nothing, job *sdk.Job) error { return try(ctx, job) },
		},
		Actions: []sdk.Action[nothing]{
			{Name: "like-the-stage", Run: act},
			{Name: "own", Run: act, Capabilities: []sdk.Capability{sdk.State, sdk.Flags}},
			{Name: "none", Run: act, Capabilities: []sdk.Capability{}},
		},
	}
	o := sdktest.Options{Info: sdk.RunInfo{Workspace: t.TempDir()}}
	for face, tt := range map[string]struct {
		err  error
		want string
	}{
		"run":            {sdktest.Run(t, stage, "", o).Err, "state false, flags true, workspace true"},
		"agent":          {sdktest.Watch(t.Context(), t, stage, "", o).Err, "state true, flags false, workspace false"},
		"like the stage": {sdktest.Call(t, stage, "", "like-the-stage", nil, o).Err, "state false, flags true, workspace true"},
		"own":            {sdktest.Call(t, stage, "", "own", nil, o).Err, "state true, flags true, workspace false"},
		"none":           {sdktest.Call(t, stage, "", "none", nil, o).Err, "state false, flags false, workspace false"},
	} {
		if skip, ok := errors.AsType[*sdktest.Skip](tt.err); !ok || skip.Reason != tt.want {
			t.Errorf("%s: %v, want %s", face, tt.err, tt.want)
		}
	}
}

// TestSecrets holds the Fake to what the core promises, through the protocol.
func TestSecrets(t *testing.T) {
	fake := &sdktest.Fake{Secrets: map[string]string{"token": sdktest.Token}}
	sdktest.Secrets(t.Context(), t, fake.Capabilities())
	r := sdktest.Run(t, runs(allCapabilities, func(ctx context.Context, j *sdk.Job) error {
		sdktest.Secrets(ctx, t, j.Capabilities)
		return nil
	}), "", sdktest.Options{Fake: fake})
	if r.Err != nil {
		t.Error(r.Err)
	}
}

func TestPanicFailsItsCallOnly(t *testing.T) {
	r := sdktest.Run(t, runs(nil, func(context.Context, *sdk.Job) error { panic("boom\nsecond line") }), "")
	if r.Err == nil || r.Err.Error() != "plugin job panicked in Run: boom" {
		t.Errorf("error %v", r.Err)
	}
	stage := runs(nil, func(context.Context, *sdk.Job) error { return nil })
	stage.Check = func(*nothing) error { panic("in check") }
	if err := sdktest.Check(t, stage, ""); err == nil || err.Error() != "plugin job panicked in Check: in check" {
		t.Errorf("error %v", err)
	}
}

func TestForgottenGoroutineIsHarmless(t *testing.T) {
	leaked := make(chan *sdk.Job, 1)
	r := sdktest.Run(t, runs(nil, func(_ context.Context, j *sdk.Job) error {
		leaked <- j
		return nil
	}), "")
	(<-leaked).Logf("too late")
	if r.Err != nil || len(r.Logs) != 0 {
		t.Errorf("%v, %q", r.Err, r.Logs)
	}
}

func TestVerdictsKeepTheirContext(t *testing.T) {
	for name, err := range map[string]error{
		"canary: refused": fmt.Errorf("canary: %w", sdk.Failf("refused")),
	} {
		r := sdktest.Run(t, runs(nil, func(context.Context, *sdk.Job) error { return err }), "")
		if f := (*sdktest.Failure)(nil); !errors.As(r.Err, &f) || f.Reason != name {
			t.Errorf("%v, want %s", r.Err, name)
		}
	}
}

func TestStageMistakes(t *testing.T) {
	ok := func(context.Context, *nothing, *sdk.Job) error { return nil }
	tests := map[string]func() error{
		"needs a name":  func() error { _, err := sdk.Server(sdk.Stage[nothing]{Version: "1", Run: ok}, nil); return err },
		"needs Run":     func() error { _, err := sdk.Server(sdk.Stage[nothing]{Name: "x", Version: "1"}, nil); return err },
		"want a struct": func() error { return serverOf[int]() },
		"cannot hold": func() error {
			return serverOf[struct {
				A chan int `hcl:"a"`
			}]()
		},
		"default \"x\"": func() error {
			return serverOf[struct {
				A int `hcl:"a" default:"x"`
			}]()
		},
		"soon": func() error {
			return serverOf[struct {
				A sdk.Duration `hcl:"a" default:"\"soon\""`
			}]()
		},
		"unknown kind": func() error {
			return serverOf[struct {
				A int `hcl:"a,maybe"`
			}]()
		},
		"unique name": func() error {
			return serverOf[struct {
				A int `hcl:"a"`
				B int `hcl:"a"`
			}]()
		},
		"a label is a string": func() error {
			return serverOf[struct {
				A int `hcl:"a,label"`
			}]()
		},
	}
	for want, try := range tests {
		if err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func serverOf[C any]() error {
	_, err := sdk.Server(sdk.Stage[C]{Name: "x", Version: "1", Run: func(context.Context, *C, *sdk.Job) error { return nil }}, nil)
	return err
}

func TestOnlyTheCapabilityGivesAWorkspace(t *testing.T) {
	for want, caps := range map[string][]sdk.Capability{"": nil, "/src": {sdk.Workspace}} {
		got := "none"
		sdktest.Run(t, runs(caps, func(_ context.Context, job *sdk.Job) error {
			got = job.Info.Workspace
			return nil
		}), "", sdktest.Options{Info: sdk.RunInfo{Workspace: "/src"}})
		if got != want {
			t.Errorf("with %v: workspace %q, want %q", caps, got, want)
		}
	}
}
