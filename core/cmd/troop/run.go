package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/store"
)

// keep is what Prune leaves of old runs.
var keep = store.Keep{Workspaces: 3, Runs: 20}

func (a *app) runCmd() *cobra.Command {
	var commit, branch, until string
	var force bool
	c := &cobra.Command{
		Use: "run [MANIFEST]", Short: "Run the pipeline for a commit",
		Long: `Run takes a commit, never uncommitted files, through the stages of the pipeline. The environment is
the one that --env names, or the one that a trigger of the manifest gives to the commit's branch.

A stage whose outcome depends on the commit, its block and its plugin alone, such as build, test and analysis, is
skipped when it passed before with the same; so the run after one that failed goes on where that one stopped.

Exit status: 0 the run passed, 1 it did not, 2 the manifest or the command line is wrong.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.load(args)
			if err != nil {
				return err
			}
			if err := want(rest); err != nil {
				return err
			}
			repo, err := git.Open(c.Context(), p.Source.Path)
			if err != nil {
				return err
			}
			at, err := repo.Resolve(c.Context(), commit)
			if err != nil {
				return err
			}
			if branch == "" {
				branch = at.Branch
			}
			o := core.RunOptions{Commit: at.Hash, Branch: branch, Subject: at.Subject, Environment: a.env, Until: core.StageID(until), Force: force}
			if dirty, err := repo.Dirty(c.Context()); err == nil && len(dirty) > 0 && commit == "HEAD" {
				a.ui.Note(fmt.Sprintf("%d changed or new files are in no commit, and so not in this run: %s", len(dirty), dirty[0]))
			}
			return a.execute(c.Context(), p, repo, o)
		},
	}
	f := c.Flags()
	f.StringVar(&commit, "commit", "HEAD", "`revision` to run")
	f.StringVar(&branch, "branch", "", "branch of the commit, when git does not know it")
	f.StringVar(&until, "until", "", "stop after the stage `TYPE.NAME`, or those of a TYPE, and what they need")
	f.BoolVar(&force, "force", false, "run stages and configure hosts also when nothing has changed, and in spite of drift")
	return c
}

func (a *app) execute(ctx context.Context, p *project, repo *git.Repository, o core.RunOptions) error {
	defer func() { _ = p.files.Close() }()
	envs, err := a.service(ctx, p, "troop run")
	if err != nil {
		return err
	}
	defer envs.Close()
	envs.Force, envs.Options.Commit = o.Force, o.Commit
	runner := &engine.Engine{Plugins: a.plugins, Store: p.files, Folders: p.files, Source: repo, Environments: envs, Emit: a.ui.Emit}
	run, err := runner.Run(ctx, p.Pipeline, o)
	a.ui.Close()
	if err != nil {
		if diags, ok := errors.AsType[core.Diagnostics](err); ok {
			return &diagnosed{diags, p.sources}
		}
		if missing, ok := errors.AsType[*core.NotFoundError](err); ok { // of --until or --env: nothing has begun
			return usage{missing}
		}
		return err
	}
	a.ui.Summary(run)
	if err := envs.Announce(context.WithoutCancel(ctx), p.Pipeline, run); err != nil {
		a.ui.Note("the end of the run was not announced: " + a.mask.String(err.Error()))
	}
	if err := p.files.Prune(context.WithoutCancel(ctx), keep); err != nil {
		a.ui.Note("clean up old runs: " + err.Error())
	}
	if run.Status != core.Passed {
		return failed
	}
	return nil
}
