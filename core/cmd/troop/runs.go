package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
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
				err = want(rest)
			}
			if err != nil {
				return err
			}
			runs, err := p.files.Runs(c.Context(), store.Filter{Pipeline: p.Name, Environment: a.env, Branch: branch, Limit: limit})
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

// findRun finds the run that the arguments after the manifest name: by the first characters of its ID, or the
// newest.
func (a *app) findRun(c *cobra.Command, args []string) (*project, core.Run, []string, error) {
	p, rest, err := a.record(args)
	if err != nil {
		return nil, core.Run{}, nil, err
	}
	id := ""
	if len(rest) > 0 {
		id, rest = rest[0], rest[1:]
	}
	run, err := a.runOf(c, p, id)
	return p, run, rest, err
}

// runOf finds a run of a project by the first characters of its ID; none: the newest.
func (a *app) runOf(c *cobra.Command, p *project, id string) (core.Run, error) {
	if id != "" {
		return p.files.Find(c.Context(), id)
	}
	runs, err := p.files.Runs(c.Context(), store.Filter{Pipeline: p.Name, Limit: 1})
	if err == nil && len(runs) == 0 {
		err = &core.NotFoundError{What: "run of pipeline", Name: p.Name, Remedy: "there is none yet: troop run makes one"}
	}
	if err != nil {
		return core.Run{}, err
	}
	return runs[0], nil
}
