package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// run deploys the artifact. The order is: canary hosts, verdict, production hosts, rest.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	d, err := newDeployer(ctx, c, job)
	if err != nil {
		return err
	}
	if err := d.register(ctx); err != nil {
		return err
	}
	if err := d.ensureAgent(ctx); err != nil {
		return err
	}
	r := c.release(d.name)
	if known, ok := d.want.Releases[r.ID]; ok {
		r = known
	} else {
		r.Commit, r.Run, r.Made = job.Info.Commit, string(job.Info.Run), time.Now().UTC()
	}
	r.Irreversible = r.Irreversible || c.Irreversible
	defer d.drive(ctx)()
	if err := d.deploy(ctx, r); err != nil {
		return err
	}
	d.sayAbandoned()
	job.Output("release", r.ID)
	job.Output("address", d.address())
	return nil
}

// deploy makes every host serve a release, or goes back: when the release is not good, and when an operator orders it,
// in whatever phase.
func (d *deployer) deploy(ctx context.Context, r state.Release) error {
	work, stop := d.obey(ctx)
	defer stop()
	err := d.advance(ctx, work, r)
	if err == nil { // an order may have come with the last step
		var o state.Order
		if o, err = d.lastOrder(ctx); o.Action == state.OrderAbort {
			d.ordered.Store(true)
		}
	}
	var bad *refusedError
	switch {
	case d.ordered.Load():
		return d.abort(ctx, r, errOrdered)
	case errors.As(err, &bad):
		return d.abort(ctx, r, bad.why)
	}
	return err
}

// refusedError says that a release must not go on to the next host.
type refusedError struct{ why error }

func (e *refusedError) Error() string { return e.why.Error() }

// advance brings a release to the canary first, to production after its verdict. What changes hosts runs under the context
// work, which an operator's abort ends; the watch asks for orders itself.
func (d *deployer) advance(ctx, work context.Context, r state.Release) error {
	if r.ID == d.want.Good {
		// The router may have been reloaded since its last report. An answer to a new version was made after that.
		if err := d.reach(ctx, func(state.Actual) bool { return true }); err != nil {
			return err
		}
	}
	lacking, err := d.notServing(ctx, d.all(), r.ID)
	if err != nil {
		return err
	}
	if r.ID == d.want.Good {
		if err := d.setRouter(work, r); err != nil {
			return err
		}
		return d.repair(work, lacking, r)
	}
	if err := d.checkRuntime(work, r); err != nil {
		return err
	}
	if err := d.setRouter(work, r); err != nil {
		return err
	}
	d.want.Releases[r.ID] = r
	d.want.Candidate, d.want.Phase = r.ID, state.PhaseCanary
	canary, production := split(lacking)
	if err := d.rollOut(work, canary, r); err != nil {
		return &refusedError{err}
	}
	var before traffic.Sample
	if len(d.canary) > 0 {
		c, err := d.judge(ctx, r)
		if err != nil {
			return &refusedError{err}
		}
		d.publish(ctx, c)
		if err := d.decide(ctx, c, r); err != nil {
			return err
		}
		before = c.before
	}
	if err := d.promote(work, production, r); err != nil {
		return &refusedError{err}
	}
	if err := d.guard(work, before, r); err != nil {
		return &refusedError{err}
	}
	d.cleanUp(work)
	return nil
}

// judge watches the canary. Without a canary host that can be reached there is no verdict.
func (d *deployer) judge(ctx context.Context, r state.Release) (card, error) {
	if len(d.present(d.canary)) > 0 {
		return d.watch(ctx, r)
	}
	return card{Release: r.ID, Seen: verdict.Seen{Judgement: verdict.Judgement{
		Outcome: verdict.Inconclusive, Reason: fmt.Sprintf("no canary host can be reached, so nothing judged release %s", r),
	}}}, nil
}

// decide returns nil when a release may be promoted after its verdict.
func (d *deployer) decide(ctx context.Context, c card, r state.Release) error {
	noTraffic := d.c.Canary.NoTraffic
	switch {
	case c.Outcome == verdict.Fail:
		return &refusedError{errors.New(c.Reason)}
	case c.Ordered:
		return nil
	case c.Outcome == verdict.Pass:
	case d.want.Good == "":
		d.job.Logf("there is no earlier release to protect; promoting release %s without a verdict", r)
		return nil
	case noTraffic == noTrafficPromote:
		if why := d.c.Canary.notIdle(c); why != "" {
			return &refusedError{fmt.Errorf("%s, and %s: no_traffic = \"promote\" is for idle services; watch longer, or lower min_requests", c.Reason, why)}
		}
	case noTraffic == noTrafficAbort:
		return &refusedError{errors.New(c.Reason)}
	case noTraffic == noTrafficHold:
		return d.hold(ctx, r, c.Reason)
	}
	switch now := time.Now(); {
	case d.c.Canary.Hold:
		return d.hold(ctx, r, c.Reason+", and hold = true")
	case !d.c.Canary.mayPromote(now):
		return d.hold(ctx, r, c.Reason+", and now is none of its windows, which are "+strings.Join(d.c.Canary.Windows, ", "))
	}
	return nil
}

// hold leaves a release on the canary until an operator decides.
func (d *deployer) hold(ctx context.Context, r state.Release, why string) error {
	d.want.Phase = state.PhaseHeld
	if err := d.write(ctx); err != nil {
		return err
	}
	return sdk.Failf("%s; release %s is held on the canary: continue with `troop deploy promote`, go back with `troop deploy abort`", why, r)
}

// repair makes seats that lack the good release serve it, and restores the weights.
func (d *deployer) repair(ctx context.Context, lacking []state.Seat, r state.Release) error {
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

// promote makes the seats of production that lack the candidate serve it. It stops when the agent closes the canary, unless no
// canary host is there: then the agent closed it because the host died, which says nothing of the candidate.
func (d *deployer) promote(ctx context.Context, seats []state.Seat, r state.Release) error {
	d.want.Phase = state.PhasePromoting
	if err := d.write(ctx); err != nil {
		return err
	}
	if len(seats) > 0 {
		var err error
		if seats, err = d.install(ctx, seats, r); err != nil {
			return err
		}
	}
	for i, s := range seats {
		d.job.Progress(float64(i), float64(len(seats)), d.list(s))
		if err := d.switchTo(ctx, []state.Seat{s}, r); err != nil {
			return err
		}
		a, err := d.readActual(ctx)
		if err != nil {
			return err
		}
		if a.Closed != nil && len(d.present(d.canary)) > 0 {
			return errors.New(a.Closed.Reason)
		}
	}
	d.want.Promoted(r.ID)
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return err
	}
	d.job.Logf("release %s serves on %s, weights %s", r, d.everywhere(), d.want.Weights)
	return nil
}

// rest is the end of every deploy: both pools serve the good release with the weights w. It does not wait for hosts that
// are down.
func (d *deployer) rest(ctx context.Context, w state.Weights) error {
	d.want.Phase, d.want.Weights = state.PhaseRest, w
	d.want.OpenCanary(time.Now().UTC())
	d.want.Forget()
	return d.reach(ctx, func(a state.Actual) bool {
		return !slices.ContainsFunc(d.all(), func(s state.Seat) bool { return a.Seats[s].Up && !a.Seats[s].Settled })
	})
}
