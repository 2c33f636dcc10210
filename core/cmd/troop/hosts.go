package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

func (a *app) hostsCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "hosts [MANIFEST]", Short: "List the hosts of an environment",
		RunE: func(c *cobra.Command, args []string) error {
			e, err := a.openAlone(c, args)
			if err != nil {
				return err
			}
			hosts, err := e.Hosts()
			if err != nil {
				return err
			}
			a.ui.Hosts(hosts)
			return nil
		},
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
		RunE: func(c *cobra.Command, args []string) error {
			e, rest, err := a.open(c, args)
			if err != nil {
				return err
			}
			defer e.Close()
			if err := want(rest, "HOST"); err != nil {
				return err
			}
			h, err := e.Host(rest[0])
			if err != nil {
				return err
			}
			client, err := e.SSH()
			if err != nil {
				return err
			}
			offered, err := client.Offered(c.Context(), h)
			if err != nil {
				return err
			}
			known, err := client.HostKey(h)
			old := "none"
			if err == nil {
				old = fingerprint(known)
			}
			if known == offered {
				a.ui.Printf("%s shows the key that is pinned, %s", h.Name, old)
				return nil
			}
			a.ui.Printf("%s (%s)\n  pinned  %s\n  now     %s", h.Name, h.Address, old, fingerprint(offered))
			if !yes {
				if err := a.confirm("Trust the new key?", "pass --yes"); err != nil {
					return err
				}
			}
			given := h.HostKey
			h.HostKey = offered
			if err := client.Pin([]core.Host{h}); err != nil {
				return err
			}
			a.ui.Printf("%s is trusted with its new key", h.Name)
			if given != "" && given != offered {
				a.ui.Note("Terraform knows another key of this host and pins that one with the next apply")
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "trust it without asking")
	return c
}

// fingerprint is the short form of a key in authorized_keys format, as OpenSSH shows it.
func fingerprint(key string) string {
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return k.Type() + " " + ssh.FingerprintSHA256(k)
}

// completeHosts offers the hosts that the last apply recorded.
func (a *app) completeHosts(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	e, rest, err := a.openLeniently(c, args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	hosts, err := e.Hosts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, h := range hosts {
		names = append(names, cobra.CompletionWithDesc(string(h.Name), h.Role))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
