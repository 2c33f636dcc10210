package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
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
}

// watch opens the canary and judges it: when the window ends, earlier when more requests could not change a failure,
// and at once when an operator or the router decides.
func (d *deployer) watch(ctx context.Context, r state.Release) (card, error) {
	d.want.Weights = d.c.weights()
	d.want.OpenCanary(time.Now().UTC())
	if err := d.settle(ctx); err != nil {
		return card{}, err
	}
	last, err := d.freshTraffic(ctx)
	if err != nil {
		return card{}, err
	}
	length := d.c.Canary.Watch.Std()
	d.job.Logf("watching release %s for %s, weights %s", r, length, d.want.Weights)
	judge := verdict.New(d.c.limits().Deploy())
	for began := time.Now(); ; {
		past := time.Since(began)
		read := d.readTraffic
		if past >= length {
			read = d.freshTraffic // up to the end of the window
		}
		now, err := read(ctx)
		if err != nil {
			return card{}, err
		}
		judge.Observe(now.Since(last))
		last = now
		v := card{Release: r.ID, Judgement: judge.Judgement(), Seconds: past.Seconds()}
		v.Production, v.Canary = judge.Requests()
		decided, err := d.overrule(ctx, &v.Judgement)
		if err != nil {
			return card{}, err
		}
		if decided || v.Outcome == verdict.Fail || past >= length {
			return v, nil
		}
		d.job.Progress(past.Seconds(), length.Seconds(), fmt.Sprintf("canary %d requests, production %d", v.Canary, v.Production))
		if sleep(ctx, min(time.Second, length-past)); ctx.Err() != nil {
			return card{}, context.Cause(ctx)
		}
	}
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
	for _, f := range c.Figures {
		d.job.Logf("  %s", f)
		limit := f.Limit
		d.job.Metric(sdk.Metric{Name: "canary " + f.Name, Value: f.Value, Unit: f.Unit, Limit: &limit})
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
