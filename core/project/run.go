package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/trace"
)

// keep is what is left of old runs after a new one.
var keep = store.Keep{Workspaces: 3, Runs: 20}

// Watcher is told of a run as it goes. Emit gets its events; Ended the run when its last event is written, before it is
// announced and old runs are removed.
type Watcher struct {
	Emit  func(core.Event)
	Ended func(core.Run)
}

// Run runs the pipeline for a commit: the revision o.Commit, or the files of the work tree when o.Dirty is set. A run that
// has not begun has no ID and an error; it is recorded as refused when o.ID was given, since somebody was told of it then.
func (p *Project) Run(ctx context.Context, o core.RunOptions, w Watcher) (core.Run, error) {
	o.By = starter()
	run, err := p.run(ctx, o, w)
	if err != nil && run.ID == "" && o.ID != "" {
		err = errors.Join(err, refuse(ctx, p.Files, p.Pipeline, o, p.o, err))
	}
	return run, err
}

func (p *Project) run(ctx context.Context, o core.RunOptions, w Watcher) (core.Run, error) {
	repo, err := git.Open(ctx, p.Source.Path)
	if err != nil {
		return core.Run{}, err
	}
	repo.Filters = p.Source.Filters
	if err := p.complete(ctx, repo, &o); err != nil {
		return core.Run{}, err
	}
	envs, err := p.Service(ctx, "troop run")
	if err != nil {
		return core.Run{}, err
	}
	defer envs.Close()
	envs.Force, envs.Options.Commit = o.Force, o.Commit
	e := &engine.Engine{Plugins: p.Plugins, Store: p.Files, Folders: p.Files, Source: repo, Environments: envs, Emit: w.Emit}
	run, err := e.Run(ctx, p.Pipeline, o)
	if diags, ok := errors.AsType[core.Diagnostics](err); ok {
		err = &ManifestError{diags, p.Sources}
	}
	if err != nil {
		return run, err
	}
	w.Ended(run)
	if err := envs.Announce(context.WithoutCancel(ctx), p.Pipeline, run); err != nil {
		p.o.Note("the end of the run was not announced: " + p.o.Mask.String(err.Error()))
	}
	if err := trace.Send(ctx, run); err != nil {
		p.o.Note(p.o.Mask.String(err.Error()))
	}
	if err := p.Files.Prune(context.WithoutCancel(ctx), keep); err != nil {
		p.o.Note("clean up old runs: " + err.Error())
	}
	return run, nil
}

// complete resolves the commit to run, and says which changes are not in it.
func (p *Project) complete(ctx context.Context, repo *git.Repository, o *core.RunOptions) error {
	rev := o.Commit
	at, dirty, err := resolve(ctx, repo, rev, o.Dirty)
	if err != nil {
		return err
	}
	o.Commit, o.Subject = at.Hash, at.Subject
	if o.Tag == "" && o.Branch == "" {
		o.Branch = at.Branch
		if o.Branch == "" {
			o.Tag = at.Tag
		}
	}
	if rev == "HEAD" && !o.Dirty {
		if changed, err := repo.Dirty(ctx); err == nil && len(changed) > 0 {
			p.o.Note(fmt.Sprintf("%d changed or new files are in no commit, and so not in this run: %s; --dirty takes them", len(changed), changed[0]))
		}
	}
	o.Dirty = dirty
	return nil
}

// resolve returns the commit to run, and whether it is one of uncommitted changes.
func resolve(ctx context.Context, repo *git.Repository, rev string, dirty bool) (git.Commit, bool, error) {
	if dirty {
		return repo.Snapshot(ctx)
	}
	at, err := repo.Resolve(ctx, rev)
	return at, false, err
}

// Call calls an action of a stage's plugin, such as deploy's promote.
func (p *Project) Call(ctx context.Context, o core.CallOptions, emit func(core.Event)) (map[string]any, error) {
	envs, err := p.Service(ctx, "troop "+o.Type+" "+o.Action)
	if err != nil {
		return nil, err
	}
	defer envs.Close()
	caller := &engine.Engine{Plugins: p.Plugins, Store: p.Files, Folders: p.Files, Environments: envs, Emit: emit}
	return caller.Call(ctx, p.Pipeline, o)
}

// starter is who starts a run, and on which machine.
func starter() string {
	host, err := os.Hostname()
	if err != nil {
		return environment.User()
	}
	return environment.User() + "@" + host
}

// Refuse records a run that could not begin because its manifest cannot be used.
func Refuse(ctx context.Context, dir string, o core.RunOptions, with Options, reason error) error {
	files := OpenLocal(dir, with)
	return errors.Join(refuse(ctx, files, nil, o, with, reason), files.Close())
}

// Refuse records a run of the pipeline that could not begin.
func (p *Project) Refuse(ctx context.Context, o core.RunOptions, reason error) error {
	return refuse(ctx, p.Files, p.Pipeline, o, p.o, reason)
}

func refuse(ctx context.Context, files *store.Files, p *core.Pipeline, o core.RunOptions, with Options, reason error) error {
	r := core.Run{
		ID: o.ID, Commit: o.Commit, Subject: o.Subject, Branch: o.Branch, Tag: o.Tag, Environment: o.Environment, By: starter(),
	}
	if p != nil {
		r.Pipeline, r.Manifest = p.Name, p.File
	}
	return files.PutRefused(context.WithoutCancel(ctx), r, with.Mask.String(reason.Error()))
}

// Version tells one state of a watched project from another: by the commit to run, and by the manifest's text, which counts
// as it lies there. source is the source folder as it was known before, and is returned as it is known now: a manifest
// that cannot be read leaves it as it was.
func Version(ctx context.Context, path string, o Options, rev string, dirty bool, source string) (version, now string) {
	file, _ := manifest.Find(path)
	text, _ := core.DigestFile(file)
	o.Secrets, o.Local = false, true // this is asked again and again, and needs neither
	if p, err := Read(ctx, path, o); err == nil {
		source = p.Source.Path
		_ = p.Files.Close() // read only
	}
	repo, err := git.Open(ctx, cmp.Or(source, filepath.Dir(file)))
	if err != nil {
		return string(text), source
	}
	at, _, _ := resolve(ctx, repo, rev, dirty) // without a commit there is none to tell from another
	return string(text) + at.Hash, source
}
