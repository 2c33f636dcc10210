// Package storetest is the conformance suite of stores: what the engine and the commands rely on, whatever
// keeps the runs. The tests of each store import it.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// Store is what is tested.
type Store interface {
	core.Store
	Runs(ctx context.Context, f store.Filter) ([]core.Run, error)
	Find(ctx context.Context, prefix string) (core.Run, error)
	Events(ctx context.Context, id core.RunID) iter.Seq2[core.Event, error]
	Follow(ctx context.Context, id core.RunID) iter.Seq2[core.Event, error]
	Verify(ctx context.Context, id core.RunID) error
	PutArtifact(ctx context.Context, path string) (core.Artifact, error)
	Artifact(ctx context.Context, d core.Digest) (core.Artifact, error)
	Lock(ctx context.Context, env string, h core.Holder, wait func(core.Holder)) (core.Lease, error)
}

// Run tests a store. Each call of open returns a new connection to one place that is empty at first, as
// another process would have.
func Run(t *testing.T, open func(t *testing.T) func() Store) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, open func() Store){
		"Runs": testRuns, "Find": testFind, "Same": testSame, "Passed": testPassed, "Stages": testStages, "Journal": testJournal, "Follow": testFollow,
		"Artifacts": testArtifacts, "Lock": testLock,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// NewRun is a run that this process executes and that began n seconds after some day.
func NewRun(n int) core.Run {
	began := time.Date(2030, 1, 2, 3, 4, n, 0, time.UTC)
	limit := 70.5
	return core.Run{
		ID: core.RunID(core.NewID(began)), Pipeline: "shop", Commit: "abc", Subject: "Fix it", Branch: "main", Environment: "lab",
		Status: core.Running, Started: began, PID: os.Getpid(),
		Stages: []core.StageResult{
			{ID: "a.a", Status: core.Running, Started: began, Outputs: map[string]any{"n": limit, "list": []any{"x"}}},
			{ID: "b.b", Status: core.Pending},
		},
	}
}

func ended(r core.Run, s core.Status) core.Run {
	r.Status, r.Ended = s, r.Started.Add(time.Minute)
	return r
}

func put(t *testing.T, s Store, runs ...core.Run) {
	t.Helper()
	for _, r := range runs {
		if err := s.PutRun(t.Context(), r); err != nil {
			t.Fatalf("PutRun: %v", err)
		}
	}
}

// past opens what earlier runs came to; none of them may be damaged.
func past(t *testing.T, s Store) core.History {
	t.Helper()
	h, err := s.History(t.Context(), "shop", func(err error) { t.Errorf("History: %v", err) })
	if err != nil {
		t.Fatalf("History: %v", err)
	}
	return h
}

func testSame(t *testing.T, open func() Store) {
	s := open()
	file := filepath.Join(t.TempDir(), "a.tar.zst")
	if err := os.WriteFile(file, []byte("made once"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := s.PutArtifact(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	with := func(n int, status core.Status, inputs core.Digest, artifact any) core.Run {
		r := NewRun(n)
		r.Stages[0].Status, r.Stages[0].Inputs = status, inputs
		r.Stages[0].Outputs = map[string]any{"artifact": artifact}
		return ended(r, core.Passed)
	}
	good := with(1, core.Passed, "sha256:1", string(a.Digest))
	again := with(2, core.Skipped, "sha256:1", string(a.Digest))
	again.Stages[0].Reused = good.ID
	put(t, s, good, again, with(3, core.Failed, "sha256:1", "x"), with(4, core.Skipped, "sha256:1", "x"),
		with(5, core.Passed, "sha256:2", "sha256:"+strings.Repeat("0", 64)), with(6, core.Passed, "", "x"))
	h := past(t, open())
	for inputs, want := range map[core.Digest]core.RunID{"sha256:1": good.ID, "sha256:2": "", "sha256:3": "", "": ""} {
		r, err := h.Same(t.Context(), "a.a", inputs)
		if err != nil || (r == nil) != (want == "") || r != nil && (r.Reused != want || r.Outputs["artifact"] != string(a.Digest)) {
			t.Errorf("inputs %q: %+v, %v; want run %q", inputs, r, err, want)
		}
	}
	if r, err := h.Same(t.Context(), "b.b", "sha256:1"); r != nil || err != nil {
		t.Errorf("of another stage: %+v, %v", r, err)
	}
}

func testPassed(t *testing.T, open func() Store) {
	s := open()
	with := func(n int, commit string, change func(*core.Run)) core.Run {
		r := NewRun(n)
		r.Commit, r.Stages[0].Status, r.Stages[0].Outputs = commit, core.Passed, map[string]any{"from": commit}
		if change != nil {
			change(&r)
		}
		return ended(r, core.Passed)
	}
	if p, err := past(t, open()).Passed(t.Context(), "a.a", core.RunOptions{}); p != nil || err != nil {
		t.Errorf("in an empty store: %+v, %v", p, err)
	}
	first := with(1, "one", nil)
	put(t, s, first,
		with(2, "elsewhere", func(r *core.Run) { r.Environment = "production" }),
		with(3, "branched", func(r *core.Run) { r.Branch = "feature" }),
		with(4, "other", func(r *core.Run) { r.Pipeline = "other" }),
		with(5, "failed", func(r *core.Run) { r.Stages[0].Status = core.Failed }),
		with(6, "two", func(r *core.Run) { r.Stages[0].Status, r.Stages[0].Reused = core.Skipped, first.ID }),
		with(7, "three", func(r *core.Run) { r.Stages[0].Status, r.Stages[0].Reused = core.Skipped, "01GONE" }),
	)
	here := func(commit string) core.RunOptions {
		return core.RunOptions{Commit: commit, Branch: "main", Environment: "lab"}
	}
	elsewhere := here("new")
	elsewhere.Environment = "production"
	for name, tt := range map[string]struct {
		stage core.StageID
		o     core.RunOptions
		want  string // the commit
	}{
		"through one in which it need not run": {"a.a", here("new"), "one"},
		"for the commit itself":                {"a.a", here("one"), ""},
		"in another environment":               {"a.a", elsewhere, "elsewhere"},
		"a stage that never passed":            {"b.b", here("new"), ""},
		"a stage that there is not":            {"c.c", here("new"), ""},
	} {
		p, err := past(t, open()).Passed(t.Context(), tt.stage, tt.o)
		got := ""
		if p != nil {
			got = p.Commit
			if p.Outputs["from"] != got || p.Run == "" {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: got commit %q, %v, want %q", name, got, err, tt.want)
		}
	}
}

// A stage is recorded on its own, and a reader sees it soon.
func testStages(t *testing.T, open func() Store) {
	s := open()
	r := NewRun(1)
	put(t, s, r)
	for i, status := range []core.Status{core.Running, core.Failed, core.Passed} {
		r.Stages[1].Status, r.Stages[1].Attempts = status, i
		if err := s.PutStage(t.Context(), r.ID, r.Stages[1]); err != nil {
			t.Fatalf("PutStage: %v", err)
		}
		reader := open()
		eventually(t, func() (bool, string) {
			got, err := reader.Find(t.Context(), string(r.ID))
			return err == nil && fmt.Sprintf("%+v", got) == fmt.Sprintf("%+v", r), fmt.Sprintf("%s:\n%+v, %v\nwant %+v", status, got, err, r)
		})
	}
	if err := open().Verify(t.Context(), r.ID); err != nil {
		t.Errorf("Verify of a run that goes on: %v", err)
	}
	r = ended(r, core.Passed)
	put(t, s, r)
	if got, err := open().Find(t.Context(), string(r.ID)); err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", r) {
		t.Errorf("at the end:\ngot  %+v, %v\nwant %+v", got, err, r)
	}
}

func testRuns(t *testing.T, open func() Store) {
	s := open()
	if runs, err := s.Runs(t.Context(), store.Filter{}); err != nil || len(runs) > 0 {
		t.Fatalf("of an empty store: %v, %v", runs, err)
	}
	first, second, third := NewRun(1), NewRun(2), NewRun(3)
	second.Branch, second.Environment, third.Pipeline = "feature", "production", "other"
	put(t, s, second, first, third, ended(first, core.Passed), ended(second, core.Failed))
	tests := map[string]struct {
		filter store.Filter
		want   []core.RunID
	}{
		"all, the newest first": {store.Filter{}, []core.RunID{third.ID, second.ID, first.ID}},
		"limit":                 {store.Filter{Limit: 2}, []core.RunID{third.ID, second.ID}},
		"status":                {store.Filter{Statuses: []core.Status{core.Passed, core.Failed}}, []core.RunID{second.ID, first.ID}},
		"status, limit":         {store.Filter{Statuses: []core.Status{core.Passed}, Limit: 1}, []core.RunID{first.ID}},
		"branch":                {store.Filter{Branch: "feature"}, []core.RunID{second.ID}},
		"environment":           {store.Filter{Environment: "lab"}, []core.RunID{third.ID, first.ID}},
		"pipeline":              {store.Filter{Pipeline: "other"}, []core.RunID{third.ID}},
		"nothing":               {store.Filter{Branch: "x"}, nil},
	}
	for name, tt := range tests {
		runs, err := open().Runs(t.Context(), tt.filter)
		var got []core.RunID
		for _, r := range runs {
			got = append(got, r.ID)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, tt.want)
		}
	}
	got, err := open().Find(t.Context(), string(third.ID))
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", third) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, third)
	}
}

func testFind(t *testing.T, open func() Store) {
	s := open()
	missing := (*core.NotFoundError)(nil)
	if _, err := s.Find(t.Context(), ""); !errors.As(err, &missing) {
		t.Errorf("in an empty store: %v", err)
	}
	first, second := NewRun(1), NewRun(50)
	put(t, s, ended(first, core.Passed), ended(second, core.Failed))
	for prefix, want := range map[string]core.RunID{
		string(first.ID): first.ID, string(first.ID[:12]): first.ID, strings.ToLower(string(second.ID[:10])): second.ID, "": second.ID,
	} {
		if got, err := s.Find(t.Context(), prefix); err != nil || got.ID != want {
			t.Errorf("%q: got %s, %v, want %s", prefix, got.ID, err, want)
		}
	}
	if _, err := s.Find(t.Context(), string(first.ID[:6])); err == nil || !strings.Contains(err.Error(), string(first.ID)) ||
		!strings.Contains(err.Error(), string(second.ID)) {
		t.Errorf("of two that fit: %v", err)
	}
	if _, err := s.Find(t.Context(), "zz"); !errors.As(err, &missing) || missing.Remedy == "" {
		t.Errorf("of none: %v", err)
	}
}

func event(r core.Run, n int) core.Event {
	at := r.Started.Add(time.Duration(n) * time.Second)
	return core.Event{
		ID: core.NewID(at), Time: at, Run: r.ID, Source: "a.a", Kind: core.KindLog, Severity: core.Info,
		Summary: fmt.Sprintf("line %d\n<é>", n), Data: map[string]any{"n": float64(n), "deep": map[string]any{"x": []any{"y"}}},
	}
}

func testJournal(t *testing.T, open func() Store) {
	s := open()
	r := NewRun(1)
	put(t, s, r)
	var want []core.Event
	for n := range 20 {
		want = append(want, event(r, n))
		if err := s.Append(t.Context(), want[n]); err != nil {
			t.Fatalf("Append: %v", err)
		}
	}
	put(t, s, ended(r, core.Passed))
	want = append(want, event(r, 99)) // such as a delivered notification
	if err := s.Append(t.Context(), want[20]); err != nil {
		t.Fatalf("Append after the end: %v", err)
	}
	other := open()
	eventually(t, func() (bool, string) {
		var got []core.Event
		for e, err := range other.Events(t.Context(), r.ID) {
			if err != nil {
				t.Fatalf("Events: %v", err)
			}
			got = append(got, e)
		}
		return fmt.Sprintf("%+v", got) == fmt.Sprintf("%+v", want), fmt.Sprintf("%+v\nwant %+v", got, want)
	})
	if err := other.Verify(t.Context(), r.ID); err != nil {
		t.Errorf("Verify: %v", err)
	}
	for e, err := range other.Events(t.Context(), r.ID) {
		if err != nil || e.ID != want[0].ID {
			t.Errorf("the first again: %+v, %v", e, err)
		}
		break // a reader may leave at any time
	}
	for _, err := range other.Events(t.Context(), NewRun(2).ID) {
		t.Errorf("a run without events has one, %v", err)
	}
}

func testFollow(t *testing.T, open func() Store) {
	s := open()
	r := NewRun(1)
	put(t, s, r)
	if err := s.Append(t.Context(), event(r, 1)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range open().Follow(t.Context(), r.ID) {
		if err != nil {
			t.Fatalf("Follow: %v", err)
		}
		got = append(got, e.Summary[:6])
		switch len(got) {
		case 1: // it has seen the first; what comes now is new
			if err := s.Append(t.Context(), event(r, 2)); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := s.Append(t.Context(), event(r, 3)); err != nil {
				t.Fatal(err)
			}
			put(t, s, ended(r, core.Passed))
		}
	}
	if !slices.Equal(got, []string{"line 1", "line 2", "line 3"}) {
		t.Errorf("got %q", got)
	}
}

func testArtifacts(t *testing.T, open func() Store) {
	const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello
	s := open()
	path := func() string {
		p := filepath.Join(t.TempDir(), "app.tar.zst")
		if err := os.WriteFile(p, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var first core.Artifact
	for range 2 {
		p := path()
		a, err := s.PutArtifact(t.Context(), p)
		if err != nil || a.Digest != digest || a.Size != 5 || !strings.HasSuffix(a.Path, ".tar.zst") {
			t.Fatalf("PutArtifact: %+v, %v", a, err)
		}
		if _, err := os.Stat(p); err == nil {
			t.Error("the file was not taken over")
		}
		if first == (core.Artifact{}) {
			first = a
		}
		if a != first {
			t.Errorf("the same content is %+v, then %+v", first, a)
		}
	}
	s = open()
	a, err := s.Artifact(t.Context(), digest)
	if err != nil || a.Digest != first.Digest || a.Size != first.Size || filepath.Base(a.Path) != filepath.Base(first.Path) {
		t.Fatalf("Artifact: %+v, %v", a, err)
	}
	if b, err := os.ReadFile(a.Path); err != nil || string(b) != "hello" {
		t.Errorf("content: %q, %v", b, err)
	}
	missing := (*core.NotFoundError)(nil)
	if _, err := s.Artifact(t.Context(), core.Digest("sha256:"+strings.Repeat("0", 64))); !errors.As(err, &missing) {
		t.Errorf("of none: %v", err)
	}
	for _, bad := range []core.Digest{"", "sha256:", "sha256:../../etc/passwd", core.Digest("md5:" + strings.Repeat("0", 64))} {
		if _, err := s.Artifact(t.Context(), bad); err == nil || errors.As(err, &missing) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := os.WriteFile(a.Path, []byte("hellO"), 0o600); err == nil { // whoever may change it is found out
		if a, err := s.Artifact(t.Context(), digest); err == nil { // a copy is replaced
			if b, err := os.ReadFile(a.Path); err != nil || string(b) != "hello" {
				t.Errorf("changed content: %q, %v", b, err)
			}
		} else if !strings.Contains(err.Error(), "damaged") {
			t.Errorf("changed content: %v", err)
		}
		if _, err := s.PutArtifact(t.Context(), path()); err != nil {
			t.Errorf("PutArtifact over changed content: %v", err)
		}
		if _, err := s.Artifact(t.Context(), digest); err != nil {
			t.Errorf("after that: %v", err)
		}
	}
}

func testLock(t *testing.T, open func() Store) {
	s, other := open(), open()
	first, err := s.Lock(t.Context(), "lab", core.Holder{What: "troop run", Run: "01R"}, nil)
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	t.Cleanup(func() { _ = first.Release() })
	_, err = other.Lock(t.Context(), "lab", core.Holder{What: "troop apply"}, nil)
	locked := (*core.LockedError)(nil)
	if !errors.As(err, &locked) || locked.Holder.Run != "01R" || locked.Holder.What != "troop run" || locked.Holder.PID != os.Getpid() {
		t.Fatalf("second Lock: %v", err)
	}
	elsewhere, err := other.Lock(t.Context(), "production", core.Holder{}, nil)
	if err != nil {
		t.Fatalf("Lock of another environment: %v", err)
	}
	if err := elsewhere.Release(); err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	_, err = other.Lock(ctx, "lab", core.Holder{}, func(core.Holder) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that is given up: %v", err)
	}
	second, err := other.Lock(t.Context(), "lab", core.Holder{What: "troop apply"}, func(h core.Holder) {
		if h.What != "troop run" {
			t.Errorf("waits for %+v", h)
		}
		if err := first.Release(); err != nil {
			t.Errorf("release: %v", err)
		}
	})
	if err != nil {
		t.Fatalf("a wait: %v", err)
	}
	if second.Fence <= first.Fence || second.After != nil {
		t.Errorf("the second lease is %+v, after number %d", second, first.Fence)
	}
	if err := first.Release(); err != nil { // twice is harmless, and frees nobody else's
		t.Errorf("second release: %v", err)
	}
	if _, err := s.Lock(t.Context(), "lab", core.Holder{}, nil); !errors.As(err, &locked) || locked.Holder.What != "troop apply" {
		t.Errorf("after the second release: %v", err)
	}
	if err := second.Release(); err != nil {
		t.Error(err)
	}
	third, err := open().Lock(t.Context(), "lab", core.Holder{}, nil) // the number does not begin anew
	if err != nil || third.Fence <= second.Fence {
		t.Fatalf("the third lease is %+v, %v, after number %d", third, err, second.Fence)
	}
	if err := third.Release(); err != nil {
		t.Error(err)
	}
}

// eventually waits until a reader on another machine sees what was written: lines come in batches there.
func eventually(t *testing.T, see func() (ok bool, got string)) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		ok, got := see()
		if ok {
			return
		}
		if time.Since(began) > time.Minute {
			t.Errorf("a minute later, a reader sees %s", got)
			return
		}
	}
}
