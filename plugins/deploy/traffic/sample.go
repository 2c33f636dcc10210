// Package traffic counts what the two pools answered. The agent on the router counts requests of HAProxy's log; the
// stage and the agent compare readings of the count. Imported by the stage, the agent and the verdict.
package traffic

import (
	"math"
	"time"
)

// buckets cover 1 ms to 65 s; each bound is a quarter above the one before.
const (
	buckets = 52
	growth  = 1.25
)

// Histogram counts answers by latency.
type Histogram [buckets]int64

// Add counts one answer.
func (h *Histogram) Add(latency time.Duration) {
	i := 0
	if ms := latency.Milliseconds(); ms > 1 {
		i = int(math.Ceil(math.Log(float64(ms)) / math.Log(growth)))
	}
	h[min(i, buckets-1)]++
}

// Quantile is the upper bound of the bucket that holds the q-th part of the answers; 0 without answers.
func (h *Histogram) Quantile(q float64) time.Duration {
	var total, seen int64
	for _, n := range h {
		total += n
	}
	if total == 0 {
		return 0
	}
	for i, n := range h {
		if seen += n; float64(seen) >= q*float64(total) {
			return time.Duration(math.Pow(growth, float64(i)) * float64(time.Millisecond))
		}
	}
	return 0
}

// Sample is what one pool answered.
type Sample struct {
	Requests int64     `json:"requests"`
	Errors   int64     `json:"errors"`  // status 500 and above, no answer, and requests that the other pool had to answer
	Latency  Histogram `json:"latency"` // of the other requests
}

// Plus is both samples together.
func (s Sample) Plus(o Sample) Sample {
	s.Requests += o.Requests
	s.Errors += o.Errors
	for i := range s.Latency {
		s.Latency[i] += o.Latency[i]
	}
	return s
}

func (s Sample) minus(o Sample) Sample {
	s.Requests -= o.Requests
	s.Errors -= o.Errors
	for i := range s.Latency {
		s.Latency[i] -= o.Latency[i]
	}
	return s
}

// ErrorRate is the share of the requests that failed, from 0 to 1.
func (s Sample) ErrorRate() float64 {
	if s.Requests == 0 {
		return 0
	}
	return float64(s.Errors) / float64(s.Requests)
}
