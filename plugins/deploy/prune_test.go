package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPrune(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	now := time.Now()
	for i, id := range []string{"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"} { // r0 is the oldest
		dir := filepath.Join(root, "releases", id)
		if err := os.MkdirAll(filepath.Join(dir, "app"), 0o700); err != nil {
			t.Fatal(err)
		}
		age := now.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(dir, age, age); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("releases/r0", filepath.Join(root, "slot-a")); err != nil {
		t.Fatal(err)
	}
	prune := func() string {
		out, err := exec.CommandContext(t.Context(), "sh", "../../playbooks/roles/release/files/prune.sh", root, "3", "r2", "r9").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	if got, want := prune(), "r4 r3 r1"; got != want {
		t.Errorf("removed %q, want %q", got, want)
	}
	if got := prune(); got != "" {
		t.Errorf("removed %q at the second time", got)
	}
	entries, err := os.ReadDir(filepath.Join(root, "releases"))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"r0", "r2", "r5", "r6", "r7"}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
}
