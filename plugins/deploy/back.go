package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// abort goes back to the good release everywhere, and returns why. A cancelled deploy only takes the traffic away from a
// release without a verdict: the next deploy continues from there.
func (d *deployer) abort(ctx context.Context, r state.Release, why error) error {
	if cancelled(ctx, why) {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		unjudged := func(s state.Seat) bool { return d.want.Phase == state.PhaseCanary && d.want.Seats[s].Release == r.ID }
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
	d.stopped(ctx, r, why)
	if r.Irreversible {
		return d.freeze(ctx, r, why)
	}
	d.job.Warnf("aborting release %s: %v", r, why)
	if d.want.Good == r.ID && d.good != r.ID { // it was promoted already
		d.want.RolledBack(d.good)
		d.want.Candidate = r.ID
	}
	done, err := d.goBack(ctx)
	if err != nil {
		return sdk.Failf("release %s aborted: %v; going back failed: %v; try again with `troop deploy abort`", r, why, err)
	}
	return sdk.Failf("release %s aborted: %v; %s", r, why, done)
}

// stopped tells that a release was stopped, which switches off the flags that came with it.
func (d *deployer) stopped(ctx context.Context, r state.Release, why error) {
	err := d.job.Publish(ctx, sdk.Event{
		Kind: "release.stopped", Severity: sdk.Warning, Summary: fmt.Sprintf("release %s is stopped: %v", r, why),
		Data: map[string]any{sdk.StoppedRelease: r.Artifact},
	})
	if err != nil {
		d.job.Warnf("%v", err)
	}
}

// freeze leaves every host as it is, and takes the canary's traffic away.
func (d *deployer) freeze(ctx context.Context, r state.Release, why error) error {
	d.want.Open = false
	if d.want.Candidate != "" {
		d.want.Phase = state.PhaseHeld
	}
	if err := d.weigh(ctx); err != nil {
		d.job.Warnf("%v", err)
	}
	return sdk.Failf("release %s stopped: %v; it is irreversible, so every host stays as it is, and the canary gets no traffic: run the pipeline with a commit that repairs it", r, why)
}

// goBack makes every host serve the good release again, and returns a sentence that says what it did.
func (d *deployer) goBack(ctx context.Context) (string, error) {
	good, ok := d.want.Releases[d.want.Good]
	if !ok {
		return "there is no earlier good release, so no host serves one", d.serveNothing(ctx)
	}
	back, err := d.goBackTo(ctx, good)
	if err != nil {
		return "", err
	}
	if len(back) == 0 {
		return fmt.Sprintf("%s still serves release %s", d.everywhere(), good), nil
	}
	return fmt.Sprintf("%s back on release %s, weights %s", d.list(back...), good, d.want.Weights), nil
}

// serveNothing takes every host out of service.
func (d *deployer) serveNothing(ctx context.Context) error {
	d.want.Vacate()
	if err := d.settle(ctx, d.all()); err != nil {
		return err
	}
	d.cleanUp(ctx)
	return nil
}

// goBackTo makes every seat serve a release that was good, and returns the seats that did not. It closes the canary
// before anything else, and brings production back before the canary: a canary host that is gone cannot keep production
// on a bad release.
func (d *deployer) goBackTo(ctx context.Context, r state.Release) ([]state.Seat, error) {
	d.want.Phase, d.want.Open = state.PhaseAborting, false
	if err := d.write(ctx); err != nil {
		return nil, err
	}
	canary, production := split(d.other(r.ID))
	if err := d.bringBack(ctx, production, r); err != nil {
		return nil, err
	}
	if r.ID != d.want.Good {
		d.want.RolledBack(r.ID)
	}
	if err := d.bringBack(ctx, canary, r); err != nil {
		if werr := d.write(ctx); werr != nil {
			d.job.Warnf("%v", werr)
		}
		return nil, fmt.Errorf("production serves release %s, the canary does not: %w", r, err)
	}
	d.want.Candidate = ""
	if err := d.rest(ctx, d.c.weights()); err != nil {
		return nil, err
	}
	d.cleanUp(ctx)
	return d.present(slices.Concat(canary, production)), nil
}

// other returns the seats that are to serve another release, without those that are left out.
func (d *deployer) other(id string) []state.Seat {
	return slices.DeleteFunc(d.present(d.all()), func(s state.Seat) bool { return d.want.Seats[s].Release == id })
}

// bringBack makes seats of one pool serve a release, all at once: each serves from its other slot until the release is healthy. Where
// this deploy has replaced the release, it still runs, and nothing has to be installed.
func (d *deployer) bringBack(ctx context.Context, seats []state.Seat, r state.Release) error {
	var running []state.Seat
	for _, s := range seats {
		if p, ok := d.previous[s]; ok && p.Release == r.ID {
			d.want.Seats[s] = p
			delete(d.previous, s)
			running = append(running, s)
		}
	}
	if len(running) > 0 {
		err := d.serveAgain(ctx, running, r)
		switch {
		case err == nil:
			seats = slices.DeleteFunc(slices.Clone(seats), func(s state.Seat) bool { return slices.Contains(running, s) })
		case ctx.Err() != nil:
			return err
		default:
			d.job.Warnf("%s: release %s does not run any more: %v", d.list(running...), r, err)
		}
	}
	if len(seats) == 0 {
		return nil
	}
	seats, err := d.install(ctx, seats, r)
	if err != nil {
		return err
	}
	if len(seats) == 0 {
		return nil // the router learns with the next step that they are left out
	}
	d.place(seats, r)
	return d.serveAgain(ctx, seats, r)
}

// serveAgain waits until seats serve a release. It waits neither for other hosts, which may be gone, nor for requests that
// the slots from before still have.
func (d *deployer) serveAgain(ctx context.Context, seats []state.Seat, r state.Release) error {
	err := d.reach(ctx, func(a state.Actual) bool {
		return !slices.ContainsFunc(seats, func(s state.Seat) bool { return !d.serves(a, s, r.ID) })
	})
	if err != nil {
		return fmt.Errorf("switch %s back to release %s: %w", d.list(seats...), r, err)
	}
	d.job.Logf("%s: back on release %s", d.list(seats...), r)
	return nil
}
