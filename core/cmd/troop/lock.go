package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/project"
)

func (a *app) lockCmd() *cobra.Command {
	c := &cobra.Command{Use: "lock", Short: "Show who works on an environment, or take it away from them"}
	var yes bool
	free := &cobra.Command{
		Use: "free [MANIFEST]", Short: "Take an environment of a shared store away from its holder",
		Long: `Free takes the lease on an environment away from its holder, who stops at the next safe point; hosts refuse what
it still says. It is only needed for a holder that is alive and does not finish: the next command takes over from a
dead one after half a minute.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, env, err := a.leased(args)
			if err != nil {
				return err
			}
			if !p.Files.Shared() {
				return line.Usage(fmt.Errorf("the lock on environment %s ends with its process; troop lock show names it", env))
			}
			l, err := p.Files.LeaseOn(c.Context(), env)
			if err != nil {
				return err
			}
			a.ui.Note(l.Lines()[0])
			if l.Holder == nil {
				return nil
			}
			if err := a.sure(yes, "Take it away?"); err != nil {
				return err
			}
			if _, err := p.Files.FreeLease(c.Context(), env); err != nil {
				return err
			}
			a.ui.Note("environment " + env + " is free now")
			return nil
		},
	}
	free.Flags().BoolVarP(&yes, "yes", "y", false, "free without asking")
	c.AddCommand(&cobra.Command{
		Use: "show [MANIFEST]", Short: "Show who works on an environment, since when, and on which machine",
		RunE: func(c *cobra.Command, args []string) error {
			p, env, err := a.leased(args)
			if err != nil {
				return err
			}
			l, err := p.Files.LeaseOn(c.Context(), env)
			if err == nil {
				a.ui.Report(l)
			}
			return err
		},
	}, free)
	return c
}

// leased returns the project and the environment whose lease a command is about.
func (a *app) leased(args []string) (*project.Project, string, error) {
	p, err := a.loadAlone(args)
	if err != nil {
		return nil, "", err
	}
	e, err := p.Environment(a.env)
	return p, e.Name, err
}
