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
			if hosts, err := e.Hosts(); err == nil {
				a.ui.Printf("environment %s: %d given hosts stay as they are; troop release-host takes off them what troop has put there", e.Name(), len(hosts))
				return nil
			}
			a.ui.Printf("environment %s has no hosts", e.Name())
			return nil
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "destroy without asking")
	return c
}

func (a *app) releaseHostCmd() *cobra.Command {
	var yes, gone bool
	c := &cobra.Command{
		Use: "release-host [MANIFEST] HOST", Short: "Take off a server what troop has put there",
		Long: `Release-host is for a server that exists already, one that the manifest gives in a host block. It ends the services and
agents there, and removes their files, users, units and packages, but nothing that was there before; on a host of the
role storage also the backups, on one of the role data also the databases and their dumps. Then take its block out of the
manifest: the next apply would configure it again.`,
		ValidArgsFunction: a.completeHosts,
		RunE: a.changingHost(func(ctx context.Context, e *environment.Environment, args []string) error {
			if err := a.sure(yes, "Take off "+args[0]+" all that troop has put there, with the data of its services?"); err != nil {
				return err
			}
			if err := e.ReleaseHost(ctx, args[0], gone); err != nil {
				return err
			}
			a.ui.Printf("%s is released", args[0])
			return nil
		}, "HOST"),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "release it without asking")
	c.Flags().BoolVar(&gone, "gone", false, "only forget it: the server does not exist any more")
	return c
}
