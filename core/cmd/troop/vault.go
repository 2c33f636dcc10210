package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/vault"
)

func (a *app) vaultCmd() *cobra.Command {
	c := &cobra.Command{Use: "vault", Short: "See and renew what is private of an environment in a shared store"}
	var reveal string
	var hosts bool
	show := &cobra.Command{
		Use: "show [MANIFEST]", Short: "List the private files of an environment, or print one with --reveal",
		RunE: func(c *cobra.Command, args []string) error {
			v, d, err := a.readVault(c.Context(), args)
			if err != nil {
				return err
			}
			if reveal != "" {
				b, err := v.Get(c.Context(), d, reveal)
				if err == nil {
					_, err = a.text.Write(b)
				}
				return err
			}
			a.ui.Table(d.Table())
			return nil
		},
	}
	show.Flags().StringVar(&reveal, "reveal", "", "print the content of `file`")
	c.AddCommand(show, &cobra.Command{
		Use: "members [MANIFEST]", Short: "List who can open the vault of an environment, and what the manifest says",
		RunE: func(c *cobra.Command, args []string) error {
			v, d, err := a.readVault(c.Context(), args)
			if err != nil {
				return err
			}
			a.ui.Table(v.MemberTable(d))
			return nil
		},
	})
	rotate := &cobra.Command{
		Use: "rotate [MANIFEST]", Short: "Encrypt the vault of an environment anew, for the team as it is now",
		Long: `Rotate encrypts the vault of an environment, and the files beside it, for the members that the manifest has now, with
a new key. Whoever is no member any more opens nothing of it from then on. What they have read before, they
know: the list says what to replace. With --hosts, the environment also gets a new SSH key, new passwords of its Redis and
new keys for backups, which take the place of the earlier ones on every host; so the keys of removed members are gone
there, too. No request is lost meanwhile.`,
		RunE: func(c *cobra.Command, args []string) error {
			v, _, err := a.readVault(c.Context(), args)
			if err != nil {
				return err
			}
			r, err := v.Rotate(c.Context())
			if err != nil {
				return err
			}
			a.ui.Report(r)
			if !hosts {
				return nil
			}
			return a.changing(func(ctx context.Context, e *environment.Environment) error { return e.Rotate(ctx, a.ui.Lines) })(c, args)
		},
	}
	rotate.Flags().BoolVar(&hosts, "hosts", false, "also make new keys and passwords, and put them on the hosts in place of the earlier ones")
	c.AddCommand(rotate, &cobra.Command{
		Use: "identity", Short: "Make an age identity, such as for a CI system, and print both of its halves",
		RunE: func(*cobra.Command, []string) error {
			identity, recipient, err := vault.NewIdentity()
			if err != nil {
				return err
			}
			a.ui.Printf("%s", "public, for keys of a member: "+recipient)
			a.ui.Printf("%s", "private, for "+vault.Variable+": "+identity)
			return nil
		},
	})
	return c
}

// readVault opens the vault of the environment that a command is about.
func (a *app) readVault(ctx context.Context, args []string) (*vault.Vault, *vault.Document, error) {
	p, err := a.loadAlone(args)
	if err != nil {
		return nil, nil, err
	}
	v, err := p.Vault()
	if err != nil {
		return nil, nil, err
	}
	d, _, err := v.Load(ctx)
	return v, d, err
}
