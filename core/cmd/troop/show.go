package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
)

func (a *app) showCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [MANIFEST] [RUN]", Short: "Show a run: stages, figures, findings (default: the newest)",
		RunE: func(c *cobra.Command, args []string) error { return a.tellRun(c, args, a.ui.Show) },
	}
}

func (a *app) tellRun(c *cobra.Command, args []string, tell func(core.Run, []core.Event)) error {
	p, rest, err := a.record(args)
	if err != nil {
		return err
	}
	if len(rest) > 1 {
		return line.Want(rest[1:])
	}
	run, events, err := p.ReadRun(c.Context(), rest...)
	if err != nil {
		return err
	}
	tell(run, events)
	return nil
}
