package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/project"
)

// served is a pipeline that the server shows and runs: of a folder on this machine, or of a git remote that it mirrors.
type served struct {
	Name   string
	Remote string // empty: a folder on this machine

	file    string // the manifest
	mirror  string // the bare copy of the remote
	options project.Options

	mu      sync.Mutex
	project *project.Project
	digest  core.Digest // of the manifest that project was read from
	problem error       // of reading the present manifest; project is then as it was before
	opened  map[string]opened
	fetch   sync.Mutex // one at a time
}

// opened is an environment that is read from again and again.
type opened struct {
	*environment.Environment
	since time.Time
}

// remote reports whether the name of a pipeline is a git remote. A bare repository on this machine counts as one: its
// manifest is in its commits, too.
func remote(name string) bool {
	if strings.Contains(name, "://") {
		return true
	}
	host, path, ok := strings.Cut(name, ":")
	return ok && path != "" && !strings.ContainsAny(host, "/ ") || project.Bare(name)
}

// serve opens a pipeline: a manifest, its folder, or a git remote.
func serve(ctx context.Context, name, data string, o project.Options) (*served, error) {
	o.Secrets, o.Need = false, manifest.EnvironmentOnly // the server never knows the secrets of a manifest
	v := &served{options: o, opened: map[string]opened{}}
	if remote(name) {
		if project.Bare(name) {
			abs, err := filepath.Abs(name)
			if err != nil {
				return nil, err
			}
			name = abs
		}
		v.Remote = name
		v.mirror = filepath.Join(data, "mirrors", core.DigestOf([]byte(name)).Hex()[:16]+".git")
		v.options.State = filepath.Join(v.mirror, project.BareState)
		if err := v.update(ctx); err != nil {
			return nil, err
		}
	} else {
		file, diags := manifest.Find(name)
		if diags.HasErrors() {
			return nil, &project.ManifestError{Diags: diags}
		}
		v.file = file
	}
	p, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	v.Name = p.Name
	return v, nil
}

// update fetches from the remote, and takes the manifest of its default branch as that of the pipeline's pages.
func (v *served) update(ctx context.Context) error {
	v.fetch.Lock()
	defer v.fetch.Unlock()
	repo, err := git.Mirror(ctx, v.Remote, v.mirror)
	if err != nil {
		return err
	}
	head, err := repo.Resolve(ctx, "HEAD")
	if err != nil {
		return err
	}
	shown := filepath.Join(v.mirror, "troop-shown", head.Hash)
	whole := filepath.Join(shown, "whole") // its last file: whoever made it may have been killed before
	if _, err := os.Stat(whole); err != nil {
		if err := os.RemoveAll(shown); err != nil {
			return err
		}
		if _, err := repo.Checkout(ctx, head.Hash, filepath.Join(shown, "src")); err != nil {
			return err
		}
		if err := os.WriteFile(whole, nil, 0o600); err != nil {
			return err
		}
	}
	v.mu.Lock()
	v.file = filepath.Join(shown, "src", "pipeline.hcl")
	v.mu.Unlock()
	return sweep(shown, time.Now())
}

// replacedFor is how long a checkout stays when another has taken its place: commands that were started there go on.
const replacedFor = 24 * time.Hour

// sweep makes a checkout the newest, and removes those beside it that were replaced long ago.
func sweep(newest string, now time.Time) error {
	if err := os.Chtimes(newest, now, now); err != nil {
		return err
	}
	all, err := os.ReadDir(filepath.Dir(newest))
	if err != nil {
		return err
	}
	since := map[string]time.Time{}
	for _, e := range all {
		info, err := e.Info()
		if err != nil {
			return err
		}
		since[e.Name()] = info.ModTime()
	}
	names := slices.SortedFunc(maps.Keys(since), func(a, b string) int { return since[a].Compare(since[b]) })
	for i := 1; i < len(names); i++ {
		if now.Sub(since[names[i]]) > replacedFor {
			if err := os.RemoveAll(filepath.Join(filepath.Dir(newest), names[i-1])); err != nil {
				return err
			}
		}
	}
	return nil
}

// read returns the project by the manifest as it is now, or, while that cannot be read, as it was before.
func (v *served) read(ctx context.Context) (*project.Project, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	d, err := core.DigestFile(v.file)
	if err == nil && (v.project == nil || d != v.digest || v.project.File != v.file) { // in another checkout, its folder is another
		var p *project.Project
		if p, err = project.Read(ctx, v.file, v.options); err == nil {
			v.project, v.digest = p, d
			if p.Diags.HasErrors() {
				err = &project.ManifestError{Diags: p.Diags, Sources: p.Sources}
			}
		}
		v.problem = err
	}
	if v.project == nil {
		return nil, cmp.Or(err, v.problem)
	}
	return v.project, nil
}

// Problem is why the manifest as it is now cannot be used; empty: it can.
func (v *served) Problem() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.problem == nil {
		return ""
	}
	return v.problem.Error()
}

// openFor is how long an environment is read from before it is opened again, so that hosts that others made are seen.
const openFor = time.Minute

// environment opens an environment of the pipeline to read from it.
func (v *served) environment(ctx context.Context, name string) (*environment.Environment, error) {
	p, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := p.Environment(name); err != nil || name == "" {
		return nil, cmp.Or(err, fmt.Errorf("which environment?"))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if o, ok := v.opened[name]; ok {
		if time.Since(o.since) < openFor {
			return o.Environment, nil
		}
		delete(v.opened, name)
		time.AfterFunc(openFor, func() { _ = o.Close() }) // whoever reads from it has ended by then
	}
	e, err := p.For(name).OpenEnvironment(context.WithoutCancel(ctx), "troop serve")
	if err == nil {
		v.opened[name] = opened{e, time.Now()}
	}
	return e, err
}

func (v *served) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var err error
	for _, o := range v.opened {
		err = errors.Join(err, o.Close())
	}
	if v.project != nil {
		err = errors.Join(err, v.project.Files.Close())
	}
	return err
}

// commit finds the commit that a run is asked for, and the manifest by which it goes. It completes the options.
func (v *served) commit(ctx context.Context, o *core.RunOptions) (file string, err error) {
	path, file := v.mirror, ""
	if v.mirror == "" {
		p, err := v.read(ctx)
		if err != nil {
			return "", err
		}
		path, file = p.Source.Path, p.File
	}
	repo, err := git.Open(ctx, path)
	if err != nil {
		return "", err
	}
	at, err := repo.Resolve(ctx, cmp.Or(o.Commit, o.Branch, o.Tag, "HEAD"))
	if err != nil {
		return "", &core.UsageError{Err: err}
	}
	o.Commit, o.Subject = at.Hash, at.Subject
	if o.Branch == "" && o.Tag == "" {
		o.Branch, o.Tag = at.Branch, at.Tag
	}
	if file != "" {
		return file, nil
	}
	file, err = project.CheckOut(ctx, repo, *o, v.options, "pipeline.hcl")
	if errors.Is(err, fs.ErrNotExist) {
		err = userError("commit %.9s has no pipeline.hcl", o.Commit)
	}
	return file, err
}

// source reads files of a commit, as lines. The repository is opened with the first one: most pages quote none.
func (v *served) source(ctx context.Context, p *project.Project, commit string) func(path string) []string {
	path := v.mirror
	if path == "" {
		path = p.Source.Path
	}
	open := sync.OnceValues(func() (*git.Repository, error) { return git.Open(ctx, path) })
	return func(path string) []string {
		repo, err := open()
		if err != nil {
			return nil
		}
		data, err := repo.File(ctx, commit, path)
		if err != nil || bytes.IndexByte(data, 0) >= 0 {
			return nil // the run made the file, or it is no text
		}
		text := string(data)
		if v.options.Mask != nil {
			text = v.options.Mask.String(text)
		}
		return strings.Split(text, "\n")
	}
}

// stageTypes lists the types of the pipeline's stages.
func stageTypes(p *core.Pipeline) []string {
	var types []string
	for _, s := range p.Stages {
		types = append(types, s.Type)
	}
	slices.Sort(types)
	return slices.Compact(types)
}
