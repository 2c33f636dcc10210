package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// serves reports whether a seat serves a release and is healthy.
func (d *deployer) serves(a state.Actual, s state.Seat, id string) bool {
	p, h := d.want.Seats[s], a.Seats[s]
	return id != "" && p.Release == id && h.Slot == p.Slot && h.Up
}

// notServing returns the seats that do not serve a release.
func (d *deployer) notServing(ctx context.Context, seats []state.Seat, id string) ([]state.Seat, error) {
	a, err := d.readActual(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(seats), func(s state.Seat) bool { return d.serves(a, s, id) }), nil
}

// install puts a release into the idle slots of seats of one pool, all in parallel, and starts it there. It does not touch the
// slots that serve. It returns the seats that have the release now: all but those that cannot be reached.
func (d *deployer) install(ctx context.Context, seats []state.Seat, r state.Release) ([]state.Seat, error) {
	vars := map[string]any{
		"release_step": "install", "release_number": d.service.Number, "release_service": r.Service, "release_id": r.ID, "release_commit": r.Commit,
		"release_command": r.Command, "release_health": map[string]any{
			"path": r.Health.Path, "host": r.Health.Host, "status": r.Health.Status,
			"timeout": r.Health.Timeout.Seconds(), "grace": r.Health.Grace.Seconds(),
			"command": r.Health.Command, "stays_up": r.Health.StaysUp.Seconds(),
		}, "release_user": r.User, "release_sandbox": r.Sandbox,
		"release_slots": d.slots(seats, state.Seat.Idle), "release_programs": d.units(seats, r),
	}
	// Archive and variables in the manifest belong to this release only if the identity matches. Otherwise the release is
	// an older one, which the hosts have complete.
	if r.Identity(d.c.Service.Environment) == r.ID {
		a, err := d.job.Artifact(ctx, sdk.Digest(r.Artifact))
		if err != nil {
			return nil, err
		}
		vars["release_archive"] = a.Path
		environment := map[string]string{} // Ansible does not take null for a dictionary
		maps.Copy(environment, d.c.Service.Environment)
		vars["release_environment"] = environment
	}
	for _, s := range seats {
		if d.previous[s].Slot == s.Idle(d.want.Seats[s]) {
			delete(d.previous, s) // it is replaced now
		}
	}
	d.job.Logf("installing release %s in the idle slot of %s", r, d.list(seats...))
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: hosts(seats), Vars: vars})
	switch {
	case err == nil:
		d.did(d.due(r), r.ID)
		return seats, nil
	case cancelled(ctx, err):
		return nil, err
	}
	away := d.unreachable(results)
	if len(away) == 0 {
		return nil, d.explain(results, err)
	}
	d.leaveOut(away, r)
	return d.present(seats), nil
}

// unreachable returns the hosts that could not be reached, with the reason, if nothing else went wrong and production can
// do without them. The canary always can be done without: production does not wait for it.
func (d *deployer) unreachable(results []sdk.TaskResult) map[string]string {
	away := map[string]string{}
	for _, r := range results {
		switch r.Status {
		case "failed":
			return nil
		case "unreachable":
			away[string(r.Host)], _, _ = strings.Cut(orElse(r.Message, "unreachable"), "\n")
		}
	}
	left := slices.DeleteFunc(d.present(d.production), func(s state.Seat) bool { return away[s.Host] != "" })
	if len(left) == 0 {
		return nil
	}
	return away
}

// leaveOut takes hosts out of service until a later run reaches them: the router sends them no requests, whatever they
// serve when they return.
func (d *deployer) leaveOut(away map[string]string, r state.Release) {
	var reasons []string
	for _, h := range slices.Sorted(maps.Keys(away)) {
		d.job.Warnf("%s cannot be reached and is left out: it gets no requests until a later run brings release %s to it", h, r)
		for _, s := range d.all() {
			if s.Host == h {
				d.want.Seats[s] = state.Placement{}
				delete(d.previous, s)
			}
		}
		d.away[h] = away[h]
		reasons = append(reasons, h+": "+away[h])
	}
	d.job.Metric(sdk.Metric{Name: "hosts left out", Value: float64(len(away)), Detail: strings.Join(reasons, "; ")})
}

// cancelled reports whether err only means that the work was cancelled. A call that the core ended may return before the
// stage's own context ends.
func cancelled(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, context.Canceled)
}

// orExplained is err where it only means that the work was cancelled, and else the sentence of explain.
func (d *deployer) orExplained(ctx context.Context, results []sdk.TaskResult, err error) error {
	if cancelled(ctx, err) {
		return err
	}
	return d.explain(results, err)
}

// explain makes one sentence of a failed installation: for each host the first line of its last failed task. The other
// lines, which are the release's own output, go to the log.
func (d *deployer) explain(results []sdk.TaskResult, err error) error {
	failed := map[string]string{}
	for _, r := range results {
		if r.Status == "failed" || r.Status == "unreachable" {
			failed[string(r.Host)] = r.Message
		}
	}
	if len(failed) == 0 {
		return err
	}
	var reasons []string
	for _, host := range slices.Sorted(maps.Keys(failed)) {
		reason, rest, _ := strings.Cut(failed[host], "\n")
		reasons = append(reasons, host+": "+strings.TrimSpace(reason))
		for line := range strings.Lines(rest) {
			d.job.Warnf("%s: %s", host, line)
		}
	}
	return errors.New(strings.Join(reasons, "; "))
}

// slots tells a slot of each seat by its host. Where the seats have a host twice, that of production is told if there is one.
func (d *deployer) slots(seats []state.Seat, slot func(state.Seat, state.Placement) string) map[string]string {
	m := map[string]string{}
	for _, s := range seats {
		if name := slot(s, d.want.Seats[s]); name != "" || m[s.Host] == "" {
			m[s.Host] = name
		}
	}
	return m
}

// serving is the slot of a seat that serves; empty when none does.
func serving(_ state.Seat, p state.Placement) string { return p.Slot }

// place wants seats to serve from their idle slots, where install has put the release.
func (d *deployer) place(seats []state.Seat, r state.Release) {
	for _, s := range seats {
		p := d.want.Seats[s]
		if _, switched := d.previous[s]; !switched {
			d.previous[s] = p
		}
		d.want.Seats[s] = state.Placement{Slot: s.Idle(p), Release: r.ID}
	}
}

// switchTo switches seats to their idle slots, and waits until the router has settled.
func (d *deployer) switchTo(ctx context.Context, seats []state.Seat, r state.Release) error {
	d.place(seats, r)
	if err := d.settle(ctx, seats); err != nil {
		return fmt.Errorf("switch %s to release %s: %w", d.list(seats...), r, err)
	}
	d.job.Logf("%s: now on release %s", d.list(seats...), r)
	return nil
}

// rollOut makes seats serve a release: those of the canary together, those of production one by one.
func (d *deployer) rollOut(ctx context.Context, seats []state.Seat, r state.Release) error {
	canary, production := split(seats)
	for _, pool := range [][]state.Seat{canary, production} {
		if len(pool) == 0 {
			continue
		}
		ready, err := d.install(ctx, pool, r)
		if err != nil {
			return err
		}
		together := 1
		if pool[0].Pool == state.PoolCanary {
			together = len(pool)
		}
		for some := range slices.Chunk(ready, together) {
			d.job.Progress(float64(slices.Index(ready, some[0])), float64(len(ready)), d.list(some...))
			if err := d.switchTo(ctx, some, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleanUp stops the slots that no longer serve, removes old releases, and looks whether the processes beside the release stay up.
// A failure is only a warning: nothing depends on it.
func (d *deployer) cleanUp(ctx context.Context) {
	clear(d.previous)
	seats, protect, all := d.present(d.all()), slices.Sorted(maps.Keys(d.want.Releases)), map[string][]string{}
	for _, s := range seats {
		if slot := d.want.Seats[s].Slot; slot != "" {
			all[s.Host] = append(all[s.Host], slot)
		}
	}
	r := d.want.Releases[d.want.Good]
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: hosts(seats), Vars: map[string]any{
		"release_step": "settle", "release_service": d.name, "release_user": orElse(r.User, d.name),
		"release_slots": d.slots(seats, serving), "release_serving": all,
		"release_protect": protect, "release_id": r.ID, "release_programs": d.units(seats, r),
	}})
	if err != nil && !cancelled(ctx, err) {
		d.job.Warnf("after the switch: %v", d.explain(results, err))
	}
}
