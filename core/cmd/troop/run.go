package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/store"
)

// keep is what Prune leaves of old runs.
var keep = store.Keep{Workspaces: 3, Runs: 20}

// runFlags are the flags of troop run.
type runFlags struct {
	commit, branch, tag, until string
	force, dirty, watch        bool

	id core.RunID // given by a hook, which has told it already: a run that cannot begin is recorded then
}

func (a *app) runCmd() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run [MANIFEST]", Short: "Run the pipeline for a commit",
		Long: `Run takes a commit through the stages of the pipeline, never uncommitted files unless --dirty asks for them. The
environment is the one that --env names, or the one that a trigger of the manifest gives to the commit's branch or tag.

A stage whose outcome depends on the commit, its block and its plugin alone, such as build, test and analysis, is
skipped when it passed before with the same; so the run after one that failed goes on where that one stopped.

The commit is checked out into a folder of its own below ` + store.WorkspaceFolder() + `, or --workspace-dir; those of the
newest runs stay for a look.

Exit status: 0 the run passed, 1 it did not, 2 the manifest or the command line is wrong. A run that passed with
failures, because a stage with on_failure = "continue" failed, ends with exit_with_failures of the pipeline block, or 0.`,
		RunE: func(c *cobra.Command, args []string) error {
			if f.tag != "" {
				if f.branch != "" || f.dirty {
					return usage{errors.New("--tag goes with neither --branch nor --dirty")}
				}
				if !c.Flags().Changed("commit") {
					f.commit = "refs/tags/" + f.tag
				}
			}
			if f.dirty && c.Flags().Changed("commit") {
				return usage{errors.New("--dirty runs the files of the work tree, --commit those of a commit: choose one")}
			}
			if f.watch {
				return a.watch(c.Context(), args, f)
			}
			_, err := a.runOnce(c.Context(), args, f)
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.commit, "commit", "HEAD", "`revision` to run")
	flags.StringVar(&f.branch, "branch", "", "branch of the commit, when git does not know it")
	flags.StringVar(&f.tag, "tag", "", "run for a tag, as triggers with tags say")
	flags.StringVar(&f.until, "until", "", "stop after the stage `TYPE.NAME`, or those of a TYPE, and what they need")
	flags.BoolVar(&f.force, "force", false, "run stages and configure hosts also when nothing has changed, and in spite of drift")
	flags.BoolVar(&f.dirty, "dirty", false, "run the files of the work tree as they are, new ones too; never to an environment whose review says approve")
	flags.BoolVar(&f.watch, "watch", false, "run again with each new commit, or, with --dirty, with each change of a file, until Ctrl-C")
	flags.StringVar(&a.workspaces, "workspace-dir", "", "check commits out below `folder`")
	flags.StringVar((*string)(&f.id), "id", "", "")
	_ = flags.MarkHidden("id")
	return c
}

// watch runs again and again until ctx ends. A mistake in the manifest is shown, and waits for its repair.
func (a *app) watch(ctx context.Context, args []string, f runFlags) error {
	for {
		a.start()
		seen, last := a.runOnce(ctx, args, f)
		if ctx.Err() != nil {
			return last
		}
		if last != nil {
			a.fail(last)
		}
		what := "the next commit"
		if f.dirty {
			what = "the next change of a file"
		}
		a.ui.Note("waiting for " + what + "; Ctrl-C ends")
		if !a.awaitNews(ctx, args, f, seen) {
			return last
		}
	}
}

// watchPause is how often a watched source is looked at.
const watchPause = 500 * time.Millisecond

// awaitNews waits for another commit than the one that was seen; false: ctx has ended. Without one that was seen, as
// when the manifest has mistakes, any change of the manifest is news, too.
func (a *app) awaitNews(ctx context.Context, args []string, f runFlags, seen string) bool {
	file, _ := manifestArg(args)
	text := func() core.Digest {
		d, _ := core.DigestFile(filepath.Join(cmp.Or(file, "."), "pipeline.hcl"))
		if d == "" {
			d, _ = core.DigestFile(file)
		}
		return d
	}
	before := text()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(watchPause):
		}
		if seen == "" && text() != before {
			return true
		}
		p, _, err := a.read(args)
		if err != nil {
			continue
		}
		if repo, err := git.Open(ctx, p.Source.Path); err == nil {
			if at, _, err := f.at(ctx, repo); err == nil && at.Hash != seen {
				return true
			}
		}
	}
}

// at is the commit to run, and whether it is one of uncommitted changes.
func (f runFlags) at(ctx context.Context, repo *git.Repository) (git.Commit, bool, error) {
	if f.dirty {
		return repo.Snapshot(ctx)
	}
	at, err := repo.Resolve(ctx, f.commit)
	return at, false, err
}

// runOnce runs the pipeline for the commit that it returns.
func (a *app) runOnce(ctx context.Context, args []string, f runFlags) (commit string, err error) {
	p, rest, err := a.load(args)
	if err == nil {
		err = want(rest)
	}
	o := core.RunOptions{
		ID: f.id, Commit: f.commit, Branch: f.branch, Tag: f.tag, Environment: a.env, Until: core.StageID(f.until), Force: f.force,
	}
	if err != nil {
		if file, _ := manifestArg(args); f.id != "" {
			files := a.store(filepath.Dir(file))
			defer func() { _ = files.Close() }()
			err = errors.Join(err, a.refuse(ctx, files, nil, o, err))
		}
		return "", err
	}
	defer func() { _ = p.files.Close() }()
	begun, err := a.begin(ctx, p, &o, f)
	if !begun && err != nil && f.id != "" {
		err = errors.Join(err, a.refuse(ctx, p.files, p.Pipeline, o, err))
	}
	return o.Commit, err
}

// begin completes the options and executes the run.
func (a *app) begin(ctx context.Context, p *project, o *core.RunOptions, f runFlags) (begun bool, err error) {
	repo, err := git.Open(ctx, p.Source.Path)
	if err != nil {
		return false, err
	}
	repo.Filters = p.Source.Filters
	at, dirty, err := f.at(ctx, repo)
	if err != nil {
		return false, err
	}
	o.Commit, o.Subject, o.Dirty = at.Hash, at.Subject, dirty
	if o.Tag == "" && o.Branch == "" {
		o.Branch = at.Branch
		if o.Branch == "" {
			o.Tag = at.Tag
		}
	}
	if f.commit == "HEAD" && !f.dirty {
		if changed, err := repo.Dirty(ctx); err == nil && len(changed) > 0 {
			a.ui.Note(fmt.Sprintf("%d changed or new files are in no commit, and so not in this run: %s; --dirty takes them", len(changed), changed[0]))
		}
	}
	return a.execute(ctx, p, repo, *o)
}

// refuse records a run that could not begin. p may be nil.
func (a *app) refuse(ctx context.Context, files *store.Files, p *core.Pipeline, o core.RunOptions, reason error) error {
	r := core.Run{ID: o.ID, Commit: o.Commit, Subject: o.Subject, Branch: o.Branch, Tag: o.Tag, Environment: o.Environment}
	if p != nil {
		r.Pipeline, r.Manifest = p.Name, p.File
	}
	return files.PutRefused(context.WithoutCancel(ctx), r, a.mask.String(reason.Error()))
}

func (a *app) execute(ctx context.Context, p *project, repo *git.Repository, o core.RunOptions) (begun bool, err error) {
	envs, err := a.service(ctx, p, "troop run")
	if err != nil {
		return false, err
	}
	defer envs.Close()
	envs.Force, envs.Options.Commit = o.Force, o.Commit
	runner := &engine.Engine{Plugins: a.plugins, Store: p.files, Folders: p.files, Source: repo, Environments: envs, Emit: a.ui.Emit}
	run, err := runner.Run(ctx, p.Pipeline, o)
	a.ui.Close()
	if err != nil {
		begun = run.ID != ""
		if diags, ok := errors.AsType[core.Diagnostics](err); ok {
			return begun, &diagnosed{diags, p.sources}
		}
		if missing, ok := errors.AsType[*core.NotFoundError](err); ok { // of --until or --env: nothing has begun
			return begun, usage{missing}
		}
		return begun, err
	}
	a.ui.Summary(run)
	if err := envs.Announce(context.WithoutCancel(ctx), p.Pipeline, run); err != nil {
		a.ui.Note("the end of the run was not announced: " + a.mask.String(err.Error()))
	}
	if err := p.files.Prune(context.WithoutCancel(ctx), keep); err != nil {
		a.ui.Note("clean up old runs: " + err.Error())
	}
	switch {
	case run.Status == core.PassedWithFailures && p.ExitWithFailures > 0:
		return true, exit(p.ExitWithFailures)
	case run.Status.Passed():
		return true, nil
	}
	return true, failed
}
