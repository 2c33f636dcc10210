package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/vault"
)

// EnvironmentOptions say for what a command, such as "troop apply", uses an environment.
func (p *Project) EnvironmentOptions(ctx context.Context, command string) (environment.Options, error) {
	lock, err := core.DigestFile(filepath.Join(p.Dir, loader.LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // every plugin may run
	}
	var private *environment.Vault
	if p.Files.Shared() {
		private = &environment.Vault{Objects: p.Files.Objects(), Identities: p.o.Identities}
	}
	commit, errHead := git.Head(ctx, p.Source.Path)
	if errHead != nil {
		commit = "" // hosts need none
	}
	return environment.Options{
		Vault: private, Stop: p.o.Stop, Untrusted: p.o.Untrusted,
		Pipeline: p.Pipeline, Name: p.o.Environment, Dir: p.Files.Dir(), What: command, Locks: p.Files, Log: p.o.Note,
		Commit: commit, Manifest: p.Sources[p.File], PluginLock: lock, Argument: p.Argument(),
		Domains: func(environment string) []string { return manifest.Domains(p.Pipeline, environment) },
	}, err
}

// Argument is how a command line in this folder names the manifest; empty: it is the default.
func (p *Project) Argument() string {
	file := p.File
	if cwd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(cwd, file); err == nil && !strings.HasPrefix(rel, "..") {
			file = rel
		}
	}
	if file == "pipeline.hcl" {
		return ""
	}
	return file
}

// OpenEnvironment opens the environment that a command is about. The caller closes it.
func (p *Project) OpenEnvironment(ctx context.Context, command string) (*environment.Environment, error) {
	o, err := p.EnvironmentOptions(ctx, command)
	if err != nil {
		return nil, err
	}
	return environment.Open(o)
}

// Service returns what serves the environments of a run or an action. The caller closes it.
func (p *Project) Service(ctx context.Context, command string) (*environment.Service, error) {
	o, err := p.EnvironmentOptions(ctx, command)
	return &environment.Service{Options: o, Artifacts: p.Files, Plugins: p.Plugins}, err
}

// Vault opens the vault of the environment that a command is about.
func (p *Project) Vault() (*vault.Vault, error) {
	e, err := p.Environment(p.o.Environment)
	if err != nil {
		return nil, err
	}
	if !p.Files.Shared() {
		return nil, &core.UsageError{Err: fmt.Errorf("the files of environment %s lie in %s, for this machine only; a store block shares them", e.Name, p.Files.Dir())}
	}
	return &vault.Vault{Objects: p.Files.Objects(), Environment: e.Name, Team: p.Team, Identities: p.o.Identities}, nil
}

// TakeOver copies what a folder of the file store has into the project's shared store: runs and artifacts, whose hashes are
// checked, and the files of environments. What is there already stays. It reports each step to the options' Note.
func (p *Project) TakeOver(ctx context.Context, from, command string) error {
	if !p.Files.Shared() {
		return &core.UsageError{Err: fmt.Errorf("the manifest has no store block: the runs are in %s already", p.Files.Dir())}
	}
	if err := p.Files.Check(ctx, true); err != nil {
		return err
	}
	folder := store.Open(from)
	n, err := p.Files.TakeOver(ctx, folder)
	if err != nil {
		return err
	}
	p.o.Note(fmt.Sprintf("%d runs and %d artifacts copied, %d runs were there already", n.Runs, n.Artifacts, n.There))
	for _, d := range n.Damaged {
		p.o.Note("left out: " + d)
	}
	o, err := p.EnvironmentOptions(ctx, command)
	if err != nil {
		return err
	}
	for _, e := range p.Environments {
		o.Name = e.Name
		fence, err := folder.Fence(ctx, e.Name)
		if err == nil {
			err = p.Files.CountOn(ctx, e.Name, fence)
		}
		if err != nil {
			return err
		}
		took, err := environment.TakeOver(ctx, o, filepath.Join(from, e.Name))
		if err != nil {
			return err
		}
		p.o.Note(took)
	}
	return nil
}
