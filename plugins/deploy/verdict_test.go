package main

import (
	"strings"
	"testing"
	"time"
)

// answered is a sample of n requests of which some failed and the others took ms milliseconds each.
func answered(n, failed, ms int64) sample {
	s := sample{Requests: n, Errors: failed}
	for range n - failed {
		s.Latency.add(ms)
	}
	return s
}

func TestJudge(t *testing.T) {
	t.Parallel()
	l := limits{minRequests: 50, minErrors: 1, maxErrorRate: 0.02, latencyFactor: 2, latencySlack: 100 * time.Millisecond}
	guard := l
	guard.minErrors = 5
	none := sample{}
	tests := map[string]struct {
		limits             limits
		production, canary sample
		want               outcome
		reason             string
	}{
		"equals":                               {l, answered(200, 0, 10), answered(100, 0, 10), pass, "100 requests within"},
		"one error at the limit":               {l, answered(100, 0, 10), answered(50, 1, 10), pass, ""},
		"a tenth fails":                        {l, answered(200, 0, 10), answered(100, 10, 10), fail, "failed 10 of 100 requests (10.0 %, limit 2.0 %)"},
		"production fails as often":            {l, answered(200, 20, 10), answered(100, 11, 10), pass, ""},
		"nobody came":                          {l, none, none, inconclusive, "answered 0 requests, a verdict needs 50"},
		"too few, all good":                    {l, answered(98, 0, 10), answered(49, 0, 10), inconclusive, "49"},
		"too few, one bad":                     {l, answered(20, 0, 10), answered(10, 1, 10), inconclusive, ""},
		"too few, but more could not help":     {l, answered(20, 0, 10), answered(10, 10, 10), fail, "10 of 10"},
		"slower within the slack":              {l, answered(200, 0, 2), answered(100, 0, 80), pass, ""},
		"slower within the factor":             {l, answered(200, 0, 400), answered(100, 0, 700), pass, ""},
		"much slower":                          {l, answered(200, 0, 100), answered(100, 0, 300), fail, "95 % of its answers"},
		"slow, but too few for a latency":      {l, answered(200, 0, 100), answered(49, 0, 900), inconclusive, ""},
		"slow, with nothing to hold against":   {l, none, answered(100, 0, 900), pass, ""},
		"errors count although it is slow too": {l, answered(200, 0, 100), answered(100, 50, 900), fail, "failed 50"},
		"first release that fails":             {l, none, answered(100, 10, 10), fail, "10 of 100"},
		"guard leaves a few errors":            {guard, answered(20, 0, 10), answered(10, 4, 10), inconclusive, ""},
		"guard stops many":                     {guard, answered(20, 0, 10), answered(10, 5, 10), fail, "5 of 10"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := judge(tt.limits, tt.production, tt.canary, 30*time.Second)
			if c.Outcome != tt.want || !strings.Contains(c.Reason, tt.reason) {
				t.Errorf("got %s: %s; want %s: %s", c.Outcome, c.Reason, tt.want, tt.reason)
			}
			if c.Reason == "" || len(c.Figures) == 0 || c.Seconds != 30 {
				t.Errorf("the card is not whole: %+v", c)
			}
			for _, f := range c.Figures {
				if !f.OK && c.Outcome != fail {
					t.Errorf("%s is not OK, but the verdict is %s", f.Name, c.Outcome)
				}
			}
		})
	}
}
