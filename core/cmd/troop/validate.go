package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/project"
)

func (a *app) validateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "validate [MANIFEST]", Short: "Check a manifest and everything that it names",
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.read(project.Read, args)
			if err != nil {
				return err
			}
			if err := line.Want(rest); err != nil {
				return err
			}
			if a.env != "" {
				if _, err := p.Environment(a.env); err != nil {
					return line.Usage(err)
				}
			}
			diags := p.Validate(c.Context())
			if len(diags) > 0 || a.json {
				a.diagnose(diags, p.Sources)
			}
			if diags.HasErrors() {
				return badInput
			}
			a.ui.Printf("%s is valid: %d stages, %d environments", p.File, len(p.Stages), len(p.Environments))
			return nil
		},
	}
}
