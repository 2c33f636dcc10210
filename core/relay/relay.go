// Package relay tells people of an environment's events. It runs on the router, in a program of its own: what sends mail and
// messages is larger than all else that hosts run, and they would all have it in memory. cmd/troop-relay imports it.
package relay

import (
	"context"
	"log/slog"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/notify"
)

// New returns the agent that tells a configuration's notifiers. An event is acknowledged when it was delivered or given up.
func New(c agent.Config, stateDir string, log *slog.Logger) *agent.Agent {
	return &agent.Agent{
		Config: c, StateDir: stateDir, Log: log,
		Builtin: func(ctx context.Context, b *bus.Bus, publish func(context.Context, core.Event) error) error {
			return run(ctx, c, b, publish, log)
		},
	}
}

func run(ctx context.Context, c agent.Config, b *bus.Bus, publish func(context.Context, core.Event) error, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // an end of one ends the other
	r := &notify.Router{
		Notifiers: c.Notifiers, Send: notify.Send, Memory: b.Relay(),
		Report: func(e core.Event) { _ = publish(ctx, e) },
	}
	following := make(chan error, 1)
	go func() { following <- r.Follow(ctx) }()
	defer func() {
		cancel()
		<-following //nolint:errcheck // it ended because this did
	}()
	log.Info("relay started", "notifiers", len(c.Notifiers))
	return b.Consume(ctx, "relay", string(c.Host), func(e core.Event, done func(error)) {
		r.Take(ctx, e, func(err error) {
			if err != nil {
				log.Error("not delivered", "error", err, "event", e.ID)
			}
			done(context.Cause(ctx)) // what a stop interrupted is tried again
		})
	})
}
