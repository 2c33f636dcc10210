package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
)

// answered is a sample of n requests of which some failed and the others took ms milliseconds each.
func answered(n, failed, ms int64) traffic.Sample {
	s := traffic.Sample{Requests: n, Errors: failed}
	for range n - failed {
		s.Latency.Add(time.Duration(ms) * time.Millisecond)
	}
	return s
}

func TestJudge(t *testing.T) {
	t.Parallel()
	l := Limits{MinRequests: 50, MinErrors: 1, MaxErrorRate: 0.02, LatencyFactor: 2, LatencySlack: 100 * time.Millisecond}
	guard := l
	guard.MinErrors = 5
	none := traffic.Sample{}
	tests := map[string]struct {
		limits             Limits
		production, canary traffic.Sample
		want               Outcome
		reason             string
	}{
		"equals":                               {l, answered(200, 0, 10), answered(100, 0, 10), Pass, "100 requests within"},
		"one error at the limit":               {l, answered(100, 0, 10), answered(50, 1, 10), Pass, ""},
		"a tenth fails":                        {l, answered(200, 0, 10), answered(100, 10, 10), Fail, "failed 10 of 100 requests (10.0 %, limit 2.0 %)"},
		"production fails as often":            {l, answered(200, 20, 10), answered(100, 11, 10), Pass, ""},
		"nobody came":                          {l, none, none, Inconclusive, "answered 0 requests, a verdict needs 50"},
		"too few, all good":                    {l, answered(98, 0, 10), answered(49, 0, 10), Inconclusive, "49"},
		"too few, one bad":                     {l, answered(20, 0, 10), answered(10, 1, 10), Inconclusive, ""},
		"too few, but more could not help":     {l, answered(20, 0, 10), answered(10, 10, 10), Fail, "10 of 10"},
		"slower within the slack":              {l, answered(200, 0, 2), answered(100, 0, 80), Pass, ""},
		"slower within the factor":             {l, answered(200, 0, 400), answered(100, 0, 700), Pass, ""},
		"much slower":                          {l, answered(200, 0, 100), answered(100, 0, 300), Fail, "95 % of its answers"},
		"slow, but too few for a latency":      {l, answered(200, 0, 100), answered(49, 0, 900), Inconclusive, ""},
		"slow, with nothing to hold against":   {l, none, answered(100, 0, 900), Pass, ""},
		"errors count although it is slow too": {l, answered(200, 0, 100), answered(100, 50, 900), Fail, "failed 50"},
		"first release that fails":             {l, none, answered(100, 10, 10), Fail, "10 of 100"},
		"guard leaves a few errors":            {guard, answered(20, 0, 10), answered(10, 4, 10), Inconclusive, ""},
		"guard stops many":                     {guard, answered(20, 0, 10), answered(10, 5, 10), Fail, "5 of 10"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Judge(tt.limits, tt.production, tt.canary)
			if c.Outcome != tt.want || !strings.Contains(c.Reason, tt.reason) {
				t.Errorf("got %s: %s; want %s: %s", c.Outcome, c.Reason, tt.want, tt.reason)
			}
			if c.Reason == "" || len(c.Figures) == 0 {
				t.Errorf("the card is not whole: %+v", c)
			}
			for _, f := range c.Figures {
				if !f.OK && c.Outcome != Fail {
					t.Errorf("%s is not OK, but the verdict is %s", f.Name, c.Outcome)
				}
			}
		})
	}
}
