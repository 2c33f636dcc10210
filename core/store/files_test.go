package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
)

func open(t *testing.T, dir string) *store.Files {
	t.Helper()
	f := store.Open(dir)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestFiles(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		dir := filepath.Join(t.TempDir(), ".troop")
		return func() storetest.Store { return open(t, dir) }
	})
}

func TestReadingMakesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".troop")
	f := open(t, dir)
	if _, err := f.Runs(t.Context(), store.Filter{}); err != nil {
		t.Error(err)
	}
	_, _ = f.Find(t.Context(), "01")
	_, _ = f.Artifact(t.Context(), core.Digest("sha256:"+strings.Repeat("0", 64)))
	if err := f.Prune(t.Context(), store.Keep{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
	if _, err := f.StageState("shop", `test.unit["a/b"]`); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, ".gitignore")); err != nil || string(b) != "*\n" {
		t.Errorf(".gitignore: %q, %v", b, err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "stages")); err != nil || len(entries) != 1 {
		t.Errorf("stages: %v, %v", entries, err)
	}
}

// A run whose process was killed reads as cancelled, also when its PID belongs to another process by now.
func TestInterruptedRun(t *testing.T) {
	t.Parallel()
	sleep := exec.CommandContext(t.Context(), "sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := open(t, dir)
	r := storetest.NewRun(1)
	r.PID = sleep.Process.Pid
	if err := f.PutRun(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Find(t.Context(), ""); err != nil || got.Status != core.Running {
		t.Errorf("while it runs: %s, %v", got.Status, err)
	}

	reused := storetest.NewRun(2)
	reused.PID = sleep.Process.Pid
	if err := f.PutRun(t.Context(), reused); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "runs", string(reused.ID), "events.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(`"process":"`)) + len(`"process":"`)
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Find(t.Context(), string(reused.ID)); err != nil || got.Status != core.Cancelled {
		t.Errorf("with a PID that was used again: %s, %v", got.Status, err)
	}

	if err := sleep.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"as a zombie", "after that"} {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got, err := f.Find(t.Context(), string(r.ID))
			if err == nil && got.Status == core.Cancelled && strings.HasPrefix(got.Reason, "interrupted: process ") &&
				got.Stages[0].Status == core.Cancelled && got.Stages[1].Status == core.Pending {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v, %v", when, got, err)
			}
		}
		_ = sleep.Wait()
	}
	for e, err := range f.Follow(t.Context(), r.ID) {
		t.Errorf("a run that has no events has %+v, %v", e, err)
	}
}

// A crash in the middle of a line loses that line and no other.
func TestTornLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := write(t, dir, 1)
	r, path := w.run, w.journal
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range 3 { // of whole lines and of parts
		if err := os.WriteFile(path, whole[:len(whole)-1-40*cut], 0o600); err != nil {
			t.Fatal(err)
		}
		f := open(t, dir)
		n := 0
		for _, err := range f.Events(t.Context(), r.ID) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if err := f.Append(t.Context(), core.Event{Run: r.ID, Summary: "next"}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for e, err := range f.Events(t.Context(), r.ID) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Summary)
		}
		if len(got) != n+1 || got[n] != "next" {
			t.Errorf("cut %d: %q after %d", cut, got, n)
		}
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir)
	old := time.Now().Add(-2 * time.Hour)
	artifact := func(content string) core.Artifact {
		p := filepath.Join(t.TempDir(), "x.tar.zst")
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := f.PutArtifact(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(a.Path, old, old); err != nil {
			t.Fatal(err)
		}
		return a
	}
	var runs []core.Run
	var artifacts []core.Artifact
	for n, status := range []core.Status{core.Passed, core.Passed, core.Failed, core.Failed, core.Failed} {
		r := storetest.NewRun(n)
		r.Status, r.Ended = status, r.Started.Add(time.Second)
		a := artifact(strings.Repeat("x", n))
		r.Stages[0].Outputs = map[string]any{"made": map[string]any{"list": []any{string(a.Digest)}}}
		runs, artifacts = append(runs, r), append(artifacts, a)
	}
	runs[1].Status, runs[1].Ended = core.Running, time.Time{} // the other one that passed is older than all
	for _, r := range runs {
		if err := f.PutRun(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		src, err := f.Workspace(r.ID)
		if err != nil {
			t.Fatal(err)
		}
		locked := filepath.Join(src, "modules", "cache")
		if err := os.MkdirAll(locked, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(locked, "file"), nil, 0o400); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(locked, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	orphan, fresh := artifact("orphan"), artifact("fresh")
	if err := os.Chtimes(fresh.Path, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice is harmless
		if err := f.Prune(t.Context(), store.Keep{Workspaces: 2, Runs: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range runs {
		src, _ := f.Workspace(r.ID)
		_, err := os.Stat(src)
		if kept, want := err == nil, i == 1 || i >= 3; kept != want {
			t.Errorf("workspace of run %d: kept %t, want %t", i, kept, want)
		}
		if _, err := f.Find(t.Context(), string(r.ID)); err != nil {
			t.Errorf("record of run %d: %v", i, err)
		}
		_, err = f.Artifact(t.Context(), artifacts[i].Digest)
		if kept, want := err == nil, i == 0 || i == 1 || i == 4; kept != want {
			t.Errorf("artifact of run %d: kept %t, want %t", i, kept, want)
		}
	}
	if _, err := f.Artifact(t.Context(), orphan.Digest); err == nil {
		t.Error("an artifact that nobody names was kept")
	}
	if _, err := f.Artifact(t.Context(), fresh.Digest); err != nil {
		t.Error("an artifact that was made just now is gone")
	}
}

// Workspaces lie where no part of the path begins with a dot, each project apart, and nobody else gets at them.
func TestWorkspaces(t *testing.T) {
	t.Parallel()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(base, "root")
	at := func(project, root string) *store.Files {
		f := open(t, filepath.Join(base, project, ".troop"))
		f.Workspaces = root
		return f
	}
	run := storetest.NewRun(0)
	make := func(f *store.Files, id core.RunID) string {
		src, err := f.Workspace(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(src, 0o755); err != nil {
			t.Fatal(err)
		}
		return src
	}
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }

	a, b, gone := at("a", root), at("b", root), at("gone", root)
	run.Ended = run.Started.Add(time.Second)
	for _, f := range []*store.Files{a, b, gone} {
		if err := f.PutRun(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	killed := core.RunID(core.NewID(time.Now().Add(-2 * time.Hour)))
	begins := core.RunID(core.NewID(time.Now()))
	ofA, ofB, ofGone, ofKilled, ofNew := make(a, run.ID), make(b, run.ID), make(gone, run.ID), make(a, killed), make(a, begins)
	ofFresh := make(at("fresh", root), begins) // nothing else is written of that project yet
	if ofA == ofB || strings.Contains(strings.TrimPrefix(ofA, base), "/.") {
		t.Errorf("workspaces %s and %s", ofA, ofB)
	}
	if info, err := os.Stat(filepath.Dir(filepath.Dir(ofA))); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	old := filepath.Join(base, "a", ".troop", "workspaces", string(run.ID), "src")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(base, "gone")); err != nil {
		t.Fatal(err)
	}
	if err := a.Prune(t.Context(), store.Keep{Workspaces: 1}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{ofA: true, ofB: true, ofGone: false, ofKilled: false, ofNew: true, ofFresh: true, old: false} {
		if exists(path) != want {
			t.Errorf("%s: exists %t, want %t", path, !want, want)
		}
	}

	for name, prepare := range map[string]func(root string) error{
		"link":    func(r string) error { return os.Symlink(base, r) },
		"file":    func(r string) error { return os.WriteFile(r, nil, 0o600) },
		"open":    func(r string) error { return errors.Join(os.Mkdir(r, 0o700), os.Chmod(r, 0o777)) },
		"foreign": func(r string) error { return errors.Join(os.Mkdir(r, 0o700), os.Chown(r, 12345, 12345)) },
	} {
		if name == "foreign" && os.Getuid() != 0 {
			continue
		}
		r := filepath.Join(base, name)
		if err := prepare(r); err != nil {
			t.Fatal(err)
		}
		if _, err := at("a", r).Workspace(run.ID); err == nil || name != "file" && !strings.Contains(err.Error(), "--workspace-dir") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWorkspaceFolder(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/somewhere/cache")
	if got := store.WorkspaceFolder(); runtime.GOOS == "linux" && got != "/somewhere/cache/troop/workspaces" {
		t.Errorf("got %s", got)
	}
	t.Setenv("XDG_CACHE_HOME", "/home/a/.cache")
	if got := store.WorkspaceFolder(); strings.Contains(got, "/.") || !strings.HasPrefix(got, "/var/") {
		t.Errorf("got %s", got)
	}
}

// An artifact from another file system is copied, and taken over all the same.
func TestArtifactFromElsewhere(t *testing.T) {
	t.Parallel()
	elsewhere := filepath.Join("/dev/shm", "troop-store-"+core.NewID(time.Now()))
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(elsewhere) })
	path := filepath.Join(elsewhere, "app.tar.zst")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, t.TempDir())
	a, err := f.PutArtifact(t.Context(), path)
	if err != nil || a.Digest != "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" || a.Size != 5 {
		t.Fatalf("PutArtifact: %+v, %v", a, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file was not taken over: %v", err)
	}
	if again, err := f.Artifact(t.Context(), a.Digest); err != nil || again != a {
		t.Errorf("Artifact: %+v, %v", again, err)
	}
}

// A lock ends with the process that holds it, however that dies.
func TestLockOfADeadProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "lab"), 0o755); err != nil {
		t.Fatal(err)
	}
	holder := exec.CommandContext(t.Context(), "sh", "-c", "exec 9>lock; flock 9; echo held; exec sleep 60")
	holder.Dir = filepath.Join(dir, "lab")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Wait() })
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	locked := (*core.LockedError)(nil)
	if _, err := f.Lock(t.Context(), "lab", core.Holder{}, nil); !errors.As(err, &locked) ||
		err.Error() != "environment lab is in use by somebody; wait for it, or end that process" {
		t.Fatalf("while it lives: %v", err)
	}
	lease, err := f.Lock(t.Context(), "lab", core.Holder{}, func(core.Holder) {
		if err := holder.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatalf("after its death: %v", err)
	}
	if err := lease.Release(); err != nil {
		t.Error(err)
	}
}
