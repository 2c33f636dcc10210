package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
)

func (a *app) verifyCmd() *cobra.Command {
	var receipts string
	c := &cobra.Command{
		Use: "verify [MANIFEST] [RUN]", Short: "Check that runs, journals and artifacts are as they were written (default: all)",
		Long: `Verify reads what is recorded of a run, or of all runs of the pipeline: each line of the journal holds the hash
of the line before, the record of a run is the line that ended it, and an artifact is named by its content. With
--receipts it also checks the files in a folder that receipts of backups lie beside. The first place of each run
that is not as it was written is named.

That everything fits together does not prove who wrote it: there is no key in it. Whoever may write to the folder
.troop and writes a run and all later ones anew is not found out.

Exit status: 0 all is as it was written, 1 something is not, 2 the manifest or the command line is wrong.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.record(args)
			if err != nil {
				return err
			}
			if len(rest) > 1 {
				return line.Usage(errors.New("want one run at most"))
			}
			runs, err := p.Runs(c.Context(), rest)
			if err != nil {
				return err
			}
			v, err := p.Files.VerifyAll(c.Context(), runs, receipts)
			if err != nil {
				return err
			}
			if a.json {
				a.ui.JSON(v)
			} else {
				for _, d := range v.Damage {
					a.ui.Error(d)
				}
			}
			if n := len(v.Damage); n > 0 {
				a.ui.Printf("checked %s: %d damaged", v, n)
				return failed
			}
			a.ui.Printf("checked %s: all as written", v)
			return nil
		},
	}
	c.Flags().StringVar(&receipts, "receipts", "", "also check the receipts in `folder`, each against the file beside it")
	return c
}
