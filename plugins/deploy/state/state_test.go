package state

import (
	"encoding/json"
	"fmt"
	"maps"
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

// TestFormerRecord reads what hosts served before a host could be in both pools.
func TestFormerRecord(t *testing.T) {
	t.Parallel()
	var d Desired
	former := `{"service": "shop", "hosts": {"web-1": {"pool": "production", "slot": "b", "release": "r1"}, "canary-1": {"pool": "canary", "slot": "a"}}}`
	if err := json.Unmarshal([]byte(former), &d); err != nil {
		t.Fatal(err)
	}
	web, canary := Seat{"web-1", PoolProduction}, Seat{"canary-1", PoolCanary}
	if want := map[Seat]Placement{web: {Slot: "b", Release: "r1"}, canary: {Slot: "a"}}; !maps.Equal(d.Seats, want) {
		t.Errorf("got %v, want %v", d.Seats, want)
	}
	if web, canary := web.Idle(d.Seats[web]), canary.Idle(d.Seats[canary]); web != "a" || canary != "c" {
		t.Errorf("idle are %s and %s, want a and c", web, canary)
	}
	again := Desired{}
	if err := json.Unmarshal(Encode(d), &again); err != nil || !maps.Equal(again.Seats, d.Seats) || again.Service != "shop" {
		t.Errorf("written and read again: %+v, %v", again, err)
	}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	r := Release{Service: "shop", Programs: []Program{{Kind: Process, Name: "worker", Count: 2}, {Kind: Schedule, Name: "report"}}}
	for unit, want := range map[string]bool{
		"shop@c.service": true, "shop-worker-2@c.service": true, "shop-report@c.service": true,
		"shop@a.service": false, "shop-worker@c.service": false, "shop-worker-3@c.service": false, "workshop@c.service": false, "shop-api@c.service": false, "": false,
	} {
		if got := r.Runs(unit, "c"); got != want {
			t.Errorf("%q: %v, want %v", unit, got, want)
		}
	}
}
