package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
)

func (a *app) validateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "validate [MANIFEST]", Short: "Check a manifest and everything that it names",
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.read(args)
			if err != nil {
				return err
			}
			if err := want(rest); err != nil {
				return err
			}
			if a.env != "" {
				if _, err := p.Environment(a.env); err != nil {
					return usage{err}
				}
			}
			checker := &engine.Engine{Plugins: a.plugins.Lazy()}
			diags := p.diags
			for _, d := range checker.Validate(c.Context(), p.Pipeline, a.env) {
				// A plugin repeats what the manifest's grammar has refused.
				known := func(before core.Diagnostic) bool { return before.Range == d.Range && !before.Warning }
				if !slices.ContainsFunc(p.diags, known) {
					diags = append(diags, d)
				}
			}
			if len(diags) > 0 || a.json {
				a.diagnose(diags, p.sources)
			}
			if diags.HasErrors() {
				return badInput
			}
			a.ui.Printf("%s is valid: %d stages, %d environments", p.File, len(p.Stages), len(p.Environments))
			return nil
		},
	}
}
