package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/flags"
)

func (a *app) flagCmd() *cobra.Command {
	c := &cobra.Command{Use: "flag", Short: "Read and change the feature flags of an environment"}
	sub := func(use, short string, names []string, run func(ctx context.Context, e *environment, args []string) error) {
		c.AddCommand(&cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.loadFor(args)
			if err != nil {
				return err
			}
			defer e.close()
			if _, err := e.shared(); err != nil {
				return err
			}
			if err := want(rest, names...); err != nil {
				return err
			}
			return run(c.Context(), e, rest)
		}})
	}
	sub("list [MANIFEST]", "List all flags", nil, func(ctx context.Context, e *environment, _ []string) error {
		list, err := e.flags.List(ctx)
		if err != nil {
			return err
		}
		a.showFlags(list)
		return nil
	})
	sub("get [MANIFEST] NAME", "Print the value of a flag", []string{"NAME"}, func(ctx context.Context, e *environment, args []string) error {
		f, ok, err := e.flags.Get(ctx, args[0])
		if err != nil {
			return err
		}
		if !ok {
			return &core.NotFoundError{What: "flag", Name: args[0], Remedy: "troop flag list shows those that are set"}
		}
		a.ui.JSON(f)
		a.ui.Printf("%v", f.Value)
		return nil
	})
	sub("set [MANIFEST] NAME VALUE", "Set a flag: true, false, a number or a text", []string{"NAME", "VALUE"}, func(ctx context.Context, e *environment, args []string) error {
		var value any
		if err := json.Unmarshal([]byte(args[1]), &value); err != nil {
			value = args[1]
		}
		f, err := e.flags.Set(ctx, args[0], value, whoami())
		if err != nil {
			return err
		}
		a.ui.JSON(f)
		a.ui.Printf("%s = %v in %s", f.Name, f.Value, e.conf.Name)
		return nil
	})
	sub("unset [MANIFEST] NAME", "Remove a flag", []string{"NAME"}, func(ctx context.Context, e *environment, args []string) error {
		return e.flags.Unset(ctx, args[0], whoami())
	})
	sub("watch [MANIFEST]", "Print every change until interrupted", nil, func(ctx context.Context, e *environment, _ []string) error {
		err := e.flags.Watch(ctx, func(f flags.Flag) {
			a.ui.JSON(f)
			a.ui.Printf("%s  %s = %v  by %s", f.Updated.Format(time.TimeOnly), f.Name, f.Value, f.By)
		})
		return unlessEnded(ctx, err)
	})
	sub("audit [MANIFEST]", "Show who changed what, the newest first", nil, func(ctx context.Context, e *environment, _ []string) error {
		list, err := e.flags.Audit(ctx, 100)
		if err != nil {
			return err
		}
		a.showFlags(list)
		return nil
	})
	return c
}

// unlessEnded forgets the error of what was to last until the interrupt.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (a *app) showFlags(list []flags.Flag) {
	t := core.Table{Columns: []string{"name", "value", "version", "updated", "by"}}
	for _, f := range list {
		t.Rows = append(t.Rows, []string{f.Name, fmt.Sprint(f.Value), fmt.Sprint(f.Version), f.Updated.Format(time.DateTime), f.By})
	}
	a.ui.Table(t)
}

func (a *app) eventsCmd() *cobra.Command {
	var follow bool
	var since time.Duration
	var kinds, severities []string
	c := &cobra.Command{
		Use: "events [MANIFEST]", Short: "Show what happened on the hosts of an environment",
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.loadFor(args)
			if err != nil {
				return err
			}
			defer e.close()
			if err := want(rest); err != nil {
				return err
			}
			b, err := e.shared()
			if err != nil {
				return err
			}
			filter := core.EventFilter{Kinds: kinds, Since: time.Now().Add(-since)}
			for _, s := range severities {
				filter.Severities = append(filter.Severities, core.Severity(s))
			}
			if follow {
				err := b.Follow(c.Context(), filter, func(ev core.Event) error {
					a.showEvent(ev)
					return nil
				})
				return unlessEnded(c.Context(), err)
			}
			list, err := b.Events(c.Context(), filter, 0)
			if err != nil {
				return err
			}
			for _, ev := range list {
				a.showEvent(ev)
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	f.DurationVar(&since, "since", 24*time.Hour, "how far back")
	f.StringSliceVar(&kinds, "kind", nil, "only kinds that begin so, such as process")
	f.StringSliceVar(&severities, "severity", nil, "only info, warning, alert or resolved")
	return c
}

func (a *app) showEvent(e core.Event) {
	a.ui.JSON(e)
	where := string(e.Host)
	if where == "" {
		where = e.Source
	}
	a.ui.Printf("%s  %-8s  %-10s  %-20s  %s", e.Time.Local().Format(time.DateTime), e.Severity, where, e.Kind, e.Summary)
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", RunE: func(*cobra.Command, []string) error {
		a.ui.JSON(map[string]string{"version": version})
		a.ui.Printf("troop %s", version)
		return nil
	}}
}
