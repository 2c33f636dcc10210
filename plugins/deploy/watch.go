package main

import (
	"context"
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
	verdict.Judgement
	Seconds    float64 `json:"seconds"` // length of the window
	Production int64   `json:"production_requests"`
	Canary     int64   `json:"canary_requests"`
	Failed     int64   `json:"canary_failed"`
}

// watch opens the canary and judges it: when the window ends, earlier when the canary is worse by more than chance, and
// at once when an operator or the router decides.
func (d *deployer) watch(ctx context.Context, r state.Release) (card, error) {
	d.want.Weights = d.c.weights()
	d.want.OpenCanary(time.Now().UTC())
	if err := d.weigh(ctx); err != nil {
		return card{}, err
	}
	restarts, err := d.restarts(ctx)
	if err != nil {
		return card{}, err
	}
	last, err := d.freshTraffic(ctx)
	if err != nil {
		return card{}, err
	}
	length := d.c.Canary.Watch.Std()
	d.job.Logf("watching release %s for %s, weights %s", r, length, d.want.Weights)
	judge := verdict.New(d.c.limits().Deploy())
	warm := false // the batch began after the warm-up
	for began := time.Now(); ; {
		past := time.Since(began)
		now, err := d.observe(ctx, judge, last, past >= length, warm)
		if err != nil {
			return card{}, err
		}
		last, warm = now, past >= d.c.Canary.warmUp()
		v := card{Release: r.ID, Judgement: judge.Judgement(), Seconds: past.Seconds()}
		if past >= length && v.Outcome != verdict.Fail {
			n, err := d.restarts(ctx)
			if err != nil {
				return card{}, err
			}
			judge.Restarted(max(n-restarts, 0))
			v.Judgement = judge.Judgement()
		}
		v.Production, v.Canary, v.Failed = judge.Requests()
		decided, err := d.overrule(ctx, &v.Judgement)
		if err != nil {
			return card{}, err
		}
		if decided || v.Outcome == verdict.Fail || past >= length {
			return v, nil
		}
		d.job.Progress(past.Seconds(), length.Seconds(), fmt.Sprintf("canary %d requests, %d failed", v.Canary, v.Failed))
		if sleep(ctx, min(time.Second, length-past)); ctx.Err() != nil {
			return card{}, context.Cause(ctx)
		}
	}
}

// observe lets the judge see what both pools did since the last reading, and returns the present one.
func (d *deployer) observe(ctx context.Context, judge *verdict.Judge, last traffic.Reading, over, warm bool) (traffic.Reading, error) {
	read := d.readTraffic
	if over {
		read = d.freshTraffic // up to the end of the window
	}
	now, err := read(ctx)
	if err != nil {
		return traffic.Reading{}, err
	}
	production, canary := now.Since(last)
	switch {
	case over && slices.Contains(d.c.Canary.FailOn, traffic.Unanswered):
		judge.ObserveLast(production, canary, now.InFlight)
	case !warm:
		judge.ObserveWarmUp(production, canary)
	default:
		judge.Observe(production, canary)
	}
	return now, nil
}

// restarts is how often systemd has started the release on the canary hosts again, because it ended by itself.
func (d *deployer) restarts(ctx context.Context) (n int64, err error) {
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: sdk.HostNames(d.canary...), Vars: map[string]any{
		"release_step": "restarts", "release_service": d.name,
		"release_slots": d.slots(d.canary, func(p state.Placement) string { return p.Slot }),
	}})
	if err != nil {
		if cancelled(ctx, err) {
			return 0, err
		}
		return 0, d.explain(results, err)
	}
	for _, r := range results {
		text, ok := r.Facts["stdout"].(string)
		if !ok {
			continue
		}
		k, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the restarts on %s: %w", r.Host, err)
		}
		n += k
	}
	return n, nil
}

// overrule changes a judgement when the router closed the canary, or when an operator gave an order.
// An abort stands above everything, and a failure above a promotion.
func (d *deployer) overrule(ctx context.Context, j *verdict.Judgement) (bool, error) {
	a, err := d.readActual(ctx)
	if err != nil {
		return false, err
	}
	if a.Closed != nil && a.Closed.Generation == d.want.Generation {
		j.Outcome, j.Reason = verdict.Fail, "the router closed the canary: "+a.Closed.Reason
	}
	o, err := d.lastOrder(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case o.Action == state.OrderAbort:
		j.Outcome, j.Reason = verdict.Fail, errOrdered.Error()
	case j.Outcome == verdict.Fail:
	case o.Action == state.OrderPromote:
		j.Outcome, j.Reason = verdict.Pass, "an operator ordered the promotion"
	default:
		return false, nil
	}
	return true, nil
}

// publish puts a verdict where people look for it: the log, the metrics, an event and the shared state.
func (d *deployer) publish(ctx context.Context, c card) {
	d.job.Logf("verdict: %s: %s (window %.0f s, %d requests in production, %d in the canary)",
		c.Outcome, c.Reason, c.Seconds, c.Production, c.Canary)
	d.job.Metric(sdk.Metric{
		Name: "canary requests", Value: float64(c.Canary),
		Detail: fmt.Sprintf("%s: %s; in %.0f s, production %d", c.Outcome, c.Reason, c.Seconds, c.Production),
	})
	for _, f := range c.Figures {
		d.job.Logf("  %s", f)
		limit := f.Limit
		d.job.Metric(sdk.Metric{Name: "canary " + f.Name, Value: f.Value, Unit: f.Unit, Limit: &limit, Detail: f.Detail()})
	}
	for _, w := range c.Warnings {
		d.job.Warnf("%s", w)
		d.job.Metric(sdk.Metric{Name: "canary warnings", Value: 1, Detail: w})
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
	if _, serr := d.job.SetState(ctx, state.KeyVerdict, state.Encode(c)); err == nil {
		err = serr
	}
	if err != nil {
		d.job.Warnf("%v", err)
	}
}
