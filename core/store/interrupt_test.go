package store_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
)

// TestInterrupt lets one machine end the run of another, which lives after all: what it records then is refused, it is told
// so, and everybody sees one history.
func TestInterrupt(t *testing.T) {
	objects := store.NewFolder(t.TempDir())
	var mu sync.Mutex
	var lost error
	dir := t.TempDir()
	his := store.OpenShared(dir, objects, nil, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		lost = err
	})
	ours := store.OpenShared(t.TempDir(), objects, nil, nil)
	ctx := t.Context()
	r := storetest.NewRun(1)
	if err := his.PutRun(ctx, r); err != nil {
		t.Fatal(err)
	}
	if err := his.Append(ctx, core.Event{Run: r.ID, Source: "run", Kind: core.KindLog, Summary: "before"}); err != nil {
		t.Fatal(err)
	}
	if err := his.PutRun(ctx, r); err != nil { // sends what there is
		t.Fatal(err)
	}
	if silent, err := ours.Silent(ctx, r.ID); err != nil || silent > time.Minute {
		t.Errorf("silent for %s, %v", silent, err)
	}
	if err := ours.Interrupt(ctx, r, "worker w1 was not heard of"); err != nil {
		t.Fatal(err)
	}
	if err := ours.Interrupt(ctx, r, "again"); !errors.Is(err, core.ErrChanged) {
		t.Errorf("interrupted twice: %v", err)
	}
	for range 3 {
		if err := his.Append(ctx, core.Event{Run: r.ID, Source: "run", Kind: core.KindLog, Summary: "too late"}); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		told := lost
		mu.Unlock()
		if errors.Is(told, core.ErrChanged) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the run was not told that it was ended: %v", told)
		}
	}
	late := r
	late.Status, late.Ended = core.Passed, time.Now()
	if err := his.PutRun(ctx, late); !errors.Is(err, core.ErrChanged) {
		t.Errorf("the end of the late run: %v", err)
	}
	if err := his.Close(); !errors.Is(err, core.ErrChanged) {
		t.Errorf("close: %v", err)
	}
	his = store.OpenShared(dir, objects, nil, nil)
	if err := his.SendRest(ctx); err != nil {
		t.Errorf("send the rest: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "runs", "*", "unsent")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for name, f := range map[string]*store.Files{"his": his, "ours": ours} {
		got, err := f.Run(ctx, r.ID)
		if err != nil || got.Status != core.Cancelled || got.Reason != "worker w1 was not heard of" || got.Ended.IsZero() {
			t.Errorf("%s: %s, %q, %v", name, got.Status, got.Reason, err)
		}
		var texts []string
		for e, err := range f.Events(ctx, r.ID) {
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, e.Summary)
		}
		if strings.Join(texts, ",") != "before" {
			t.Errorf("%s: events %q", name, texts)
		}
		v, err := f.VerifyAll(ctx, []core.Run{got}, "")
		if err != nil || len(v.Damage) > 0 {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

// TestInterruptBefore ends a run that has not begun: then it cannot.
func TestInterruptBefore(t *testing.T) {
	objects := store.NewFolder(t.TempDir())
	his, ours := store.OpenShared(t.TempDir(), objects, nil, nil), store.OpenShared(t.TempDir(), objects, nil, nil)
	r := storetest.NewRun(1)
	if err := ours.Interrupt(t.Context(), r, "worker w1 was not heard of"); err != nil {
		t.Fatal(err)
	}
	if err := his.PutRun(t.Context(), r); !errors.Is(err, core.ErrChanged) {
		t.Errorf("it began: %v", err)
	}
	for _, f := range []*store.Files{his, ours} {
		got, err := f.Run(t.Context(), r.ID)
		if err != nil || got.Status != core.Cancelled || got.Started.IsZero() || got.Ended.IsZero() {
			t.Errorf("%s %q, %v", got.Status, got.Reason, err)
		}
		if v, err := f.VerifyAll(t.Context(), []core.Run{got}, ""); err != nil || len(v.Damage) > 0 {
			t.Errorf("%v, %v", v, err)
		}
	}
}
