package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// sourceIn returns the source of events in a run that a name means: a stage, the only stage of a type, or what else
// speaks in a run. No name means all.
func sourceIn(run core.Run, name string) (string, error) {
	var names, typed []string
	for _, s := range run.Stages {
		names = append(names, string(s.ID))
		if strings.HasPrefix(string(s.ID), name+".") {
			typed = append(typed, string(s.ID))
		}
	}
	switch {
	case name == "" || slices.Contains(names, name) || slices.Contains([]string{"run", "manifest"}, name) || strings.HasPrefix(name, "environment."):
		return name, nil
	case len(typed) == 1:
		return typed[0], nil
	}
	return "", &core.NotFoundError{What: "stage", Name: name, Remedy: "the run has " + strings.Join(names, ", ")}
}

// logsOf finds the run and the source of events that the arguments name: [RUN] [STAGE]. Without a run it is the newest.
func (a *app) logsOf(c *cobra.Command, args []string) (*project, core.Run, string, error) {
	p, rest, err := a.record(args)
	if err != nil {
		return nil, core.Run{}, "", err
	}
	if len(rest) > 2 {
		return nil, core.Run{}, "", usage{errors.New("want a run and one stage at most")}
	}
	id, stage := "", ""
	switch len(rest) {
	case 1:
		id = rest[0]
	case 2:
		id, stage = rest[0], rest[1]
	}
	if len(rest) == 1 {
		newest, err := p.files.Runs(c.Context(), store.Filter{Pipeline: p.Name, Limit: 1})
		if err != nil {
			return nil, core.Run{}, "", err
		}
		if len(newest) == 1 {
			if source, err := sourceIn(newest[0], id); err == nil {
				return p, newest[0], source, nil
			} else if strings.Contains(id, ".") { // no run is called so
				return nil, core.Run{}, "", err
			}
		}
	}
	run, err := a.runOf(c, p, id)
	if err == nil {
		stage, err = sourceIn(run, stage)
	}
	return p, run, stage, err
}

func (a *app) logsCmd() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "logs [MANIFEST] [RUN] [STAGE]", Short: "Print what the stages of a run said (default: all of the newest)",
		RunE: func(c *cobra.Command, args []string) error {
			p, run, source, err := a.logsOf(c, args)
			if err != nil {
				return err
			}
			events := p.files.Events
			if follow {
				events = p.files.Follow
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
