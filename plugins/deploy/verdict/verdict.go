// Package verdict judges a canary: it compares what canary and production answered in the same window, and says pass,
// fail or inconclusive. It is pure: samples in, a judgement out. The stage asks it for the verdict on a release, the
// agent on the router asks it for the guard.
package verdict

import (
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
)

// Outcome of a judgement.
type Outcome string

// The outcomes.
const (
	Pass         Outcome = "pass"
	Fail         Outcome = "fail"
	Inconclusive Outcome = "inconclusive" // too few requests
)

// Limits are how much worse than production a canary may be.
type Limits struct {
	MinRequests   int64         // that the canary must answer for a pass
	MinErrors     int64         // fewer errors never fail the canary
	MaxErrorRate  float64       // above production's, from 0 to 1
	LatencyFactor float64       // times production's 95th percentile
	LatencySlack  time.Duration // above production's 95th percentile, always allowed
}

// Guard are the limits for short windows without a deploy that watches them: only clear differences count.
func (l Limits) Guard() Limits {
	l.MinRequests = max(min(l.MinRequests, 50), 20)
	l.MinErrors = 5
	l.LatencyFactor *= 2
	l.LatencySlack *= 2
	return l
}

// Judgement is an outcome and what it rests on.
type Judgement struct {
	Outcome Outcome  `json:"outcome"`
	Reason  string   `json:"reason"` // one sentence for people
	Figures []Figure `json:"figures"`
}

// Figure is one value with its limit.
type Figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"`
	Unit   string  `json:"unit"`
	Sample int64   `json:"sample"` // number of requests
	OK     bool    `json:"ok"`
}

func (f Figure) String() string {
	mark := "ok"
	if !f.OK {
		mark = "NOT OK"
	}
	return fmt.Sprintf("%s %.4g %s, limit %.4g %s, from %d requests: %s", f.Name, f.Value, f.Unit, f.Limit, f.Unit, f.Sample, mark)
}

// Judge compares two samples of the same window. It may be asked at any moment: it fails a canary only when the smallest
// sample of otherwise good answers would still fail, and never passes one on fewer requests than that.
func Judge(l Limits, production, canary traffic.Sample) Judgement {
	j := Judgement{Outcome: Pass}
	j.judgeErrors(l, production, canary)
	// With few answers from production there is nothing to compare a latency with.
	if enough := max(l.MinRequests, 1); canary.Requests >= enough && production.Requests >= enough {
		j.judgeLatency(l, production, canary)
	}
	switch {
	case j.Outcome == Fail:
	case canary.Requests < l.MinRequests:
		j.Outcome = Inconclusive
		j.Reason = fmt.Sprintf("the canary answered %d requests, a verdict needs %d", canary.Requests, l.MinRequests)
	default:
		j.Reason = fmt.Sprintf("the canary answered %d requests within the limits", canary.Requests)
	}
	return j
}

func (j *Judgement) judgeErrors(l Limits, production, canary traffic.Sample) {
	limit := production.ErrorRate() + l.MaxErrorRate
	// Errors count against the smallest sample at least: a few early ones are not a high rate.
	rate := float64(canary.Errors) / float64(max(canary.Requests, l.MinRequests, 1))
	tooMany := canary.Errors >= l.MinErrors && rate > limit
	j.add(Figure{
		Name: "error rate", Value: 100 * canary.ErrorRate(), Limit: 100 * limit, Unit: "%", Sample: canary.Requests, OK: !tooMany,
	}, fmt.Sprintf("the canary failed %d of %d requests (%.1f %%, limit %.1f %%)",
		canary.Errors, canary.Requests, 100*canary.ErrorRate(), 100*limit))
}

func (j *Judgement) judgeLatency(l Limits, production, canary traffic.Sample) {
	have, other := canary.Latency.Quantile(0.95), production.Latency.Quantile(0.95)
	limit := max(time.Duration(float64(other)*l.LatencyFactor), other+l.LatencySlack)
	j.add(Figure{
		Name: "latency p95", Value: milliseconds(have), Limit: milliseconds(limit), Unit: "ms", Sample: canary.Requests, OK: have <= limit,
	}, fmt.Sprintf("the canary needs %.0f ms for 95 %% of its answers (limit %.0f ms, production %.0f ms)",
		milliseconds(have), milliseconds(limit), milliseconds(other)))
}

// add takes over a figure; the first that is not OK is the reason of the failure.
func (j *Judgement) add(f Figure, reason string) {
	j.Figures = append(j.Figures, f)
	if !f.OK && j.Outcome != Fail {
		j.Outcome, j.Reason = Fail, reason
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
