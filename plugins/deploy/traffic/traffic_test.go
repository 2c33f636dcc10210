package traffic

import (
	"math"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	c := NewCounter("agent", time.Now())
	for line, ok := range map[string]bool{
		"production web-1-a 200 3 4 -- 0":    true,
		"production web-1-b 404 5 5 -- 1":    true, // the canary had no server for its turn
		"production <NOSRV> 503 -1 9 SC 0":   true,
		"canary canary-1-a 500 7 8 -- 0":     true,
		"canary rescue 200 9 9 -- 0":         true, // the canary could not, although production did
		"canary canary-1-a -1 -1 9000 CH 0":  true, // the client gave up
		"canary canary-1-a 200 3 3000 CD 0":  true, // the client gave up while the answer came
		"troop <NOSRV> 400 -1 0 PR 0":        true, // came to no pool
		"Proxy canary started.":              false,
		"production web-1-a two 3 3 -- 0":    false,
		"production web-1-a 200 fast 3 -- 0": false,
		"production web-1-a 200 3 slow -- 0": false,
		"production web-1-a 200 3 --":        false,
	} {
		r, err := haproxy.ParseRequest(line)
		if (err == nil) != ok {
			t.Errorf("%q: %v", line, err)
		}
		if err == nil {
			c.Add(r)
		}
	}
	got := c.Read(time.Now())
	if got.Agent != "agent" || got.Epoch == "" {
		t.Errorf("agent %q, epoch %q", got.Agent, got.Epoch)
	}
	want := Sample{Requests: 3, Errors: 1}
	want.First.Add(3 * time.Millisecond)
	want.First.Add(5 * time.Millisecond)
	want.Last.Add(4 * time.Millisecond)
	want.Last.Add(5 * time.Millisecond)
	if got.Production != want {
		t.Errorf("production %+v, want %+v", got.Production, want)
	}
	want = Sample{Requests: 4, Errors: 2, Unanswered: 1, Missed: 1}
	want.First.Add(3 * time.Millisecond)
	want.Last.Add(3 * time.Second)
	if got.Canary != want {
		t.Errorf("canary %+v, want %+v", got.Canary, want)
	}
	if got.Canary.Turns() != 5 || got.Canary.Failed() != 4 {
		t.Errorf("canary: %d turns, %d failed; want 5, 4", got.Canary.Turns(), got.Canary.Failed())
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var h Histogram
	if got := h.Quantile(0.95); got != 0 {
		t.Errorf("of nothing: %s", got)
	}
	for ms := range int64(1000) {
		h.Add(time.Duration(ms) * time.Millisecond)
	}
	h.Add(time.Duration(math.MaxInt64))
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.95: 950 * time.Millisecond} {
		if got := h.Quantile(q); float64(got) < float64(want)*0.98 || float64(got) > float64(want)*1.02 {
			t.Errorf("quantile %g: got %s, want %s", q, got, want)
		}
	}
}

// answered is a sample of n requests of which some failed and the others took ms milliseconds each.
func answered(n, failed, ms int64) Sample {
	s := Sample{Requests: n, Errors: failed}
	for range n - failed {
		s.First.Add(time.Duration(ms) * time.Millisecond)
		s.Last.Add(time.Duration(ms) * time.Millisecond)
	}
	return s
}

func TestReadingSince(t *testing.T) {
	t.Parallel()
	before := Reading{Epoch: "1", Production: answered(10, 1, 5), Canary: answered(5, 0, 5)}
	later := Reading{Epoch: "1", Production: answered(30, 2, 5), Canary: answered(15, 3, 5)}
	restarted := Reading{Epoch: "2", Production: answered(4, 0, 5), Canary: answered(2, 0, 5)}
	for _, tt := range []struct {
		now                Reading
		production, canary Sample
	}{
		{later, answered(20, 1, 5), answered(10, 3, 5)},
		{restarted, restarted.Production, restarted.Canary},
	} {
		if p, c := tt.now.Since(before); p != tt.production || c != tt.canary {
			t.Errorf("epoch %s: got %+v and %+v", tt.now.Epoch, p, c)
		}
	}
	if got := answered(20, 1, 5).Plus(answered(10, 3, 5)); got != answered(30, 4, 5) {
		t.Errorf("sum: %+v", got)
	}
}
