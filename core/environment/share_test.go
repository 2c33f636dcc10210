package environment

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"
	"github.com/gofrs/flock"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/vault"
)

func newShare(t *testing.T, objects core.Objects, id *age.X25519Identity) *share {
	t.Helper()
	s := &share{
		vault: &vault.Vault{
			Objects: objects, Environment: "lab", Team: []core.Member{{Name: "one", Keys: []string{id.Recipient().String()}}},
			Identities: &vault.Identities{Env: func(string) string { return id.String() }},
		},
		dir: t.TempDir(), have: map[string]core.Digest{},
	}
	s.use = flock.New(filepath.Join(s.dir, ".use"))
	if err := s.use.RLock(); err != nil {
		t.Fatal(err)
	}
	if err := s.pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func writeFile(t *testing.T, s *share, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, s *share, name, want string) {
	t.Helper()
	b, err := os.ReadFile(s.path(name))
	if want == "" && os.IsNotExist(err) {
		return
	}
	if err != nil || string(b) != want {
		t.Errorf("%s: %q, %v, want %q", name, b, err, want)
	}
}

// What a holder writes is seen by the next one; an earlier holder, which has lost its lease, writes nothing any more; and
// nothing private stays.
func TestShare(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	objects := store.NewFolder(t.TempDir())
	one := newShare(t, objects, id)
	writeFile(t, one, "ssh_key", "private")
	writeFile(t, one, "hosts.json", "[1]")
	if err := one.push(t.Context(), "lab", 1); err != nil {
		t.Fatal(err)
	}
	two := newShare(t, objects, id)
	wantFile(t, two, "ssh_key", "private")
	writeFile(t, two, "hosts.json", "[2]")
	if err := os.Remove(two.path("ssh_key")); err != nil {
		t.Fatal(err)
	}
	if err := two.push(t.Context(), "lab", 2); err != nil {
		t.Fatal(err)
	}
	writeFile(t, one, "hosts.json", "[late]")
	if err := one.push(t.Context(), "lab", 1); err == nil {
		t.Error("a holder that lost its lease has written")
	}
	writeFile(t, two, "known_hosts", "a\n")
	if err := two.push(t.Context(), "lab", 0); err != nil { // a command without a lease
		t.Fatal(err)
	}
	writeFile(t, two, "hosts.json", "[unleased]")
	if err := two.push(t.Context(), "lab", 0); err != nil {
		t.Fatal(err)
	}
	three := newShare(t, objects, id)
	wantFile(t, three, "hosts.json", "[2]")
	wantFile(t, three, "ssh_key", "")
	wantFile(t, three, "known_hosts", "a\n")
	if err := three.close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hosts.json", "known_hosts", haveFile} {
		wantFile(t, three, name, "")
	}
}

// TestClaim has a holder that has lost its lease without knowing it yet, and one that took its place and has written
// nothing so far: what the first one still writes is refused, and so not lost unseen.
func TestClaim(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	objects := store.NewFolder(t.TempDir())
	one, two := newShare(t, objects, id), newShare(t, objects, id)
	if err := one.claim(t.Context(), "lab", 1); err != nil {
		t.Fatal(err)
	}
	writeFile(t, one, "hosts.json", "[1]")
	if err := one.push(t.Context(), "lab", 1); err != nil {
		t.Fatal(err)
	}
	if err := two.claim(t.Context(), "lab", 2); err != nil {
		t.Fatal(err)
	}
	writeFile(t, one, "hosts.json", "[late]")
	if err := one.push(t.Context(), "lab", 1); !errors.As(err, new(*core.LostError)) {
		t.Errorf("a late write: %v", err)
	}
	if err := one.claim(t.Context(), "lab", 1); !errors.As(err, new(*core.LostError)) {
		t.Errorf("a late claim: %v", err)
	}
	if err := two.pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFile(t, two, "hosts.json", "[1]")
}
