package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/environment"
)

func (a *app) driftCmd() *cobra.Command {
	return &cobra.Command{
		Use: "drift [MANIFEST]", Short: "Show what has changed on the hosts since the last apply (exit status 2: something)",
		Long: `Drift compares an environment with what was last applied to it, and changes nothing: Terraform refreshes its
view of the resources, Ansible runs the environment's playbook in check mode, and what stages have installed is
compared with their notes. A host that does not answer is drift, too.

Exit status: 0 no drift, 1 the comparison failed, 2 drift.`,
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, _ []string) error {
			if _, err := e.Hosts(); err != nil {
				return err
			}
			release, err := e.Lock(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = release() }()
			report, err := e.Drift(ctx)
			if err != nil {
				return err
			}
			a.ui.Report(report)
			if !report.Empty() {
				return changes
			}
			return nil
		}),
	}
}
