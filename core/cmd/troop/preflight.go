package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/environment"
)

func (a *app) preflightCmd() *cobra.Command {
	return &cobra.Command{
		Use: "preflight [MANIFEST]", Short: "Find what would keep an environment's hosts from being made",
		Long: `Preflight looks at what an environment needs, and changes nothing: programs on this machine, and whatever the
providers that the environment's Terraform module requires need to make hosts: an account, a region, an image, addresses
that are free. What fails is printed with its remedy, and the exit status is 1.`,
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, _ []string) error {
			found, err := e.Preflight(ctx, a.ui.Checking, a.ui.Check)
			if err != nil {
				return err
			}
			a.ui.JSON(found)
			if n := found.Failed(); n > 0 {
				a.ui.Printf("environment %s: %d of %d failed", e.Name(), n, len(found.Checks))
				return failed
			}
			if !a.quiet {
				a.ui.Printf("environment %s: nothing is in the way; troop plan --env %[1]s shows what would be made", e.Name())
			}
			return nil
		}),
	}
}
