// Package hook starts a run in the background for each commit in a work tree and each push to a bare repository: what git
// calls is installed by it, too. It never fails a commit or a push: why no run has started is told in one line. The troop
// program imports it.
package hook

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/project"
)

// Hook is what git calls.
type Hook struct {
	Options    project.Options
	PluginDirs []string // in which the runs look for plugins, too

	Started func(line string)                // hears of a run that has started
	NoRun   func(format string, args ...any) // hears why none has
}

// Repository returns the repository that gets the hook, and the command that the hook calls. The repository is the bare
// one at path, or that of the manifest there. name is the path of the manifest in the commits of a bare repository;
// empty: the default. The manifest of a work tree is named by its path there, so that each linked work tree has its own.
func (h *Hook) Repository(ctx context.Context, path, name string) (*git.Repository, []string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	command := []string{self, "hook"}
	var settings []string
	if h.Options.Environment != "" {
		settings = append(settings, "--env", h.Options.Environment)
	}
	for _, dir := range h.PluginDirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, nil, err
		}
		settings = append(settings, "--plugin-dir", abs)
	}
	if dir, err := filepath.Abs(cmp.Or(path, ".")); err == nil && project.Bare(dir) {
		repo, err := git.Open(ctx, dir)
		return repo, append(append(command, "receive", cmp.Or(name, ".")), settings...), err
	}
	p, err := project.Load(ctx, path, h.Options)
	if err != nil {
		return nil, nil, err
	}
	repo, err := git.Open(ctx, p.Source.Path)
	if err != nil {
		return nil, nil, err
	}
	if repo.Bare {
		settings = append(settings, "--state", p.Files.Dir())
		return repo, append(append(command, "receive", cmp.Or(name, filepath.Base(p.File))), settings...), nil
	}
	file := p.File
	if real, err := filepath.EvalSymlinks(file); err == nil {
		if rel, err := filepath.Rel(repo.Root, real); err == nil && filepath.IsLocal(rel) {
			file = rel
		}
	}
	return repo, append(append(command, "commit", file), settings...), nil
}

// noRun says why no run has started.
func (h *Hook) noRun(format string, args ...any) error {
	h.NoRun(format, args...)
	return nil
}

// Committed starts the run of a new commit in the work tree of this folder.
func (h *Hook) Committed(ctx context.Context, manifest string) error {
	repo, err := git.Open(ctx, ".")
	if err != nil {
		return h.noRun("%v", err)
	}
	branch := repo.Current(ctx)
	if branch == "" {
		return h.noRun("HEAD is detached, as in a rebase, so that no branch has changed")
	}
	file := manifest
	if !filepath.IsAbs(file) {
		file = filepath.Join(repo.Root, file)
	}
	if _, err := os.Stat(file); err != nil {
		return h.noRun("%s is not in %s", manifest, repo.Root)
	}
	at, err := repo.Resolve(ctx, "HEAD")
	if err != nil {
		return h.noRun("%v", err)
	}
	return h.launch(ctx, file, core.RunOptions{Commit: at.Hash, Subject: at.Subject, Branch: branch})
}

// Received starts the runs of what was pushed to the bare repository in this folder: git writes a line OLD NEW REF for
// each branch and tag to updates.
func (h *Hook) Received(ctx context.Context, manifest string, updates io.Reader) error {
	repo, err := git.Open(ctx, ".")
	if err != nil {
		return h.noRun("%v", err)
	}
	h.Options.State = cmp.Or(h.Options.State, filepath.Join(repo.Root, project.BareState))
	lines := bufio.NewScanner(updates)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue
		}
		if err := h.update(ctx, repo, manifest, fields[1], fields[2]); err != nil {
			return err
		}
	}
	return lines.Err()
}

// update starts the run of a branch or a tag that was pushed.
func (h *Hook) update(ctx context.Context, repo *git.Repository, manifest, object, ref string) error {
	var o core.RunOptions
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(ref, "refs/tags/")
	switch {
	case strings.Trim(object, "0") == "":
		return h.noRun("%s was deleted", strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/"))
	case isBranch:
		o.Branch = branch
	case isTag:
		o.Tag = tag
	default:
		return h.noRun("%s is neither a branch nor a tag", ref)
	}
	at, err := repo.Resolve(ctx, object)
	if err != nil {
		return h.noRun("%s is no commit: %v", ref, err)
	}
	o.Commit, o.Subject, o.ID = at.Hash, at.Subject, core.RunID(core.NewID(time.Now()))

	file, err := project.CheckOut(ctx, repo, o, h.Options, manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return h.noRun("%s is not in %s", manifest, what(o))
	}
	if err != nil {
		return errors.Join(h.noRun("%v", err), h.refuse(ctx, repo.Root, o, err))
	}
	return h.launch(ctx, file, o)
}

// refuse records a run whose manifest cannot be read.
func (h *Hook) refuse(ctx context.Context, dir string, o core.RunOptions, reason error) error {
	o.Environment = h.Options.Environment
	return project.Refuse(ctx, dir, o, h.Options, reason)
}

// what names a commit with its branch or tag.
func what(o core.RunOptions) string {
	if o.Tag != "" {
		return fmt.Sprintf("%.9s, tag %s", o.Commit, o.Tag)
	}
	return fmt.Sprintf("%.9s on %s", o.Commit, o.Branch)
}

// launch starts a run in the background, if the manifest wants one, and says so in one line. One that cannot begin is
// recorded with its reason.
func (h *Hook) launch(ctx context.Context, manifest string, o core.RunOptions) error {
	o.ID, o.Environment = cmp.Or(o.ID, core.RunID(core.NewID(time.Now()))), h.Options.Environment
	p, err := project.Load(ctx, manifest, h.Options)
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), "\n")
		return errors.Join(h.noRun("%s; recorded as run %s", text, o.ID.Short()), h.refuse(ctx, filepath.Dir(manifest), o, err))
	}
	defer func() { _ = p.Files.Close() }()
	name := filepath.Base(p.File)
	if engine.Trigger(p.Pipeline, o) == nil {
		switch {
		case o.Tag != "":
			return h.noRun("no trigger of %s names the tag %s", name, o.Tag)
		case len(p.Triggers) > 0:
			return h.noRun("no trigger of %s names the branch %s", name, o.Branch)
		}
	}
	if err := h.background(p, o); err != nil {
		return errors.Join(h.noRun("%v", err), p.Refuse(ctx, o, err))
	}
	where := p.Argument()
	if filepath.Base(h.Options.State) == project.BareState {
		where = filepath.Dir(h.Options.State) + "/"
	}
	if where != "" {
		where += " "
	}
	h.Started(fmt.Sprintf("troop: run %s of %s has started; see it with: troop logs --follow %s%[1]s", o.ID.Short(), what(o), where))
	return nil
}

// background starts troop run in a session of its own, so that it outlives the commit. What it prints goes to hook.log.
func (h *Hook) background(p *project.Project, o core.RunOptions) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := p.Files.OpenLog("hook.log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := project.RunArguments(p.File, o, h.Options)
	for _, dir := range h.PluginDirs {
		args = append(args, "--plugin-dir", dir)
	}
	cmd := exec.Command(self, args...) //nolint:noctx // it outlives this process
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.Dir, git.CleanEnv(os.Environ()), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start troop: %w", err)
	}
	return cmd.Process.Release()
}
