package main

import (
	"fmt"
	"time"
)

// outcome of a verdict.
type outcome string

const (
	pass         outcome = "pass"
	fail         outcome = "fail"
	inconclusive outcome = "inconclusive"
)

// limits are what a canary is held against.
type limits struct {
	minRequests   int64
	minErrors     int64   // fewer are never held against it
	maxErrorRate  float64 // beyond production's, 0 to 1
	latencyFactor float64
	latencySlack  time.Duration
}

// figure is one value with its limit.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"`
	Unit   string  `json:"unit"`
	Sample int64   `json:"sample"` // requests behind it
	OK     bool    `json:"ok"`
}

func (f figure) String() string {
	mark := "ok"
	if !f.OK {
		mark = "NOT OK"
	}
	return fmt.Sprintf("%s %.4g %s, limit %.4g %s, from %d requests: %s", f.Name, f.Value, f.Unit, f.Limit, f.Unit, f.Sample, mark)
}

// card is a verdict and all that it rests on.
type card struct {
	Release    string   `json:"release"`
	Outcome    outcome  `json:"outcome"`
	Reason     string   `json:"reason"`
	Seconds    float64  `json:"seconds"` // length of the window
	Production int64    `json:"production_requests"`
	Canary     int64    `json:"canary_requests"`
	Figures    []figure `json:"figures"`
}

// judge holds the canary against production in the same window. It fails as soon as more requests could not
// change that, and never passes on fewer than the smallest sample; so it may be asked at any moment.
func judge(l limits, production, canary sample, window time.Duration) card {
	c := card{Outcome: pass, Seconds: window.Seconds(), Production: production.Requests, Canary: canary.Requests}

	limit := production.errorRate() + l.maxErrorRate
	// Errors are spread over the smallest sample: those of an early moment do not look like a high rate.
	rate := float64(canary.Errors) / float64(max(canary.Requests, l.minRequests, 1))
	tooMany := canary.Errors >= l.minErrors && rate > limit
	c.Figures = append(c.Figures, figure{
		Name: "error rate", Value: 100 * canary.errorRate(), Limit: 100 * limit, Unit: "%", Sample: canary.Requests, OK: !tooMany,
	})
	if tooMany {
		c.Outcome = fail
		c.Reason = fmt.Sprintf("the canary failed %d of %d requests (%.1f %%, limit %.1f %%)",
			canary.Errors, canary.Requests, 100*canary.errorRate(), 100*limit)
	}

	// Without as many answers from production there is nothing to hold a latency against.
	if enough := max(l.minRequests, 1); canary.Requests >= enough && production.Requests >= enough {
		have, other := canary.Latency.quantile(0.95), production.Latency.quantile(0.95)
		most := max(time.Duration(float64(other)*l.latencyFactor), other+l.latencySlack)
		slow := have > most
		c.Figures = append(c.Figures, figure{
			Name: "latency p95", Value: milliseconds(have), Limit: milliseconds(most), Unit: "ms", Sample: canary.Requests, OK: !slow,
		})
		if slow && c.Outcome == pass {
			c.Outcome = fail
			c.Reason = fmt.Sprintf("the canary needs %.0f ms for 95 %% of its answers (limit %.0f ms, production %.0f ms)",
				milliseconds(have), milliseconds(most), milliseconds(other))
		}
	}

	switch {
	case c.Outcome == fail:
	case canary.Requests < l.minRequests:
		c.Outcome = inconclusive
		c.Reason = fmt.Sprintf("the canary answered %d requests, a verdict needs %d", canary.Requests, l.minRequests)
	default:
		c.Reason = fmt.Sprintf("the canary answered %d requests within the limits", canary.Requests)
	}
	return c
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
