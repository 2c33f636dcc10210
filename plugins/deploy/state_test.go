package main

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestEffectiveWeights(t *testing.T) {
	t.Parallel()
	d := desired{Weights: weights{2, 1}}
	want := func(c *closing, w weights) {
		t.Helper()
		if got := d.effective(c); got != w {
			t.Errorf("generation %d, open %v, %+v: got %v, want %v", d.Generation, d.Open, c, got, w)
		}
	}
	want(nil, weights{2, 0})
	d.open(time.Now())
	want(nil, weights{2, 1})
	closed := &closing{Generation: d.Generation}
	want(closed, weights{2, 0})
	d.open(time.Now()) // a closing holds for one generation
	want(closed, weights{2, 1})
}

func TestHistory(t *testing.T) {
	t.Parallel()
	d := desired{Releases: map[string]release{}}
	for i := range 8 {
		id := fmt.Sprint(i)
		d.Releases[id] = release{ID: id}
		d.promoted(id)
	}
	d.promoted("7") // again
	if want := []string{"6", "5", "4", "3"}; d.Good != "7" || !slices.Equal(d.History, want) {
		t.Errorf("good %s, history %v; want 7 and %v", d.Good, d.History, want)
	}
	if len(d.Releases) != 5 {
		t.Errorf("%d releases are remembered, want 5", len(d.Releases))
	}
	d.rolledBack("6")
	if want := []string{"5", "4", "3"}; d.Good != "6" || !slices.Equal(d.History, want) {
		t.Errorf("after a rollback: good %s, history %v; want 6 and %v", d.Good, d.History, want)
	}
	d.promoted("4") // an older one comes back
	if want := []string{"6", "5", "3"}; d.Good != "4" || !slices.Equal(d.History, want) {
		t.Errorf("after a return: good %s, history %v; want 4 and %v", d.Good, d.History, want)
	}
}

func TestReleaseIdentity(t *testing.T) {
	t.Parallel()
	s := service{Command: []string{"node"}, Environment: map[string]string{"A": "1"}}
	first := newRelease(&s, "shop", "sha256:abcdef0123456789")
	if again := newRelease(&s, "shop", "sha256:abcdef0123456789"); again.ID != first.ID {
		t.Error("the same release has two identities")
	}
	s.Environment = map[string]string{"A": "2"}
	if other := newRelease(&s, "shop", "sha256:abcdef0123456789"); other.ID == first.ID {
		t.Error("another environment has the same identity")
	}
	if first.User != "shop" {
		t.Errorf("user %q, want that of the service", first.User)
	}
}
