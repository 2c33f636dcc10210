package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/flags"
)

func (a *app) flagCmd() *cobra.Command {
	env := "" // that the command is about
	c := &cobra.Command{Use: "flag", Short: "Read and change the feature flags of an environment"}
	sub := func(use, short string, names []string, run func(ctx context.Context, fs *flags.Flags, args []string) error) {
		c.AddCommand(&cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.open(c, args)
			if err != nil {
				return err
			}
			defer e.Close()
			env = e.Name()
			f, err := e.Flags()
			if err != nil {
				return err
			}
			if err := want(rest, names...); err != nil {
				return err
			}
			return run(c.Context(), f, rest)
		}})
	}
	sub("list [MANIFEST]", "List all flags", nil, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		list, err := fs.List(ctx)
		if err != nil {
			return err
		}
		a.showFlags(list)
		return nil
	})
	sub("get [MANIFEST] NAME", "Print the value of a flag", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		f, ok, err := fs.Get(ctx, args[0])
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
	sub("set [MANIFEST] NAME VALUE", "Set a flag: true, false, a number or a text", []string{"NAME", "VALUE"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		var value any
		if err := json.Unmarshal([]byte(args[1]), &value); err != nil {
			value = args[1]
		}
		f, err := fs.Set(ctx, args[0], value, environment.User())
		if err != nil {
			return err
		}
		a.ui.JSON(f)
		a.ui.Printf("%s = %v in %s", f.Name, f.Value, env)
		return nil
	})
	sub("unset [MANIFEST] NAME", "Remove a flag", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		return fs.Unset(ctx, args[0], environment.User())
	})
	sub("watch [MANIFEST]", "Print every change until interrupted", nil, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		err := fs.Watch(ctx, func(f flags.Flag) {
			a.ui.JSON(f)
			a.ui.Printf("%s  %s = %v  by %s", f.Updated.Format(time.TimeOnly), f.Name, f.Value, f.By)
		})
		return unlessEnded(ctx, err)
	})
	sub("audit [MANIFEST]", "Show who changed what, the newest first", nil, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		list, err := fs.Audit(ctx, 100)
		if err != nil {
			return err
		}
		a.showFlags(list)
		return nil
	})
	return c
}

func (a *app) showFlags(list []flags.Flag) {
	t := core.Table{Columns: []string{"name", "value", "version", "updated", "by"}}
	for _, f := range list {
		t.Rows = append(t.Rows, []string{f.Name, fmt.Sprint(f.Value), fmt.Sprint(f.Version), f.Updated.Format(time.DateTime), f.By})
	}
	a.ui.Table(t)
}
