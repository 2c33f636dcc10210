package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
)

// person is somebody with an age identity, who may be a member of the team or not.
type person struct {
	core.Member
	identity string
}

func newPerson(t *testing.T, name string) person {
	t.Helper()
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return person{core.Member{Name: name, Keys: []string{recipient}}, identity}
}

// opens is the vault of an environment as a person has it, for a team.
func (p person) opens(objects core.Objects, team ...person) *Vault {
	v := &Vault{Objects: objects, Environment: "lab", Identities: &Identities{Env: func(string) string { return p.identity }}}
	for _, m := range team {
		v.Team = append(v.Team, m.Member)
	}
	return v
}

// put writes a file into a vault.
func put(t *testing.T, v *Vault, path string, data []byte) {
	t.Helper()
	err := v.Change(t.Context(), func(d *Document) error { return v.Put(t.Context(), d, path, 0o600, data) })
	if err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, v *Vault, path string) ([]byte, error) {
	d, _, err := v.Load(ctx)
	if err != nil {
		return nil, err
	}
	return v.Get(ctx, d, path)
}

func TestMembersAndStrangers(t *testing.T) {
	dir := t.TempDir()
	objects := store.NewFolder(dir)
	one, two, other := newPerson(t, "one"), newPerson(t, "two"), newPerson(t, "other")
	small, large := []byte("the-small-secret"), bytes.Repeat([]byte("the-large-secret\n"), inline/16)
	put(t, one.opens(objects, one, two), "small", small)
	put(t, one.opens(objects, one, two), "large", large)
	for path, want := range map[string][]byte{"small": small, "large": large} {
		if got, err := get(t.Context(), two.opens(objects, one, two), path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s for the second member: %.20q, %v", path, got, err)
		}
	}
	var stranger *StrangerError
	if _, err := get(t.Context(), other.opens(objects, one, two), "small"); !errors.As(err, &stranger) || strings.Join(stranger.Members, " ") != "one two" {
		t.Errorf("for a stranger: %v", err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("secret")) {
			t.Errorf("%s can be read by anybody", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRemovedMember keeps what somebody who leaves has: their identity and the keys of the files beside the document.
func TestRemovedMember(t *testing.T) {
	objects := store.NewFolder(t.TempDir())
	one, two := newPerson(t, "one"), newPerson(t, "two")
	put(t, one.opens(objects, one, two), "file", bytes.Repeat([]byte("before\n"), inline))
	known, _, err := two.opens(objects, one, two).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, one.opens(objects, one), "file", bytes.Repeat([]byte("after\n"), inline))
	if _, err := get(t.Context(), two.opens(objects, one), "file"); !errors.As(err, new(*StrangerError)) {
		t.Errorf("the document: %v", err)
	}
	now, _, err := one.opens(objects, one).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known.Files["file"] = now.Files["file"]
	if _, err := two.opens(objects, one, two).Get(t.Context(), known, "file"); !errors.As(err, new(*age.NoIdentityMatchError)) {
		t.Errorf("a file with the keys from before: %v", err)
	}
}

// TestDamagedVault has documents and files that somebody changed in the store, and one of a later version.
func TestDamagedVault(t *testing.T) {
	dir := t.TempDir()
	objects := store.NewFolder(dir)
	one := newPerson(t, "one")
	v := one.opens(objects, one)
	large := bytes.Repeat([]byte("x"), 2*inline)
	put(t, v, "file", large)
	d, _, err := v.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"the document": v.key(), "a file": d.Files["file"].Object} {
		good, _, err := store.ReadObject(t.Context(), objects, key)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(good) / 2, len(good) - 1} {
			bad := bytes.Clone(good)
			bad[at] ^= 1
			if _, err := store.PutBytes(t.Context(), objects, key, bad, core.Condition{}); err != nil {
				t.Fatal(err)
			}
			if _, err := get(t.Context(), one.opens(objects, one), "file"); err == nil {
				t.Errorf("%s with byte %d flipped was read", name, at)
			}
		}
		if _, err := store.PutBytes(t.Context(), objects, key, good, core.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := get(t.Context(), v, "file"); err != nil || !bytes.Equal(got, large) {
		t.Errorf("repaired: %v", err)
	}

	recipients, err := recipients(v.Team)
	if err != nil {
		t.Fatal(err)
	}
	later, err := seal(fmt.Appendf(nil, `{"version": %d}`, version+1), recipients...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutBytes(t.Context(), objects, v.key(), later, core.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "was written by a newer troop") {
		t.Errorf("a later version: %v", err)
	}
}

// TestKeyFiles has a user with two SSH keys, of which one has a passphrase that nobody is asked for, and an age identity.
func TestKeyFiles(t *testing.T) {
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	made := func(typ, passphrase string) (file, public string) {
		file = filepath.Join(home, ".ssh", "id_"+typ)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", typ, "-N", passphrase, "-C", "somebody", "-f", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		return file, strings.TrimSpace(string(b))
	}
	one, onePublic := made("ed25519", "a passphrase")
	_, twoPublic := made("rsa", "")
	_, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	team := []core.Member{{Name: "first one\nssh-rsa", Keys: []string{recipient, onePublic}}, {Name: "second", Keys: []string{recipient}}}
	none := func(string) string { return "" }
	ids := &Identities{Env: none, Home: home}
	if got := ids.KeyFiles(team); !slices.Equal(got, []string{one}) {
		t.Errorf("keys of a member: %q", got)
	}
	if got := (&Identities{Env: none, Home: t.TempDir()}).KeyFiles(team); len(got) > 0 {
		t.Errorf("without keys: %q", got)
	}
	key := strings.Join(strings.Fields(onePublic)[:2], " ")
	if got := Authorized(team); !slices.Equal(got, []string{key + " first-one-ssh-rsa"}) {
		t.Errorf("authorized: %q", got)
	}
	if got := Authorized([]core.Member{{Name: "x", Keys: []string{twoPublic}}}); len(got) != 1 {
		t.Errorf("authorized: %q", got)
	}
}

// TestKeyInAgent has a member whose key only an SSH agent holds.
func TestKeyInAgent(t *testing.T) {
	one := newPerson(t, "one")
	v := one.opens(store.NewFolder(t.TempDir()), one)
	put(t, v, "file", []byte("x"))
	v.Identities = &Identities{Env: func(name string) string { return map[string]string{"SSH_AUTH_SOCK": "/run/agent"}[name] }, Home: t.TempDir()}
	if _, err := get(t.Context(), v, "file"); err == nil || !strings.Contains(err.Error(), "an SSH agent signs, and cannot decrypt") {
		t.Errorf("%v", err)
	}
}

// TestFormer has a member who was removed, and a command that has written the vault before it is rotated: the rotation still
// names the member, and once only.
func TestFormer(t *testing.T) {
	one, two := newPerson(t, "one"), newPerson(t, "two")
	v := &Vault{
		Objects: store.NewFolder(t.TempDir()), Environment: "lab", Team: []core.Member{one.Member, two.Member},
		Identities: &Identities{Env: func(string) string { return one.identity }},
	}
	touch := func(d *Document) error { return v.Put(t.Context(), d, "ssh_key", 0o600, []byte("private")) }
	if err := v.Change(t.Context(), touch); err != nil {
		t.Fatal(err)
	}
	v.Team = v.Team[:1]
	for range 2 {
		if err := v.Change(t.Context(), touch); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{1, 0} {
		r, err := v.Rotate(t.Context())
		if err != nil || len(r.Gone) != want || (want > 0) != (len(r.Exposed) > 0) {
			t.Fatalf("gone: %+v, %v, want %d", r, err, want)
		}
	}
}
