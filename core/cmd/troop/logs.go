package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
)

func (a *app) logsCmd() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "logs [MANIFEST] [RUN] [STAGE]", Short: "Print what the stages of a run said (default: all of the newest)",
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.record(args)
			if err != nil {
				return err
			}
			if len(rest) > 2 {
				return line.Usage(errors.New("want a run and one stage at most"))
			}
			run, source, err := p.FindSource(c.Context(), rest)
			if err != nil {
				return err
			}
			events := p.Files.Events
			if follow {
				events = p.Files.Follow
			}
			for e, err := range events(c.Context(), run.ID) {
				switch {
				case err != nil:
					return err
				case source == "":
					a.ui.Lines(e)
				case e.Source == source:
					a.ui.Log(e)
				}
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run ends")
	return c
}
