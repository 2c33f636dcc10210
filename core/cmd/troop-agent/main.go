// Command troop-agent runs one agent on a host: the plugin that its configuration file names, or the server of the feature
// flags. The core installs it as a unit of systemd's; `troop agent` runs it by hand.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
	"github.com/seed-b96de936/troop/core/loader"
)

func main() {
	os.Exit(agent.Main(os.Args, os.Getenv("STATE_DIRECTORY"), os.Stderr, run))
}

func run(ctx context.Context, c agent.Config, stateDir string, log *slog.Logger) error {
	switch {
	case c.Plugin == "" && c.Name == ofrep.Agent:
		return agent.ServeFlags(ctx, c, stateDir, ofrep.Address, log)
	case c.Plugin == "":
		return errors.New("the configuration names no plugin")
	}
	a := agent.Agent{
		Config: c, StateDir: stateDir, Log: log,
		Open: func(ctx context.Context, path string, digest core.Digest) (core.Plugin, error) {
			return loader.OpenPath(ctx, path, digest, loader.Options{Cache: filepath.Join(stateDir, "cache")})
		},
	}
	return a.Run(ctx)
}
