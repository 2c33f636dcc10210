package hook

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/store"
)

// Only tags start a run, so that none of these tests starts a process.
const manifest = "pipeline \"shop\" {\n  source { path = \".\" }\n}\n\ntrigger \"push\" {\n  tags = [\"v*\"]\n}\n"

func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes one with a commit of a manifest, and a hook that writes down why no run has started.
func repository(t *testing.T) (dir string, h *Hook, said *[]string) {
	t.Helper()
	dir = t.TempDir()
	gitIn(t, dir, "init", "-q", "-b", "main")
	if err := os.WriteFile(filepath.Join(dir, "pipeline.hcl"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "-q", "-m", "first")
	l, err := loader.New(loader.Options{Dirs: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	said = new([]string)
	return dir, &Hook{
		Options: project.Options{Mask: mask.New(), Plugins: l, Workspaces: t.TempDir(), Note: func(string) {}},
		Started: func(line string) { t.Errorf("started: %s", line) },
		NoRun:   func(format string, args ...any) { *said = append(*said, fmt.Sprintf(format, args...)) },
	}, said
}

// last is why no run has started, at last.
func last(t *testing.T, said []string, err error) string {
	t.Helper()
	if err != nil || len(said) == 0 {
		t.Fatalf("said %q, %v", said, err)
	}
	return said[len(said)-1]
}

func TestCommitted(t *testing.T) {
	dir, h, said := repository(t)
	t.Chdir(dir)
	err := h.Committed(t.Context(), "pipeline.hcl")
	if got := last(t, *said, err); got != "no trigger of pipeline.hcl names the branch main" {
		t.Errorf("another branch: %q", got)
	}
	err = h.Committed(t.Context(), "other.hcl")
	if got := last(t, *said, err); got != "other.hcl is not in "+dir {
		t.Errorf("no manifest: %q", got)
	}
	if err := os.WriteFile("pipeline.hcl", []byte("pipeline {"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = h.Committed(t.Context(), "pipeline.hcl")
	if got := last(t, *said, err); !strings.Contains(got, "; recorded as run ") {
		t.Errorf("a bad manifest: %q", got)
	}
	runs, err := store.Open(filepath.Join(dir, ".troop")).Runs(t.Context(), store.Filter{})
	if err != nil || len(runs) != 1 || runs[0].Branch != "main" || runs[0].Commit != gitIn(t, dir, "rev-parse", "HEAD") {
		t.Errorf("recorded %+v, %v", runs, err)
	}
	gitIn(t, dir, "checkout", "-q", "--detach")
	err = h.Committed(t.Context(), "pipeline.hcl")
	if got := last(t, *said, err); !strings.HasPrefix(got, "HEAD is detached") {
		t.Errorf("a detached HEAD: %q", got)
	}
}

func TestReceived(t *testing.T) {
	dir, h, said := repository(t)
	bare := filepath.Join(t.TempDir(), "shop.git")
	gitIn(t, dir, "clone", "-q", "--bare", dir, bare)
	head := gitIn(t, dir, "rev-parse", "HEAD")
	t.Chdir(bare)
	const none = "0000000000000000000000000000000000000000"
	for _, c := range []struct{ object, ref, manifest, want string }{
		{head, "refs/heads/main", ".", "no trigger of pipeline.hcl names the branch main"},
		{head, "refs/tags/1.0", ".", "no trigger of pipeline.hcl names the tag 1.0"},
		{head, "refs/heads/main", "ci/pipeline.hcl", "ci/pipeline.hcl is not in " + head[:9] + " on main"},
		{none, "refs/heads/old", ".", "old was deleted"},
		{head, "refs/notes/x", ".", "refs/notes/x is neither a branch nor a tag"},
		{strings.Repeat("1", 40), "refs/heads/main", ".", "refs/heads/main is no commit"},
	} {
		*said = nil
		err := h.Received(t.Context(), c.manifest, strings.NewReader("not a line of git's\n"+none+" "+c.object+" "+c.ref+"\n"))
		if got := last(t, *said, err); len(*said) != 1 || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: said %q, want %q", c.ref, *said, c.want)
		}
	}
}

// TestRepository has what the hook of a work tree and of a bare repository calls.
func TestRepository(t *testing.T) {
	dir, h, _ := repository(t)
	h.PluginDirs = []string{"plugins"}
	t.Chdir(dir)
	repo, command, err := h.Repository(t.Context(), "", "")
	want := []string{"hook", "commit", "pipeline.hcl", "--plugin-dir", filepath.Join(dir, "plugins")}
	if err != nil || repo.Bare || !slices.Equal(command[1:], want) {
		t.Errorf("a work tree: %q, %v; want %q", command, err, want)
	}
	bare := filepath.Join(t.TempDir(), "shop.git")
	gitIn(t, dir, "clone", "-q", "--bare", dir, bare)
	repo, command, err = h.Repository(t.Context(), bare, "ci/pipeline.hcl")
	want[1], want[2] = "receive", "ci/pipeline.hcl"
	if err != nil || !repo.Bare || !slices.Equal(command[1:], want) {
		t.Errorf("a bare repository: %q, %v; want %q", command, err, want)
	}
}
