package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest"
)

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of a manifest, for editors", Args: cobra.NoArgs,
		Long: `Schema describes all blocks and arguments of a manifest, with those of every plugin that troop finds, as JSON
Schema 2020-12 for a manifest in the JSON form of HCL.`,
		RunE: func(c *cobra.Command, _ []string) error {
			var plugins []core.Description
			for _, f := range a.plugins.List(c.Context()) {
				if f.Err != nil {
					a.ui.Note(fmt.Sprintf("plugin %s is left out: %v", f.Type, f.Err))
					continue
				}
				plugins = append(plugins, f.Description)
			}
			text, err := manifest.Schema(plugins)
			if err == nil {
				_, err = a.text.Write(text)
			}
			return err
		},
	}
}
