package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/ui"
)

func (a *app) hookCmd() *cobra.Command {
	hook := &cobra.Command{Use: "hook", Short: "Start a run with every commit or push"}
	var manifest string
	install := &cobra.Command{
		Use: "install [MANIFEST]", Short: "Install the git hook: post-commit, or post-receive in a bare repository",
		Long: `Install makes git start a run with every commit on a branch, in the main work tree or a linked one, by the manifest
that is there. In a bare repository, in this folder or named as ./shop.git, every push starts a run for each branch,
by the manifest that is in the pushed commit; it keeps its runs in the repository's folder troop.

Which branches and tags start a run is said by the triggers of the manifest; without any, every branch does. Each commit
and each push says in one line which run it has started, or why none.`,
		RunE: func(c *cobra.Command, args []string) error {
			repo, command, err := a.hooked(c.Context(), args, manifest)
			if err != nil {
				return err
			}
			file, err := repo.InstallHook(c.Context(), git.Hook{Command: command})
			if err == nil {
				what := "commit"
				if repo.Bare {
					what = "push"
				}
				a.ui.Printf("installed %s; every %s says which run it starts", file, what)
			}
			return err
		},
	}
	install.Flags().StringVar(&manifest, "manifest", "", "`path` of the manifest in the commits that are pushed to a bare repository")
	uninstall := &cobra.Command{
		Use: "uninstall [MANIFEST]", Short: "Remove the git hook",
		RunE: func(c *cobra.Command, args []string) error {
			repo, _, err := a.hooked(c.Context(), args, "")
			if err != nil {
				return err
			}
			file, err := repo.UninstallHook(c.Context())
			if err == nil && file == "" {
				a.ui.Printf("there was no hook of troop's")
			} else if err == nil {
				a.ui.Printf("removed %s", file)
			}
			return err
		},
	}
	commit := &cobra.Command{
		Use: "commit MANIFEST", Hidden: true, Args: cobra.ExactArgs(1), Short: "Called by the hook in a work tree",
		RunE: func(c *cobra.Command, args []string) error { return a.committed(c.Context(), args[0]) },
	}
	receive := &cobra.Command{
		Use: "receive MANIFEST", Hidden: true, Args: cobra.ExactArgs(1), Short: "Called by the hook in a bare repository",
		RunE: func(c *cobra.Command, args []string) error { return a.received(c.Context(), args[0]) },
	}
	hook.AddCommand(install, uninstall, commit, receive)
	return hook
}

// hooked returns the repository that gets the hook, and what the hook calls. The manifest of a work tree is named by its
// path there, so that each linked work tree has its own.
func (a *app) hooked(ctx context.Context, args []string, manifest string) (*git.Repository, []string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	command := []string{self, "hook"}
	var settings []string
	if a.env != "" {
		settings = append(settings, "--env", a.env)
	}
	for _, dir := range a.pluginDirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, nil, err
		}
		settings = append(settings, "--plugin-dir", abs)
	}
	dir, rest := manifestArg(args)
	if dir, err := filepath.Abs(cmp.Or(dir, ".")); err == nil && bare(dir) {
		if err := want(rest); err != nil {
			return nil, nil, err
		}
		repo, err := git.Open(ctx, dir)
		return repo, append(append(command, "receive", cmp.Or(manifest, ".")), settings...), err
	}
	p, rest, err := a.load(args)
	if err == nil {
		err = want(rest)
	}
	if err != nil {
		return nil, nil, err
	}
	repo, err := git.Open(ctx, p.Source.Path)
	if err != nil {
		return nil, nil, err
	}
	if repo.Bare {
		settings = append(settings, "--state", p.files.Dir())
		return repo, append(append(command, "receive", cmp.Or(manifest, filepath.Base(p.File))), settings...), nil
	}
	file := p.File
	if real, err := filepath.EvalSymlinks(file); err == nil {
		if rel, err := filepath.Rel(repo.Root, real); err == nil && filepath.IsLocal(rel) {
			file = rel
		}
	}
	return repo, append(append(command, "commit", file), settings...), nil
}

// noRun says why no run has started. A hook never fails because of it.
func (a *app) noRun(format string, args ...any) error {
	a.ui.Warnf("no run: "+format, args...)
	return nil
}

// committed starts the run of a new commit in a work tree.
func (a *app) committed(ctx context.Context, manifest string) error {
	repo, err := git.Open(ctx, ".")
	if err != nil {
		return a.noRun("%v", err)
	}
	branch := repo.Current(ctx)
	if branch == "" {
		return a.noRun("HEAD is detached, as in a rebase, so that no branch has changed")
	}
	file := manifest
	if !filepath.IsAbs(file) {
		file = filepath.Join(repo.Root, file)
	}
	if _, err := os.Stat(file); err != nil {
		return a.noRun("%s is not in %s", manifest, repo.Root)
	}
	at, err := repo.Resolve(ctx, "HEAD")
	if err != nil {
		return a.noRun("%v", err)
	}
	return a.launch(ctx, file, core.RunOptions{Commit: at.Hash, Subject: at.Subject, Branch: branch})
}

// received starts the runs of what was pushed to the bare repository in this folder: git gives a line OLD NEW REF for
// each branch and tag.
func (a *app) received(ctx context.Context, manifest string) error {
	repo, err := git.Open(ctx, ".")
	if err != nil {
		return a.noRun("%v", err)
	}
	a.state = cmp.Or(a.state, filepath.Join(repo.Root, bareState))
	updates := bufio.NewScanner(a.in)
	for updates.Scan() {
		fields := strings.Fields(updates.Text())
		if len(fields) != 3 {
			continue
		}
		if err := a.update(ctx, repo, manifest, fields[1], fields[2]); err != nil {
			return err
		}
	}
	return updates.Err()
}

// update starts the run of a branch or a tag that was pushed.
func (a *app) update(ctx context.Context, repo *git.Repository, manifest, object, ref string) error {
	o := core.RunOptions{Environment: a.env}
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(ref, "refs/tags/")
	switch {
	case strings.Trim(object, "0") == "":
		return a.noRun("%s was deleted", strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/"))
	case isBranch:
		o.Branch = branch
	case isTag:
		o.Tag = tag
	default:
		return a.noRun("%s is neither a branch nor a tag", ref)
	}
	at, err := repo.Resolve(ctx, object)
	if err != nil {
		return a.noRun("%s is no commit: %v", ref, err)
	}
	o.Commit, o.Subject, o.ID = at.Hash, at.Subject, core.RunID(core.NewID(time.Now()))

	// The manifest is the commit's own. It goes with the workspace of the run.
	files := a.store(repo.Root)
	defer func() { _ = files.Close() }()
	workspace, err := files.Workspace(o.ID)
	if err == nil {
		workspace, err = repo.Checkout(ctx, o.Commit, filepath.Join(filepath.Dir(workspace), "manifest", "src"))
	}
	if err != nil {
		return errors.Join(a.noRun("%v", err), a.refuse(ctx, files, nil, o, err))
	}
	file := filepath.Join(workspace, manifest)
	if _, err := os.Stat(file); err != nil {
		return a.noRun("%s is not in %s", manifest, what(o))
	}
	return a.launch(ctx, file, o)
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
func (a *app) launch(ctx context.Context, manifest string, o core.RunOptions) error {
	o.ID, o.Environment = cmp.Or(o.ID, core.RunID(core.NewID(time.Now()))), a.env
	p, _, err := a.load([]string{manifest})
	if err != nil {
		files := a.store(filepath.Dir(manifest))
		defer func() { _ = files.Close() }()
		text, _, _ := strings.Cut(err.Error(), "\n")
		return errors.Join(a.noRun("%s; recorded as run %s", text, ui.ShortID(o.ID)), a.refuse(ctx, files, nil, o, err))
	}
	defer func() { _ = p.files.Close() }()
	name := filepath.Base(p.File)
	if engine.Trigger(p.Pipeline, o) == nil {
		switch {
		case o.Tag != "":
			return a.noRun("no trigger of %s names the tag %s", name, o.Tag)
		case len(p.Triggers) > 0:
			return a.noRun("no trigger of %s names the branch %s", name, o.Branch)
		}
	}
	if err := a.background(p, o); err != nil {
		return errors.Join(a.noRun("%v", err), a.refuse(ctx, p.files, p.Pipeline, o, err))
	}
	where := argument(p.File)
	if filepath.Base(a.state) == bareState {
		where = filepath.Dir(a.state) + "/"
	}
	if where != "" {
		where += " "
	}
	a.ui.Printf("troop: run %s of %s has started; see it with: troop logs --follow %s%[1]s", ui.ShortID(o.ID), what(o), where)
	return nil
}

// background starts troop run in a session of its own, so that it outlives the commit. What it prints goes to hook.log.
func (a *app) background(p *project, o core.RunOptions) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := p.files.OpenLog("hook.log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"run", p.File, "--commit", o.Commit, "--id", string(o.ID)}
	for _, f := range [][2]string{{"--branch", o.Branch}, {"--tag", o.Tag}, {"--env", a.env}, {"--state", a.state}} {
		if f[1] != "" {
			args = append(args, f[0], f[1])
		}
	}
	for _, dir := range a.pluginDirs {
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
