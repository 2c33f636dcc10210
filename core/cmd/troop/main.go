// Command troop is the command-line tool: it reads a manifest and runs a command. This package is wiring; the work is
// done by the packages of core.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// version is set by the linker.
var version = "dev"

func main() {
	proc.Main()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		s := <-signals
		signal.Stop(signals) // a second signal ends the process at once
		stop(interruption(s))
	}()
	a := &app{ctx: ctx, stop: stop, in: stdin, out: stdout, errOut: stderr}
	root := a.root(ctx, args)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.close()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = context.Cause(ctx) // names the signal
	}
	if err != nil {
		return a.fail(err)
	}
	return 0
}

// interruption explains a signal.
func interruption(s os.Signal) error {
	switch s {
	case os.Interrupt:
		return errors.New("interrupted by Ctrl-C (SIGINT)")
	case syscall.SIGHUP:
		return errors.New("interrupted: the terminal was closed (SIGHUP)")
	}
	return errors.New("interrupted: another process asked troop to end (SIGTERM)")
}
