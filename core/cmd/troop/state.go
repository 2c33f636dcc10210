package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (a *app) stateCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "state", Short: "Look at what Terraform knows of an environment, and bring an earlier state back",
		Long: `Before every apply, destroy and restore, a copy of the state is set aside, wherever the module keeps it: on this
machine, or in a backend such as S3. The newest 20 copies are kept, and for 30 days the last one of each day.`,
	}
	c.AddCommand(a.stateListCmd(), a.stateShowCmd(), a.stateHistoryCmd(), a.stateDiffCmd(), a.stateRestoreCmd(),
		a.stateLockCmd(), a.stateUnlockCmd())
	return c
}

// openState is load for a command about the state of an environment.
func (a *app) openState(ctx context.Context, args []string, what string) (*project, *terraform.Workspace, []string, error) {
	p, rest, err := a.load(args)
	if err != nil {
		return nil, nil, nil, err
	}
	conf, err := findEnvironment(p.Pipeline, a.env)
	if err != nil {
		return nil, nil, nil, err
	}
	w, err := planner(ctx, p, conf, head(ctx, p), a.note)
	if err != nil {
		return nil, nil, nil, err
	}
	w.What = what
	return p, w, rest, nil
}

func (a *app) stateListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list [MANIFEST]", Short: "List the resources by host",
		RunE: func(c *cobra.Command, args []string) error {
			_, w, rest, err := a.openState(c.Context(), args, "troop state list")
			if err == nil {
				err = want(rest)
			}
			if err != nil {
				return err
			}
			s, err := w.State(c.Context())
			if err != nil {
				return err
			}
			t := core.Table{Columns: []string{"host", "role", "resource", "tainted"}}
			for _, r := range s.Resources {
				tainted := ""
				if r.Tainted {
					tainted = "yes"
				}
				t.Rows = append(t.Rows, []string{string(r.Host), r.Role, r.Address, tainted})
			}
			a.ui.Table(t)
			return nil
		},
	}
}

func (a *app) stateShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [MANIFEST] ADDRESS|HOST", Short: "Show a resource, or all of a host; what is sensitive stays hidden",
		ValidArgsFunction: a.completeHosts,
		RunE: func(c *cobra.Command, args []string) error {
			_, w, rest, err := a.openState(c.Context(), args, "troop state show")
			if err == nil {
				err = want(rest, "ADDRESS|HOST")
			}
			if err != nil {
				return err
			}
			s, err := w.State(c.Context())
			if err != nil {
				return err
			}
			found := slices.DeleteFunc(s.Resources, func(r terraform.Resource) bool {
				return r.Address != rest[0] && string(r.Host) != rest[0]
			})
			if len(found) == 0 {
				return &core.NotFoundError{What: "resource or host", Name: rest[0], Remedy: "troop state list lists them"}
			}
			a.ui.JSON(found)
			for _, r := range found {
				a.ui.Printf("%s", resourceText(r))
			}
			return nil
		},
	}
}

func resourceText(r terraform.Resource) string {
	var b strings.Builder
	b.WriteString(r.Address)
	if r.Host != "" {
		fmt.Fprintf(&b, "  # %s (%s)", r.Host, r.Role)
	}
	if r.Tainted {
		b.WriteString("  # half made, will be replaced")
	}
	width := 0
	for name := range r.Values {
		width = max(width, len(name))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Values)) {
		value, err := json.Marshal(r.Values[name])
		if err != nil {
			value = []byte(err.Error())
		}
		fmt.Fprintf(&b, "\n  %-*s = %s", width, name, value)
	}
	return b.String()
}

func (a *app) stateHistoryCmd() *cobra.Command {
	return &cobra.Command{
		Use: "history [MANIFEST]", Short: "List the copies of the state, the newest first",
		RunE: func(_ *cobra.Command, args []string) error {
			all, rest, err := a.copies(args)
			if err == nil {
				err = want(rest)
			}
			if err != nil {
				return err
			}
			if a.json {
				a.ui.JSON(all)
				return nil
			}
			t := core.Table{Columns: []string{"copy", "made", "before", "run", "serial", "resources", "hosts"}}
			for _, c := range all {
				hosts := make([]string, 0, len(c.Hosts))
				for _, h := range c.Hosts {
					hosts = append(hosts, string(h))
				}
				t.Rows = append(t.Rows, []string{
					strconv.Itoa(c.Number), c.Before.Since.Local().Format(time.DateTime), c.Before.What, string(c.Before.Run),
					strconv.FormatUint(c.Serial, 10), strconv.Itoa(c.Resources), strings.Join(hosts, " "),
				})
			}
			a.ui.Table(t)
			return nil
		},
	}
}

// copies lists the copies of the state of an environment without opening it.
func (a *app) copies(args []string) ([]terraform.Copy, []string, error) {
	p, rest, err := a.read(args)
	if err != nil {
		return nil, nil, err
	}
	conf, err := findEnvironment(p.Pipeline, a.env)
	if err != nil {
		return nil, nil, err
	}
	all, err := terraform.Copies(filepath.Join(environmentDir(p.Pipeline, conf.Name), "terraform"))
	return all, rest, err
}

func (a *app) stateDiffCmd() *cobra.Command {
	return &cobra.Command{
		Use: "diff [MANIFEST] [A [B]]", Short: "Compare two copies of the state by host (default: the newest one with the state)",
		ValidArgsFunction: a.completeCopies,
		RunE: func(c *cobra.Command, args []string) error {
			_, w, rest, err := a.openState(c.Context(), args, "troop state diff")
			if err != nil {
				return err
			}
			if len(rest) > 2 {
				return want(rest, "A", "B")
			}
			if len(rest) == 0 {
				all, err := terraform.Copies(w.Dir)
				if err != nil {
					return err
				}
				if len(all) == 0 {
					return errors.New("there is no copy of the state yet; one is made before every apply")
				}
				rest = []string{strconv.Itoa(all[0].Number)}
			}
			states := make([]*terraform.State, 0, 2)
			for _, arg := range rest {
				n, err := copyNumber(arg)
				if err != nil {
					return err
				}
				s, err := w.Copied(c.Context(), n)
				if err != nil {
					return err
				}
				states = append(states, s)
			}
			if len(states) == 1 {
				s, err := w.State(c.Context())
				if err != nil {
					return err
				}
				states = append(states, s)
			}
			d := terraform.Diff(states[0], states[1])
			a.ui.JSON(d)
			a.showDifference(d)
			return nil
		},
	}
}

func copyNumber(arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return 0, usage{fmt.Errorf("want the number of a copy, got %q; troop state history lists them", arg)}
	}
	return n, nil
}

// showDifference prints for people what turns one state into another.
func (a *app) showDifference(d terraform.Difference) {
	if a.json {
		return
	}
	if d.Empty() {
		a.ui.Printf("both states say the same")
		return
	}
	t := core.Table{Columns: []string{"host", "", "resource", "attribute", "from", "to"}}
	for _, c := range d.Changes {
		host := cmp.Or(string(c.Host), "-")
		if len(c.Attributes) == 0 {
			t.Rows = append(t.Rows, []string{host, c.Action.Mark(), c.Address, "", "", ""})
		}
		for _, at := range c.Attributes {
			t.Rows = append(t.Rows, []string{host, c.Action.Mark(), c.Address, at.Name, at.Before, at.After})
		}
	}
	for _, name := range d.Outputs {
		t.Rows = append(t.Rows, []string{"-", terraform.Update.Mark(), "output " + name, "", "", ""})
	}
	a.ui.Table(t)
}

func (a *app) stateRestoreCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "restore [MANIFEST] N", Short: "Put a copy in the place of the state, and show what apply would do then",
		Long: `Restore shows by host what the state would become, and asks. It changes no host: what is to be done about the
difference between the restored state and the hosts, the plan says that it ends with. The state that it replaces is
itself set aside, so that a restore can be taken back.`,
		ValidArgsFunction: a.completeCopies,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			p, w, rest, err := a.openState(ctx, args, "troop state restore")
			if err == nil {
				err = want(rest, "N")
			}
			if err != nil {
				return err
			}
			n, err := copyNumber(rest[0])
			if err != nil {
				return err
			}
			conf, err := findEnvironment(p.Pipeline, a.env)
			if err != nil {
				return err
			}
			release, err := lockEnvironment(ctx, p, conf.Name, w.What, "", a.note)
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			return a.restore(ctx, p, conf, w, n, yes)
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "restore without asking")
	return c
}

func (a *app) restore(ctx context.Context, p *project, conf core.Environment, w *terraform.Workspace, n int, yes bool) error {
	copied, err := w.Copied(ctx, n)
	if err != nil {
		return err
	}
	present, err := w.State(ctx)
	switch {
	case errors.As(err, new(*terraform.DamagedError)):
		a.note("the present state is damaged, and will be replaced by copy " + strconv.Itoa(n))
	case err != nil:
		return err
	default:
		d := terraform.Diff(present, copied)
		a.showDifference(d)
		if d.Empty() {
			return nil
		}
	}
	if !yes {
		if err := a.confirm(fmt.Sprintf("Put copy %d in the place of the state of environment %s?", n, conf.Name), "use --yes"); err != nil {
			return err
		}
	}
	if err := w.Restore(ctx, n); err != nil {
		return err
	}
	a.note(fmt.Sprintf("the state of environment %s is copy %d; this is what apply would do now:", conf.Name, n))
	plan, err := w.Plan(ctx)
	if err != nil {
		return err
	}
	review, err := w.Review(ctx, plan, conf.Terraform.Review)
	if err != nil {
		return err
	}
	a.showReview(review)
	// The hosts that other commands reach are those of the state.
	err = applyPlan(ctx, p.Pipeline, conf, w, nil, nil)
	if errors.Is(err, terraform.ErrNoHosts) {
		return forgetHosts(environmentDir(p.Pipeline, conf.Name))
	}
	return err
}

// locks is who keeps others from an environment and its state.
type locks struct {
	Environment *store.Holder   `json:"environment"`
	State       *terraform.Lock `json:"state"`
}

func (a *app) stateLockCmd() *cobra.Command {
	return &cobra.Command{
		Use: "lock [MANIFEST]", Short: "Say who has locked the state, since when, from which run, and how to free it",
		RunE: func(c *cobra.Command, args []string) error {
			p, w, rest, err := a.openState(c.Context(), args, "troop state lock")
			if err == nil {
				err = want(rest)
			}
			if err != nil {
				return err
			}
			var found locks
			release, err := p.files.Lock(c.Context(), w.Environment, store.Holder{What: w.What}, nil)
			if taken, ok := errors.AsType[*store.LockedError](err); ok {
				found.Environment = &taken.Holder
			} else if err != nil {
				return err
			} else if err := release(); err != nil {
				return err
			}
			if found.State, err = w.Locked(c.Context()); err != nil {
				return err
			}
			a.ui.JSON(found)
			a.showLocks(w.Environment, found)
			return nil
		},
	}
}

func (a *app) showLocks(env string, found locks) {
	if h := found.Environment; h != nil {
		a.ui.Printf("environment %s is in use by %s\nwait for it, or end it: kill -INT %d", env, h, h.PID)
	}
	switch l := found.State; {
	case l == nil:
		a.ui.Printf("nobody has locked the state of environment %s", env)
	case l.ID == "":
		a.ui.Printf("the state of environment %s is in use by %s\nwait for it, or end it: kill -INT %d", env, l, l.Work.PID)
	case l.Abandoned:
		a.ui.Printf("the state of environment %s is locked by %s (lock %s)\n"+
			"troop apply --env %s frees it and mends what was left; troop state unlock --env %s frees it only", env, l, l.ID, env, env)
	default:
		a.ui.Printf("the state of environment %s is locked by %s (lock %s)\n"+
			"wait for it, or when nobody works on it any more: troop state unlock --env %s", env, l, l.ID, env)
	}
}

func (a *app) stateUnlockCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "unlock [MANIFEST]", Short: "Free a lock that a killed Terraform has left in the backend",
		Long: `Unlock shows who has locked the state, and asks. After a command of this folder was killed it is not needed:
troop apply knows that, frees the lock with the yes to its plan, and mends what was left.`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			p, w, rest, err := a.openState(ctx, args, "troop state unlock")
			if err == nil {
				err = want(rest)
			}
			if err != nil {
				return err
			}
			release, err := p.files.Lock(ctx, w.Environment, store.Holder{What: w.What}, nil)
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			l, err := w.Locked(ctx)
			if err != nil {
				return err
			}
			a.showLocks(w.Environment, locks{State: l})
			if l == nil {
				return nil
			}
			if l.ID == "" {
				return errors.New("this lock ends with its process; there is nothing to free")
			}
			if !yes {
				if err := a.confirm("Free this lock?", "use --yes"); err != nil {
					return err
				}
			}
			return w.Unlock(ctx, *l)
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "free it without asking")
	return c
}

// completeHosts offers the hosts that the last apply recorded.
func (a *app) completeHosts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	p, rest, err := a.read(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	conf, err := findEnvironment(p.Pipeline, a.env)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	hosts, err := readHosts(environmentDir(p.Pipeline, conf.Name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, h := range hosts {
		names = append(names, cobra.CompletionWithDesc(string(h.Name), h.Role))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeCopies offers the copies of the state.
func (a *app) completeCopies(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	all, rest, err := a.copies(args)
	if err != nil || len(rest) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var numbers []string
	for _, c := range all {
		about := "before " + c.Before.What + ", " + c.Before.Since.Local().Format(time.DateTime)
		numbers = append(numbers, cobra.CompletionWithDesc(strconv.Itoa(c.Number), about))
	}
	return numbers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
