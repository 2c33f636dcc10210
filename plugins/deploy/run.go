package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
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
	r := c.Service.release(d.name, c.Artifact)
	if known, ok := d.want.Releases[r.ID]; ok {
		r = known
	} else {
		r.Commit, r.Run, r.Made = job.Info.Commit, job.Info.Run, time.Now().UTC()
	}
	defer d.drive(ctx)()
	if err := d.deploy(ctx, r); err != nil {
		return err
	}
	job.Output("release", r.ID)
	job.Output("address", "http://"+d.router.Address)
	return nil
}

// deploy makes every host serve a release: the canary first, production after its verdict.
func (d *deployer) deploy(ctx context.Context, r state.Release) error {
	lacking, err := d.notServing(ctx, d.all(), r.ID)
	if err != nil {
		return err
	}
	if r.ID == d.want.Good {
		return d.repair(ctx, lacking, r)
	}
	d.want.Releases[r.ID] = r
	d.want.Candidate, d.want.Phase = r.ID, state.PhaseCanary
	canary, production := d.split(lacking)
	if err := d.rollOut(ctx, canary, r); err != nil {
		return d.abort(ctx, r, err)
	}
	if len(d.canary) > 0 {
		c, err := d.watch(ctx, r)
		if err != nil {
			return d.abort(ctx, r, err)
		}
		d.publish(ctx, c)
		switch {
		case c.Outcome == verdict.Fail:
			return d.abort(ctx, r, errors.New(c.Reason))
		case c.Outcome == verdict.Pass:
		case d.want.Good == "":
			d.job.Logf("there is no earlier release to protect; promoting release %s without a verdict", r)
		case d.c.Canary.NoTraffic == noTrafficPromote && c.Production >= d.c.Canary.MinRequests:
			return d.abort(ctx, r, fmt.Errorf("%s, and production was given %d: without a verdict no_traffic = \"promote\" is for idle services; watch longer, or lower min_requests", c.Reason, c.Production))
		case d.c.Canary.NoTraffic == noTrafficAbort:
			return d.abort(ctx, r, errors.New(c.Reason))
		case d.c.Canary.NoTraffic == noTrafficHold:
			d.want.Phase = state.PhaseHeld
			if err := d.write(ctx); err != nil {
				return err
			}
			return sdk.Failf("%s; release %s is held on the canary: continue with `troop deploy promote`, go back with `troop deploy abort`", c.Reason, r)
		}
	}
	if err := d.promote(ctx, production, r); err != nil {
		return d.abort(ctx, r, err)
	}
	return nil
}

// repair makes hosts that lack the good release serve it, and restores the weights.
func (d *deployer) repair(ctx context.Context, lacking []string, r state.Release) error {
	a, err := d.readActual(ctx)
	if err != nil {
		return err
	}
	if len(lacking) == 0 && d.want.Phase == state.PhaseRest && a.Settled && a.Weights == d.c.weights() {
		d.job.Logf("release %s already serves on every host with the weights %s: nothing to do", r, a.Weights)
		return nil
	}
	if a.Closed != nil {
		d.job.Logf("the canary was closed at %s (%s); opening it again", a.Closed.Time.Format(time.TimeOnly), a.Closed.Reason)
	}
	if err := d.rollOut(ctx, lacking, r); err != nil {
		return err
	}
	d.want.Candidate = ""
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return err
	}
	if len(lacking) > 0 {
		d.cleanUp(ctx)
	}
	return nil
}

// promote makes the production hosts that lack the candidate serve it. It stops when the agent closes the canary.
func (d *deployer) promote(ctx context.Context, hosts []string, r state.Release) error {
	d.want.Phase = state.PhasePromoting
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
		if err := d.switchTo(ctx, []string{h}, r); err != nil {
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
	d.want.Promoted(r.ID)
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return err
	}
	d.cleanUp(ctx)
	d.job.Logf("release %s serves on every host, weights %s", r, d.want.Weights)
	return nil
}

// abort goes back to the good release everywhere, and returns why. A cancelled deploy only takes the traffic away from a
// release without a verdict: the next deploy continues from there.
func (d *deployer) abort(ctx context.Context, r state.Release, why error) error {
	if cancelled(ctx, why) {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		unjudged := func(h string) bool { return d.want.Phase == state.PhaseCanary && d.want.Hosts[h].Release == r.ID }
		if slices.ContainsFunc(d.canary, unjudged) {
			d.want.Open = false
			if err := d.write(last); err != nil {
				d.job.Warnf("%v", err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return why
	}
	d.job.Warnf("aborting release %s: %v", r, why)
	done, err := d.goBack(ctx)
	if err != nil {
		return sdk.Failf("release %s aborted: %v; going back failed: %v; try again with `troop deploy abort`", r, why, err)
	}
	return sdk.Failf("release %s aborted: %v; %s", r, why, done)
}

// rest is the end of every deploy: both pools serve the good release with the weights w.
func (d *deployer) rest(ctx context.Context, w state.Weights) error {
	d.want.Phase, d.want.Weights = state.PhaseRest, w
	d.want.OpenCanary(time.Now().UTC())
	d.want.Forget()
	return d.settle(ctx)
}

// goBack makes every host serve the good release again, and returns a sentence that says what it did. It closes the
// canary before anything else.
func (d *deployer) goBack(ctx context.Context) (string, error) {
	d.want.Phase, d.want.Open = state.PhaseAborting, false
	if err := d.write(ctx); err != nil {
		return "", err
	}
	good, ok := d.want.Releases[d.want.Good]
	if !ok {
		for h, p := range d.want.Hosts {
			d.want.Hosts[h] = state.Placement{Pool: p.Pool}
		}
		d.want.Phase, d.want.Candidate = state.PhaseRest, ""
		d.want.Forget()
		if err := d.settle(ctx); err != nil {
			return "", err
		}
		d.cleanUp(ctx)
		return "there is no earlier good release, so no host serves one", nil
	}
	var back []string
	for _, h := range d.all() {
		if d.want.Hosts[h].Release != good.ID {
			back = append(back, h)
		}
	}
	if err := d.rollOut(ctx, back, good); err != nil {
		return "", err
	}
	d.want.Candidate = ""
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return "", err
	}
	d.cleanUp(ctx)
	if len(back) == 0 {
		return fmt.Sprintf("every host still serves release %s", good), nil
	}
	return fmt.Sprintf("%s back on release %s, weights %s", strings.Join(back, ", "), good, d.want.Weights), nil
}
