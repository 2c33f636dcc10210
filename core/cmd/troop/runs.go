package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/store"
)

func (a *app) runsCmd() *cobra.Command {
	var limit int
	var branch string
	c := &cobra.Command{
		Use: "runs [MANIFEST]", Short: "List past runs, the newest first",
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.record(args)
			if err == nil {
				err = line.Want(rest)
			}
			if err != nil {
				return err
			}
			runs, err := p.Files.Runs(c.Context(), store.Filter{Pipeline: p.Name, Environment: a.env, Branch: branch, Limit: limit})
			if err != nil {
				return err
			}
			a.ui.Runs(runs)
			return nil
		},
	}
	c.Flags().IntVarP(&limit, "limit", "n", 20, "show at most so many; 0: all")
	c.Flags().StringVar(&branch, "branch", "", "of one branch only")
	return c
}
