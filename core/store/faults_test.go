package store_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// record records a run with some lines up to its end, and returns what PutRun said of its beginning and its end.
func record(t *testing.T, f *store.Files, r core.Run, begun, ending func()) (begin, end error) {
	t.Helper()
	if begin = f.PutRun(t.Context(), r); begin != nil {
		return begin, nil
	}
	begun()
	for _, line := range []string{"one", "two", "three"} {
		if err := f.Append(t.Context(), core.Event{Run: r.ID, Kind: core.KindLog, Summary: line}); err != nil {
			t.Fatal(err)
		}
	}
	ending()
	r.Status, r.Ended = core.Passed, time.Now()
	return nil, f.PutRun(t.Context(), r)
}

func nothing() {}

// whole reports whether another machine sees a run to its end, with its lines.
func whole(t *testing.T, objects core.Objects, id core.RunID) {
	t.Helper()
	f := store.OpenShared(t.TempDir(), objects, nil, nil)
	defer f.Close()
	if err := f.Verify(t.Context(), id); err != nil {
		t.Errorf("verify: %v", err)
	}
	r, err := f.Run(t.Context(), id)
	if err != nil || r.Status != core.Passed {
		t.Errorf("elsewhere the run is %s, %v", r.Status, err)
	}
	var said []string
	for e, err := range f.Events(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, e.Summary)
	}
	if got := strings.Join(said, " "); got != "one two three" {
		t.Errorf("elsewhere it said %q", got)
	}
}

// away is a store that answers 503.
func away(string, string) error { return answered(http.StatusServiceUnavailable) }

// TestRunWaitsForTheStore has a store that answers 503 for long in the middle of a run.
func TestRunWaitsForTheStore(t *testing.T) {
	t.Parallel()
	truth := store.NewFolder(t.TempDir())
	faults := &storetest.Faults{Objects: truth}
	said := make(chan string, 100)
	patient := store.Patient{Objects: faults, Wait: time.Minute, Pause: time.Millisecond, Say: func(line string) { said <- line }}
	f := store.OpenShared(t.TempDir(), patient, nil, nil)
	r := storetest.NewRun(1)
	begin, end := record(t, f, r, func() { faults.Fail(away) }, func() {
		go func() { // the end of the run is on its way
			line := <-said
			for _, want := range []string{"the store does not do its work: ", "503", "trying again for "} {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in: %s", want, line)
				}
			}
			faults.Fail(nil)
		}()
	})
	if err := errors.Join(begin, end, f.Close()); err != nil {
		t.Error(err)
	}
	whole(t, truth, r.ID)
}

// TestMinuteOf503 has a store that, in the middle of a run, answers 503 for a whole minute, then is slow, then gives a
// wrong byte. The run ends, is whole, and has kept its environment, for which another command waits.
func TestMinuteOf503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := store.NewFolder(t.TempDir())
		faults := &storetest.Faults{Objects: truth}
		var said []string
		note := func(line string) { said = append(said, line) }
		open := func(note func(string)) *store.Files {
			return store.OpenShared(t.TempDir(), store.Patient{Objects: faults, Wait: 2 * time.Minute, Say: note}, note, nil)
		}
		f, other := open(note), open(nil)
		lease, err := f.Lock(t.Context(), "lab", core.Holder{What: "the run"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		waited := make(chan core.Lease)
		r := storetest.NewRun(1)
		begun := func() {
			faults.Fail(away)
			go func() {
				next, err := other.Lock(t.Context(), "lab", core.Holder{What: "the next"}, func(core.Holder) {})
				if err != nil {
					t.Error(err)
				}
				waited <- next
			}()
			time.Sleep(time.Minute)
			faults.Fail(func(string, string) error { time.Sleep(3 * time.Second); return nil })
			time.Sleep(30 * time.Second)
			var wrong atomic.Bool
			faults.Fail(func(op, key string) error {
				if op == "get" && !wrong.Swap(true) {
					return &store.DamageError{File: key, Problem: "is damaged"}
				}
				return nil
			})
		}
		begin, end := record(t, f, r, begun, nothing)
		if err := errors.Join(begin, end); err != nil {
			t.Error(err)
		}
		if lost(lease) {
			t.Error("the run has lost its environment, which nobody else could take")
		}
		if err := errors.Join(lease.Release(), f.Close()); err != nil {
			t.Error(err)
		}
		if next := <-waited; next.After != nil || next.Fence != lease.Fence+1 {
			t.Errorf("the next holder took the place of %v, number %d after %d", next.After, next.Fence, lease.Fence)
		} else if err := errors.Join(next.Release(), other.Close()); err != nil {
			t.Error(err)
		}
		if all := strings.Join(said, "\n"); !strings.Contains(all, "the store does not do its work: ") || !strings.Contains(all, "503") {
			t.Errorf("said %q", all)
		}
		whole(t, truth, r.ID)
	})
}

// TestUnrecordedRunDoesNotBegin has a store that is away when a run begins: nothing of the run is left, here or there.
func TestUnrecordedRunDoesNotBegin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	faults := &storetest.Faults{Objects: store.NewFolder(t.TempDir())}
	faults.Fail(away)
	f := store.OpenShared(dir, store.Patient{Objects: faults, Wait: 100 * time.Millisecond, Pause: time.Millisecond}, nil, nil)
	begin, _ := record(t, f, storetest.NewRun(1), func() { t.Error("it has begun") }, nothing)
	if begin == nil || !strings.Contains(begin.Error(), "503") || !strings.Contains(begin.Error(), "it does not begin") {
		t.Errorf("got %v", begin)
	}
	faults.Fail(nil)
	if err := f.SendRest(t.Context()); err != nil {
		t.Error(err)
	}
	if runs, err := f.Runs(t.Context(), store.Filter{}); err != nil || len(runs) > 0 {
		t.Errorf("then there is %v, %v", runs, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "runs", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestEndThatCannotBeWritten has a store that goes away for good after the beginning of a run. The end is kept, said, and
// sent by the next command.
func TestEndThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	truth, dir := store.NewFolder(t.TempDir()), t.TempDir()
	faults := &storetest.Faults{Objects: truth}
	said := make(chan string, 100)
	patient := store.Patient{Objects: faults, Wait: 100 * time.Millisecond, Pause: time.Millisecond}
	f := store.OpenShared(dir, patient, func(line string) { said <- line }, nil)
	r := storetest.NewRun(1)
	begin, end := record(t, f, r, func() { faults.Fail(away) }, func() {
		if line := <-said; !strings.Contains(line, "goes on, but cannot be recorded: ") {
			t.Errorf("said %q", line)
		}
	})
	if begin != nil || end == nil {
		t.Fatalf("begin: %v, end: %v", begin, end)
	}
	for _, want := range []string{string(r.ID), "503", "is only on this machine, in " + dir, "sends it"} {
		if !strings.Contains(end.Error(), want) {
			t.Errorf("no %q in: %v", want, end)
		}
	}
	if err := f.Close(); err == nil {
		t.Error("Close does not say what is left")
	}
	faults.Fail(nil)
	next := store.OpenShared(dir, patient, nil, nil)
	if err := errors.Join(next.SendRest(t.Context()), next.Close()); err != nil {
		t.Error(err)
	}
	whole(t, truth, r.ID)
}

// lined is a shared store on a real server, behind a line of its own.
func lined(t *testing.T, wait time.Duration) (*buckettest.Line, core.Objects, func() core.Objects) {
	t.Helper()
	g := buckettest.Gateway(t)
	open := func(endpoint string) core.Objects {
		o := g.Options
		o.Endpoint = endpoint
		return store.Patient{Objects: openS3(t, o), Wait: wait, Pause: 10 * time.Millisecond}
	}
	l := g.Line(t)
	return l, open(l.Endpoint), func() core.Objects { return open(g.Endpoint) }
}

// TestTroubledLine has the same faults on the wire to a real server: it answers 503, the line breaks, is slow, and bytes
// of what is sent and of what is answered are others when they arrive.
func TestTroubledLine(t *testing.T) {
	t.Parallel()
	line, objects, elsewhere := lined(t, time.Minute)
	var requests atomic.Int32
	line.Do(func(r *http.Request) buckettest.Trouble {
		switch requests.Add(1) % 7 {
		case 0:
			return buckettest.Trouble{Status: http.StatusServiceUnavailable}
		case 2:
			return buckettest.Trouble{Cut: true}
		case 3:
			return buckettest.Trouble{Wait: 300 * time.Millisecond}
		case 5:
			return buckettest.Trouble{FlipSent: r.Method == http.MethodPut, Flip: r.Method == http.MethodGet && r.URL.Query().Get("list-type") == ""}
		}
		return buckettest.Trouble{}
	})
	f := store.OpenShared(t.TempDir(), objects, nil, nil)
	if err := f.Check(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r := storetest.NewRun(1)
	if begin, end := record(t, f, r, nothing, nothing); begin != nil || end != nil {
		t.Errorf("begin: %v, end: %v", begin, end)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	whole(t, elsewhere(), r.ID)
	whole(t, objects, r.ID)
	if requests.Load() < 14 {
		t.Errorf("only %d requests: not every kind of trouble was met", requests.Load())
	}
}

// TestWrongBytes has a store whose answers stay wrong: what they hold is refused.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	line, objects, _ := lined(t, 500*time.Millisecond)
	line.Do(func(r *http.Request) buckettest.Trouble { return buckettest.Trouble{Flip: r.Method == http.MethodGet} })
	if _, err := store.PutBytes(t.Context(), objects, "a", []byte("right"), core.Condition{}); err != nil {
		t.Fatal(err)
	}
	var damage *store.DamageError
	if b, _, err := store.ReadObject(t.Context(), objects, "a"); !errors.As(err, &damage) {
		t.Errorf("got %q, %v", b, err)
	}
	file := filepath.Join(t.TempDir(), "app.tar")
	if err := os.WriteFile(file, []byte("an artifact"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two := store.OpenShared(t.TempDir(), objects, nil, nil), store.OpenShared(t.TempDir(), objects, nil, nil)
	a, err := one.PutArtifact(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Artifact(t.Context(), a.Digest); !errors.As(err, &damage) {
		t.Errorf("an artifact with a wrong byte: %v", err)
	}
	line.Do(nil)
	if _, err := two.Artifact(t.Context(), a.Digest); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestInterruptedTakeOver copies the history of a folder over a line on which some bytes are others when they arrive, and
// which breaks again and again. Each attempt goes on where the one before has stopped, until all is there as it was.
func TestInterruptedTakeOver(t *testing.T) {
	t.Parallel()
	line, objects, elsewhere := lined(t, 300*time.Millisecond)
	from := store.Open(t.TempDir())
	var ids []core.RunID
	var artifacts []core.Digest
	for n := range 3 {
		file := filepath.Join(t.TempDir(), "app.tar")
		if err := os.WriteFile(file, fmt.Appendf(nil, "artifact %d", n), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := from.PutArtifact(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		r := storetest.NewRun(n + 1)
		r.Stages[0].Outputs = map[string]any{"artifact": string(a.Digest)}
		begin, end := record(t, from, r, nothing, nothing)
		if err := errors.Join(begin, end); err != nil {
			t.Fatal(err)
		}
		ids, artifacts = append(ids, r.ID), append(artifacts, a.Digest)
	}
	attempts, copied := int32(0), store.Taken{}
	for err := errors.New("not yet"); err != nil; {
		if attempts++; attempts > 30 {
			t.Fatal(err)
		}
		var requests atomic.Int32
		line.Do(func(r *http.Request) buckettest.Trouble {
			n := requests.Add(1)
			return buckettest.Trouble{
				Cut:      n > 6+attempts,
				FlipSent: n%3 == 0 && r.Method == http.MethodPut,
				Flip:     n%5 == 0 && r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "",
			}
		})
		f := store.OpenShared(t.TempDir(), objects, nil, nil)
		copied, err = f.TakeOver(t.Context(), from)
		_ = f.Close()
	}
	if attempts < 3 || copied.There == 0 {
		t.Errorf("%d attempts, the last one found %d runs there: it was not interrupted", attempts, copied.There)
	}
	f := store.OpenShared(t.TempDir(), elsewhere(), nil, nil)
	defer f.Close()
	for n, id := range ids {
		whole(t, elsewhere(), id)
		if _, err := f.Artifact(t.Context(), artifacts[n]); err != nil {
			t.Error(err)
		}
	}
}
