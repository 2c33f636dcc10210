package terraform

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// A Terraform that takes longer than hc-install's 10 s to say its version, as on a machine under load, is found.
func TestSlowTerraform(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "terraform"), "#!/bin/sh\n/bin/sleep 11\necho '{\"terraform_version\": \"1.9.0\"}'\n", 0o700)
	t.Setenv("PATH", dir)
	if path, which, err := find(t.Context(), "terraform", "tofu"); err != nil || !strings.HasPrefix(path, dir) || which != "terraform 1.9.0" {
		t.Errorf("got %s, %s, %v", path, which, err)
	}
}

// Only OpenTofu reads *.tofu: Terraform would plan to destroy what they declare.
func TestTofuModule(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "terraform"), "#!/bin/sh\necho '{\"terraform_version\": \"1.9.0\"}'\n", 0o700)
	t.Setenv("PATH", dir)
	module := fstest.MapFS{"main.tofu": file("variable \"region\" {}\n")}
	if _, _, err := findFor(t.Context(), module); err == nil || !strings.HasPrefix(err.Error(), "the module has main.tofu, which only OpenTofu reads: find tofu >= 1.5.0 in PATH") {
		t.Errorf("without OpenTofu: %v", err)
	}
	put(t, filepath.Join(dir, "tofu"), "#!/bin/sh\necho '{\"terraform_version\": \"1.8.0\"}'\n", 0o700)
	if _, which, err := findFor(t.Context(), module); err != nil || which != "tofu 1.8.0" {
		t.Errorf("with OpenTofu: %s, %v", which, err)
	}
	if _, which, err := findFor(t.Context(), fstest.MapFS{"main.tf": file("")}); err != nil || which != "terraform 1.9.0" {
		t.Errorf("another module: %s, %v", which, err)
	}
	if err := Check(module, map[string]any{"regoin": 1}); err == nil || !strings.Contains(err.Error(), "it has region") {
		t.Errorf("a misspelt variable: %v", err)
	}
}
