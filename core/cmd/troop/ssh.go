package main

import (
	"errors"
	"fmt"
	"os/exec"

	"github.com/spf13/cobra"
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
				return usage(errors.New("want the name of a host; troop hosts lists them"))
			}
			h, err := e.Host(rest[0])
			if err != nil {
				return err
			}
			client, err := e.SSH()
			if err != nil {
				return err
			}
			command := client.Command(h, rest[1:]...)
			path, err := exec.LookPath(command[0])
			if err != nil {
				return fmt.Errorf("%w; install OpenSSH's client", err)
			}
			return execute(path, command[1:])
		},
	}
}
