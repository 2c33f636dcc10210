package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/vault"
)

func (a *app) vaultCmd() *cobra.Command {
	c := &cobra.Command{Use: "vault", Short: "See and renew what is private of an environment in a shared store"}
	var reveal string
	show := &cobra.Command{
		Use: "show [MANIFEST]", Short: "List the private files of an environment, or print one with --reveal",
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.openVault(args)
			if err != nil {
				return err
			}
			d, _, err := v.Load(c.Context())
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
			t := core.Table{Columns: []string{"file", "digest", "where"}}
			for _, path := range slices.Sorted(maps.Keys(d.Files)) {
				where := "in the vault"
				if d.Files[path].Object != "" {
					where = d.Files[path].Object
				}
				t.Rows = append(t.Rows, []string{path, fmt.Sprintf("%.19s", d.Files[path].Digest), where})
			}
			a.ui.Table(t)
			return nil
		},
	}
	show.Flags().StringVar(&reveal, "reveal", "", "print the content of `file`")
	c.AddCommand(show, &cobra.Command{
		Use: "members [MANIFEST]", Short: "List who can open the vault of an environment, and what the manifest says",
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.openVault(args)
			if err != nil {
				return err
			}
			d, _, err := v.Load(c.Context())
			if err != nil {
				return err
			}
			a.ui.Table(members(d.Members, v.Team))
			return nil
		},
	}, &cobra.Command{
		Use: "rotate [MANIFEST]", Short: "Encrypt the vault of an environment anew, for the team as it is now",
		Long: `Rotate encrypts the vault of an environment, and the files beside it, for the members that the manifest has now, with
a new key. Whoever is no member any more opens nothing of it from then on. What they have read before, they
know: the list says what to replace.`,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.openVault(args)
			if err != nil {
				return err
			}
			return a.rotate(c.Context(), v)
		},
	}, &cobra.Command{
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

// openVault opens the vault of the environment that a command is about.
func (a *app) openVault(args []string) (*vault.Vault, error) {
	p, env, err := a.leased(args)
	if err != nil {
		return nil, err
	}
	if !p.files.Shared() {
		return nil, usage{fmt.Errorf("the files of environment %s lie in %s, for this machine only; a store block shares them", env, p.files.Dir())}
	}
	return &vault.Vault{Objects: p.files.Objects(), Environment: env, Team: p.Team, Identities: a.identities()}, nil
}

// members compares for whom a vault is encrypted with what the manifest says.
func members(has, wants []core.Member) core.Table {
	t := core.Table{Columns: []string{"member", "key", "status"}}
	in := func(list []core.Member, key string) bool {
		return slices.ContainsFunc(list, func(m core.Member) bool {
			return slices.ContainsFunc(m.Keys, func(k string) bool { return same(k, key) })
		})
	}
	for _, m := range wants {
		for _, k := range m.Keys {
			status := "member"
			if !in(has, k) {
				status = "not yet: a member runs troop vault rotate, or any command that changes the environment"
			}
			t.Rows = append(t.Rows, []string{m.Name, fmt.Sprintf("%.40s", k), status})
		}
	}
	for _, m := range has {
		for _, k := range m.Keys {
			if !in(wants, k) {
				t.Rows = append(t.Rows, []string{m.Name, fmt.Sprintf("%.40s", k), "still opens it: troop vault rotate"})
			}
		}
	}
	return t
}

// same compares two public keys without their comments.
func same(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	return slices.Equal(x[:min(2, len(x))], y[:min(2, len(y))])
}

func (a *app) rotate(ctx context.Context, v *vault.Vault) error {
	var before []core.Member
	err := v.Change(ctx, func(d *vault.Document) error {
		before = d.Members
		if err := d.NewKey(); err != nil {
			return err
		}
		d.Members = v.Team // the new key is for them
		for path, f := range d.Files {
			if f.Object == "" {
				continue
			}
			data, err := v.Get(ctx, d, path)
			if err != nil {
				return err
			}
			if err := v.Put(ctx, d, path, f.Mode, data); err != nil {
				return err
			}
		}
		d.Keys = d.Keys[len(d.Keys)-1:]
		return nil
	})
	if err != nil {
		return err
	}
	d, _, err := v.Load(ctx)
	if err != nil {
		return err
	}
	old, err := v.Unnamed(ctx, d)
	if err != nil {
		return err
	}
	for _, key := range old {
		if err := v.Objects.Delete(ctx, key); err != nil {
			return err
		}
	}
	a.ui.Note(fmt.Sprintf("the vault of environment %s is encrypted for %d members with a new key", v.Environment, len(v.Team)))
	for _, m := range before {
		if !slices.ContainsFunc(m.Keys, func(k string) bool {
			return slices.ContainsFunc(v.Team, func(n core.Member) bool {
				return slices.ContainsFunc(n.Keys, func(x string) bool { return same(x, k) })
			})
		}) {
			a.ui.Note(m.Name + " opens nothing that is written from now on, but knows what was there: replace the environment's SSH key and passwords, and the credentials of the store")
		}
	}
	return nil
}
