package terraform

import (
	"path/filepath"
	"strings"
	"testing"
)

// A Terraform that takes longer than hc-install's 10 s to say its version, as on a machine under load, is found.
func TestSlowTerraform(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "terraform"), "#!/bin/sh\n/bin/sleep 11\necho '{\"terraform_version\": \"1.9.0\"}'\n", 0o700)
	t.Setenv("PATH", dir)
	if path, which, err := find(t.Context()); err != nil || !strings.HasPrefix(path, dir) || which != "terraform 1.9.0" {
		t.Errorf("got %s, %s, %v", path, which, err)
	}
}
