// Command troop-relay runs the relay on the router: it tells people of an environment's events. The core installs it as a unit
// of systemd's.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/relay"
)

func main() {
	os.Exit(agent.Main(os.Args, os.Getenv("STATE_DIRECTORY"), os.Stderr, func(ctx context.Context, c agent.Config, stateDir string, log *slog.Logger) error {
		return relay.New(c, stateDir, log).Run(ctx)
	}))
}
