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
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			e, release, err := a.change(c, args)
			if err != nil {
				return err
			}
			defer release()
			plan, err := e.ToApply(ctx)
			if err != nil {
				return err
			}
			if err := a.agree(ctx, e, plan, yes, "Apply this plan?"); err != nil {
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
			if err != nil {
				return err
			}
			a.ui.Hosts(hosts)
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "apply without asking, where no approval is needed")
	c.Flags().BoolVar(&force, "force", false, "configure also what has not changed")
	c.Flags().BoolVar(&configure, "configure", true, "run the environment's playbook")
	return c
}

// change opens an environment for a command that changes its hosts, and keeps others out until release is called.
func (a *app) change(c *cobra.Command, args []string) (e *environment.Environment, release func(), err error) {
	e, err = a.openAlone(c, args)
	if err != nil {
		return nil, nil, err
	}
	free, err := e.Lock(c.Context())
	if err != nil {
		_ = e.Close() // nothing was done yet
		return nil, nil, err
	}
	return e, func() {
		_ = e.Close()
		_ = free() // the lock ends with the process in any case
	}, nil
}

// agree shows a plan and finds out whether it may be carried out: by its review, by an approval, by asking.
func (a *app) agree(ctx context.Context, e *environment.Environment, plan *terraform.Plan, yes bool, question string) error {
	if plan.Empty() {
		return nil
	}
	r, err := e.Review(ctx, plan)
	if err != nil {
		return err
	}
	a.ui.Report(r)
	if err := e.Refusal(r); err != nil || r.Needed || yes {
		return err
	}
	return a.confirm(question, "review with troop plan"+e.Arguments()+", then pass --yes")
}
