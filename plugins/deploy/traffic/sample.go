// Package traffic counts what the two pools answered. The agent on the router counts requests of HAProxy's log; the
// stage and the agent compare readings of the count. Imported by the stage, the agent and the verdict.
package traffic

import (
	"math"
	"time"
)

// Buckets is the number of buckets of a Histogram. They cover 1 ms to 74 s; each bound is an eighth above the one before.
const (
	Buckets = 96
	growth  = 1.125
)

// Histogram counts answers by time.
type Histogram [Buckets]int64

// Add counts one answer.
func (h *Histogram) Add(d time.Duration) {
	i := 0
	if ms := float64(d) / float64(time.Millisecond); ms > 1 {
		i = int(math.Ceil(math.Log(ms) / math.Log(growth)))
	}
	h[min(i, Buckets-1)]++
}

// Count is the number of answers.
func (h *Histogram) Count() int64 {
	var n int64
	for _, k := range h {
		n += k
	}
	return n
}

// Quantile is the time within which the q-th part of the answers came, interpolated within its bucket; 0 without answers.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank, seen := q*float64(h.Count()), 0.0
	for i, n := range h {
		if n == 0 {
			continue
		}
		if seen+float64(n) < rank {
			seen += float64(n)
			continue
		}
		high, low := math.Pow(growth, float64(i)), 0.0
		if i > 0 {
			low = high / growth
		}
		return time.Duration((low + (high-low)*(rank-seen)/float64(n)) * float64(time.Millisecond))
	}
	return 0
}

func (h *Histogram) plus(o Histogram, sign int64) {
	for i, n := range o {
		h[i] += sign * n
	}
}

// Sample is what one pool did with its requests.
type Sample struct {
	Requests   int64     `json:"requests"`   // that the pool was given
	Errors     int64     `json:"errors"`     // of them: answers that the criteria call failures
	Unanswered int64     `json:"unanswered"` // of them: without an answer, because the client or the router gave up
	Rescued    int64     `json:"rescued"`    // of them: answered by production in the canary's place
	LeftOut    int64     `json:"left_out"`   // of them: unanswered ones that the criteria do not count
	Refused    int64     `json:"refused"`    // of them: answers of 400 to 499 that are not failures
	Missed     int64     `json:"missed"`     // turns of the canary beyond Requests for which it had no server
	Downs      int64     `json:"downs"`      // how often the router found a server down
	First      Histogram `json:"first"`      // time to the first byte, of the requests that did not fail
	Last       Histogram `json:"last"`       // time to the last byte of the same
}

// Plus is both samples together.
func (s Sample) Plus(o Sample) Sample { return s.combine(o, 1) }

func (s Sample) minus(o Sample) Sample { return s.combine(o, -1) }

func (s Sample) combine(o Sample, sign int64) Sample {
	s.Requests += sign * o.Requests
	s.Errors += sign * o.Errors
	s.Unanswered += sign * o.Unanswered
	s.Rescued += sign * o.Rescued
	s.LeftOut += sign * o.LeftOut
	s.Refused += sign * o.Refused
	s.Missed += sign * o.Missed
	s.Downs += sign * o.Downs
	s.First.plus(o.First, sign)
	s.Last.plus(o.Last, sign)
	return s
}

// Turns is how many requests were the pool's and count.
func (s Sample) Turns() int64 { return s.Requests + s.Missed - s.LeftOut }

// Failed is how many of its turns the pool did not serve well.
func (s Sample) Failed() int64 { return s.Errors + s.Unanswered + s.Rescued + s.Missed }

// FailureRate is the share of the turns that failed, from 0 to 1.
func (s Sample) FailureRate() float64 { return share(s.Failed(), s.Turns()) }

// RefusalRate is the share of the turns that were answered with 400 to 499 and did not fail.
func (s Sample) RefusalRate() float64 { return share(s.Refused, s.Turns()) }

func share(k, n int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(k) / float64(n)
}
