package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/flags"
)

// flagged opens the flags that a command is about. It returns the name of their environment, the arguments after the
// manifest, and what closes them.
type flagged func(c *cobra.Command, args []string) (fs *flags.Flags, env string, rest []string, done func(), err error)

func (a *app) openFlags(c *cobra.Command, args []string) (*flags.Flags, string, []string, func(), error) {
	e, rest, err := a.open(c, args)
	if err != nil {
		return nil, "", nil, nil, err
	}
	f, err := e.Flags()
	if err != nil {
		_ = e.Close()
		return nil, "", nil, nil, err
	}
	return f, e.Name(), rest, func() { _ = e.Close() }, nil
}

// flagCommands are the subcommands of troop flag.
type flagCommands struct {
	*app
	open   flagged
	env    string // that the command is about
	reason string
}

func (a *app) flagCmd(open flagged) *cobra.Command {
	f := &flagCommands{app: a, open: open}
	c := &cobra.Command{Use: "flag", Short: "Read and change the feature flags of an environment"}
	c.AddCommand(f.list(), f.get(), f.set(), f.unset(), f.enable(), f.disable(), f.importFile(), f.exportFile(), f.watch(), f.audit())
	return c
}

// sub is a subcommand that takes the arguments names after the manifest.
func (f *flagCommands) sub(use, short string, names []string, run func(ctx context.Context, fs *flags.Flags, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, RunE: func(c *cobra.Command, args []string) error {
		fs, env, rest, done, err := f.open(c, args)
		if err != nil {
			return err
		}
		defer done()
		f.env = env
		if err := want(rest, names...); err != nil {
			return err
		}
		return run(c.Context(), fs, rest)
	}}
}

// changing adds what every command that changes a flag takes.
func (f *flagCommands) changing(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the audit trail")
	return c
}

func (f *flagCommands) change() flags.Change {
	return flags.Change{By: environment.User(), Reason: f.reason}
}

func (f *flagCommands) list() *cobra.Command {
	stale := false
	c := f.sub("list [MANIFEST]", "List all flags, and mark those whose end date has passed", nil, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		list, err := fs.List(ctx)
		if list == nil && err != nil {
			return err
		}
		t := core.Table{Columns: []string{"name", "type", "value", "rule", "owner", "ends", "version", "updated", "by", "note"}}
		stops, errStops := fs.Stops(ctx)
		err = errors.Join(err, errStops)
		now := time.Now()
		for _, x := range list {
			note := ""
			if x.Stale(now) {
				note = "stale"
			}
			if stale && note == "" {
				continue
			}
			if stops.Off(x) {
				note = strings.TrimPrefix(note+", off: its release was stopped", ", ")
			}
			t.Rows = append(t.Rows, []string{
				x.Name, x.Type(), value(x), brief(x.Targeting), x.Text(flags.Owner), x.Text(flags.Ends),
				fmt.Sprint(x.Version), x.Updated.Format(time.DateTime), x.By, note,
			})
		}
		f.ui.Table(t)
		return err
	})
	c.Flags().BoolVar(&stale, "stale", false, "only flags whose end date has passed")
	return c
}

// value shows what a reader without a context gets, as JSON, so that the string "1.10" is told from a number.
func value(x flags.Flag) string {
	switch {
	case x.Unset:
		return "unset"
	case x.State == flags.Disabled:
		return "disabled"
	case x.Value == nil:
		return "the reader's default"
	}
	return encoded(x.Value)
}

func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func brief(rule json.RawMessage) string {
	const most = 48
	text := []rune(string(rule))
	if len(text) > most {
		return string(text[:most-1]) + "…"
	}
	return string(text)
}

func (f *flagCommands) get() *cobra.Command {
	return f.sub("get [MANIFEST] NAME", "Print the value of a flag for a reader without a context", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		x, ok, err := fs.Get(ctx, args[0])
		if err != nil {
			return err
		}
		if !ok {
			return notSet(args[0])
		}
		f.ui.JSON(x)
		if text, ok := x.Value.(string); ok {
			f.ui.Printf("%s", text)
		} else {
			f.ui.Printf("%s", value(x))
		}
		return nil
	})
}

func notSet(name string) error {
	return &core.NotFoundError{What: "flag", Name: name, Remedy: "troop flag list shows those that are set"}
}

// setting is what the options of set say.
type setting struct {
	typ, when, other     string
	percent              float64
	owner, ends, release string
	changed              func(name string) bool // whether an option was given
}

func (f *flagCommands) set() *cobra.Command {
	var s setting
	c := f.changing(f.sub("set [MANIFEST] NAME VALUE", "Set a flag for everybody, for a share, or where a rule holds", []string{"NAME", "VALUE"},
		func(ctx context.Context, fs *flags.Flags, args []string) error {
			x, err := fs.Update(ctx, args[0], f.change(), func(x *flags.Flag) error { return s.apply(x, args[1]) })
			if err != nil {
				return err
			}
			f.ui.JSON(x)
			line := fmt.Sprintf("%s = %s (%s) in %s", x.Name, value(x), x.Type(), f.env)
			if len(x.Targeting) > 0 {
				line += ", else by " + string(x.Targeting)
			}
			f.ui.Printf("%s", line)
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
	o.StringVar(&s.typ, "type", "", "boolean, string, number or object")
	o.Float64Var(&s.percent, "percent", 100, "only for this share of the clients, by targetingKey")
	o.StringVar(&s.when, "when", "", "only where this `rule` in JsonLogic holds")
	o.StringVar(&s.other, "else", "", "`value` for the others; without it, the opposite of a boolean")
	o.StringVar(&s.owner, "owner", "", "who answers for the flag")
	o.StringVar(&s.ends, "ends", "", "`day` after which the flag is stale, such as 2026-12-31")
	o.StringVar(&s.release, "release", "", "release that the flag came with; troop flag disable --release switches it off")
	s.changed = o.Changed
	return c
}

func (s *setting) apply(x *flags.Flag, text string) error {
	v, err := s.parse(*x, text)
	if err != nil {
		return usage{err}
	}
	var to *flags.Split
	if s.changed("percent") || s.when != "" {
		to = &flags.Split{When: json.RawMessage(s.when), Percent: s.percent}
		if s.changed("else") {
			if to.Else, err = flags.Parse(s.other, flags.TypeOf(v)); err != nil {
				return usage{fmt.Errorf("--else: %w", err)}
			}
		}
	} else if s.changed("else") {
		return usage{errors.New("--else needs --percent or --when")}
	}
	if s.when != "" && !json.Valid([]byte(s.when)) {
		return usage{fmt.Errorf("--when %q: want a rule in JsonLogic, which is JSON", s.when)}
	}
	given, err := x.Give(v, to)
	if err != nil {
		return usage{err}
	}
	given.Metadata = maps.Clone(x.Metadata)
	for key, text := range map[string]string{flags.Owner: s.owner, flags.Ends: s.ends, flags.Release: s.release} {
		switch {
		case !s.changed(key):
		case text == "":
			delete(given.Metadata, key)
		default:
			if given.Metadata == nil {
				given.Metadata = map[string]any{}
			}
			given.Metadata[key] = text
		}
	}
	*x = given
	return nil
}

// parse reads a value as the type that is asked for, or that the flag has. A number in another spelling than the flag's
// own may be meant as a string, as in 1.10: it is refused.
func (s *setting) parse(x flags.Flag, text string) (any, error) {
	if s.typ != "" || x.Type() == "" {
		return flags.Parse(text, s.typ)
	}
	v, err := flags.Parse(text, x.Type())
	if guess, _ := flags.Parse(text, ""); err == nil && x.Type() == flags.Number && flags.TypeOf(guess) != flags.Number {
		err = fmt.Errorf("%s reads as the number %s", text, encoded(v))
	}
	if err != nil {
		return nil, fmt.Errorf("flag %s has the type %s: %w; --type TYPE says which one you mean", x.Name, x.Type(), err)
	}
	return v, nil
}

func (f *flagCommands) unset() *cobra.Command {
	return f.changing(f.sub("unset [MANIFEST] NAME", "Remove a flag", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		_, err := fs.Update(ctx, args[0], f.change(), func(x *flags.Flag) error {
			x.Unset = true
			return nil
		})
		return err
	}))
}

// switchTo writes the state of a flag that is there.
func (f *flagCommands) switchTo(ctx context.Context, fs *flags.Flags, name, state string) error {
	x, err := fs.Update(ctx, name, f.change(), func(x *flags.Flag) error {
		if len(x.Variants) == 0 {
			return notSet(name)
		}
		x.State = state
		return nil
	})
	if err == nil {
		f.ui.JSON(x)
		f.ui.Printf("%s is %s in %s", x.Name, strings.ToLower(state), f.env)
	}
	return err
}

func (f *flagCommands) enable() *cobra.Command {
	return f.changing(f.sub("enable [MANIFEST] NAME", "Let a flag that was disabled work as before", []string{"NAME"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		return f.switchTo(ctx, fs, args[0], flags.Enabled)
	}))
}

func (f *flagCommands) disable() *cobra.Command {
	release := ""
	c := &cobra.Command{Use: "disable [MANIFEST] NAME | --release RELEASE", Short: "Let the default in the code hold, for one flag or all of a release"}
	c.RunE = func(c *cobra.Command, args []string) error {
		fs, env, rest, done, err := f.open(c, args)
		if err != nil {
			return err
		}
		defer done()
		f.env = env
		if release == "" {
			if err := want(rest, "NAME"); err != nil {
				return err
			}
			return f.switchTo(c.Context(), fs, rest[0], flags.Disabled)
		}
		if err := want(rest); err != nil {
			return err
		}
		list, err := fs.List(c.Context())
		for _, x := range list {
			if x.Text(flags.Release) == release && x.State != flags.Disabled {
				err = errors.Join(err, f.switchTo(c.Context(), fs, x.Name, flags.Disabled))
			}
		}
		return err
	}
	c.Flags().StringVar(&release, "release", "", "all flags that came with this release")
	return f.changing(c)
}

func (f *flagCommands) importFile() *cobra.Command {
	return f.changing(f.sub("import [MANIFEST] FILE", "Take over the flags in a file of flagd's", []string{"FILE"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		data, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		list, err := flags.Import(data)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		changed := 0
		for _, next := range list {
			same := errors.New("nothing to change")
			_, err := fs.Update(ctx, next.Name, f.change(), func(x *flags.Flag) error {
				if x.Same(next) {
					return same
				}
				*x = next
				return nil
			})
			switch {
			case errors.Is(err, same):
			case err != nil:
				return err
			default:
				changed++
			}
		}
		f.ui.JSON(map[string]int{"flags": len(list), "changed": changed})
		f.ui.Printf("%d of %d flags changed in %s", changed, len(list), f.env)
		return nil
	}))
}

func (f *flagCommands) exportFile() *cobra.Command {
	return f.sub("export [MANIFEST] FILE", "Write all flags to a file of flagd's; - is standard output", []string{"FILE"}, func(ctx context.Context, fs *flags.Flags, args []string) error {
		list, err := fs.List(ctx)
		if err != nil {
			return err
		}
		data, err := flags.Export(list)
		if err != nil {
			return err
		}
		if args[0] == "-" {
			_, err = f.out.Write(data)
			return err
		}
		return os.WriteFile(args[0], data, 0o644)
	})
}

func (f *flagCommands) watch() *cobra.Command {
	return f.sub("watch [MANIFEST]", "Print every change until interrupted", nil, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		err := fs.Follow(ctx, flags.Follower{
			Stand: func([]flags.Flag) {}, Stopped: func(flags.Stops) {},
			Change: func(x flags.Flag) {
				f.ui.JSON(x)
				f.ui.Printf("%s  %s = %s  by %s", x.Updated.Format(time.TimeOnly), x.Name, value(x), because(x))
			},
			Trouble: func(err error) { f.ui.Warnf("%v", err) },
		})
		return unlessEnded(ctx, err)
	})
}

func because(x flags.Flag) string {
	if x.Reason == "" {
		return x.By
	}
	return x.By + ": " + x.Reason
}

func (f *flagCommands) audit() *cobra.Command {
	return f.sub("audit [MANIFEST]", "Show who changed what and why, the newest first", nil, func(ctx context.Context, fs *flags.Flags, _ []string) error {
		list, err := fs.Audit(ctx, 100)
		if err != nil {
			return err
		}
		t := core.Table{Columns: []string{"updated", "name", "value", "rule", "version", "by", "reason"}}
		for _, x := range list {
			t.Rows = append(t.Rows, []string{x.Updated.Format(time.DateTime), x.Name, value(x), brief(x.Targeting), fmt.Sprint(x.Version), x.By, x.Reason})
		}
		f.ui.Table(t)
		return nil
	})
}
