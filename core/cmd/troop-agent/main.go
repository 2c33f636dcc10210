// Command troop-agent runs one agent on a host: the plugin that its configuration file names, the relay, or the server of
// the feature flags.
// The core installs it as a unit of systemd's; `troop agent` runs it by hand.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
	"github.com/seed-b96de936/troop/core/loader"
)

func main() {
	os.Exit(run(os.Args[1:], os.Getenv("STATE_DIRECTORY"), os.Stderr))
}

func run(args []string, stateDir string, stderr io.Writer) int {
	if len(args) != 1 || stateDir == "" {
		fmt.Fprintln(stderr, "usage: STATE_DIRECTORY=DIR troop-agent CONFIG.json")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	c, err := agent.Load(args[0])
	log := slog.New(slog.NewTextHandler(stderr, nil))
	switch {
	case err != nil:
	case c.Plugin == "" && c.Name == ofrep.Agent:
		err = agent.ServeFlags(ctx, c, stateDir, ofrep.Address, log)
	default:
		a := agent.Agent{
			Config: c, StateDir: stateDir, Log: log,
			Open: func(ctx context.Context, path string, digest core.Digest) (core.Plugin, error) {
				return loader.OpenPath(ctx, path, digest, loader.Options{Cache: filepath.Join(stateDir, "cache")})
			},
		}
		err = a.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(stderr, "troop-agent:", err)
		return 1
	}
	return 0
}
