package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// learn finds out which services the environment has. Before there could be several, it had the one of the desired state.
func (d *deployer) learn(ctx context.Context) error {
	var first state.Desired
	err := d.readInto(ctx, state.KeyServices, &d.services)
	if err == nil && len(d.services) == 0 {
		if err = d.readInto(ctx, state.KeyDesired, &first); first.Service != "" {
			d.services = []state.Route{{Name: first.Service}}
		}
	}
	d.service, d.known = state.Find(d.services, d.name)
	return err
}

// claimTime is much longer than another deploy takes between reading the services and writing them.
const claimTime = time.Second

// register makes the service one of the environment's, with the requests that are its own. Two new services may do so at
// once, and the last one to write wins; so each looks again whether it is there.
func (d *deployer) register(ctx context.Context) error {
	r := d.c.route(d.name)
	r.Stage, r.Pipeline = string(d.job.Info.Stage), d.job.Info.Pipeline
	for {
		if err := d.read(ctx); err != nil {
			return err
		}
		if err := r.Check(d.services, d.c.programs()); err != nil {
			return sdk.Failf("%v", err)
		}
		known, all := d.known, slices.Clone(d.services)
		if d.service.Number == len(all) {
			all = append(all, r)
		}
		all[d.service.Number] = r
		if known && reflect.DeepEqual(all, d.services) {
			return nil
		}
		err := d.patiently(ctx, func() error {
			_, err := d.job.SetState(ctx, state.KeyServices, state.Encode(all))
			return err
		})
		if err != nil {
			return err
		}
		if !known {
			if sleep(ctx, claimTime); ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
}

// read takes over the desired state and fits it to the hosts that exist.
func (d *deployer) read(ctx context.Context) error {
	if err := d.learn(ctx); err != nil {
		return err
	}
	e, err := d.entry(ctx, d.service.Key(state.KeyDesired))
	if err != nil {
		return err
	}
	d.version = 0
	d.want = state.Desired{Phase: state.PhaseRest}
	if len(e.Value) > 0 { // else nothing was deployed yet, or since the service was taken out
		d.version = e.Version
		if err := json.Unmarshal(e.Value, &d.want); err != nil {
			return fmt.Errorf("read desired state: %w", err)
		}
	}
	if d.want.Service = d.name; d.want.Releases == nil {
		d.want.Releases = map[string]state.Release{}
	}
	d.good = d.want.Good
	seats := map[state.Seat]state.Placement{}
	for _, s := range d.all() {
		seats[s] = d.want.Seats[s]
	}
	d.want.Seats = seats
	last, err := d.entry(ctx, d.service.Key(state.KeyOrder))
	d.since = last.Version
	return err
}

// write makes want the desired state.
func (d *deployer) write(ctx context.Context) error {
	return d.patiently(ctx, func() error {
		e, err := d.job.SetState(ctx, d.service.Key(state.KeyDesired), state.Encode(d.want))
		if err == nil {
			d.version = e.Version
		}
		return err
	})
}

// entry reads one value of the shared state.
func (d *deployer) entry(ctx context.Context, key string) (e sdk.Entry, err error) {
	err = d.patiently(ctx, func() error {
		e, err = d.job.State(ctx, key)
		return err
	})
	return e, err
}

// patience is how long a deploy waits for a shared state that is out of reach. The router keeps its state meanwhile.
const patience = 30 * time.Second

// patiently repeats f while it fails. When ctx ends, the first failure says why.
func (d *deployer) patiently(ctx context.Context, f func() error) error {
	var first error
	for began := time.Now(); ; sleep(ctx, againTime) {
		switch err := f(); {
		case err == nil || time.Since(began) > patience:
			return err
		case first == nil:
			first = err
			d.job.Warnf("%v; trying again", err)
		}
		if ctx.Err() != nil {
			return first
		}
	}
}

// readActual returns what the router does.
func (d *deployer) readActual(ctx context.Context) (state.Actual, error) {
	var a state.Actual
	return a, d.readInto(ctx, d.ofRouter(state.KeyActual), &a)
}

// readTraffic returns what the router counted.
func (d *deployer) readTraffic(ctx context.Context) (traffic.Reading, error) {
	var t traffic.Reading
	return t, d.readInto(ctx, d.ofRouter(state.KeyTraffic), &t)
}

// ofRouter is the key of what the agent on the router reports.
func (d *deployer) ofRouter(key string) string {
	return sdk.HostKey(d.router.Name, d.service.Key(key))
}

func (d *deployer) readInto(ctx context.Context, key string, v any) error {
	e, err := d.entry(ctx, key)
	if err != nil || len(e.Value) == 0 {
		return err
	}
	if err := json.Unmarshal(e.Value, v); err != nil {
		return fmt.Errorf("read state %s: %w", key, err)
	}
	return nil
}

const (
	askTime   = 3 * time.Second        // for the last calls of the shared state when the stage ends
	lookTime  = 50 * time.Millisecond  // between two reads of the shared state
	againTime = 200 * time.Millisecond // between two attempts to reach it
	agentTime = 20 * time.Second       // for the agent to appear, or a slot to be found healthy
	freshTime = 10 * time.Second       // an older report does not count; the clocks of hosts may differ by less
)

// ensureAgent installs the agent unless an agent with the same identity reports from the router.
func (d *deployer) ensureAgent(ctx context.Context) error {
	t, err := d.readTraffic(ctx)
	if err != nil {
		return err
	}
	if t.Agent == d.id && time.Since(t.Time).Abs() < freshTime {
		return nil
	}
	d.job.Logf("installing the agent on %s", d.router.Name)
	if err := d.job.InstallAgent(ctx, d.router.Name); err != nil {
		return err
	}
	_, err = d.freshTraffic(ctx)
	return err
}

// freshTraffic returns a count that the router made after this call began. The router's clock tells reports apart.
func (d *deployer) freshTraffic(ctx context.Context) (traffic.Reading, error) {
	before, err := d.readTraffic(ctx)
	if err != nil {
		return traffic.Reading{}, err
	}
	for began := time.Now(); time.Since(began) < agentTime; {
		now, err := d.readTraffic(ctx)
		if err != nil {
			return traffic.Reading{}, err
		}
		if now.Time.After(before.Time) {
			return now, nil
		}
		if sleep(ctx, lookTime); ctx.Err() != nil {
			return traffic.Reading{}, context.Cause(ctx)
		}
	}
	return traffic.Reading{}, fmt.Errorf("the agent on %s does not report; see: journalctl -u 'troop-agent@*' on that host", d.router.Name)
}

// settle writes the desired state, and waits until the router has done everything that concerns some seats: another host
// may be gone.
func (d *deployer) settle(ctx context.Context, seats []state.Seat) error {
	return d.reach(ctx, func(a state.Actual) bool {
		return !slices.ContainsFunc(seats, func(s state.Seat) bool { return !a.Seats[s].Settled })
	})
}

// weigh writes the desired state, and waits until the router has its weights.
func (d *deployer) weigh(ctx context.Context) error {
	return d.reach(ctx, func(a state.Actual) bool { return a.Weights == d.want.Effective(a.Closed) })
}

// reach writes the desired state, and waits until the router follows it and is there.
func (d *deployer) reach(ctx context.Context, there func(state.Actual) bool) error {
	if err := d.write(ctx); err != nil {
		return err
	}
	began := time.Now()
	for {
		a, err := d.readActual(ctx)
		if err != nil {
			return err
		}
		if a.Desired >= d.version && there(a) {
			return nil
		}
		if wait := agentTime + d.c.drain(); time.Since(began) > wait {
			if a.Desired < d.version {
				return fmt.Errorf("the agent on %s did not answer within %s", d.router.Name, wait)
			}
			return fmt.Errorf("the router did not settle within %s: %s", wait, orElse(a.Problem, "requests are still in flight"))
		}
		if sleep(ctx, lookTime); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// sleep returns early when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
