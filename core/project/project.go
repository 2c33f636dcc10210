// Package project puts a pipeline together from its manifest: the manifest as it was read, the plugin lock beside it, its
// store, its environments, and the runs of its commits. It uses neither a terminal nor flags, so that every program that
// works on a project does so in the same way; the troop program and core/hook import it.
package project

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/secret"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/vault"
	"github.com/seed-b96de936/troop/playbooks"
	modules "github.com/seed-b96de936/troop/terraform"
)

// Options say how a project is read and used.
type Options struct {
	Vars        map[string]string // variables of the manifest
	VarFiles    []string
	Environment string        // the one that the command is about; empty: the manifest decides
	Need        manifest.Need // what is used of the manifest
	Secrets     bool          // read them; else only their blocks are checked
	Untrusted   bool          // the manifest is a stranger's: nothing of it is executed, and none of its secrets is read
	Mask        *mask.Mask    // hides the secrets of the manifest from then on

	Plugins    *loader.Loader
	Local      bool   // do not use a shared store
	State      string // folder of the store; empty: .troop beside the manifest
	Workspaces string // folder of workspaces
	Identities *vault.Identities

	// Stop ends the command at its next safe point. Optional.
	Stop func(cause error)
	// Note receives lines for the user.
	Note func(line string)
}

// Project is a manifest that was read, with what belongs to it.
type Project struct {
	*core.Pipeline
	Sources manifest.Sources // the texts that Diags are about
	Diags   core.Diagnostics // of reading the manifest; it may have errors
	Files   *store.Files     // the caller closes them
	Lock    *loader.Lock     // nil: every plugin may run
	Plugins *loader.Loader   // executes only what the lock names

	o Options
}

// ManifestError holds the mistakes in a manifest together with its text.
type ManifestError struct {
	Diags   core.Diagnostics
	Sources manifest.Sources
}

func (e *ManifestError) Error() string { return e.Diags.Error() }

// Read reads the manifest at a path, a file or a folder, and opens its store. A project with mistakes is returned when
// the rest of it can still be checked; else the error is a *ManifestError.
func Read(ctx context.Context, path string, o Options) (*Project, error) {
	file, diags := manifest.Find(path)
	if diags.HasErrors() {
		return nil, &ManifestError{diags, nil}
	}
	books, err := fs.Glob(playbooks.FS, "*.yml")
	if err != nil {
		return nil, err
	}
	var read func(core.SecretSource) (string, error)
	if o.Secrets {
		read = func(s core.SecretSource) (string, error) {
			if o.Untrusted {
				return "", errors.New("it waits for a person: look at how it is read, and leave --untrusted out")
			}
			value, err := secret.Read(ctx, s)
			o.Mask.Add(value)
			return value, err
		}
	}
	p, sources, diags := manifest.Load(file, manifest.Options{
		Vars: o.Vars, VarFiles: o.VarFiles, Environment: o.Environment, Need: o.Need, Secret: read,
		Modules: modules.Names(), Playbooks: books, Reserved: store.Folders(),
	})
	if p == nil {
		return nil, &ManifestError{diags, sources}
	}
	for _, s := range p.Secrets {
		o.Mask.Add(s)
	}
	if p.Store != nil {
		o.Mask.Add(p.Store.Redis) // has a password
	}
	found, rules := environment.Check(p)
	maps.Copy(sources, rules)
	diags = append(diags, found...)
	if p.Store != nil && p.Store.Bucket == "" && diags.HasErrors() {
		return nil, &ManifestError{diags, sources}
	}
	project := &Project{Pipeline: p, Sources: sources, Diags: diags, o: o}
	if project.Lock, project.Plugins, err = Locked(o.Plugins, p.Dir); err != nil {
		return nil, err
	}
	project.Files, err = openStore(ctx, p, o)
	return project, err
}

// Load is Read for a manifest that must have no mistakes.
func Load(ctx context.Context, path string, o Options) (*Project, error) {
	p, err := Read(ctx, path, o)
	if err == nil && p.Diags.HasErrors() {
		err = &ManifestError{p.Diags, p.Sources}
	}
	return p, err
}

// Record is Read for who only looks at what is recorded of runs. A bare repository holds what its hook has started, by
// manifests that are in its commits.
func Record(ctx context.Context, path string, o Options) (*Project, error) {
	if dir, err := filepath.Abs(path); err == nil && Bare(dir) {
		return &Project{Pipeline: &core.Pipeline{Dir: dir}, Files: store.Open(filepath.Join(dir, BareState)), o: o}, nil
	}
	return Read(ctx, path, o)
}

// BareState is the folder of the store in a bare repository.
const BareState = "troop"

// Bare reports whether a folder is a bare repository.
func Bare(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// Locked reads the plugin lock of a folder, if there is one, and returns a loader that obeys it.
func Locked(plugins *loader.Loader, dir string) (*loader.Lock, *loader.Loader, error) {
	lock, err := loader.ReadLock(filepath.Join(dir, loader.LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, plugins, nil
	}
	if diags, ok := errors.AsType[core.Diagnostics](err); ok {
		sources := manifest.Sources{}
		for _, d := range diags {
			if src, err := os.ReadFile(d.Range.File); err == nil {
				sources[d.Range.File] = src
			}
		}
		return nil, nil, &ManifestError{diags, sources}
	}
	if err != nil {
		return nil, nil, err
	}
	return lock, plugins.Locked(lock), nil
}

// UpdateLock accepts the plugins that the pipeline uses as they are now, writes the lock, and returns what it did.
func (p *Project) UpdateLock(ctx context.Context) (*loader.Lock, core.Table, error) {
	lock := p.Lock
	if lock == nil {
		lock = &loader.Lock{File: filepath.Join(p.Dir, loader.LockFile)}
	}
	used := map[string]bool{}
	for _, s := range p.Stages {
		used[s.Type] = true
	}
	t, err := p.o.Plugins.Accept(ctx, lock, used, manifest.Alone(p.File))
	return lock, t, err
}

// Validate returns the mistakes in the manifest, with those that the plugins find in their blocks.
func (p *Project) Validate(ctx context.Context) core.Diagnostics {
	checker := &engine.Engine{Plugins: p.Plugins.Lazy()}
	diags := p.Diags
	for _, d := range checker.Validate(ctx, p.Pipeline, p.o.Environment) {
		// A plugin repeats what the manifest's grammar has refused.
		known := func(before core.Diagnostic) bool { return before.Range == d.Range && !before.Warning }
		if !slices.ContainsFunc(p.Diags, known) {
			diags = append(diags, d)
		}
	}
	return diags
}

// For returns the project as a command that is about another environment sees it.
func (p *Project) For(environment string) *Project {
	q := *p
	q.o.Environment = environment
	return &q
}
