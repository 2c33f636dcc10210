// Package verdict judges a canary: it compares what canary and production answered side by side, and says pass, fail or
// inconclusive. It is pure: samples in, a judgement out. The stage asks it for the verdict on a release, the agent on
// the router asks it for the guard. docs/canary.md shows how often it errs, by simulation.
package verdict

import (
	"fmt"
	"math"
	"strings"
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

// Limits are how much worse than production a canary may be. A canary fails when a difference is beyond its limit and
// more than chance.
type Limits struct {
	MinRequests   int64         // that the canary must be given for a pass
	MaxErrorRate  float64       // share of failures above production's, from 0 to 1
	LatencyFactor float64       // times production's times
	LatencySlack  time.Duration // above production's times, always allowed
	Alpha         float64       // probability that a canary as good as production ever fails
}

const (
	// falseAborts is the probability that a deploy of a canary as good as production is aborted, and that the guard
	// closes such a canary within a week.
	falseAborts = 0.01
	week        = 7 * 24 * time.Hour
)

// Deploy are the limits for the verdict on one release.
func (l Limits) Deploy() Limits {
	l.Alpha = falseAborts
	return l
}

// Guard are the limits for one of several windows of some length side by side, one after the other for good.
func (l Limits) Guard(length time.Duration, sideBySide int) Limits {
	l.Alpha = falseAborts / float64(sideBySide) * float64(length) / float64(week)
	return l
}

// How Alpha is shared out to the criteria.
const (
	failuresPart = 0.4
	timesPart    = 0.6
)

// Judgement is an outcome and what it rests on.
type Judgement struct {
	Outcome  Outcome  `json:"outcome"`
	Reason   string   `json:"reason"` // one sentence for people
	Figures  []Figure `json:"figures"`
	Warnings []string `json:"warnings,omitempty"`
	LeftOut  []string `json:"left_out,omitempty"` // what did not count, and why
}

// Seen is a judgement with the requests that it rests on.
type Seen struct {
	Judgement
	Production int64 `json:"production_requests"`
	Canary     int64 `json:"canary_requests"`
	Failed     int64 `json:"canary_failed"`
}

// Figure is one value of the canary's with its limit.
type Figure struct {
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Low        float64 `json:"low"` // 95 % confidence interval of Value
	High       float64 `json:"high"`
	Production float64 `json:"production"` // production's value, as if it had had the canary's requests
	Limit      float64 `json:"limit"`
	Unit       string  `json:"unit"`
	Sample     int64   `json:"sample"` // number of the canary's requests; 0: the figure is a plain count
	Chance     float64 `json:"chance"` // at most so likely was such a difference ever to be seen between equals
	OK         bool    `json:"ok"`
	Class      string  `json:"class,omitempty"` // of requests, in which the canary is worst, when there are several
}

func (f Figure) String() string {
	mark := "ok"
	if !f.OK {
		mark = "NOT OK"
	}
	value := strings.TrimSpace(fmt.Sprintf("%.4g %s", f.Value, f.Unit))
	return fmt.Sprintf("%s %s, limit %.4g: %s (%s)", f.Name, value, f.Limit, mark, f.Detail())
}

// Detail says how a value came about, and how sure it is.
func (f Figure) Detail() string {
	if f.Sample == 0 {
		return fmt.Sprintf("production %.4g", f.Production)
	}
	detail := fmt.Sprintf("95 %% interval %.3g to %.3g, production %.4g, %d requests, chance %.2g", f.Low, f.High, f.Production, f.Sample, f.Chance)
	if f.Class != "" {
		detail += ", worst in " + f.Class
	}
	return detail
}

// Judge compares two pools from batch to batch. It is for one goroutine.
type Judge struct {
	limits             Limits
	production, canary traffic.Sample
	failures, refusals mixture
	first, last        mixture
	classes            classes
	untimed            int64  // answers of the canary whose times do not count
	inFlight           int64  // requests of the canary that count as unanswered because they are not finished
	restarts           *int64 // of the canary's units; nil: not known
	after              bool   // production is what served before, not beside
}

// New returns a judge who has seen nothing.
func New(l Limits) *Judge {
	return &Judge{limits: l, failures: newFailures(), refusals: newFailures(), first: newTimes(), last: newTimes(), classes: classes{}}
}

// After returns a judge of a release that serves everywhere. It can only be compared with what production did before, so
// only its failures decide: times change with the hour. Observe takes what both pools do as the canary's.
func After(l Limits, before traffic.Sample) *Judge {
	j := New(l)
	j.after, j.production = true, before
	return j
}

// Observe takes what both pools did since the last call. Short batches make a sharper test: what both pools suffer within
// one batch cancels out. Without classes, all requests are of the same.
func (j *Judge) Observe(c traffic.Count) {
	due := j.take(c, false)
	j.failures.observe(math.Inf(1), failures(due, traffic.Sample.Failed)...)
	j.compare(due)
}

func (j *Judge) take(c traffic.Count, end bool) []*class {
	j.production, j.canary = j.production.Plus(c.Production), j.canary.Plus(c.Canary)
	return j.classes.take(c, end)
}

// compare compares what is not a failure.
func (j *Judge) compare(due []*class) {
	j.refusals.observe(math.Inf(1), failures(due, func(s traffic.Sample) int64 { return s.Refused })...)
	j.first.observe(mostOfBatch, times(due, firsts)...)
	j.last.observe(mostOfBatch, times(due, lasts)...)
	for _, x := range due {
		x.pending = traffic.Pools{}
	}
}

// ObserveWarmUp is Observe while the release warms up: only failures count, since a program that was just started is
// slower than one that has run for long.
func (j *Judge) ObserveWarmUp(c traffic.Count) {
	j.untimed += c.Canary.First.Count()
	untimed := traffic.Count{Pools: c.Untimed(), Classes: map[string]traffic.Pools{}}
	for name, p := range c.Classes {
		untimed.Classes[name] = p.Untimed()
	}
	j.Observe(untimed)
}

// ObserveLast is Observe at the end of the watch: requests that are not finished count as unanswered, in both pools. So a
// release that hangs does not pass because its clients are patient. Of which class they are is not known, so they are compared
// with all other requests.
func (j *Judge) ObserveLast(c traffic.Count, f traffic.InFlight) {
	j.inFlight = f.Canary
	due := j.take(c, true)
	var all traffic.Pools
	for _, x := range due {
		all = all.Plus(x.pending)
	}
	for _, s := range []struct {
		n          int64
		batch, sum *traffic.Sample
	}{{f.Production, &all.Production, &j.production}, {f.Canary, &all.Canary, &j.canary}} {
		for _, x := range []*traffic.Sample{s.batch, s.sum} {
			x.Requests += s.n
			x.Unanswered += s.n
		}
	}
	j.failures.observe(math.Inf(1), failures([]*class{{all: all, pending: all}}, traffic.Sample.Failed)...)
	j.compare(due)
}

// Restarted takes how often the canary's units had to be restarted during the watch.
func (j *Judge) Restarted(n int64) { j.restarts = &n }

// Judgement says what is known so far. It may be asked at any moment.
func (j *Judge) Judgement() Judgement {
	v := Judgement{Outcome: Pass}
	v.judge(j.failureRate())
	both := math.Exp(min(-logSum([]float64{j.first.evidence(), j.last.evidence()})+math.Log(2), 0))
	for _, t := range []struct {
		name string
		of   func(traffic.Sample) traffic.Histogram
	}{{"first byte", firsts}, {"last byte", lasts}} {
		production, canary := j.classes.comparable(t.of)
		if production.Count() == 0 || canary.Count() == 0 {
			continue // nothing to compare with
		}
		for _, q := range []float64{0.5, 0.95, 0.99} {
			f, reason := j.time(t.name, q, &production, &canary, both)
			f.Class = j.classes.slowest(q, t.of)
			v.judge(f, reason)
		}
	}
	v.judge(j.foundDown())
	if j.restarts != nil {
		n := *j.restarts
		v.judge(Figure{Name: "restarts", Value: float64(n), OK: n == 0}, fmt.Sprintf("the release ended and was started again %d times on the canary", n))
	}
	j.compareRefusals(&v)
	j.leaveOut(&v)
	switch {
	case v.Outcome == Fail:
	case j.canary.Turns() < j.limits.MinRequests:
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("the canary was given %d requests, a verdict needs %d", j.canary.Turns(), j.limits.MinRequests)
	default:
		v.Reason = fmt.Sprintf("the canary answered %d requests within the limits", j.canary.Turns())
	}
	return v
}

// compareRefusals warns when the share of answers from 400 to 499 differs from production's by more than chance and by
// more than the limit of failures. Such answers may be right, so they fail nothing.
func (j *Judge) compareRefusals(v *Judgement) {
	p, c := j.production.RefusalRate(), j.canary.RefusalRate()
	chance := math.Exp(min(-j.refusals.evidence(), 0))
	if c > p+j.limits.MaxErrorRate && chance <= j.limits.Alpha {
		v.Warnings = append(v.Warnings, fmt.Sprintf("the canary answers %.1f %% of its requests with a status from 400 to 499, production %.1f %%; fail_on makes them failures", 100*c, 100*p))
	}
}

// leaveOut says what did not count.
func (j *Judge) leaveOut(v *Judgement) {
	for _, l := range []struct {
		n         int64
		what, why string
	}{
		{j.untimed, "the times of %d answers", "the release was warming up"},
		{j.canary.Failed(), "the times of %d requests", "they failed"},
		{j.canary.LeftOut, "%d unanswered requests", "fail_on does not name them"},
	} {
		if l.n > 0 {
			v.LeftOut = append(v.LeftOut, fmt.Sprintf(l.what, l.n)+": "+l.why)
		}
	}
}

// foundDown compares how often the router found a server down. Once may be chance: a single lost connection is enough.
func (j *Judge) foundDown() (Figure, string) {
	p, c := j.production.Downs, j.canary.Downs
	limit := max(p, 1)
	return Figure{Name: "found down", Value: float64(c), Production: float64(p), Limit: float64(limit), OK: c <= limit},
		fmt.Sprintf("the router found the canary down %d times", c)
}

// Seen is the judgement with the requests that both pools were given, and those that the canary failed.
func (j *Judge) Seen() Seen {
	return Seen{j.Judgement(), j.production.Turns(), j.canary.Turns(), j.canary.Failed()}
}

// Production is what production did.
func (j *Judge) Production() traffic.Sample { return j.production }

func (j *Judge) failureRate() (Figure, string) {
	p, c := j.production, j.canary
	expected, worst := j.classes.expected(p)
	limit := expected + j.limits.MaxErrorRate
	evidence := j.failures.evidence()
	if j.after || p.Requests == 0 {
		evidence = absolute(c.Failed(), c.Turns(), limit)
	}
	f := Figure{
		Name: "failures", Unit: "%", Value: 100 * c.FailureRate(), Production: 100 * expected, Limit: 100 * limit,
		Sample: c.Turns(), Chance: math.Exp(min(-evidence, 0)), Class: worst,
	}
	low, high := wilson(c.Failed(), c.Turns())
	f.Low, f.High = 100*low, 100*high
	f.OK = c.FailureRate() <= limit || f.Chance > failuresPart*j.limits.Alpha
	who := "canary"
	if j.after {
		who = "release"
	}
	reason := fmt.Sprintf("the "+who+" failed %d of %d requests (%.1f %%, limit %.1f %%)", c.Failed(), c.Turns(), f.Value, f.Limit)
	var parts []string
	for _, part := range []struct {
		n    int64
		text string
	}{
		{c.Errors, "%d errors"},
		{c.Unanswered - j.inFlight, "%d unanswered"},
		{j.inFlight, "%d not answered yet"},
		{c.Rescued, "%d answered by production in its place"},
		{c.Missed, "%d turns without a server"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf(part.text, part.n))
		}
	}
	if len(parts) > 0 {
		reason += ": " + strings.Join(parts, ", ")
	}
	return f, reason
}

func (j *Judge) time(name string, q float64, production, canary *traffic.Histogram, chance float64) (Figure, string) {
	have, other := canary.Quantile(q), production.Quantile(q)
	limit := j.limits.allowed(other)
	// The ranks between which a quantile lies, by the binomial distribution.
	spread := z95 * math.Sqrt(q*(1-q)/float64(canary.Count()))
	f := Figure{
		Name: fmt.Sprintf("%s p%g", name, 100*q), Unit: "ms", Value: milliseconds(have), Production: milliseconds(other), Limit: milliseconds(limit),
		Low: milliseconds(canary.Quantile(max(q-spread, 0))), High: milliseconds(canary.Quantile(min(q+spread, 1))),
		Sample: canary.Count(), Chance: chance,
	}
	f.OK = have <= limit || chance > timesPart*j.limits.Alpha || !j.limits.beyond(q, production, canary)
	return f, fmt.Sprintf("the canary needs %.0f ms to the %s of %g %% of its answers (limit %.0f ms, production %.0f ms)",
		f.Value, name, 100*q, f.Limit, f.Production)
}

// allowed is the time that a canary may need where production needs another.
func (l Limits) allowed(production time.Duration) time.Duration {
	return max(time.Duration(float64(production)*l.LatencyFactor), production+l.LatencySlack)
}

// beyond reports whether the canary is beyond what is allowed not just at a quantile, but around it. At the quantile alone
// it may be by chance, where times are of two kinds, say with a cache and without: a few answers more make the quantile one
// of the other kind. So either a rank far below is beyond, or, of enough answers, the slowest are, pair by pair (Mann-Whitney):
// in 45 % of pairs, since all are to be beyond a limit that is itself uncertain. docs/canary.md shows what that does.
func (l Limits) beyond(q float64, production, canary *traffic.Histogram) bool {
	const (
		far    = 4  // standard errors of a rank
		fewest = 15 // answers above the quantile
		around = 3  // times as many answers as are above the quantile
		ranks  = 40 // of each pool that are compared
	)
	n := float64(canary.Count())
	low := q - far*math.Sqrt(q*(1-q)*(1/n+1/float64(production.Count())))
	if low > 0 && canary.Quantile(low) > l.allowed(production.Quantile(q)) {
		return true
	}
	if n*(1-q) < fewest {
		return false
	}
	var slow, limits [ranks]time.Duration
	for i := range ranks {
		rank := 1 - min(around*(1-q), 1)*(float64(i)+0.5)/ranks
		slow[i], limits[i] = canary.Quantile(rank), l.allowed(production.Quantile(rank))
	}
	above := 0
	for _, t := range slow {
		for _, limit := range limits {
			if t > limit {
				above++
			}
		}
	}
	return float64(above) > 0.45*ranks*ranks
}

// judge takes over a figure; the first that is not OK is the reason of the failure.
func (v *Judgement) judge(f Figure, reason string) {
	v.Figures = append(v.Figures, f)
	if !f.OK && v.Outcome != Fail {
		v.Outcome, v.Reason = Fail, reason
		if f.Class != "" {
			v.Reason += "; worst in " + f.Class
		}
	}
}

const z95 = 1.96 // standard deviations on both sides of 95 % of a normal distribution

// wilson is the 95 % confidence interval of a share (Wilson 1927).
func wilson(k, n int64) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	share, count := float64(k)/float64(n), float64(n)
	middle := share + z95*z95/(2*count)
	half := z95 * math.Sqrt(share*(1-share)/count+z95*z95/(4*count*count))
	scale := 1 + z95*z95/count
	low, high = max((middle-half)/scale, 0), min((middle+half)/scale, 1)
	if k == 0 {
		low = 0 // without the rest of a rounding
	}
	if k == n {
		high = 1
	}
	return low, high
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
