package main

import (
	"cmp"
	"path/filepath"

	"github.com/spf13/cobra"
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
			p, err := a.loadAlone(args)
			if err != nil {
				return err
			}
			return p.TakeOver(c.Context(), cmp.Or(from, filepath.Join(p.Dir, ".troop")), c.CommandPath())
		},
	}
	cp.Flags().StringVar(&from, "from", "", "`folder` to copy; without it, .troop beside the manifest")
	c.AddCommand(cp)
	return c
}
