package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// events returns the events of a run, also those before an error.
func (a *app) events(c *cobra.Command, p *project, id core.RunID) ([]core.Event, error) {
	var events []core.Event
	for e, err := range p.files.Events(c.Context(), id) {
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
	return events, nil
}

func (a *app) showCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [MANIFEST] [RUN]", Short: "Show a run: stages, figures, findings (default: the newest)",
		RunE: func(c *cobra.Command, args []string) error { return a.tellRun(c, args, a.ui.Show) },
	}
}

func (a *app) tellRun(c *cobra.Command, args []string, tell func(core.Run, []core.Event)) error {
	p, run, rest, err := a.findRun(c, args)
	if err == nil {
		err = want(rest)
	}
	if err != nil {
		return err
	}
	err = p.files.Verify(c.Context(), run.ID)
	if damage, ok := errors.AsType[*store.DamageError](err); ok {
		run.Status, run.Reason = core.Damaged, damage.Error()
	} else if err != nil {
		return err
	}
	events, err := a.events(c, p, run.ID)
	if err != nil && run.Status != core.Damaged { // of a damaged run, what can be read of its journal
		return err
	}
	tell(run, events)
	return nil
}
