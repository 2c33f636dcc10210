package state

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestEffectiveWeights(t *testing.T) {
	t.Parallel()
	d := Desired{Weights: Weights{2, 1}}
	want := func(c *Closing, w Weights) {
		t.Helper()
		if got := d.Effective(c); got != w {
			t.Errorf("generation %d, open %v, %+v: got %v, want %v", d.Generation, d.Open, c, got, w)
		}
	}
	want(nil, Weights{2, 0})
	d.OpenCanary(time.Now())
	want(nil, Weights{2, 1})
	closed := &Closing{Generation: d.Generation}
	want(closed, Weights{2, 0})
	d.OpenCanary(time.Now()) // a Closing holds for one generation
	want(closed, Weights{2, 1})
}

func TestHistory(t *testing.T) {
	t.Parallel()
	d := Desired{Releases: map[string]Release{}}
	for i := range 8 {
		id := fmt.Sprint(i)
		d.Releases[id] = Release{ID: id}
		d.Promoted(id)
	}
	d.Promoted("7") // again
	if want := []string{"6", "5", "4", "3"}; d.Good != "7" || !slices.Equal(d.History, want) {
		t.Errorf("good %s, history %v; want 7 and %v", d.Good, d.History, want)
	}
	if len(d.Releases) != 5 {
		t.Errorf("%d releases are remembered, want 5", len(d.Releases))
	}
	d.RolledBack("6")
	if want := []string{"5", "4", "3"}; d.Good != "6" || !slices.Equal(d.History, want) {
		t.Errorf("after a rollback: good %s, history %v; want 6 and %v", d.Good, d.History, want)
	}
	d.Promoted("4") // an older one comes back
	if want := []string{"6", "5", "3"}; d.Good != "4" || !slices.Equal(d.History, want) {
		t.Errorf("after a return: good %s, history %v; want 4 and %v", d.Good, d.History, want)
	}
}
