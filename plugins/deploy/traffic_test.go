package main

import (
	"testing"
	"time"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	var c counter
	for line, ok := range map[string]bool{
		"production web-1-a 200 3 --":    true,
		"production web-1-b 404 5 --":    true,
		"production <NOSRV> 503 -1 SC":   true,
		"canary canary-1-a 500 7 --":     true,
		"canary rescue 200 9 --":         true, // the canary could not, although production did
		"canary canary-1-a -1 -1 CH":     true, // the client left
		"troop <NOSRV> 400 -1 PR":        true, // came to no pool
		"Proxy canary started.":          false,
		"production web-1-a two 3 --":    false,
		"production web-1-a 200 fast --": false,
	} {
		if err := c.add(line); (err == nil) != ok {
			t.Errorf("%q: %v", line, err)
		}
	}
	got := c.read(time.Now())
	if got.Production.Requests != 3 || got.Production.Errors != 1 || got.Canary.Requests != 2 || got.Canary.Errors != 2 {
		t.Errorf("production %d/%d, canary %d/%d requests/errors; want 3/1, 2/2",
			got.Production.Requests, got.Production.Errors, got.Canary.Requests, got.Canary.Errors)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var h histogram
	if got := h.quantile(0.95); got != 0 {
		t.Errorf("of nothing: %s", got)
	}
	for ms := range int64(1000) {
		h.add(ms)
	}
	h.add(1 << 40)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.95: 950 * time.Millisecond} {
		if got := h.quantile(q); got < want || float64(got) > float64(want)*growth {
			t.Errorf("quantile %g: got %s, want %s to a quarter more", q, got, want)
		}
	}
}

func TestTrafficSince(t *testing.T) {
	t.Parallel()
	before := traffic{Epoch: "1", Production: answered(10, 1, 5), Canary: answered(5, 0, 5)}
	later := traffic{Epoch: "1", Production: answered(30, 2, 5), Canary: answered(15, 3, 5)}
	restarted := traffic{Epoch: "2", Production: answered(4, 0, 5), Canary: answered(2, 0, 5)}
	for _, tt := range []struct {
		now                traffic
		production, canary sample
	}{
		{later, answered(20, 1, 5), answered(10, 3, 5)},
		{restarted, restarted.Production, restarted.Canary},
	} {
		if p, c := tt.now.since(before); p != tt.production || c != tt.canary {
			t.Errorf("epoch %s: got %+v and %+v", tt.now.Epoch, p, c)
		}
	}
	if got := answered(20, 1, 5).plus(answered(10, 3, 5)); got != answered(30, 4, 5) {
		t.Errorf("sum: %+v", got)
	}
}
