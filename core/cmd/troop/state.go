package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (a *app) stateCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "state", Short: "Look at the Terraform state of an environment, and restore an earlier one",
		Long: `Before every apply, destroy and restore, a copy of the state is set aside, wherever the module keeps it: on this
machine, or in a backend such as S3. The newest 20 copies are kept, and for 30 days the last one of each day.`,
	}
	c.AddCommand(a.stateListCmd(), a.stateShowCmd(), a.stateHistoryCmd(), a.stateDiffCmd(), a.stateRestoreCmd(),
		a.stateLockCmd(), a.stateUnlockCmd(), a.stateOrphansCmd(), a.stateAdoptCmd(), a.stateRecoverCmd(), a.stateMigrateCmd())
	return c
}

func (a *app) stateListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list [MANIFEST]", Short: "List the resources by host",
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, _ []string) error {
			s, err := e.State(ctx)
			if err == nil {
				a.ui.Table(s.Table())
			}
			return err
		}),
	}
}

func (a *app) stateShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [MANIFEST] ADDRESS|HOST", Short: "Show a resource, or all of a host; what is sensitive stays hidden",
		ValidArgsFunction: a.completeHosts,
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, args []string) error {
			s, err := e.State(ctx)
			if err != nil {
				return err
			}
			found, err := s.Find(args[0])
			if err == nil {
				a.ui.Report(found)
			}
			return err
		}, "ADDRESS|HOST"),
	}
}

func (a *app) stateHistoryCmd() *cobra.Command {
	return &cobra.Command{
		Use: "history [MANIFEST]", Short: "List the copies of the state, the newest first",
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.openLeniently(c, args)
			if err == nil {
				err = line.Want(rest)
			}
			if err != nil {
				return err
			}
			all, err := e.Copies()
			if err != nil {
				return err
			}
			if a.json {
				a.ui.JSON(all)
				return nil
			}
			a.ui.Table(terraform.CopyTable(all))
			return nil
		},
	}
}

func (a *app) stateDiffCmd() *cobra.Command {
	return &cobra.Command{
		Use: "diff [MANIFEST] [A [B]]", Short: "Compare two copies of the state by host (default: the newest one with the state)",
		ValidArgsFunction: a.completeCopies,
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.open(c, args)
			if err != nil {
				return err
			}
			defer e.Close()
			if len(rest) > 2 {
				return line.Want(rest, "A", "B")
			}
			var numbers []int
			for _, arg := range rest {
				n, err := terraform.CopyNumber(arg)
				if err != nil {
					return err
				}
				numbers = append(numbers, n)
			}
			d, err := e.Compare(c.Context(), numbers...)
			if err != nil {
				return err
			}
			a.ui.JSON(d)
			a.showDifference(d)
			return nil
		},
	}
}

// showDifference prints for people what turns one state into another.
func (a *app) showDifference(d terraform.Difference) {
	switch {
	case a.json:
	case d.Empty():
		a.ui.Printf("both states say the same")
	default:
		a.ui.Table(d.Table())
	}
}

func (a *app) stateRestoreCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "restore [MANIFEST] N", Short: "Put a copy in the place of the state, and show what apply would do then",
		Long: `Restore shows by host what the state would become, and asks. It changes no host, and ends with the plan that
reconciles them with the restored state. The state that it replaces is itself set aside, so that a restore can be
taken back.`,
		ValidArgsFunction: a.completeCopies,
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, args []string) error {
			n, err := terraform.CopyNumber(args[0])
			if err != nil {
				return err
			}
			release, err := e.Lock(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			return a.restore(ctx, e, n, yes)
		}, "N"),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "restore without asking")
	return c
}

func (a *app) restore(ctx context.Context, e *environment.Environment, n int, yes bool) error {
	restored, err := e.Restore(ctx, n, func(d *terraform.Difference) error {
		if d == nil {
			a.ui.Note("the present state is damaged, and will be replaced by copy " + strconv.Itoa(n))
		} else if a.showDifference(*d); d.Empty() {
			return nil
		}
		return a.sure(yes, fmt.Sprintf("Put copy %d in the place of the state of environment %s?", n, e.Name()))
	})
	if err != nil || !restored {
		return err
	}
	a.ui.Note(fmt.Sprintf("the state of environment %s is copy %d; this is what apply would do now:", e.Name(), n))
	plan, err := e.Plan(ctx)
	if err == nil {
		_, err = a.review(ctx, e, plan)
	}
	return err
}

func (a *app) stateLockCmd() *cobra.Command {
	return &cobra.Command{
		Use: "lock [MANIFEST]", Short: "Say who has locked the state, since when, from which run, and how to free it",
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, _ []string) error {
			found, err := e.Holders(ctx)
			if err == nil {
				a.ui.Report(found)
			}
			return err
		}),
	}
}

func (a *app) stateUnlockCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "unlock [MANIFEST]", Short: "Free a lock that a killed Terraform has left in the backend",
		Long: `Unlock shows who has locked the state, and asks. After a command of this folder was killed it is not needed:
troop apply knows that, frees the lock once its plan is confirmed, and repairs what was left.`,
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, _ []string) error {
			release, err := e.TryLock(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			found, err := e.StateHolder(ctx)
			if err != nil {
				return err
			}
			a.ui.Report(found)
			switch l := found.State; {
			case l == nil:
				return nil
			case l.ID == "":
				return errors.New("this lock ends with its process; there is nothing to free")
			}
			if err := a.sure(yes, "Free this lock?"); err != nil {
				return err
			}
			return e.Unlock(ctx, *found.State)
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "free it without asking")
	return c
}

func (a *app) stateOrphansCmd() *cobra.Command {
	var yes, removing bool
	c := &cobra.Command{
		Use: "orphans [MANIFEST] [ID...]", Short: "List, or remove, resources with the environment's tags that are in no state",
		Long: `An apply that was killed may have made resources that no state knows. Orphans lists them; troop state adopt takes them
into the state; --remove removes them for good, or only those with the given IDs. A disk with data is removed only if its
ID is given. A state in another folder may know them: an environment of the same name in the same account.`,
		RunE: func(c *cobra.Command, args []string) error {
			e, ids, err := a.open(c, args)
			if err != nil {
				return err
			}
			found, err := e.Orphans(c.Context(), ids, removing)
			if err != nil {
				return err
			}
			a.ui.Report(found)
			if !removing || len(found) == 0 {
				return nil
			}
			if err := a.sure(yes, "Remove them for good?"); err != nil {
				return err
			}
			return e.RemoveOrphans(c.Context(), found, ids, func(o core.Tagged) { a.ui.Note("removed " + o.String()) })
		},
	}
	c.Flags().BoolVar(&removing, "remove", false, "remove them for good")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "remove without asking")
	return c
}

func (a *app) stateAdoptCmd() *cobra.Command {
	return &cobra.Command{
		Use: "adopt [MANIFEST]", Short: "Plan to take resources that are in no state into it",
		Long: `An apply that was killed may have made resources that no state knows. Adopt saves a plan that imports each of them where
the module makes a new resource with the same tags; troop apply applies it, as any other plan.`,
		RunE: a.changing(func(ctx context.Context, e *environment.Environment) error {
			plan, err := e.Adopt(ctx)
			if err != nil {
				return err
			}
			if _, err := a.review(ctx, e, plan); err != nil {
				return err
			}
			a.ui.Note("apply it: troop apply" + e.Arguments())
			return nil
		}),
	}
}

func (a *app) stateRecoverCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "recover [MANIFEST]", Short: "Write the state that the last apply could not write to its backend",
		Long: `If the backend is away when an apply ends, Terraform leaves the state in a file, and without it the next apply would make
everything once more. Recover shows what the file adds to the backend's state, asks, and writes it there. Apply and
destroy ask the same question.`,
		RunE: a.changing(func(ctx context.Context, e *environment.Environment) error {
			return e.Recover(ctx, a.agreeToRecover(yes))
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "write it without asking")
	return c
}

func (a *app) stateMigrateCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "migrate [MANIFEST]", Short: "Move the state to where the manifest or the module keeps it now",
		Long: `After the backend was added, changed or taken away, the state is still in its former place. Migrate asks, sets a copy aside
and moves it under the locks of both places. It overwrites no other state and no newer one. A former backend keeps what it has.`,
		RunE: a.changing(func(ctx context.Context, e *environment.Environment) error {
			return e.Migrate(ctx, func(m terraform.Migration) error {
				a.ui.Note(fmt.Sprintf("serial %d, %d resources: from %s to %s", m.Serial, m.Resources, m.From, m.To))
				return a.sure(yes, "Move the state?")
			})
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "move it without asking")
	return c
}

// agreeToRecover shows what a state that an apply could not write adds, and asks.
func (a *app) agreeToRecover(yes bool) func(terraform.Difference) error {
	return func(d terraform.Difference) error {
		a.showDifference(d)
		return a.sure(yes, "The last apply could not write its state to the backend. Write it now?")
	}
}

// completeCopies offers the copies of the state.
func (a *app) completeCopies(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	e, rest, err := a.openLeniently(c, args)
	if err != nil || len(rest) > 1 {
		return line.Offer(nil, err)
	}
	all, err := e.Copies()
	var numbers []string
	for _, x := range all {
		about := "before " + x.Before.What + ", " + x.Before.Since.Local().Format(time.DateTime)
		numbers = append(numbers, cobra.CompletionWithDesc(strconv.Itoa(x.Number), about))
	}
	return line.Offer(numbers, err)
}
