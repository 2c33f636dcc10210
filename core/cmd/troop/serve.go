package main

import (
	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/server"
)

func (a *app) serveCmd() *cobra.Command {
	var o server.Options
	c := &cobra.Command{
		Use: "serve [FOLDER|MANIFEST|REMOTE...]", Short: "Serve pipelines to a team: a page, an API, webhooks and a queue",
		Long: server.Help,
		RunE: func(c *cobra.Command, args []string) (err error) {
			o.Pipelines, o.Note, o.Vars, o.PluginDirs = args, a.ui.Note, a.vars, a.pluginDirs
			if o.Project, err = a.options(); err != nil {
				return err
			}
			return server.Run(c.Context(), o)
		},
	}
	o.AddFlags(c.Flags())
	return c
}
