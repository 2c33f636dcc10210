package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// remove takes a service out of the environment. Each step may be repeated, and the environment knows the service until all
// is done: after an interruption the same command goes on.
func remove(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
	d, err := newDeployerOf(ctx, c, args["service"], job)
	if err != nil {
		return err
	}
	if !d.known {
		return sdk.Failf("the environment has no service %q; it has: %s", d.name, orElse(strings.Join(d.names(), ", "), "none"))
	}
	if err := d.idle(ctx); err != nil {
		return err
	}
	data := agreed(args["data"])
	d.showRemoval(data)
	if !agreed(args["yes"]) {
		job.Logf("nothing was changed yet")
		return nil
	}
	rest := d.drive(ctx)
	err = d.takeOff(ctx, data)
	rest() // else its last sign of life is left
	if err != nil {
		return err
	}
	return d.forget(ctx)
}

// names are the services that the environment has.
func (d *deployer) names() (all []string) {
	for _, r := range d.services {
		if r.Name != "" {
			all = append(all, r.Name)
		}
	}
	return all
}

// showRemoval tells what goes and what stays.
func (d *deployer) showRemoval(data bool) {
	table := sdk.Table{Columns: []string{"host", "goes", "stays"}}
	goes, stays := fmt.Sprintf("units, releases, logs and user of %s", d.name), "/var/lib/"+d.name+", unless it is empty"
	if data {
		goes, stays = goes+", /var/lib/"+d.name, ""
	}
	for _, h := range hosts(d.all()) {
		table.Rows = append(table.Rows, []string{string(h), goes, stays})
	}
	table.Rows = append(table.Rows, []string{
		string(d.router.Name), d.services[d.service.Number].Requests() + "; pools, weights, certificate, agent and record", "the other services: " + orElse(strings.Join(slices.DeleteFunc(d.names(), func(s string) bool { return s == d.name }), ", "), "none"),
	})
	d.job.Table(table)
}

// takeOff ends the service's traffic, and takes the service off all hosts.
func (d *deployer) takeOff(ctx context.Context, data bool) error {
	if d.version > 0 {
		releases := maps.Clone(d.want.Releases) // one that waits for its verdict, too
		d.want.Vacate()
		if err := d.settle(ctx, d.all()); ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil {
			d.job.Warnf("%v; going on", err)
		}
		if err := d.stopFlags(ctx, releases); err != nil {
			return err
		}
	}
	users := []string{d.name}
	for _, r := range d.want.Releases {
		users = append(users, orElse(r.User, d.name))
	}
	slices.Sort(users)
	results, err := d.job.Playbook(ctx, sdk.PlaybookRun{Name: "release.yml", Hosts: hosts(d.all()), Vars: map[string]any{
		"release_step": "remove", "release_service": d.name, "release_users": slices.Compact(users), "release_data": data,
	}})
	if err != nil {
		return d.unfinished(ctx, results, err)
	}
	if err := d.empty(ctx, state.KeyDesired); err != nil {
		return err
	}
	if err := d.reported(ctx); err != nil {
		return err
	}
	_, stage, _ := strings.Cut(d.services[d.service.Number].Stage, ".")
	typ, _, _ := strings.Cut(string(d.job.Info.Stage), ".")
	results, err = d.job.Playbook(ctx, sdk.PlaybookRun{Name: "router.yml", Hosts: []sdk.HostName{d.router.Name}, Vars: map[string]any{
		"router_remove": map[string]any{"label": d.service.Label(), "agent": typ + "-" + orElse(stage, d.name)},
	}})
	if err != nil {
		return d.unfinished(ctx, results, err)
	}
	return nil
}

func (d *deployer) unfinished(ctx context.Context, results []sdk.TaskResult, err error) error {
	if cancelled(ctx, err) {
		return err
	}
	return sdk.Failf("take %s out: %v; what is left goes with the same command again", d.name, d.explain(results, err))
}

// stopFlags switches off the flags that came with the service's releases, but for those of archives that another service has, too.
func (d *deployer) stopFlags(ctx context.Context, releases map[string]state.Release) error {
	artifacts := map[string]state.Release{}
	for _, id := range slices.Sorted(maps.Keys(releases)) {
		artifacts[releases[id].Artifact] = releases[id]
	}
	for _, name := range d.names() {
		if other, _ := state.Find(d.services, name); other != d.service {
			var has state.Desired
			if err := d.readInto(ctx, other.Key(state.KeyDesired), &has); err != nil {
				return err
			}
			maps.DeleteFunc(artifacts, func(artifact string, _ state.Release) bool {
				return slices.ContainsFunc(slices.Collect(maps.Values(has.Releases)), func(r state.Release) bool { return r.Artifact == artifact })
			})
		}
	}
	for _, artifact := range slices.Sorted(maps.Keys(artifacts)) {
		d.stopped(ctx, artifacts[artifact], errors.New("its service "+d.name+" is taken out"))
	}
	return nil
}

// empty empties entries of the shared state, as if they had never been set. Their versions go on: hosts refuse smaller ones.
func (d *deployer) empty(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		err := d.patiently(ctx, func() error {
			_, err := d.job.SetState(ctx, d.service.Key(key), nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reported waits until the agent has emptied its own entries. One that is gone cannot, which nothing depends on.
func (d *deployer) reported(ctx context.Context) error {
	for began := time.Now(); ; {
		left := false
		for _, key := range []string{state.KeyActual, state.KeyTraffic} {
			e, err := d.entry(ctx, d.ofRouter(key))
			if err != nil {
				return err
			}
			left = left || len(e.Value) > 0
		}
		if !left {
			return nil
		}
		if time.Since(began) > agentTime {
			d.job.Warnf("the agent on %s does not answer: its last report stays in the shared state", d.router.Name)
			return nil
		}
		if sleep(ctx, lookTime); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// forget removes what the shared state has of the service, and tells.
func (d *deployer) forget(ctx context.Context) error {
	if err := d.empty(ctx, state.KeyDriver, state.KeyOrder, state.KeyVerdict); err != nil {
		return err
	}
	if err := d.learn(ctx); err != nil {
		return err
	}
	was := d.services[d.service.Number]
	err := d.patiently(ctx, func() error {
		_, err := d.job.SetState(ctx, state.KeyServices, state.Encode(state.Without(d.services, d.name)))
		return err
	})
	if err != nil {
		return err
	}
	if err := d.job.Publish(ctx, sdk.Event{Kind: "service.removed", Summary: "the service " + d.name + " is taken out"}); err != nil {
		d.job.Warnf("%v", err)
	}
	d.job.Logf("the service %s is taken out", d.name)
	if was.Pipeline == d.job.Info.Pipeline && slices.Contains(d.job.Info.Stages, sdk.StageID(was.Stage)) {
		d.job.Warnf("the pipeline %s still has the stage %s, so the next run brings %s back", was.Pipeline, was.Stage, d.name)
	}
	d.job.Output("removed", d.name)
	return nil
}

// sayAbandoned names the services that this pipeline has deployed and whose stage it has no more.
func (d *deployer) sayAbandoned() {
	for _, r := range d.services {
		if r.Stage != "" && r.Name != d.name && r.Pipeline == d.job.Info.Pipeline && !slices.Contains(d.job.Info.Stages, sdk.StageID(r.Stage)) {
			d.job.Warnf("nothing deploys the service %s any more: the pipeline %s has no stage %s; take it out with: troop deploy remove %[1]s", r.Name, r.Pipeline, r.Stage)
		}
	}
}
