package project

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/store"
)

const valid = "pipeline \"shop\" {\n  source { path = \".\" }\n}\n"

// options are those of a command, with what it notes.
func options(t *testing.T) (Options, *[]string) {
	t.Helper()
	l, err := loader.New(loader.Options{Dirs: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	return Options{Mask: mask.New(), Plugins: l, Workspaces: t.TempDir(), Note: func(line string) { notes = append(notes, line) }}, &notes
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

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

func TestRead(t *testing.T) {
	dir := t.TempDir()
	o, _ := options(t)
	var bad *ManifestError
	if _, err := Read(t.Context(), dir, o); !errors.As(err, &bad) || bad.Diags[0].Summary != "No manifest found" {
		t.Errorf("no manifest: %v", err)
	}
	file := write(t, dir, "pipeline.hcl", valid+"stage \"build\" \"app\" {\n  needs = [stage.build.ap]\n}\n")
	p, err := Read(t.Context(), dir, o)
	if err != nil || !p.Diags.HasErrors() || p.Name != "shop" {
		t.Fatalf("a manifest with mistakes: %+v, %v", p, err)
	}
	if _, err := Load(t.Context(), dir, o); !errors.As(err, &bad) || len(bad.Sources[file]) == 0 {
		t.Errorf("Load of it: %v; want its text beside the mistakes", err)
	}
	write(t, dir, "pipeline.hcl", valid)
	if p, err = Load(t.Context(), file, o); err != nil || p.Lock != nil || p.Files.Dir() != filepath.Join(dir, ".troop") {
		t.Errorf("a good manifest: %+v, %v", p, err)
	}
	lock := write(t, dir, loader.LockFile, "plugin {}\n")
	if _, err := Read(t.Context(), dir, o); !errors.As(err, &bad) || string(bad.Sources[lock]) != "plugin {}\n" {
		t.Errorf("a lock with mistakes: %v; want its text beside the mistakes", err)
	}
}

// TestLocked has a lock that names no plugin: none is executed, and UpdateLock asks the loader without it.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	o, _ := options(t)
	write(t, dir, "pipeline.hcl", valid)
	write(t, dir, loader.LockFile, "")
	plugins := t.TempDir()
	write(t, plugins, "troop-plugin-x", "#!/bin/sh\nexit 1\n")
	if err := os.Chmod(filepath.Join(plugins, "troop-plugin-x"), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.Plugins, err = loader.New(loader.Options{Dirs: []string{plugins}}); err != nil {
		t.Fatal(err)
	}
	p, err := Load(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Plugins.Open(t.Context(), "x"); !errors.As(err, new(*loader.LockError)) {
		t.Errorf("a plugin that the lock does not name: %v", err)
	}
	if _, err := o.Plugins.Open(t.Context(), "x"); errors.As(err, new(*loader.LockError)) {
		t.Errorf("the loader that was given obeys the lock: %v", err)
	}
	if lock, table, err := p.UpdateLock(t.Context()); err != nil || len(table.Rows) != 0 || lock.File != filepath.Join(dir, loader.LockFile) {
		t.Errorf("UpdateLock: %+v, %v", table, err)
	}
}

func TestRecordOfBareRepository(t *testing.T) {
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q", "--bare")
	o, _ := options(t)
	p, err := Record(t.Context(), dir, o)
	if err != nil || p.Files.Dir() != filepath.Join(dir, BareState) {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestRefused has runs that cannot begin. Those that somebody was told of are recorded, without secrets.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "pipeline.hcl", valid)
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "-q", "-m", "first")
	o, _ := options(t)
	o.Mask.Add("no-such-secret")
	p, err := Load(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	never := Watcher{Emit: func(core.Event) {}, Ended: func(core.Run) { t.Error("a run that has not begun has ended") }}
	if run, err := p.Run(t.Context(), core.RunOptions{Commit: "no-such-secret"}, never); err == nil || run.ID != "" {
		t.Errorf("an unknown commit: %v, %v", run.ID, err)
	}
	if _, err := p.FindRun(t.Context()); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("nobody was told of the run, but: %v", err)
	}
	id := core.RunID(core.NewID(core.Run{}.Started))
	if _, err := p.Run(t.Context(), core.RunOptions{ID: id, Commit: "no-such-secret"}, never); err == nil {
		t.Error("an unknown commit: no error")
	}
	run, _, err := p.ReadRun(t.Context())
	if err != nil || run.ID != id || run.Status.Passed() || strings.Contains(run.Reason, "no-such-secret") || !strings.Contains(run.Reason, "***") {
		t.Errorf("recorded %+v, %v", run, err)
	}
	if runs, err := p.Runs(t.Context(), nil); err != nil || len(runs) != 1 {
		t.Errorf("runs %v, %v", runs, err)
	}
	if _, err := p.Runs(t.Context(), []string{"nope"}); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("a run that is not there: %v", err)
	}
}

// TestComplete has the names of a commit, and the note about what is not in it.
func TestComplete(t *testing.T) {
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q", "-b", "main")
	file := write(t, dir, "pipeline.hcl", valid)
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "-q", "-m", "first")
	o, notes := options(t)
	one, source := Version(t.Context(), file, o, "HEAD", false, "")
	if source != dir {
		t.Errorf("the source folder is %q, want %q", source, dir)
	}
	write(t, dir, "new.txt", "x")
	if same, _ := Version(t.Context(), file, o, "HEAD", false, ""); same != one {
		t.Error("a file in no commit is a new version")
	}
	if dirty, _ := Version(t.Context(), file, o, "HEAD", true, ""); dirty == one {
		t.Error("with --dirty, a new file is no new version")
	}
	p, err := Load(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Run(t.Context(), core.RunOptions{Commit: "HEAD"}, Watcher{Emit: func(core.Event) {}, Ended: func(core.Run) {}})
	if len(*notes) == 0 || !strings.Contains((*notes)[0], "1 changed or new files are in no commit") {
		t.Errorf("notes %q", *notes)
	}
	ran := filepath.Join(t.TempDir(), "ran")
	o.Secrets = true
	write(t, dir, "pipeline.hcl", valid+"\nsecret \"token\" {\n  command = [\"touch\", \""+ran+"\"]\n}\n\nnotify \"webhook\" \"ops\" {\n  url = secret.token\n}\n")
	if p, err := Read(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	} else if _, err := os.Stat(ran); err != nil {
		t.Fatalf("the secret was not read: %v, %v", err, p.Diags)
	}
	if err := os.Remove(ran); err != nil {
		t.Fatal(err)
	}
	if _, source := Version(t.Context(), file, o, "HEAD", false, ""); source != dir {
		t.Errorf("the source folder is %q", source)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a secret is read each time that a watched project is looked at")
	}
	write(t, dir, "pipeline.hcl", valid)
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "-q", "-m", "second")
	two, _ := Version(t.Context(), file, o, "HEAD", false, "")
	write(t, dir, "pipeline.hcl", "pipeline {")
	three, source := Version(t.Context(), file, o, "HEAD", false, dir)
	if one == two || two == three || source != dir {
		t.Errorf("versions %q, %q, %q; source %q", one, two, three, source)
	}
}

func TestFindSource(t *testing.T) {
	files := store.Open(t.TempDir())
	defer func() { _ = files.Close() }()
	p := &Project{Pipeline: &core.Pipeline{Name: "shop"}, Files: files}
	ctx := context.Background()
	if _, _, err := p.FindSource(ctx, []string{"build"}); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("no run yet: %v", err)
	}
	var ids []core.RunID
	for _, stages := range [][]core.StageID{{"build.app"}, {"build.app", "test.a", "test.b"}} {
		run := core.Run{ID: core.RunID(core.NewID(core.Run{}.Started)), Pipeline: "shop"}
		for _, s := range stages {
			run.Stages = append(run.Stages, core.StageResult{ID: s})
		}
		if len(ids) > 0 && run.ID < ids[0] {
			ids = append([]core.RunID{run.ID}, ids...)
		} else {
			ids = append(ids, run.ID)
		}
		if err := files.PutRefused(ctx, run, "x"); err != nil {
			t.Fatal(err)
		}
	}
	newest, err := p.FindRun(ctx)
	if err != nil || newest.ID != ids[1] {
		t.Fatalf("newest %v of %v, %v", newest.ID, ids, err)
	}
	if run, source, err := p.FindSource(ctx, []string{string(ids[0])}); err != nil || run.ID != ids[0] || source != "" {
		t.Errorf("a run: %v %q, %v", run.ID, source, err)
	}
	if run, _, err := p.FindSource(ctx, nil); err != nil || run.ID != ids[1] {
		t.Errorf("nothing: %v, %v", run.ID, err)
	}
	if _, _, err := p.FindSource(ctx, []string{"no.such"}); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("a stage that is not there: %v", err)
	}
}

// TestCopyFolder has a job without a home: its copy of a shared store is in a folder of the user's own.
func TestCopyFolder(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	a, errA := copyFolder(core.StoreConfig{Bucket: "a"})
	b, errB := copyFolder(core.StoreConfig{Bucket: "b"})
	if err := errors.Join(errA, errB); err != nil || a == b || !strings.HasPrefix(a, "/var/tmp/troop-") {
		t.Errorf("%q and %q, %v", a, b, err)
	}
}
