package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// run deploys the artifact. The order is: canary hosts, verdict, production hosts, rest.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	d, err := newDeployer(ctx, c, job)
	if err != nil {
		return err
	}
	if err := d.ensureAgent(ctx); err != nil {
		return err
	}
	r := newRelease(&c.Service, d.name, c.Artifact)
	if known, ok := d.want.Releases[r.ID]; ok {
		r = known
	} else {
		r.Commit, r.Run, r.Made = job.Info.Commit, string(job.Info.Run), time.Now().UTC()
	}
	defer d.drive(ctx)()
	if err := d.deploy(ctx, r); err != nil {
		return err
	}
	job.Output("release", r.ID)
	job.Output("address", "http://"+d.router.Address)
	return nil
}

// drive says that somebody will judge the canary, until the returned function is called.
func (d *deployer) drive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	say := func(ctx context.Context, run string) {
		if _, err := d.job.SetState(ctx, keyDriver, encode(driver{Run: run, Time: time.Now().UTC()})); err != nil && ctx.Err() == nil {
			d.job.Warnf("%v", err)
		}
	}
	run := orElse(string(d.job.Info.Run), "by hand")
	say(ctx, run)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sleep(ctx, beat)
			if ctx.Err() == nil {
				say(ctx, run)
			}
		}
	}()
	return func() {
		cancel()
		<-done
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		say(last, "")
	}
}

// deploy brings a release everywhere.
func (d *deployer) deploy(ctx context.Context, r release) error {
	lacking, err := d.lacking(ctx, d.all(), r.ID)
	if err != nil {
		return err
	}
	if r.ID == d.want.Good {
		return d.heal(ctx, lacking, r)
	}
	d.want.Releases[r.ID] = r
	d.want.Candidate, d.want.Phase = r.ID, phaseCanary
	canary, production := d.split(lacking)
	if err := d.bring(ctx, canary, r); err != nil {
		return d.abort(ctx, r, err)
	}
	if len(d.canary) > 0 {
		c, err := d.watch(ctx, r)
		if err != nil {
			return d.abort(ctx, r, err)
		}
		d.publish(ctx, c)
		switch {
		case c.Outcome == fail:
			return d.abort(ctx, r, errors.New(c.Reason))
		case c.Outcome == pass:
		case d.want.Good == "":
			d.job.Logf("nothing served before: there is nothing to protect, release %s goes on", r)
		case d.c.Canary.NoTraffic == noTrafficAbort:
			return d.abort(ctx, r, errors.New(c.Reason))
		case d.c.Canary.NoTraffic == noTrafficHold:
			d.want.Phase = phaseHeld
			if err := d.write(ctx); err != nil {
				return err
			}
			return sdk.Failf("%s; release %s is held on the canary: go on with `troop deploy promote`, or back with `troop deploy abort`", c.Reason, r)
		}
	}
	if err := d.promote(ctx, production, r); err != nil {
		return d.abort(ctx, r, err)
	}
	return nil
}

// heal brings the good release to the hosts that lack it, and the weights back.
func (d *deployer) heal(ctx context.Context, lacking []string, r release) error {
	a, err := d.readActual(ctx)
	if err != nil {
		return err
	}
	if len(lacking) == 0 && d.want.Phase == phaseRest && a.Settled && a.Weights == d.c.weights() {
		d.job.Logf("release %s already serves on every host with the weights %s: nothing to do", r, a.Weights)
		return nil
	}
	if a.Closed != nil {
		d.job.Logf("the canary was closed at %s (%s); it gets its share again", a.Closed.Time.Format(time.TimeOnly), a.Closed.Reason)
	}
	if err := d.bring(ctx, lacking, r); err != nil {
		return err
	}
	d.want.Candidate = ""
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return err
	}
	if len(lacking) > 0 {
		d.tidy(ctx)
	}
	return nil
}

// watch gives the canary its share and judges it.
func (d *deployer) watch(ctx context.Context, r release) (card, error) {
	given, err := d.state(ctx, keyOrder)
	if err != nil {
		return card{}, err
	}
	d.want.Weights = d.c.weights()
	d.want.open(time.Now().UTC())
	if err := d.settle(ctx); err != nil {
		return card{}, err
	}
	last, err := d.freshTraffic(ctx)
	if err != nil {
		return card{}, err
	}
	d.job.Logf("watching release %s for %s, weights %s", r, d.c.Canary.Watch.Std(), d.want.Weights)
	var production, canary sample
	began := time.Now()
	for {
		past := time.Since(began)
		read := d.readTraffic
		if past >= d.c.Canary.Watch.Std() {
			read = d.freshTraffic // up to the end of the window
		}
		now, err := read(ctx)
		if err != nil {
			return card{}, err
		}
		p, c := now.since(last)
		production, canary, last = production.plus(p), canary.plus(c), now
		v := judge(d.c.limits(), production, canary, past)
		v.Release = r.ID
		if a, err := d.readActual(ctx); err != nil {
			return card{}, err
		} else if a.Closed != nil && a.Closed.Generation == d.want.Generation {
			v.Outcome, v.Reason = fail, "the router closed the canary: "+a.Closed.Reason
		}
		var o order
		e, err := d.state(ctx, keyOrder)
		if err != nil {
			return card{}, err
		}
		if e.Version > given.Version {
			if err := d.readInto(ctx, keyOrder, &o); err != nil {
				return card{}, err
			}
		}
		switch {
		case o.Action == orderAbort:
			v.Outcome, v.Reason = fail, "an operator ordered the abort"
		case v.Outcome == fail:
		case o.Action == orderPromote:
			v.Outcome, v.Reason = pass, "an operator ordered the promotion"
		case past < d.c.Canary.Watch.Std():
			d.job.Progress(past.Seconds(), d.c.Canary.Watch.Std().Seconds(),
				fmt.Sprintf("canary %d requests, %d failed", canary.Requests, canary.Errors))
			if sleep(ctx, min(time.Second, d.c.Canary.Watch.Std()-past)); ctx.Err() != nil {
				return card{}, context.Cause(ctx)
			}
			continue
		}
		return v, nil
	}
}

// What an operator may order while a canary is watched.
const (
	orderPromote = "promote"
	orderAbort   = "abort"
)

// publish keeps a verdict where people look for it: the log, the metrics, the event and the shared state.
func (d *deployer) publish(ctx context.Context, c card) {
	d.job.Logf("verdict: %s: %s (window %.0f s, %d requests in production, %d in the canary)",
		c.Outcome, c.Reason, c.Seconds, c.Production, c.Canary)
	for _, f := range c.Figures {
		d.job.Logf("  %s", f)
		limit := f.Limit
		d.job.Metric(sdk.Metric{Name: "canary " + f.Name, Value: f.Value, Unit: f.Unit, Limit: &limit})
	}
	severity := sdk.Info
	if c.Outcome != pass {
		severity = sdk.Warning
	}
	err := d.job.Publish(ctx, sdk.Event{
		Kind: "deploy.verdict", Severity: severity, Summary: fmt.Sprintf("%s: %s", c.Outcome, c.Reason),
		Data: map[string]any{"card": c},
	})
	if _, serr := d.job.SetState(ctx, keyVerdict, encode(c)); err == nil {
		err = serr
	}
	if err != nil {
		d.job.Warnf("%v", err)
	}
}

// promote brings the candidate to the production hosts that lack it. An alert on the way stops it.
func (d *deployer) promote(ctx context.Context, hosts []string, r release) error {
	d.want.Phase = phasePromoting
	if err := d.write(ctx); err != nil {
		return err
	}
	if len(hosts) > 0 {
		if err := d.install(ctx, hosts, r); err != nil {
			return err
		}
	}
	for i, h := range hosts {
		d.job.Progress(float64(i), float64(len(hosts)), h)
		if err := d.turn(ctx, []string{h}, r); err != nil {
			return err
		}
		a, err := d.readActual(ctx)
		if err != nil {
			return err
		}
		if a.Closed != nil {
			return errors.New(a.Closed.Reason)
		}
	}
	d.want.promoted(r.ID)
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return err
	}
	d.tidy(ctx)
	d.job.Logf("release %s serves on every host, weights %s", r, d.want.Weights)
	return nil
}

// abort puts everything back and returns why. A deploy that was cancelled only takes the traffic away from a release
// that was not judged: the next deploy goes on from there.
func (d *deployer) abort(ctx context.Context, r release, why error) error {
	if ctx.Err() != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		unjudged := func(h string) bool { return d.want.Phase == phaseCanary && d.want.Hosts[h].Release == r.ID }
		if slices.ContainsFunc(d.canary, unjudged) {
			d.want.Open = false
			if err := d.write(last); err != nil {
				d.job.Warnf("%v", err)
			}
		}
		return context.Cause(ctx)
	}
	d.job.Warnf("aborting release %s: %v", r, why)
	done, err := d.putBack(ctx)
	if err != nil {
		return sdk.Failf("release %s aborted: %v; not all could be put back: %v; `troop deploy abort` goes on from there", r, why, err)
	}
	return sdk.Failf("release %s aborted: %v; %s", r, why, done)
}
