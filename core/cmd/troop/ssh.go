package main

import (
	"errors"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/ui"
)

func (a *app) sshCmd() *cobra.Command {
	return &cobra.Command{
		Use: "ssh [MANIFEST] HOST [-- COMMAND…]", Short: "Log in to a host, or run a command there",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeHosts,
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.open(c, args)
			if err != nil {
				return err
			}
			if len(rest) == 0 {
				return line.Usage(errors.New("want the name of a host; troop hosts lists them"))
			}
			command, err := e.SSHCommand(c.Context(), rest[0], rest[1:]...)
			return a.become(e, command, err)
		},
	}
}

func (a *app) execCmd() *cobra.Command {
	var host string
	c := &cobra.Command{
		Use: "exec [MANIFEST] SERVICE [--host HOST] -- COMMAND…", Short: "Run a program in the environment and the sandbox of a release",
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.open(c, args)
			if err != nil {
				return err
			}
			if len(rest) < 2 {
				return line.Usage(errors.New("want a service and a command, such as troop exec shop -- node migrate.js"))
			}
			_, in := ui.Terminal(a.in)
			_, out := ui.Terminal(a.out)
			command, err := e.ExecCommand(c.Context(), rest[0], host, in && out, rest[1:]...)
			return a.become(e, command, err)
		},
	}
	c.Flags().StringVar(&host, "host", "", "on this host (default: the first production host)")
	return c
}

// become runs a command line in place of troop.
func (a *app) become(e *environment.Environment, command []string, err error) error {
	if err != nil {
		return err
	}
	if !e.Shared() {
		return execute(command[0], command[1:])
	}
	return a.wait(command[0], command[1:])
}

// wait is execute for a command after which private files are removed from this machine.
func (a *app) wait(path string, args []string) error {
	c := exec.Command(path, args...) //nolint:noctx // a signal reaches it, too
	c.Stdin, c.Stdout, c.Stderr = a.in, a.out, a.errOut
	err := c.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit(max(ended.ExitCode(), int(failed)))
	}
	return err
}
