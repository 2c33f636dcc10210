// Command troop is the tool of people and of make: it reads a manifest and does what the command line asks for.
// Here is only wiring; what is done is in the packages of core.
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
		signal.Stop(signals) // the second one ends the process at once
		stop(interruption(s))
	}()
	a := &app{in: stdin, out: stdout, errOut: stderr}
	root := a.root(ctx, args)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = context.Cause(ctx) // says by what
	}
	if err != nil {
		return a.fail(err)
	}
	return 0
}

// interruption says to people what a signal means.
func interruption(s os.Signal) error {
	switch s {
	case os.Interrupt:
		return errors.New("interrupted by Ctrl-C (SIGINT)")
	case syscall.SIGHUP:
		return errors.New("interrupted: the terminal was closed (SIGHUP)")
	}
	return errors.New("interrupted: another process asked troop to end (SIGTERM)")
}
