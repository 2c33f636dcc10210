// Package flagcmd is the command troop flag.
package flagcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/ui"
)

// Open opens the flags of the environment that a command line is about.
type Open func(c *cobra.Command, args []string) (Opened, error)

// Opened are the flags of an environment.
type Opened struct {
	Flags       *flags.Flags
	Environment string   // its name
	Rest        []string // of the arguments, after the manifest
	Close       func()
}

// Output is where the commands print.
type Output struct {
	UI  *ui.UI
	Raw io.Writer // for a file of flags, as it is
}

// commands are the subcommands of troop flag.
type commands struct {
	open   Open
	output func() Output // known when a command runs
	Output
	env    string // that the command is about
	reason string
}

// New is the command, with its subcommands.
func New(open Open, output func() Output) *cobra.Command {
	f := &commands{open: open, output: output}
	c := &cobra.Command{Use: "flag", Short: "Read and change the feature flags of an environment"}
	c.AddCommand(f.list(), f.get(), f.set(), f.unset(), f.enable(), f.disable(), f.importFile(), f.exportFile(), f.watch(), f.audit())
	return c
}

// sub is a subcommand that takes the arguments names after the manifest; nil: it checks them itself.
func (f *commands) sub(use, short string, names []string, run func(ctx context.Context, fs *flags.Flags, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
		o, err := f.open(c, args)
		if err != nil {
			return err
		}
		defer o.Close()
		f.Output, f.env = f.output(), o.Environment
		if names != nil {
			if err := line.Want(o.Rest, names...); err != nil {
				return err
			}
		}
		return run(c.Context(), o.Flags, o.Rest)
	}}
}

// changing adds what every command that changes a flag takes.
func (f *commands) changing(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the audit trail")
	return c
}

func (f *commands) change() flags.Change {
	return flags.Change{By: environment.User(), Reason: f.reason}
}

func (f *commands) list() *cobra.Command {
	stale := false
	c := f.sub("list [MANIFEST]", "List all flags, and mark those whose end date has passed", []string{}, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		t, err := fs.Table(ctx, stale)
		if err == nil || len(t.Rows) > 0 {
			f.UI.Table(t)
		}
		return err
	})
	c.Flags().BoolVar(&stale, "stale", false, "only flags whose end date has passed")
	return c
}

func (f *commands) get() *cobra.Command {
	return f.sub("get [MANIFEST] NAME", "Print the value of a flag for a reader without a context", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		x, err := fs.Found(ctx, args[0])
		if err != nil {
			return err
		}
		f.UI.JSON(x)
		if text, ok := x.Value.(string); ok {
			f.UI.Printf("%s", text)
		} else {
			f.UI.Printf("%s", x.Shown())
		}
		return nil
	})
}

func (f *commands) set() *cobra.Command {
	var s flags.Setting
	c := f.changing(f.sub("set [MANIFEST] NAME VALUE", "Set a flag for everybody, for a share, or where a rule holds", []string{"NAME", "VALUE"},
		func(ctx context.Context, fs *flags.Flags, args []string) error {
			s.Value = args[1]
			x, err := fs.Update(ctx, args[0], f.change(), s.Apply)
			if err != nil {
				return err
			}
			f.UI.JSON(x)
			line := fmt.Sprintf("%s = %s (%s) in %s", x.Name, x.Shown(), x.Type(), f.env)
			if len(x.Targeting) > 0 {
				line += ", else by " + string(x.Targeting)
			}
			f.UI.Printf("%s", line)
			return nil
		}))
	c.Long = `Set a flag for everybody, for a share of the clients, or where a rule holds.

Without --type a flag keeps its type. A new one is a boolean for true and false, a number for a number in its shortest
spelling (3, 0.25), and else a string: 1.10 and null are strings.`
	c.Example = `  troop flag set new-feature true
  troop flag set new-feature true --percent 5 --owner shop --ends 2026-12-31 --reason "try it"
  troop flag set banner blue --else red --when '{"==": [{"var": "plan"}, "pro"]}'
  troop flag set limits '{"items": 3}' --type object`
	o := c.Flags()
	o.StringVar(&s.Type, "type", "", "boolean, string, number or object")
	o.Func("percent", "only for this `share` of the clients, by targetingKey; without it, 100", optional(&s.Percent, func(text string) (float64, error) { return strconv.ParseFloat(text, 64) }))
	o.StringVar(&s.When, "when", "", "only where this `rule` in JsonLogic holds")
	word := func(text string) (string, error) { return text, nil }
	o.Func("else", "`value` for the others; without it, the opposite of a boolean", optional(&s.Else, word))
	o.Func("owner", "`who` answers for the flag", optional(&s.Owner, word))
	o.Func("ends", "`day` after which the flag is stale, such as 2026-12-31", optional(&s.Ends, word))
	o.Func("release", "`release` that the flag came with; troop flag disable --release switches it off", optional(&s.Release, word))
	return c
}

// optional sets a field that stays nil without its option.
func optional[T any](to **T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		v, err := parse(text)
		*to = &v
		return err
	}
}

func (f *commands) unset() *cobra.Command {
	return f.changing(f.sub("unset [MANIFEST] NAME", "Remove a flag", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		_, err := fs.Update(ctx, args[0], f.change(), func(x *flags.Flag) error {
			x.Unset = true
			return nil
		})
		return err
	}))
}

// switchTo writes the state of a flag that is there.
func (f *commands) switchTo(ctx context.Context, fs *flags.Flags, name, state string) error {
	x, err := fs.Switch(ctx, name, state, f.change())
	if err == nil {
		f.UI.JSON(x)
		f.UI.Printf("%s is %s in %s", x.Name, strings.ToLower(state), f.env)
	}
	return err
}

func (f *commands) enable() *cobra.Command {
	return f.changing(f.sub("enable [MANIFEST] NAME", "Let a flag that was disabled work as before", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		return f.switchTo(ctx, fs, args[0], flags.Enabled)
	}))
}

func (f *commands) disable() *cobra.Command {
	release := ""
	c := f.sub("disable [MANIFEST] NAME | --release RELEASE", "Let the default in the code hold, for one flag or all of a release", nil,
		func(ctx context.Context, fs *flags.Flags, args []string) error {
			if release == "" {
				if err := line.Want(args, "NAME"); err != nil {
					return err
				}
				return f.switchTo(ctx, fs, args[0], flags.Disabled)
			}
			if err := line.Want(args); err != nil {
				return err
			}
			names, err := fs.OfRelease(ctx, release)
			for _, name := range names {
				err = errors.Join(err, f.switchTo(ctx, fs, name, flags.Disabled))
			}
			return err
		})
	c.Flags().StringVar(&release, "release", "", "all flags that came with this release")
	return f.changing(c)
}

func (f *commands) importFile() *cobra.Command {
	return f.changing(f.sub("import [MANIFEST] FILE", "Take over the flags in a file of flagd's", []string{"FILE"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		all, changed, err := fs.TakeOver(ctx, args[0], f.change())
		if err != nil {
			return err
		}
		f.UI.JSON(map[string]int{"flags": all, "changed": changed})
		f.UI.Printf("%d of %d flags changed in %s", changed, all, f.env)
		return nil
	}))
}

func (f *commands) exportFile() *cobra.Command {
	return f.sub("export [MANIFEST] FILE", "Write all flags to a file of flagd's; - is standard output", []string{"FILE"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		data, err := fs.Export(ctx)
		if err != nil {
			return err
		}
		if args[0] == "-" {
			_, err = f.Raw.Write(data)
			return err
		}
		return os.WriteFile(args[0], data, 0o644)
	})
}

func (f *commands) watch() *cobra.Command {
	return f.sub("watch [MANIFEST]", "Print every change until interrupted", []string{}, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		err := fs.Follow(ctx, flags.Follower{
			Stand: func([]flags.Flag) {}, Stopped: func(flags.Stops) {},
			Change: func(x flags.Flag) {
				f.UI.JSON(x)
				f.UI.Printf("%s  %s = %s  by %s", x.Updated.Format(time.TimeOnly), x.Name, x.Shown(), x.Because())
			},
			Trouble: func(err error) { f.UI.Warnf("%v", err) },
		})
		return line.UnlessEnded(ctx, err)
	})
}

func (f *commands) audit() *cobra.Command {
	return f.sub("audit [MANIFEST]", "Show who changed what and why, the newest first", []string{}, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		t, err := fs.AuditTable(ctx, 100)
		if err == nil {
			f.UI.Table(t)
		}
		return err
	})
}
