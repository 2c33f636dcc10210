package verdict

import (
	"math"
	"slices"

	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
)

// Odds of a failure in the canary to one in production, beside the odds of a request to be the canary's. Few and small ones
// first: a difference of five points over a base of five per cent is an odds ratio of 2.1.
var failureOdds = []float64{1.6, 2.2, 3.5, 7, 20, 100, 1000}

// newFailures is the test of the share of failures.
func newFailures() mixture {
	return slices.Repeat(mixture{{prior: -math.Log(float64(len(failureOdds)))}}, len(failureOdds))
}

// shares is a stratum of the test of the share of failures: how many of so many requests failed.
func shares(production, ofProduction, canary, ofCanary int64) stratum {
	s := stratum{production: []int64{ofProduction - production, production}, canary: []int64{ofCanary - canary, canary}}
	for _, odds := range failureOdds {
		s.weights = append(s.weights, []float64{0, math.Log(odds)})
	}
	return s
}

// absolute is the test of the share of failures against a fixed limit, for a canary beside which production serves nothing:
// a mixture of Wald's likelihood ratios of higher shares.
func absolute(failed, turns int64, limit float64) float64 {
	limit = max(limit, 1e-4)
	var terms []float64
	for _, odds := range failureOdds {
		p := odds * limit / (1 + (odds-1)*limit)
		terms = append(terms, float64(failed)*math.Log(p/limit)+float64(turns-failed)*math.Log((1-p)/(1-limit))-math.Log(float64(len(failureOdds))))
	}
	return logSum(terms)
}

// The alternatives of the test of times. A shift of all times is found by normal scores (van der Waerden), whose loss
// against the best test is the smallest whatever the distribution; a few very slow answers by their share beyond a quantile
// of both pools together.
var (
	shifts    = []float64{0.2, 0.35, 0.8}  // in standard deviations of normal scores
	tails     = []float64{0.9, 0.97, 0.99} // quantiles
	tailOdds  = []float64{3, 8, 30}        // of an answer beyond
	shiftPart = 0.7                        // of the prior
	mostScore = 2.5                        // so that a single outlier decides nothing

	// Answers of one second are not independent: a pause of the host delays all of them. So one batch never decides.
	mostOfBatch = 1.5
)

// newTimes is the test of the times of answers.
func newTimes() mixture {
	var m mixture
	add := func(part float64, n int) {
		m = append(m, slices.Repeat(mixture{{prior: math.Log(part / float64(n))}}, n)...)
	}
	add(shiftPart, len(shifts))
	add(1-shiftPart, len(tails)*len(tailOdds))
	return m
}

// timed is a stratum of the test of times. Scores are ranks among all answers of the class in both pools so far, this batch
// included, which is allowed: they do not depend on who answered.
func timed(production, canary, seen traffic.Histogram) stratum {
	s := stratum{production: production[:], canary: canary[:]}
	total := float64(seen.Count())
	if total == 0 {
		return s
	}
	scores, below := make([]float64, traffic.Buckets), make([]float64, traffic.Buckets)
	var sum float64
	for i, n := range seen {
		rank := (sum + float64(n)/2) / total
		scores[i], below[i] = min(max(math.Sqrt2*math.Erfinv(2*rank-1), -mostScore), mostScore), sum/total
		sum += float64(n)
	}
	for _, shift := range shifts {
		w := make([]float64, traffic.Buckets)
		for i := range w {
			w[i] = shift * scores[i]
		}
		s.weights = append(s.weights, w)
	}
	for _, q := range tails {
		for _, odds := range tailOdds {
			w := make([]float64, traffic.Buckets)
			for i := range w {
				if below[i] >= q {
					w[i] = math.Log(odds)
				}
			}
			s.weights = append(s.weights, w)
		}
	}
	return s
}
