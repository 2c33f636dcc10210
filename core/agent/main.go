package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// Main is the main function of a program that runs one agent on a host. It returns the exit status.
func Main(args []string, stateDir string, stderr io.Writer, run func(ctx context.Context, c Config, stateDir string, log *slog.Logger) error) int {
	program := filepath.Base(args[0])
	if len(args) != 2 || stateDir == "" {
		fmt.Fprintf(stderr, "usage: STATE_DIRECTORY=DIR %s CONFIG.json\n", program)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	proc.StaySmall(ctx)
	c, err := Load(args[1])
	if err == nil {
		err = run(ctx, c, stateDir, slog.New(slog.NewTextHandler(stderr, nil)))
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", program, err)
		return 1
	}
	return 0
}
