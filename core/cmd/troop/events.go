package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
)

func (a *app) eventsCmd() *cobra.Command {
	var follow bool
	var since time.Duration
	var kinds, severities []string
	c := &cobra.Command{
		Use: "events [MANIFEST]", Short: "Show what happened on the hosts of an environment",
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, _ []string) error {
			b, err := e.Bus()
			if err != nil {
				return err
			}
			filter := core.EventFilter{Kinds: kinds, Since: time.Now().Add(-since)}
			for _, s := range severities {
				filter.Severities = append(filter.Severities, core.Severity(s))
			}
			if follow {
				err := b.Tail(ctx, filter, func(ev core.Event) error {
					a.ui.Event(ev)
					return nil
				})
				return line.UnlessEnded(ctx, err)
			}
			list, err := b.Events(ctx, filter, 0)
			if err != nil {
				return err
			}
			for _, ev := range list {
				a.ui.Event(ev)
			}
			return nil
		}),
	}
	f := c.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	f.DurationVar(&since, "since", 24*time.Hour, "how far back")
	f.StringSliceVar(&kinds, "kind", nil, "only kinds that begin so, such as process")
	f.StringSliceVar(&severities, "severity", nil, "only info, warning, alert or resolved")
	return c
}
