package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// drive gives signs of life of this deploy, until the returned function is called: an agent that misses them closes a
// canary without a verdict.
func (d *deployer) drive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	say := func(ctx context.Context, run string) {
		if _, err := d.job.SetState(ctx, d.service.Key(state.KeyDriver), state.Encode(state.Driver{Run: run, Time: time.Now().UTC()})); err != nil && ctx.Err() == nil {
			d.job.Warnf("%v", err)
		}
	}
	run := orElse(string(d.job.Info.Run), "by hand")
	say(ctx, run)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sleep(ctx, state.Beat)
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

// running reports whether a deploy is running that can take an order.
func (d *deployer) running(ctx context.Context) (bool, error) {
	var v state.Driver
	if err := d.readInto(ctx, d.service.Key(state.KeyDriver), &v); err != nil {
		return false, err
	}
	return v.Run != "" && time.Since(v.Time) < state.Silence, nil
}

// idle fails while a deploy is running: it is the only writer of the desired state.
func (d *deployer) idle(ctx context.Context) error {
	running, err := d.running(ctx)
	if err == nil && running {
		err = sdk.Failf("a deploy is running; wait until it ends, or end it with `troop deploy abort`")
	}
	return err
}

// sendOrder sends an order to the running deploy, and reports whether there is one. A promotion can be ordered while the
// canary is judged, an abort at any time.
func (d *deployer) sendOrder(ctx context.Context, action string) (bool, error) {
	running, err := d.running(ctx)
	if err != nil || !running {
		return false, err
	}
	if action == state.OrderPromote && d.want.Phase != state.PhaseCanary {
		return true, sdk.Failf("a deploy is running and has its verdict already (phase %s); wait until it ends", d.want.Phase)
	}
	if _, err := d.job.SetState(ctx, d.service.Key(state.KeyOrder), state.Encode(state.Order{Action: action, Time: time.Now().UTC()})); err != nil {
		return true, err
	}
	d.job.Logf("told the running deploy to %s", action)
	return true, nil
}

// errOrdered is why a deploy goes back after an operator's abort.
var errOrdered = errors.New("an operator ordered the abort")

// obey returns a context that ends when an operator orders an abort. The order is remembered in d.ordered: whatever the
// work under that context returns, the order decides.
func (d *deployer) obey(ctx context.Context) (work context.Context, stop func()) {
	work, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for work.Err() == nil {
			err := d.job.WatchState(work, d.service.Key(state.KeyOrder), func(e sdk.Entry) error {
				var o state.Order
				if e.Key != d.service.Key(state.KeyOrder) || e.Version <= d.since {
					return nil
				}
				if err := json.Unmarshal(e.Value, &o); err != nil {
					return fmt.Errorf("read state %s: %w", state.KeyOrder, err)
				}
				if o.Action == state.OrderAbort {
					d.ordered.Store(true)
					cancel(errOrdered)
				}
				return nil
			})
			if work.Err() == nil {
				d.job.Warnf("watch for orders: %v; trying again", err)
				sleep(work, time.Second)
			}
		}
	}()
	return work, func() {
		cancel(context.Canceled)
		<-done
	}
}

// lastOrder is the operator's last order to this deploy; its action is empty without one.
func (d *deployer) lastOrder(ctx context.Context) (o state.Order, err error) {
	e, err := d.entry(ctx, d.service.Key(state.KeyOrder))
	if err != nil || e.Version <= d.since {
		return o, err
	}
	if err := json.Unmarshal(e.Value, &o); err != nil {
		return o, fmt.Errorf("read state %s: %w", state.KeyOrder, err)
	}
	return o, nil
}
