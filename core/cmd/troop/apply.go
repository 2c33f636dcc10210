package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (a *app) applyCmd() *cobra.Command {
	var yes, force, configure bool
	c := &cobra.Command{
		Use: "apply [MANIFEST]", Short: "Apply the saved plan, or a new one, and configure the hosts",
		Long: `Apply does what the saved plan says, and nothing else; without a saved plan it makes one, shows it and asks. Then it
configures the hosts. Where the manifest says review { approve = true }, nothing is changed before troop approve.`,
		RunE: a.changing(func(ctx context.Context, e *environment.Environment) error {
			plan, err := e.Recovering(ctx, a.agreeToRecover(yes), e.ToApply)
			if err != nil {
				return err
			}
			if err := a.agree(ctx, e, plan, yes, "Apply this plan?"); err != nil {
				return err
			}
			if err := e.Meet(ctx, func(question string) error { return a.sure(yes, question) }); err != nil {
				return err
			}
			if err := e.Apply(ctx, plan, a.ui.Lines); err != nil {
				return err
			}
			if configure {
				if err := e.Configure(ctx, force, a.ui.Lines); err != nil {
					return err
				}
			}
			hosts, err := e.Hosts()
			if err == nil {
				a.ui.Hosts(hosts)
			}
			return err
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "apply without asking, where no approval is needed")
	c.Flags().BoolVar(&force, "force", false, "configure also what has not changed")
	c.Flags().BoolVar(&configure, "configure", true, "run the environment's playbook")
	return c
}

// changing makes the function of a command that changes the hosts of an environment, and keeps others out meanwhile.
func (a *app) changing(run func(ctx context.Context, e *environment.Environment) error) func(*cobra.Command, []string) error {
	return a.changingHost(func(ctx context.Context, e *environment.Environment, _ []string) error { return run(ctx, e) })
}

// changingHost is changing for a command with the arguments names after the manifest.
func (a *app) changingHost(run func(ctx context.Context, e *environment.Environment, args []string) error, names ...string) func(*cobra.Command, []string) error {
	return a.inEnvironment(func(ctx context.Context, e *environment.Environment, args []string) error {
		free, err := e.Lock(ctx)
		if err != nil {
			return err
		}
		defer func() { _, _ = e.Close(), free() }() // the lock ends with the process in any case
		return run(ctx, e, args)
	}, names...)
}

// review shows what a plan would do.
func (a *app) review(ctx context.Context, e *environment.Environment, plan *terraform.Plan) (*terraform.Review, error) {
	r, err := e.Review(ctx, plan)
	if err == nil {
		a.ui.Report(r)
	}
	return r, err
}

// agree shows a plan and finds out whether it may be carried out: by its review, by an approval, by asking.
func (a *app) agree(ctx context.Context, e *environment.Environment, plan *terraform.Plan, yes bool, question string) error {
	if plan.Empty() && len(plan.Orphans) == 0 {
		return nil
	}
	r, err := a.review(ctx, e, plan)
	if err != nil || plan.Empty() {
		return err
	}
	if err := e.Refusal(r); err != nil || r.Needed || yes {
		return err
	}
	return a.confirm(question, "review with troop plan"+e.Arguments()+", then pass --yes")
}
