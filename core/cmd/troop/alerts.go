package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/notify"
)

func (a *app) alertsCmd() *cobra.Command {
	c := &cobra.Command{Use: "alerts", Short: "See, silence and acknowledge the alerts of an environment"}
	sub := func(use, short string, names []string, run func(ctx context.Context, s *bus.State, args []string) error) *cobra.Command {
		sub := &cobra.Command{Use: use, Short: short, RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, args []string) error {
			b, err := e.Bus()
			if err != nil {
				return err
			}
			return run(ctx, b.Relay(), args)
		}, names...)}
		c.AddCommand(sub)
		return sub
	}
	sub("list [MANIFEST]", "List the alerts that people were told of and that have not ended, and what is silenced", nil,
		func(ctx context.Context, s *bus.State, _ []string) error {
			entries, err := s.Entries(ctx, "")
			if err == nil {
				a.showAlerts(notify.Read(entries))
			}
			return err
		})
	var length time.Duration
	var reason string
	silence := sub("silence [MANIFEST] MATCH", "Tell nobody of alerts of a key, a kind or a host, for a while", []string{"MATCH"},
		func(ctx context.Context, s *bus.State, args []string) error {
			if length <= 0 {
				return line.Usage(errors.New("--for wants a duration above zero, such as 2h"))
			}
			until := time.Now().Add(length)
			err := notify.Silence{Match: args[0], Until: until, By: environment.User(), Reason: reason}.Put(ctx, s)
			if err == nil {
				a.ui.Printf("alerts of %s are silent until %s", args[0], until.Local().Format(time.DateTime))
			}
			return err
		})
	silence.Flags().DurationVar(&length, "for", time.Hour, "`how long`")
	silence.Flags().StringVar(&reason, "reason", "", "`why`, for who reads the list")
	silence.Example = "  troop alerts silence 'host.disk*' --for 2h --reason 'the disk is being replaced'"
	sub("unsilence [MANIFEST] MATCH", "End a silence", []string{"MATCH"}, func(ctx context.Context, s *bus.State, args []string) error {
		return notify.Silence{Match: args[0], By: environment.User()}.Put(ctx, s)
	})
	sub("acknowledge [MANIFEST] KEY", "Say that you take care of an alert: it is not repeated, and its end is told", []string{"KEY"},
		func(ctx context.Context, s *bus.State, args []string) error {
			return notify.Acknowledgement{Key: args[0], By: environment.User(), At: time.Now()}.Put(ctx, s)
		})
	return c
}

func (a *app) showAlerts(o notify.Overview) {
	if a.json {
		a.ui.JSON(o)
		return
	}
	a.ui.Table(o.Table())
	for _, s := range o.Silences {
		a.ui.Printf("%s", s)
	}
}
