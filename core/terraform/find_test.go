package terraform

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFind looks for programs that only say their version.
func TestFind(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	t.Setenv("TF_CLI_CONFIG_FILE", filepath.Join(bin, "missing")) // of which OpenTofu warns on standard output
	install := func(name, version string) {
		put(t, filepath.Join(bin, name), fmt.Sprintf("#!/bin/sh\n[ \"$TF_CLI_CONFIG_FILE\" = /dev/null ] || echo 'Warning: no such file'\necho '{\"terraform_version\": %q}'\n", version), 0o700)
	}
	install("tofu", "1.9.4")
	for name, tt := range map[string]struct{ program, want string }{
		"what is there":         {"", "tofu 1.9.4"},
		"the one that is named": {"tofu", "tofu 1.9.4"},
		"another":               {"terraform", ""},
	} {
		if _, got, err := find(t.Context(), tt.program); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	install("terraform", "1.11.4")
	if _, got, err := find(t.Context(), ""); got != "terraform 1.11.4" {
		t.Errorf("beside OpenTofu: %q, %v", got, err)
	}
	if _, got, err := find(t.Context(), "tofu"); got != "tofu 1.9.4" {
		t.Errorf("named beside Terraform: %q, %v", got, err)
	}
	install("terraform", "1.16.0-beta2")
	if _, got, err := find(t.Context(), ""); got != "terraform 1.16.0-beta2" {
		t.Errorf("a pre-release: %q, %v", got, err)
	}
	install("terraform", "1.4.0")
	if err := os.Remove(filepath.Join(bin, "tofu")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := find(t.Context(), ""); err == nil || !strings.HasPrefix(err.Error(), "find terraform or tofu >= 1.5.0 in PATH: terraform: ") {
		t.Errorf("an old one: %v", err)
	}
}

// A program that takes 12 s to say its version, as on a machine under load, is found: the limit is longer, and it is ours
// that holds, not the library's of 10 s.
func TestFindSlow(t *testing.T) {
	if patience < 30*time.Second {
		t.Errorf("a program has %s to say its version", patience)
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	put(t, filepath.Join(bin, "terraform"), "#!/bin/sh\n/bin/sleep 1\necho '{\"terraform_version\": \"1.11.4\"}'\n", 0o700)
	if _, got, err := find(t.Context(), "terraform"); got != "terraform 1.11.4" {
		t.Errorf("a slow one: %q, %v", got, err)
	}
	was := patience
	t.Cleanup(func() { patience = was })
	patience = 100 * time.Millisecond
	if _, _, err := find(t.Context(), "terraform"); err == nil {
		t.Error("the limit is not kept")
	}
}
