package e2e

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTreeReproducible builds a plugin in two folders with the rule of the Makefile: the binaries have to be the same, so
// that a plugin lock holds in every checkout.
func TestTreeReproducible(t *testing.T) {
	var sums [2][sha256.Size]byte
	for i, name := range []string{"checkout", "another/checkout of the same"} {
		dir := filepath.Join(t.TempDir(), name)
		for _, folder := range []string{"plugins/sdk", "plugins/build"} {
			if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join("../..", folder))); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
			text, err := os.ReadFile(filepath.Join("../..", file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if i == 1 { // a checkout also has commits
			run(t, dir, "git", "init", "-q")
			run(t, dir, "git", "add", ".")
			run(t, dir, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "first")
		}
		run(t, dir, "make", "-s", "bin/troop-plugin-build")
		binary, err := os.ReadFile(filepath.Join(dir, "bin/troop-plugin-build"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(binary)
	}
	if sums[0] != sums[1] {
		t.Errorf("SHA-256 %x in one folder, %x in another", sums[0], sums[1])
	}
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
