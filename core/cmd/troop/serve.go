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
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.serving(&o, args); err != nil {
				return err
			}
			return server.Run(c.Context(), o)
		},
	}
	o.AddFlags(c.Flags())
	return c
}

func (a *app) workerCmd() *cobra.Command {
	o := server.WorkerOptions{Version: version}
	c := &cobra.Command{
		Use: "worker REMOTE...", Short: "Carry out runs of a troop serve on this machine",
		Long:    server.WorkerHelp,
		Example: "  " + `TROOP_QUEUE_URL=rediss://troop:PASSWORD@queue.example.com:6379 troop worker ssh://git@example.com/shop.git --label gpu`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.serving(&o.Options, args); err != nil {
				return err
			}
			return server.RunWorker(c.Context(), o)
		},
	}
	o.AddFlags(c.Flags())
	return c
}

// serving fills in what a server and a worker need of the command line.
func (a *app) serving(o *server.Options, args []string) (err error) {
	o.Pipelines, o.Note, o.Vars, o.PluginDirs = args, a.ui.Note, a.vars, a.pluginDirs
	o.Project, err = a.options()
	return err
}
