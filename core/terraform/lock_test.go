package terraform

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// startAs runs sleep under another program's name in the workspace's folder until the test ends.
func startAs(t *testing.T, w *Workspace, name string) *exec.Cmd {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if sleep, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(program, b, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "60")
	cmd.Dir = w.Dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func lockedWorkspace(t *testing.T) *Workspace {
	t.Helper()
	w := workspace(t, fstest.MapFS{})
	var err error
	if w.Dir, err = filepath.EvalSymlinks(w.Dir); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestLockEndsOrphans(t *testing.T) {
	w := lockedWorkspace(t)
	var logged []string
	w.Log = func(line string) { logged = append(logged, line) }
	provider := startAs(t, w, "terraform-provider-lab_v0.1.0")
	note := filepath.Join(w.Dir, ".terraform.tfstate.lock.info")
	if err := os.WriteFile(note, []byte(`{"ID":"7","Operation":"OperationTypeApply","Who":"root@vm","Created":"2026-01-01T00:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := w.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := provider.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the provider ended with %v", err)
	}
	if _, err := os.Stat(note); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stale note is still there: %v", err)
	}
	for _, want := range []string{"terraform-provider-lab_v0.1.0", "OperationTypeApply by root@vm, begun 2026-01-01T00:00:00Z, was interrupted"} {
		if !slices.ContainsFunc(logged, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%q is not in %q", want, logged)
		}
	}
}

// Orphans are listed once nothing can make more: the provider of a killed apply goes on with its requests.
func TestOrphansEndsProviders(t *testing.T) {
	w := lockedWorkspace(t)
	var err error
	if w.exe, err = Find(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.State(t.Context()); err != nil { // initialised
		t.Fatal(err)
	}
	provider := startAs(t, w, "terraform-provider-lab_v0.1.0")
	w.Tagged = func(context.Context) ([]core.Tagged, error) {
		if all, err := w.processes(); err != nil || slices.ContainsFunc(all, func(p process) bool { return p.pid == provider.Process.Pid }) {
			t.Errorf("the provider is still there: %v, %v", all, err)
		}
		return nil, nil
	}
	if found, err := w.Orphans(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestLockLeavesLivingTerraformAlone(t *testing.T) {
	w := lockedWorkspace(t)
	terraform := startAs(t, w, "terraform")
	_, err := w.lock(t.Context())
	var busy *BusyError
	if !errors.As(err, &busy) || busy.PID != terraform.Process.Pid || time.Since(busy.Since) > time.Minute {
		t.Errorf("got %v", err)
	}
}

// A Terraform that is dying with its killed parent does not stop the next command.
func TestLockWaitsForTheDying(t *testing.T) {
	w := lockedWorkspace(t)
	terraform := startAs(t, w, "terraform")
	time.AfterFunc(200*time.Millisecond, func() { _ = terraform.Process.Kill() })
	release, err := w.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestLockIsExclusive(t *testing.T) {
	w := lockedWorkspace(t)
	release, err := w.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		release, err := w.lock(t.Context())
		if err == nil {
			release()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("two have the lock: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	release()
	if err := <-got; err != nil {
		t.Error(err)
	}
}
