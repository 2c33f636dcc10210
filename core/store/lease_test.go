package store_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
)

// machine is a connection to a shared store from a machine of its own, which can be cut.
func machine(t *testing.T, truth string, lease time.Duration) (*store.Files, *storetest.Faults) {
	t.Helper()
	faults := &storetest.Faults{Objects: store.NewFolder(truth)}
	f := store.OpenShared(t.TempDir(), faults, nil, nil)
	f.Lease = lease
	t.Cleanup(func() { _ = f.Close() })
	return f, faults
}

func lock(t *testing.T, f *store.Files, who string, wait func(core.Holder)) core.Lease {
	t.Helper()
	l, err := f.Lock(t.Context(), "lab", core.Holder{What: who}, wait)
	if err != nil {
		t.Fatalf("%s: %v", who, err)
	}
	t.Cleanup(func() { _ = l.Release() })
	return l
}

func lost(l core.Lease) bool {
	select {
	case <-l.Lost:
		return true
	default:
		return false
	}
}

// TestDeadHolderIsReplaced cuts a holder from the store. The next one waits for it, is told whom it replaces and has a
// higher number; the old one learns that it has lost, and what it gives back is not the new one's.
func TestDeadHolderIsReplaced(t *testing.T) {
	t.Parallel()
	truth := t.TempDir()
	one, cut := machine(t, truth, time.Second)
	two, _ := machine(t, truth, time.Second)
	first := lock(t, one, "first", nil)
	if _, err := two.Lock(t.Context(), "lab", core.Holder{What: "second"}, nil); err == nil {
		t.Fatal("two holders at once")
	}
	cut.Fail(func(string, string) error { return storetest.ErrAway })
	told := ""
	second := lock(t, two, "second", func(h core.Holder) { told = h.What })
	if told != "first" || second.After == nil || second.After.What != "first" || second.Fence != first.Fence+1 {
		t.Errorf("waited for %q, after %+v, number %d after %d", told, second.After, second.Fence, first.Fence)
	}
	<-first.Lost
	cut.Fail(nil)
	if err := first.Release(); err != nil {
		t.Errorf("release of a lost lease: %v", err)
	}
	if held, err := two.LeaseOn(t.Context(), "lab"); err != nil || held.Holder == nil || held.Holder.What != "second" || held.Fence != second.Fence {
		t.Errorf("then it is held by %+v, %v", held, err)
	}
	if lost(second) {
		t.Error("the second holder has lost it")
	}
	if err := second.Release(); err != nil {
		t.Error(err)
	}
	third := lock(t, one, "third", nil)
	if third.After != nil || third.Fence != second.Fence+1 {
		t.Errorf("after a release: after %+v, number %d", third.After, third.Fence)
	}
}

// TestLeaseOutlivesShortFaults loses some answers, and does not get through for a while that is shorter than the lease.
func TestLeaseOutlivesShortFaults(t *testing.T) {
	t.Parallel()
	const length = 20 * time.Second
	truth := t.TempDir()
	one, faults := machine(t, truth, length)
	two, _ := machine(t, truth, length)
	var beats, answersLost atomic.Int32
	faults.Lose(func(op, key string) bool {
		if op != "put" || !strings.HasSuffix(key, "lease.json") {
			return false
		}
		beats.Add(1)
		return beats.Load() == 2 && answersLost.Add(1) == 1
	})
	l := lock(t, one, "first", nil)
	for beats.Load() < 3 { // the one after a lost answer has come through
		if lost(l) {
			t.Fatal("a lost answer cost the lease")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if answersLost.Load() != 1 {
		t.Errorf("%d answers were lost, want 1", answersLost.Load())
	}
	if held, err := two.LeaseOn(t.Context(), "lab"); err != nil || held.Holder == nil || held.Holder.What != "first" {
		t.Errorf("held by %+v, %v", held, err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
}

// TestFreedLease takes an environment away from a holder that works.
func TestFreedLease(t *testing.T) {
	t.Parallel()
	truth := t.TempDir()
	one, _ := machine(t, truth, 2*time.Second)
	two, _ := machine(t, truth, 2*time.Second)
	first := lock(t, one, "first", nil)
	if h, err := two.FreeLease(t.Context(), "lab"); err != nil || h == nil || h.What != "first" {
		t.Fatalf("freed %+v, %v", h, err)
	}
	second := lock(t, two, "second", nil)
	if second.Fence <= first.Fence {
		t.Errorf("number %d after %d", second.Fence, first.Fence)
	}
	<-first.Lost
	if err := first.Release(); err != nil || lost(second) {
		t.Errorf("release of a freed lease: %v; second lost: %v", err, lost(second))
	}
}

// answered is how S3's client tells of an answer.
func answered(status int) error {
	return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: errors.New(http.StatusText(status))}
}

// TestPatient gets through to a store that fails now and then, recognises its own write whose answer was lost, and gives up
// at once on what does not pass.
func TestPatient(t *testing.T) {
	t.Parallel()
	faults := &storetest.Faults{Objects: store.NewFolder(t.TempDir())}
	p := store.Patient{Objects: faults, Wait: time.Minute}
	var calls atomic.Int32
	faults.Fail(func(string, string) error {
		if calls.Add(1)%3 != 0 {
			return answered(http.StatusServiceUnavailable)
		}
		return nil
	})
	if _, err := store.PutBytes(t.Context(), p, "a", []byte("one"), core.Condition{Absent: true}); err != nil {
		t.Fatal(err)
	}
	if b, _, err := store.ReadObject(t.Context(), p, "a"); err != nil || string(b) != "one" {
		t.Errorf("got %q, %v", b, err)
	}
	if calls.Load() < 6 {
		t.Errorf("%d calls: the store has not failed", calls.Load())
	}
	faults.Fail(nil)
	if _, err := store.PutBytes(t.Context(), p, "a", []byte("two"), core.Condition{Absent: true}); !errors.Is(err, core.ErrChanged) {
		t.Errorf("a value of somebody else was taken for ours: %v", err)
	}
	calls.Store(0)
	faults.Fail(func(string, string) error { calls.Add(1); return answered(http.StatusForbidden) })
	if _, err := store.PutBytes(t.Context(), p, "b", nil, core.Condition{}); err == nil || calls.Load() != 1 {
		t.Errorf("%v after %d calls, want one", err, calls.Load())
	}
}
