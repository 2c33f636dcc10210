package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// actions are the commands for operators.
func actions() []sdk.Action[config] {
	to := sdk.Arg{Name: "to", Doc: "which kept release to go back to: the beginning of its commit or of its archive's digest; the last good one by default", Flag: true}
	yes := sdk.Arg{Name: "yes", Doc: "do it without asking; --yes=false only shows what would be done", Default: "false", Flag: true}
	service := sdk.Arg{Name: "service", Doc: "name of the service", Required: true}
	data := sdk.Arg{Name: "data", Doc: "remove the service's STATE_DIR, too, with the folders of its data", Default: "false", Flag: true}
	return []sdk.Action[config]{
		{Name: "status", Summary: "show which release serves where, with which share of the traffic", Run: soon(act(status)), ReadOnly: true},
		{
			Name: "weights", Summary: "set the shares of production and canary, and open a closed canary",
			Args: []sdk.Arg{{Name: "weights", Doc: "PRODUCTION:CANARY such as 2:1; 1:0 closes the canary", Required: true}},
			Run:  act(setWeights),
		},
		{Name: "promote", Summary: "promote the release on the canary to production now", Run: act(promote)},
		{Name: "abort", Summary: "stop a deploy in any phase and go back to the last good release", Run: act(abort)},
		{Name: "rollback", Summary: "go back to the last good release, or to an earlier one, everywhere", Args: []sdk.Arg{to, yes}, Run: act(rollback)},
		{Name: "remove", Summary: "take a service out of the environment, with all that it has on the hosts", Args: []sdk.Arg{service, data, yes}, Run: remove, Whole: true},
	}
}

// act reads hosts and desired state, then runs an action.
func act(f func(ctx context.Context, d *deployer, args sdk.Args) error) func(context.Context, *config, sdk.Args, *sdk.Job) error {
	return func(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
		d, err := newDeployer(ctx, c, job)
		if err != nil {
			return err
		}
		return f(ctx, d, args)
	}
}

// statusTime is how long a status may take: people ask for it when something is wrong, also with the shared state.
const statusTime = 1500 * time.Millisecond

// soon ends an action that the shared state keeps waiting, and says so.
func soon(f func(context.Context, *config, sdk.Args, *sdk.Job) error) func(context.Context, *config, sdk.Args, *sdk.Job) error {
	return func(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
		short, cancel := context.WithTimeout(ctx, statusTime)
		defer cancel()
		err := f(short, c, args, job)
		if short.Err() != nil && ctx.Err() == nil && err != nil {
			return sdk.Failf("the environment's shared state does not answer, so what the hosts serve is not known; the router goes on as it is: %v", err)
		}
		return err
	}
}

func status(ctx context.Context, d *deployer, _ sdk.Args) error {
	if d.version == 0 {
		return sdk.Failf("nothing is deployed in this environment yet; deploy with `troop run`")
	}
	a, err := d.readActual(ctx)
	if err != nil {
		return err
	}
	t, err := d.readTraffic(ctx)
	if err != nil {
		return err
	}
	table := sdk.Table{Columns: []string{"host", "pool", "slot", "release", "state"}}
	for _, s := range d.all() {
		p := d.want.Seats[s]
		release := "none"
		if r, ok := d.want.Releases[p.Release]; ok {
			release = r.String()
		}
		table.Rows = append(table.Rows, []string{s.Host, s.Pool, orElse(p.Slot, "none"), release, seatState(p, a.Seats[s], d.want.Good != "")})
	}
	d.job.Table(table)
	d.job.Logf("weights %s, desired %s, phase %s", a.Weights, d.want.Weights, d.want.Phase)
	d.sayAbandoned()
	if a.Closed != nil {
		d.job.Logf("the canary was closed at %s: %s", a.Closed.Time.Format(time.DateTime), a.Closed.Reason)
	}
	if c := a.Certificate; c != nil && !c.Ends.IsZero() {
		d.job.Logf("the certificate for %s is good until %s", strings.Join(c.Domains, ", "), c.Ends.UTC().Format(time.DateTime))
	}
	if c := a.Certificate; c != nil && c.Problem != "" {
		d.job.Warnf("no new certificate for %s: %s", strings.Join(c.Domains, ", "), c.Problem)
	}
	if a.Problem != "" {
		d.job.Warnf("%s", a.Problem)
	}
	if age := time.Since(t.Time); age > state.Silence {
		d.job.Warnf("the agent on %s has not reported since %s", d.router.Name, t.Time.Format(time.DateTime))
	}
	return nil
}

func seatState(p state.Placement, h state.SeatActual, deployed bool) string {
	switch {
	case p.Slot == "" && deployed:
		return "left out: serves nothing until a run brings a release to it"
	case p.Slot == "":
		return "serves nothing"
	case h.Problem != "":
		return h.Problem
	case h.Sessions > 0:
		return fmt.Sprintf("up, the other slot finishes %d requests", h.Sessions)
	case h.Up && h.Slot == p.Slot:
		return "up"
	default:
		return "moving"
	}
}

func setWeights(ctx context.Context, d *deployer, args sdk.Args) error {
	w, err := state.ParseWeights(args["weights"])
	if err != nil {
		return sdk.Failf("weights: %v", err)
	}
	if d.version == 0 {
		return sdk.Failf("nothing is deployed in this environment yet; deploy with `troop run`")
	}
	if err := d.idle(ctx); err != nil {
		return err
	}
	d.want.Weights = w
	d.want.OpenCanary(time.Now().UTC())
	if err := d.weigh(ctx); err != nil {
		return err
	}
	d.job.Logf("weights %s; the next deploy sets those of the manifest", w)
	return nil
}

func promote(ctx context.Context, d *deployer, _ sdk.Args) error {
	if sent, err := d.sendOrder(ctx, state.OrderPromote); sent || err != nil {
		return err
	}
	r, ok := d.want.Releases[d.want.Candidate]
	if !ok {
		return sdk.Failf("there is no candidate to promote")
	}
	if r.Identity(d.c.Service.Environment) != r.ID {
		return sdk.Failf("the manifest's service block changed since release %s was made; run the pipeline again", r)
	}
	a, err := d.readActual(ctx)
	if err != nil {
		return err
	}
	for _, s := range d.canary {
		if d.want.Seats[s].Slot == "" {
			d.job.Warnf("%s is left out, and is no reason to wait", d.list(s))
			continue
		}
		if !d.serves(a, s, r.ID) {
			return sdk.Failf("release %s does not serve on %s: %s", r, d.list(s), orElse(a.Seats[s].Problem, "run the pipeline again"))
		}
	}
	// An operator's order overrules whatever closed the canary.
	d.want.OpenCanary(time.Now().UTC())
	if err := d.weigh(ctx); err != nil {
		return err
	}
	lacking, err := d.notServing(ctx, d.production, r.ID)
	if err != nil {
		return err
	}
	defer d.drive(ctx)()
	work, stop := d.obey(ctx)
	defer stop()
	if err = d.promote(work, lacking, r); err == nil {
		d.cleanUp(work)
	}
	if d.ordered.Load() {
		return d.abort(ctx, r, errOrdered)
	}
	return err
}

func abort(ctx context.Context, d *deployer, _ sdk.Args) error {
	if sent, err := d.sendOrder(ctx, state.OrderAbort); sent || err != nil {
		return err
	}
	if d.want.Candidate == "" {
		return sdk.Failf("there is nothing to abort: no release is being deployed")
	}
	defer d.drive(ctx)()
	r := d.want.Releases[d.want.Candidate]
	d.stopped(ctx, r, errOrdered)
	if r.Irreversible {
		return d.freeze(ctx, r, errOrdered)
	}
	done, err := d.goBack(ctx)
	if err != nil {
		return err
	}
	d.job.Logf("%s", done)
	return nil
}

// kept are the good releases that can be gone back to, newest first. While a candidate is deployed, production serves the
// last good one; at rest that is no way back.
func (d *deployer) kept() []state.Release {
	ids := d.want.History
	if d.want.Candidate != "" {
		ids = append([]string{d.want.Good}, ids...)
	}
	var all []state.Release
	for _, id := range ids {
		if r, ok := d.want.Releases[id]; ok {
			all = append(all, r)
		}
	}
	return all
}

// find returns the index of the release that a text names; the first one for none.
func find(kept []state.Release, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	found := -1
	var names []string
	for i, r := range kept {
		names = append(names, r.String())
		archive := strings.TrimPrefix(r.Artifact, "sha256:")
		if !strings.HasPrefix(r.Commit, text) && !strings.HasPrefix(archive, strings.TrimPrefix(text, "sha256:")) && r.ID != text {
			continue
		}
		if found >= 0 {
			return 0, sdk.Failf("%q names more than one kept release: %s", text, strings.Join(names, ", "))
		}
		found = i
	}
	if found < 0 {
		return 0, sdk.Failf("no kept release is called %q; there are: %s", text, strings.Join(names, ", "))
	}
	return found, nil
}

func rollback(ctx context.Context, d *deployer, args sdk.Args) error {
	if err := d.idle(ctx); err != nil {
		return err
	}
	kept := d.kept()
	if len(kept) == 0 {
		return sdk.Failf("there is no earlier good release to go back to")
	}
	at, err := find(kept, args["to"])
	if err != nil {
		return err
	}
	r := kept[at]
	for _, later := range append([]state.Release{d.want.Releases[orElse(d.want.Candidate, d.want.Good)]}, kept[:at]...) {
		if later.Irreversible {
			return sdk.Failf("release %s is irreversible: release %s cannot run after it; run the pipeline with a commit that repairs it", later, r)
		}
	}
	d.job.Logf("rollback to release %s, made %s:", r, r.Made.Format(time.DateTime))
	for _, s := range d.other(r.ID) {
		d.job.Logf("  %s: %s → %s", d.list(s), d.want.Releases[d.want.Seats[s].Release], r)
	}
	d.job.Logf("  weights: %s", d.c.weights())
	if !agreed(args["yes"]) {
		for i, other := range kept {
			if i != at {
				d.job.Logf("kept, too: %s, made %s", other, other.Made.Format(time.DateTime))
			}
		}
		d.job.Logf("nothing was changed yet; --to RELEASE names another one")
		return nil
	}
	defer d.drive(ctx)()
	d.stopped(ctx, d.want.Releases[orElse(d.want.Candidate, d.want.Good)], errors.New("an operator ordered the rollback"))
	if _, err := d.goBackTo(ctx, r); err != nil {
		return err
	}
	d.job.Logf("release %s serves on %s", r, d.everywhere())
	return nil
}

// agreed reports whether a switch of an action is on.
func agreed(value string) bool {
	return slices.Contains([]string{"true", "yes", "1"}, strings.ToLower(value))
}
