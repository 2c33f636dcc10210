package main

import (
	"errors"
	"slices"
	"strings"

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
			p, rest, err := a.read(args)
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
	p, rest, err := a.read(args)
	if err != nil {
		return nil, core.Run{}, nil, err
	}
	id := ""
	if len(rest) > 0 {
		id, rest = rest[0], rest[1:]
	}
	if id == "" {
		runs, err := p.files.Runs(c.Context(), store.Filter{Pipeline: p.Name, Limit: 1})
		if err == nil && len(runs) == 0 {
			err = &core.NotFoundError{What: "run of pipeline", Name: p.Name, Remedy: "there is none yet: troop run makes one"}
		}
		if err != nil {
			return nil, core.Run{}, nil, err
		}
		return p, runs[0], rest, nil
	}
	run, err := p.files.Find(c.Context(), id)
	return p, run, rest, err
}

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

func (a *app) whyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "why [MANIFEST] [RUN]", Short: "Explain the verdict of a run: every figure with its limit",
		RunE: func(c *cobra.Command, args []string) error { return a.tellRun(c, args, a.ui.Why) },
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

// knownSource reports a name that nothing in a run has.
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
