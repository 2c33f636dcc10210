package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/cmd/troop/internal/line"
	"github.com/seed-b96de936/troop/core/project"
	"github.com/seed-b96de936/troop/core/store"
)

// runFlags are the flags of troop run.
type runFlags struct {
	commit, branch, tag, until, from string
	force, dirty, watch              bool

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
					return line.Usage(errors.New("--tag goes with neither --branch nor --dirty"))
				}
				if !c.Flags().Changed("commit") {
					f.commit = "refs/tags/" + f.tag
				}
			}
			if f.dirty && c.Flags().Changed("commit") {
				return line.Usage(errors.New("--dirty runs the files of the work tree, --commit those of a commit: choose one"))
			}
			if f.watch {
				return a.watch(c.Context(), args, f)
			}
			return a.runOnce(c.Context(), args, f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.commit, "commit", "HEAD", "`revision` to run")
	flags.StringVar(&f.branch, "branch", "", "branch of the commit, when git does not know it")
	flags.StringVar(&f.tag, "tag", "", "run for a tag, as triggers with tags say")
	flags.StringVar(&f.until, "until", "", "stop after the stage `TYPE.NAME`, or those of a TYPE, and what they need")
	flags.StringVar(&f.from, "from", "", "run the stage `TYPE.NAME`, or those of a TYPE, and what needs them also when nothing has changed")
	flags.BoolVar(&f.force, "force", false, "run stages and configure hosts also when nothing has changed, and in spite of drift")
	flags.BoolVar(&f.dirty, "dirty", false, "run the files of the work tree as they are, new ones too; never to an environment whose review says approve")
	flags.BoolVar(&f.watch, "watch", false, "run again with each new commit, or, with --dirty, with each change of a file, until Ctrl-C")
	flags.StringVar(&a.workspaces, "workspace-dir", "", "check commits out below `folder`")
	flags.StringVar((*string)(&f.id), "id", "", "")
	_ = flags.MarkHidden("id")
	return c
}

// watchPause is how often a watched source is looked at.
const watchPause = 500 * time.Millisecond

// watch runs again and again until ctx ends. A mistake in the manifest is shown, and waits for its repair.
func (a *app) watch(ctx context.Context, args []string, f runFlags) error {
	what := "the next commit"
	if f.dirty {
		what = "the next change of a file"
	}
	path, _ := line.Manifest(args)
	source := ""
	look := func() (version string) {
		if o, err := a.options(); err == nil {
			version, source = project.Version(ctx, path, o, f.commit, f.dirty, source)
		}
		return version
	}
	for {
		a.start()
		seen := look()
		err := a.runOnce(ctx, args, f)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			a.fail(err)
		}
		a.ui.Note("waiting for " + what + "; Ctrl-C ends")
		for seen == look() {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(watchPause):
			}
		}
	}
}

// runOnce runs the pipeline for one commit.
func (a *app) runOnce(ctx context.Context, args []string, f runFlags) error {
	o := core.RunOptions{
		ID: f.id, Commit: f.commit, Branch: f.branch, Tag: f.tag, Environment: a.env, Until: core.StageID(f.until), From: core.StageID(f.from), Force: f.force, Dirty: f.dirty,
	}
	p, err := a.loadAlone(args)
	if err != nil {
		if with, wrong := a.options(); f.id != "" && wrong == nil {
			path, _ := line.Manifest(args)
			err = errors.Join(err, project.Refuse(ctx, filepath.Dir(path), o, with, err))
		}
		return err
	}
	defer func() { _ = p.Files.Close() }()
	run, err := p.Run(ctx, o, project.Watcher{Emit: a.ui.Emit, Ended: func(r core.Run) {
		a.ui.Close()
		a.ui.Summary(r)
	}})
	a.ui.Close()
	switch {
	case err != nil:
		if missing, ok := errors.AsType[*core.NotFoundError](err); ok { // of --until or --env: nothing has begun
			return line.Usage(missing)
		}
		return err
	case run.Status == core.PassedWithFailures && p.ExitWithFailures > 0:
		return exit(p.ExitWithFailures)
	case run.Status.Passed():
		return nil
	}
	return failed
}
