package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/store"
)

func (a *app) storeCmd() *cobra.Command {
	c := &cobra.Command{Use: "store", Short: "Work with the store of runs and environments"}
	var from string
	cp := &cobra.Command{
		Use: "copy [MANIFEST] --from FOLDER", Short: "Take runs, artifacts and environments of a folder over into the shared store",
		Long: `Copy writes what a folder such as .troop has into the store that the manifest names: runs, whose chains are checked
first, the artifacts that they name, whose hashes are checked, and the private files of environments, encrypted for
the team. The folder stays as it is. What the store has already is left out, so that a copy that was interrupted goes
on where it stopped. An environment that the store knows already is not written over.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.load(args)
			if err == nil {
				err = want(rest)
			}
			if err != nil {
				return err
			}
			if !p.files.Shared() {
				return usage{fmt.Errorf("the manifest has no store block: the runs are in %s already", p.files.Dir())}
			}
			if from == "" {
				from = filepath.Join(p.Dir, ".troop")
			}
			if err := p.files.Check(c.Context(), true); err != nil {
				return err
			}
			n, err := p.files.TakeOver(c.Context(), store.Open(from))
			if err != nil {
				return err
			}
			a.ui.Note(fmt.Sprintf("%d runs and %d artifacts copied, %d runs were there already", n.Runs, n.Artifacts, n.There))
			for _, d := range n.Damaged {
				a.ui.Note("left out: " + d)
			}
			o, err := a.options(c.Context(), p, c.CommandPath())
			if err != nil {
				return err
			}
			return a.takeOverEnvironments(p, o, from)
		},
	}
	cp.Flags().StringVar(&from, "from", "", "`folder` to copy; without it, .troop beside the manifest")
	c.AddCommand(cp)
	return c
}

// takeOverEnvironments takes the files of all environments of a folder over.
func (a *app) takeOverEnvironments(p *project, o environment.Options, from string) error {
	for _, e := range p.Environments {
		o.Name = e.Name
		took, err := environment.TakeOver(a.ctx, o, filepath.Join(from, e.Name))
		if err != nil {
			return err
		}
		a.ui.Note(took)
	}
	return nil
}
