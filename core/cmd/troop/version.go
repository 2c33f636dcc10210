package main

import (
	"github.com/spf13/cobra"
)

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", RunE: func(*cobra.Command, []string) error {
		a.ui.JSON(map[string]string{"version": version})
		a.ui.Printf("troop %s", version)
		return nil
	}}
}
