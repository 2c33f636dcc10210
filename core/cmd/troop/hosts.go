package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/remote"
)

func (a *app) hostsCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "hosts [MANIFEST]", Short: "List the hosts of an environment",
		RunE: a.inEnvironment(func(_ context.Context, e *environment.Environment, _ []string) error {
			hosts, err := e.Hosts()
			if err == nil {
				a.ui.Hosts(hosts)
			}
			return err
		}),
	}
	c.AddCommand(a.acceptCmd())
	return c
}

// acceptCmd is what a *remote.HostKeyError advises.
func (a *app) acceptCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "accept [MANIFEST] HOST", Short: "Trust the key that a host shows now",
		Long: `Accept asks a host for its key and pins it in place of the old one. Only you can tell whether the host was replaced on
purpose or another machine answers in its place: compare the fingerprint with the one that the host's
console shows, or with: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`,
		RunE: a.inEnvironment(func(ctx context.Context, e *environment.Environment, args []string) error {
			h, err := e.Host(args[0])
			if err != nil {
				return err
			}
			keys, err := e.HostKeys(ctx, h)
			if err != nil {
				return err
			}
			if keys.Pinned == keys.Offered {
				a.ui.Printf("%s shows the key that is pinned, %s", h.Name, remote.Fingerprint(keys.Pinned))
				return nil
			}
			a.ui.Printf("%s (%s)\n  pinned  %s\n  now     %s", h.Name, h.Address, remote.Fingerprint(keys.Pinned), remote.Fingerprint(keys.Offered))
			if err := a.sure(yes, "Trust the new key?"); err != nil {
				return err
			}
			if err := e.Trust(h, keys.Offered); err != nil {
				return err
			}
			a.ui.Printf("%s is trusted with its new key", h.Name)
			if h.HostKey != "" && h.HostKey != keys.Offered {
				a.ui.Note("Terraform knows another key of this host and pins that one with the next apply")
			}
			return nil
		}, "HOST"),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "trust it without asking")
	return c
}

// completeHosts offers the hosts that the last apply recorded.
func (a *app) completeHosts(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	e, rest, err := a.openLeniently(c, args)
	if err != nil || len(rest) > 0 {
		return line.Offer(nil, err)
	}
	hosts, err := e.Hosts()
	var names []string
	for _, h := range hosts {
		names = append(names, cobra.CompletionWithDesc(string(h.Name), h.Role))
	}
	return line.Offer(names, err)
}
