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
	if got.Production.Requests != 3 || got.Production.Errors != 1 || got.Canary.Requests != 2 || got.Canary.Errors != 2 {
		t.Errorf("production %d/%d, canary %d/%d requests/errors; want 3/1, 2/2",
			got.Production.Requests, got.Production.Errors, got.Canary.Requests, got.Canary.Errors)
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
		if got := h.Quantile(q); got < want || float64(got) > float64(want)*growth {
			t.Errorf("quantile %g: got %s, want %s to a quarter more", q, got, want)
		}
	}
}

// answered is a sample of n requests of which some failed and the others took ms milliseconds each.
func answered(n, failed, ms int64) Sample {
	s := Sample{Requests: n, Errors: failed}
	for range n - failed {
		s.Latency.Add(time.Duration(ms) * time.Millisecond)
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
