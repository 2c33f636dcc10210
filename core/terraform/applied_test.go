package terraform

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// The next plan is compared with the one that was applied: what changed since, and what changes again.
func TestSince(t *testing.T) {
	w := workspaceFor(t)
	first := planA()
	first.Inputs = "sha256:1111"
	first.Changes = append(first.Changes, Change{Address: "x.z", Action: Create})
	first.Cost = &Cost{After: Range{90, 90}}
	if r := reviewed(t, w, first, approve); r.Since != nil {
		t.Fatalf("nothing was applied, and it is compared with %s", r.Since)
	}
	r := reviewed(t, w, first, approve)
	if err := w.Decide(r, Decision{By: "alice", From: "here"}); err != nil {
		t.Fatal(err)
	}
	approval, err := w.used(first)
	if err != nil || approval == nil {
		t.Fatal(approval, err)
	}
	if err := w.keep(first, approval, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}

	next := planA()
	next.Inputs, next.Origin.Commit, next.Digest = "sha256:2222", "c2", "sha256:bbbb"
	r = reviewed(t, w, next, core.Review{MaxDestroy: -1})
	want := "plan " + first.Name() + " (2 to create) was applied 2026-01-02 03:04 UTC, approved by alice; since then the commit and the module or its variables changed; changed again: x.y"
	if r.Since == nil || r.Since.String() != want {
		t.Fatalf("got  %s\nwant %s", r.Since, want)
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Since the last applied plan", "2 to create, approved by alice", "the commit and the module or its variables", "90.00 USD a month", "<code>x.y</code>"} {
		if !strings.Contains(string(page), part) {
			t.Errorf("the page does not say %q", part)
		}
	}
	if r := reviewed(t, w, &Plan{Origin: origin}, approve); r.Since != nil {
		t.Errorf("an empty plan is compared with %s", r.Since)
	}
}
