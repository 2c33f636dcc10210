package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/environment"
)

func (a *app) destroyCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "destroy [MANIFEST]", Short: "Remove all hosts of an environment",
		RunE: a.changing(func(ctx context.Context, e *environment.Environment) error {
			plan, err := e.Recovering(ctx, a.agreeToRecover(yes), e.PlanDestroy)
			if err != nil {
				return err
			}
			if err := a.agree(ctx, e, plan, yes, "Destroy all this?"); err != nil {
				return err
			}
			if err := e.Apply(ctx, plan, a.ui.Lines); err != nil {
				return err
			}
			a.ui.Printf("environment %s has no hosts", e.Name())
			return nil
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "destroy without asking")
	return c
}
