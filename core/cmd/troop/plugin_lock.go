package main

import (
	"github.com/spf13/cobra"
)

func (a *app) pluginLockCmd() *cobra.Command {
	return &cobra.Command{
		Use: "lock [MANIFEST]", Short: "Accept the plugins that a manifest uses as they are now",
		Long: `Lock writes the SHA-256 of every plugin that the manifest uses to troop.lock.hcl beside it. From then on no other
binary is executed for this manifest: a changed one is refused until lock is run again. Commit the file. On another
platform, lock adds the digests of that platform.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.loadAlone(args)
			if err != nil {
				return err
			}
			lock, t, err := p.UpdateLock(c.Context())
			if err != nil {
				return err
			}
			a.ui.Table(t)
			a.ui.Printf("wrote %s", lock.File)
			return nil
		},
	}
}
