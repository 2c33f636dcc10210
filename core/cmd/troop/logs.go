package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
)

// knownSource refuses a name that no source of events in a run has.
func knownSource(run core.Run, name string) error {
	var names []string
	for _, s := range run.Stages {
		names = append(names, string(s.ID))
	}
	if slices.Contains(names, name) || slices.Contains([]string{"run", "manifest"}, name) || strings.HasPrefix(name, "environment.") {
		return nil
	}
	return &core.NotFoundError{What: "stage", Name: name, Remedy: "the run has " + strings.Join(names, ", ")}
}

func (a *app) logsCmd() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "logs [MANIFEST] [RUN [STAGE]]", Short: "Print what the stages of a run said (default: the newest)",
		RunE: func(c *cobra.Command, args []string) error {
			p, run, rest, err := a.findRun(c, args)
			if err != nil {
				return err
			}
			if len(rest) > 1 {
				return usage{errors.New("want a run and one stage at most")}
			}
			if len(rest) == 1 {
				if err := knownSource(run, rest[0]); err != nil {
					return err
				}
			}
			events := p.files.Events
			if follow {
				events = p.files.Follow
			}
			for e, err := range events(c.Context(), run.ID) {
				switch {
				case err != nil:
					return err
				case len(rest) == 0:
					a.ui.Lines(e)
				case e.Source == rest[0]:
					a.ui.Log(e)
				}
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run ends")
	return c
}
