package verdict

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
)

// answered is a sample of n requests of which some failed and the others took ms milliseconds each.
func answered(n, failed, ms int64) traffic.Sample {
	s := traffic.Sample{Requests: n, Errors: failed}
	for range n - failed {
		s.First.Add(time.Duration(ms) * time.Millisecond)
		s.Last.Add(time.Duration(ms) * time.Millisecond)
	}
	return s
}

// both is a count without classes.
func both(production, canary traffic.Sample) traffic.Count {
	return traffic.Count{Pools: traffic.Pools{Production: production, Canary: canary}}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	l := Limits{MinRequests: 50, MaxErrorRate: 0.02, LatencyFactor: 1.2, LatencySlack: 5 * time.Millisecond}.Deploy()
	double := l
	double.LatencyFactor = 2
	guard := l.Guard(time.Minute, 2)
	none := traffic.Sample{}
	hangs := traffic.Sample{Requests: 20, Unanswered: 20}
	down := traffic.Sample{Missed: 20}
	late := answered(100, 0, 9)
	late.Last = answered(100, 0, 3000).Last
	tests := map[string]struct {
		limits             Limits
		production, canary traffic.Sample
		want               Outcome
		reason             string
	}{
		"equals":                             {l, answered(200, 0, 10), answered(100, 0, 10), Pass, "100 requests within"},
		"one error":                          {l, answered(100, 0, 10), answered(50, 1, 10), Pass, ""},
		"three errors may be chance":         {l, answered(100, 0, 10), answered(50, 3, 10), Pass, ""},
		"a tenth fails":                      {l, answered(400, 0, 10), answered(200, 20, 10), Fail, "failed 20 of 200 requests (10.0 %, limit 2.0 %)"},
		"production fails as often":          {l, answered(400, 40, 10), answered(200, 22, 10), Pass, ""},
		"many requests, a tiny difference":   {l, answered(200_000, 200, 10), answered(100_000, 900, 10), Pass, ""},
		"nobody came":                        {l, none, none, Inconclusive, "given 0 requests, a verdict needs 50"},
		"too few, all good":                  {l, answered(98, 0, 10), answered(49, 0, 10), Inconclusive, "49"},
		"too few, one bad":                   {l, answered(20, 0, 10), answered(10, 1, 10), Inconclusive, ""},
		"too few, all bad":                   {l, answered(20, 0, 10), answered(10, 10, 10), Fail, "10 of 10"},
		"every request hangs":                {l, answered(40, 0, 10), hangs, Fail, "20 unanswered"},
		"the canary is down at its turns":    {l, answered(60, 0, 10), down, Fail, "20 turns without a server"},
		"slower within the slack":            {l, answered(400, 0, 2), answered(200, 0, 6), Pass, ""},
		"slower within the factor":           {double, answered(400, 0, 400), answered(200, 0, 700), Pass, ""},
		"slower":                             {l, answered(200, 0, 100), answered(100, 0, 130), Fail, "to the first byte of 50 %"},
		"headers at once, the body late":     {l, answered(200, 0, 9), late, Fail, "to the last byte"},
		"slow, with nothing to compare with": {l, none, answered(100, 0, 900), Pass, ""},
		"a first release that fails":         {l, none, answered(100, 20, 10), Fail, "20 of 100"},
		"guard: a few errors":                {guard, answered(20, 0, 10), answered(10, 4, 10), Inconclusive, ""},
		"guard: many":                        {guard, answered(60, 0, 10), answered(30, 28, 10), Fail, "28 of 30"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			judge := New(tt.limits)
			for range 5 { // one batch of slow answers decides nothing
				if judge.Observe(both(tt.production, tt.canary)); !strings.Contains(tt.reason, "byte") {
					break
				}
			}
			c := judge.Judgement()
			if c.Outcome != tt.want || !strings.Contains(c.Reason, tt.reason) {
				t.Errorf("got %s: %s; want %s: %s\n%v", c.Outcome, c.Reason, tt.want, tt.reason, c.Figures)
			}
			if c.Reason == "" || len(c.Figures) == 0 {
				t.Errorf("the judgement is not whole: %+v", c)
			}
			for _, f := range c.Figures {
				if !f.OK && c.Outcome != Fail {
					t.Errorf("%s is not OK, but the verdict is %s", f.Name, c.Outcome)
				}
				if rounding := 1e-9; f.Low > f.Value+rounding || f.High < f.Value-rounding {
					t.Errorf("%s is outside of its interval", f)
				}
			}
		})
	}
}

// TestIncidentOfBothPools: a database that is away for a while fails requests of both pools.
func TestIncidentOfBothPools(t *testing.T) {
	t.Parallel()
	judge := New(Limits{MinRequests: 50, MaxErrorRate: 0.02, LatencyFactor: 1.2}.Deploy())
	for second := range 60 {
		if second == 30 {
			judge.Observe(both(answered(20, 19, 10), answered(40, 38, 10))) // most of the turns of the incident were the canary's
			continue
		}
		judge.Observe(both(answered(80, 0, 10), answered(20, 0, 10)))
	}
	if v := judge.Judgement(); v.Outcome != Pass {
		t.Errorf("%s: %s\n%v", v.Outcome, v.Reason, v.Figures)
	}
}

// TestPauseOfTheCanary: a host that stands still for half a second delays all answers of that time. They are not as many
// proofs of a slow release.
func TestPauseOfTheCanary(t *testing.T) {
	t.Parallel()
	judge := New(Limits{MinRequests: 50, MaxErrorRate: 0.02, LatencyFactor: 1.2}.Deploy())
	for second := range 60 {
		ms := int64(10)
		if second%20 == 10 {
			ms = 400
		}
		judge.Observe(both(answered(40, 0, 10), answered(20, 0, ms)))
	}
	if v := judge.Judgement(); v.Outcome != Pass {
		t.Errorf("%s: %s\n%v", v.Outcome, v.Reason, v.Figures)
	}
}

// TestMeanRatioIsOne: the mean of a likelihood ratio over all dealings of a batch is 1, however it is computed. That is what
// makes the test valid.
func TestMeanRatioIsOne(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for name, counts := range map[string][]int64{
		"two categories": {40, 9}, "three": {17, 12, 3}, "many": {9, 8, 7, 6, 5, 4, 3, 2, 1}, "large": {900, 500, 300, 100},
	} {
		weights := make([]float64, len(counts))
		var n int64
		for i := range weights {
			weights[i] = 0.1 * float64(i)
			n += counts[i]
		}
		const rounds = 20_000
		var sum float64
		for range rounds {
			production, canary := make([]int64, len(counts)), make([]int64, len(counts))
			left, share := n, n/3
			for i, k := range counts {
				for range k {
					if r.Int64N(left) < share {
						canary[i]++
						share--
					} else {
						production[i]++
					}
					left--
				}
			}
			sum += math.Exp(logRatio(production, canary, weights))
		}
		if mean := sum / rounds; math.Abs(mean-1) > 0.03 {
			t.Errorf("%s: mean ratio %.4f, want 1", name, mean)
		}
	}
}

func TestSaddlepointAgrees(t *testing.T) {
	t.Parallel()
	counts, weights := []int64{300, 200, 150, 50}, []float64{-0.4, 0, 0.5, 1.2}
	exact, near := allDealings(counts, weights, 700, 233), saddlepoint(counts, weights, 700, 233)
	if math.Abs(exact-near) > 1e-3 {
		t.Errorf("exactly %.6f, by the saddlepoint %.6f", exact, near)
	}
}

// TestAfter judges a release that serves everywhere by what production failed before.
func TestAfter(t *testing.T) {
	t.Parallel()
	l := Limits{MinRequests: 50, MaxErrorRate: 0.02, LatencyFactor: 1.2}.Deploy()
	for name, tt := range map[string]struct {
		before, now traffic.Sample
		want        Outcome
	}{
		"as before":              {answered(1000, 50, 10), answered(1000, 60, 10), Pass},
		"more failures":          {answered(1000, 50, 10), answered(500, 100, 10), Fail},
		"slower, at a busy hour": {answered(1000, 0, 10), answered(1000, 0, 500), Pass},
		"nothing before":         {traffic.Sample{}, answered(500, 100, 10), Fail},
	} {
		j := After(l, tt.before)
		j.Observe(both(traffic.Sample{}, tt.now))
		if v := j.Judgement(); v.Outcome != tt.want {
			t.Errorf("%s: %s: %s", name, v.Outcome, v.Reason)
		}
	}
}

// TestWilsonEnds: without a failure the interval begins at 0, not beside it.
func TestWilsonEnds(t *testing.T) {
	t.Parallel()
	if low, _ := wilson(0, 413); low != 0 {
		t.Errorf("no failure: %g", low)
	}
	if _, high := wilson(413, 413); high != 1 {
		t.Errorf("nothing else: %g", high)
	}
}
