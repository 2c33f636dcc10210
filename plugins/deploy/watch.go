package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// card is the verdict on a release, with the window that it rests on.
type card struct {
	Release string `json:"release"`
	verdict.Seen
	Seconds float64 `json:"seconds"`           // length of the window
	Ordered bool    `json:"ordered,omitempty"` // by an operator

	before traffic.Sample // what production did
}

// watch opens the canary and judges it, step by step: when the window of the last step ends, earlier when the canary is
// worse by more than chance, and at once when an operator or the router decides. One judge sees all steps, so that what a
// small share showed still counts.
func (d *deployer) watch(ctx context.Context, r state.Release) (card, error) {
	s := sight{judge: verdict.New(d.c.limits().Deploy())}
	length, steps := d.c.Canary.Watch.Std(), d.c.steps()
	d.want.OpenCanary(time.Now().UTC())
	for i, w := range steps {
		d.want.Weights = w
		if err := d.weigh(ctx); err != nil {
			return card{}, err
		}
		if i == 0 {
			if err := d.beginWatch(ctx, &s); err != nil {
				return card{}, err
			}
		}
		d.job.Logf("watching release %s for %s, weights %s", r, length, w)
		s.ends, s.last = time.Now().Add(length), i == len(steps)-1
		c, decided, err := d.watchStep(ctx, &s)
		if err != nil || decided || s.last {
			c.Release, c.before = r.ID, s.judge.Production()
			return c, err
		}
	}
	return card{}, errors.New("there is no step to watch") // steps has at least one
}

// sight is what a watch has seen.
type sight struct {
	judge    *verdict.Judge
	began    time.Time
	ends     time.Time // of the present step
	last     bool      // there is no step after the present one
	warm     bool      // the batch began after the warm-up
	reading  traffic.Reading
	restarts int64     // before the watch
	shown    time.Time // when people were last told the figures
}

// points is how many values of each figure a step of the watch tells at most, for a chart.
const points = 60

// figures tells what the canary did so far, for those who watch.
func (d *deployer) figures(c card) {
	d.job.Metric(sdk.Metric{
		Name: "canary requests", Value: float64(c.Canary),
		Detail: fmt.Sprintf("%s: %s; in %.0f s, production %d", c.Outcome, c.Reason, c.Seconds, c.Production),
	})
	for _, f := range c.Figures {
		limit := f.Limit
		d.job.Metric(sdk.Metric{Name: "canary " + f.Name, Value: f.Value, Unit: f.Unit, Limit: &limit, Detail: f.Detail()})
	}
}

func (d *deployer) beginWatch(ctx context.Context, s *sight) (err error) {
	if s.restarts, err = d.restarts(ctx); err != nil {
		return err
	}
	s.reading, err = d.freshTraffic(ctx)
	s.began = time.Now()
	return err
}

// watchStep watches until the step ends or something decides, and reports whether something has.
func (d *deployer) watchStep(ctx context.Context, s *sight) (card, bool, error) {
	for {
		now := time.Now()
		over := !now.Before(s.ends)
		if err := d.observe(ctx, s, over); err != nil {
			return card{}, false, err
		}
		c := card{Seen: s.judge.Seen(), Seconds: now.Sub(s.began).Seconds()}
		if over && s.last && c.Outcome != verdict.Fail {
			n, err := d.restarts(ctx)
			if err != nil {
				return card{}, false, err
			}
			s.judge.Restarted(max(n-s.restarts, 0))
			c.Seen = s.judge.Seen()
		}
		decided, err := d.overrule(ctx, &c)
		if err != nil || decided || over || c.Outcome == verdict.Fail {
			return c, decided || c.Outcome == verdict.Fail, err
		}
		d.job.Progress(c.Seconds, s.ends.Sub(s.began).Seconds(), fmt.Sprintf("canary %d requests, %d failed", c.Canary, c.Failed))
		if now.Sub(s.shown) >= max(time.Second, d.c.Canary.Watch.Std()/points) {
			s.shown = now
			d.figures(c)
		}
		if sleep(ctx, min(time.Second, time.Until(s.ends))); ctx.Err() != nil {
			return card{}, false, context.Cause(ctx)
		}
	}
}

// observe lets the judge see what both pools did since the last reading. At the end of the last step that includes what is
// not finished.
func (d *deployer) observe(ctx context.Context, s *sight, over bool) error {
	read := d.readTraffic
	if over {
		read = d.freshTraffic // up to the end of the window
	}
	now, err := read(ctx)
	if err != nil {
		return err
	}
	since := now.Since(s.reading)
	switch {
	case over && s.last && slices.Contains(d.c.Canary.FailOn, traffic.Unanswered):
		s.judge.ObserveLast(since, now.InFlight)
	case !s.warm:
		s.judge.ObserveWarmUp(since)
	default:
		s.judge.Observe(since)
	}
	s.reading, s.warm = now, time.Since(s.began) >= d.c.Canary.warmUp()
	return nil
}

// guard watches a release that was promoted, beside which nothing else serves any more. It returns why the release is bad.
func (d *deployer) guard(ctx context.Context, before traffic.Sample, r state.Release) error {
	length := d.c.guard()
	if length == 0 || d.good == "" {
		return nil // there is nothing to go back to
	}
	last, err := d.freshTraffic(ctx)
	if err != nil {
		return err
	}
	d.job.Logf("guarding release %s for %s", r, length)
	judge := verdict.After(d.c.limits().Deploy(), before)
	for began := time.Now(); ; {
		past := time.Since(began)
		now, err := d.readTraffic(ctx)
		if err != nil {
			return err
		}
		since := now.Since(last)
		last = now
		// A host that is down is no fault of the release.
		since.Canary.Missed, since.Canary.Downs, since.Production.Downs = 0, 0, 0
		judge.Observe(traffic.Count{Pools: traffic.Pools{Canary: since.Production.Plus(since.Canary)}})
		c := card{Release: r.ID, Seen: judge.Seen(), Seconds: past.Seconds()}
		if c.Outcome == verdict.Fail {
			c.Reason = "after the promotion " + c.Reason
			d.publish(ctx, c)
			return errors.New(c.Reason)
		}
		if past >= length {
			d.job.Logf("guarded release %s for %s: it failed %d of %d requests", r, length, c.Failed, c.Canary)
			return nil
		}
		d.job.Progress(past.Seconds(), length.Seconds(), fmt.Sprintf("%d requests, %d failed", c.Canary, c.Failed))
		if sleep(ctx, min(time.Second, length-past)); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// restarts is how often systemd has started the release on the canary hosts again, because it ended by itself.
func (d *deployer) restarts(ctx context.Context) (n int64, err error) {
	seats := d.present(d.canary)
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: hosts(seats), Vars: map[string]any{
		"release_step": "restarts", "release_service": d.name, "release_slots": d.slots(seats, serving),
		"release_programs": d.units(seats, d.want.Releases[d.want.Candidate]),
	}})
	if err != nil {
		return 0, d.orExplained(ctx, results, err)
	}
	for _, r := range results {
		text, ok := r.Facts["stdout"].(string)
		if !ok {
			continue
		}
		for field := range strings.FieldsSeq(text) { // one for each unit
			k, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the restarts on %s: %w", r.Host, err)
			}
			n += k
		}
	}
	return n, nil
}

// overrule changes a card when the router closed the canary, or when an operator gave an order.
// An abort stands above everything, and a failure above a promotion.
func (d *deployer) overrule(ctx context.Context, c *card) (bool, error) {
	a, err := d.readActual(ctx)
	if err != nil {
		return false, err
	}
	if a.Closed != nil && a.Closed.Generation == d.want.Generation {
		if a.Closed.Seen != nil { // the router has looked before this did
			if err := json.Unmarshal(a.Closed.Seen, &c.Seen); err != nil {
				return false, fmt.Errorf("read why the router closed the canary: %w", err)
			}
			c.Seconds = a.Closed.Time.Sub(d.want.Opened).Seconds()
		}
		c.Outcome, c.Reason = verdict.Fail, "the router closed the canary: "+a.Closed.Reason
	}
	o, err := d.lastOrder(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case o.Action == state.OrderAbort:
		c.Outcome, c.Reason = verdict.Fail, errOrdered.Error()
	case c.Outcome == verdict.Fail:
	case o.Action == state.OrderPromote:
		c.Outcome, c.Reason, c.Ordered = verdict.Pass, "an operator ordered the promotion", true
	default:
		return false, nil
	}
	return true, nil
}

// publish puts a verdict where people look for it: the log, the metrics, an event and the shared state.
func (d *deployer) publish(ctx context.Context, c card) {
	d.job.Logf("verdict: %s: %s (window %.0f s, %d requests in production, %d in the canary)",
		c.Outcome, c.Reason, c.Seconds, c.Production, c.Canary)
	d.figures(c)
	for _, f := range c.Figures {
		d.job.Logf("  %s", f)
	}
	for _, w := range c.Warnings {
		d.job.Warnf("%s", w)
	}
	if n := len(c.Warnings); n > 0 {
		d.job.Metric(sdk.Metric{Name: "canary warnings", Value: float64(n), Detail: strings.Join(c.Warnings, "; ")})
	}
	for _, l := range c.LeftOut {
		d.job.Logf("  left out: %s", l)
	}
	if len(c.LeftOut) > 0 {
		d.job.Metric(sdk.Metric{Name: "canary left out", Value: float64(len(c.LeftOut)), Detail: strings.Join(c.LeftOut, "; ")})
	}
	severity := sdk.Info
	if c.Outcome != verdict.Pass {
		severity = sdk.Warning
	}
	err := d.job.Publish(ctx, sdk.Event{
		Kind: "deploy.verdict", Severity: severity, Summary: fmt.Sprintf("%s: %s", c.Outcome, c.Reason),
		Data: map[string]any{"card": c},
	})
	if _, serr := d.job.SetState(ctx, d.service.Key(state.KeyVerdict), state.Encode(c)); err == nil {
		err = serr
	}
	if err != nil {
		d.job.Warnf("%v", err)
	}
}
