package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func (a *app) agentCmd() *cobra.Command {
	return &cobra.Command{
		Use: "agent CONFIG.json", Short: "Run an agent as systemd does on a host", Args: cobra.ExactArgs(1),
		Long: `Agent runs troop-agent, the program that keeps a plugin's agent alive on a host. Stages install it there as a
unit of systemd's; by hand it needs STATE_DIRECTORY, a folder for its spool.`,
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return execute(filepath.Join(filepath.Dir(self), "troop-agent"), args)
		},
	}
}

// execute replaces this process by a program.
func execute(path string, args []string) error {
	if err := syscall.Exec(path, append([]string{path}, args...), os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	return nil
}
