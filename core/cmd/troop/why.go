package main

import (
	"github.com/spf13/cobra"
)

func (a *app) whyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "why [MANIFEST] [RUN]", Short: "Explain the verdict of a run: every figure with its limit",
		RunE: func(c *cobra.Command, args []string) error { return a.tellRun(c, args, a.ui.Why) },
	}
}
