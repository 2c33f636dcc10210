package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
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
				return usage{errors.New("want one run at most")}
			}
			runs, err := chosen(c.Context(), p, rest)
			if err != nil {
				return err
			}
			v, err := verify(c.Context(), p.files, runs, receipts)
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

// chosen is the run that an argument names, or all runs of the pipeline.
func chosen(ctx context.Context, p *project, args []string) ([]core.Run, error) {
	if len(args) == 0 {
		return p.files.Runs(ctx, store.Filter{Pipeline: p.Name})
	}
	run, err := p.files.Find(ctx, args[0])
	return []core.Run{run}, err
}

// verified is what was checked, and what is wrong.
type verified struct {
	Runs      int                  `json:"runs"`
	Failures  int                  `json:"with_failures,omitempty"` // runs that passed with failures
	Artifacts int                  `json:"artifacts"`
	Receipts  int                  `json:"receipts"`
	Damage    []*store.DamageError `json:"damage"`
}

func (v verified) String() string {
	runs := fmt.Sprint(v.Runs)
	if v.Failures > 0 {
		runs += fmt.Sprintf(" (%d passed with failures)", v.Failures)
	}
	return fmt.Sprintf("runs %s, artifacts %d, receipts %d", runs, v.Artifacts, v.Receipts)
}

// verify checks runs, the artifacts that they name and that are still there, and the receipts in a folder, if one is
// named. It returns an error when it cannot tell.
func verify(ctx context.Context, files *store.Files, runs []core.Run, receipts string) (verified, error) {
	v := verified{Damage: []*store.DamageError{}}
	note := func(err error) error {
		damage, ok := errors.AsType[*store.DamageError](err)
		if ok {
			v.Damage = append(v.Damage, damage)
			return nil
		}
		return err
	}
	seen := map[core.Digest]bool{}
	for _, r := range runs {
		v.Runs++
		if r.Status == core.PassedWithFailures {
			v.Failures++
		}
		if err := note(files.Verify(ctx, r.ID)); err != nil {
			return v, err
		}
		for _, d := range store.Artifacts(r) {
			if seen[d] {
				continue
			}
			seen[d] = true
			_, err := files.Artifact(ctx, d)
			if _, missing := errors.AsType[*core.NotFoundError](err); missing { // removed with old runs, or the digest of something else
				continue
			}
			v.Artifacts++
			if err := note(err); err != nil {
				return v, err
			}
		}
	}
	if receipts == "" {
		return v, nil
	}
	n, err := store.VerifyReceipts(ctx, receipts)
	v.Receipts = n
	return v, note(err)
}
