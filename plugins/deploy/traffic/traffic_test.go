package traffic

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	criteria, err := ParseCriteria([]string{"5xx", "410", Unanswered})
	if err != nil {
		t.Fatal(err)
	}
	c := NewCounter("agent", time.Now(), criteria)
	for line, ok := range map[string]bool{
		"production web-1-a 200 3 4 0 /":     true,
		"production web-1-b 404 5 5 1 /":     true, // the canary had no server for its turn
		"production <NOSRV> 503 -1 9 0 /":    true,
		"production web-2-a 502 -1 6000 0 /": true, // its host has vanished, and the request may not be sent again
		"canary canary-1-a 500 7 8 0 /":      true,
		"canary canary-1-a 410 7 8 0 /":      true,
		"canary canary-1-a 504 -1 8 0 /":     true, // the router gave up
		"canary rescue 200 9 9 0 /":          true, // the canary could not, although production did
		"canary canary-1-a -1 -1 9000 0 /":   true, // the client gave up
		"canary canary-1-a 200 3 3000 0 /":   true, // the client gave up while the answer came
		"troop <NOSRV> 400 -1 0 0 /":         true, // came to no pool
		"Proxy canary started.":              false,
		"production web-1-a two 3 3 0 /":     false,
		"production web-1-a 200 fast 3 0 /":  false,
		"production web-1-a 200 3 slow 0 /":  false,
		"production web-1-a 200 3":           false,
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
	want := Sample{Requests: 4, Unanswered: 2, Refused: 1}
	want.First.Add(3 * time.Millisecond)
	want.First.Add(5 * time.Millisecond)
	want.Last.Add(4 * time.Millisecond)
	want.Last.Add(5 * time.Millisecond)
	if got.Production != want {
		t.Errorf("production %+v, want %+v", got.Production, want)
	}
	want = Sample{Requests: 6, Errors: 2, Unanswered: 2, Rescued: 1, Missed: 1}
	want.First.Add(3 * time.Millisecond)
	want.Last.Add(3 * time.Second)
	if got.Canary != want {
		t.Errorf("canary %+v, want %+v", got.Canary, want)
	}
	if got.Canary.Turns() != 7 || got.Canary.Failed() != 6 {
		t.Errorf("canary: %d turns, %d failed; want 7, 6", got.Canary.Turns(), got.Canary.Failed())
	}
}

func TestUnansweredMayBeLeftOut(t *testing.T) {
	t.Parallel()
	criteria, err := ParseCriteria([]string{"404"})
	if err != nil {
		t.Fatal(err)
	}
	c := NewCounter("agent", time.Now(), criteria)
	for _, r := range []haproxy.Request{
		{Backend: "canary", Status: -1, First: -1}, {Backend: "canary", Status: 500}, {Backend: "canary", Status: 404},
	} {
		c.Add(r)
	}
	if s := c.Read(time.Now()).Canary; s.Turns() != 2 || s.Failed() != 1 || s.LeftOut != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestParseCriteria(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "6xx", "1xx", "40", "4x4", "xx", "404xx", "error", "-04"} {
		if _, err := ParseCriteria([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestServers counts servers found down and requests in flight, also over a reload of HAProxy, which counts anew.
func TestServers(t *testing.T) {
	t.Parallel()
	c := NewCounter("agent", time.Now(), Criteria{})
	for _, downs := range []int64{4, 5, 5, 1} { // the first is of a time before; 5 to 1 is a reload
		c.See(map[string]haproxy.Server{
			"canary/canary-1-a": {Admin: haproxy.Ready, Downs: downs, Sessions: 2}, "canary/canary-2-a": {Admin: haproxy.Ready, Sessions: 1},
			"canary/canary-1-b": {Admin: haproxy.Drain, Sessions: 9}, "canary/rescue": {Admin: haproxy.Ready, Sessions: 9},
			"production/web-1-a": {Admin: haproxy.Ready, Sessions: 4}, "turn/x": {Admin: haproxy.Ready, Sessions: 9},
		})
	}
	c.Add(haproxy.Request{Backend: "canary", Server: "canary-1-b", First: -1}) // of the former release
	c.Add(haproxy.Request{Backend: "canary", Server: "canary-1-a"})
	c.Add(haproxy.Request{Backend: "canary", Server: "canary-1-a", Status: 500, Tester: true})
	got := c.Read(time.Now())
	if got.Canary.Requests != 1 || got.Canary.Downs != 2 || got.Production.Downs != 0 || got.InFlight != (InFlight{Production: 4, Canary: 3}) {
		t.Errorf("got %+v", got)
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "/": "/", "/cart": "/cart", "/users/17/orders": "/users/*/orders", "/users/:id": "/users/:id", "checkout": "checkout",
		"/assets/app.3f2a1c.js": "/assets/*", "/a/b/c/d/e/f": "/a/b/c/d/…", "/s/%E2%82%AC": "/s/*", "/" + strings.Repeat("x", 50): "/*",
	} {
		if got := classOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	c := NewCounter("agent", time.Now(), Criteria{})
	before := c.Read(time.Now())
	for i := range 100 {
		path := "/" + strings.Repeat("a", i%25) // each is a class, but there are too many
		c.Add(haproxy.Request{Backend: "canary", Server: "canary-1-a", Status: 200, Class: path})
	}
	c.Add(haproxy.Request{Backend: "production", Server: "web-1-a", Status: 200, Class: "/", Missed: true})
	got := c.Read(time.Now()).Since(before)
	var sum Pools
	for _, p := range got.Classes {
		sum = sum.Plus(p)
	}
	if len(before.Classes) != 0 || len(got.Classes) != mostClasses+1 || sum != got.Pools || got.Classes[otherClass].Canary.Requests != 36 {
		t.Errorf("got %d classes, %+v of others", len(got.Classes), got.Classes[otherClass].Canary.Requests)
	}
	if home := got.Classes["/"]; home.Production.Requests != 1 || home.Canary.Missed != 1 || home.Canary.Requests != 4 {
		t.Errorf("got %+v", home)
	}
	if again := c.Read(time.Now()).Since(c.Read(time.Now())); again.Classes != nil {
		t.Errorf("nothing happened: %+v", again)
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
	before := Reading{Epoch: "1", Count: Count{Pools: Pools{answered(10, 1, 5), answered(5, 0, 5)}}}
	later := Reading{Epoch: "1", Count: Count{Pools: Pools{answered(30, 2, 5), answered(15, 3, 5)}}}
	restarted := Reading{Epoch: "2", Count: Count{Pools: Pools{answered(4, 0, 5), answered(2, 0, 5)}}}
	for _, tt := range []struct {
		now                Reading
		production, canary Sample
	}{
		{later, answered(20, 1, 5), answered(10, 3, 5)},
		{restarted, restarted.Production, restarted.Canary},
	} {
		if got := tt.now.Since(before); got.Production != tt.production || got.Canary != tt.canary {
			t.Errorf("epoch %s: got %+v", tt.now.Epoch, got)
		}
	}
	if got := answered(20, 1, 5).Plus(answered(10, 3, 5)); got != answered(30, 4, 5) {
		t.Errorf("sum: %+v", got)
	}
}
