package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/vault"
	"github.com/seed-b96de936/troop/playbooks"
	modules "github.com/seed-b96de936/troop/terraform"
)

// manifestArg takes the manifest off the arguments when the first one is one.
func manifestArg(args []string) (path string, rest []string) {
	if len(args) == 0 {
		return "", nil
	}
	first := args[0]
	if strings.HasSuffix(first, ".hcl") || strings.HasSuffix(first, "/") {
		return first, args[1:]
	}
	if first == "." || first == ".." || strings.ContainsRune(first, filepath.Separator) {
		if info, err := os.Stat(first); err == nil && info.IsDir() {
			return first, args[1:]
		}
	}
	return "", args
}

// project is a manifest that has been read.
type project struct {
	*core.Pipeline
	sources manifest.Sources
	diags   core.Diagnostics // of reading it
	files   *store.Files
}

// read reads the manifest that the arguments name, and enforces its plugin lock. A project with mistakes is returned
// when the rest of it can still be checked.
func (a *app) read(args []string) (*project, []string, error) {
	p, rest, err := a.readUnlocked(args)
	if err == nil {
		err = a.enforce(p.Dir)
	}
	return p, rest, err
}

func (a *app) readUnlocked(args []string) (*project, []string, error) {
	path, rest := manifestArg(args)
	file, diags := manifest.Find(path)
	if diags.HasErrors() {
		return nil, rest, &diagnosed{diags, nil}
	}
	vars := map[string]string{}
	for _, v := range a.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, rest, usage{fmt.Errorf("--var %s: want name=value", v)}
		}
		vars[name] = value
	}
	books, err := fs.Glob(playbooks.FS, "*.yml")
	if err != nil {
		return nil, rest, err
	}
	p, sources, diags := manifest.Load(file, manifest.Options{
		Vars: vars, VarFiles: a.varFiles, Environment: a.env, Need: a.need, Secret: a.secret, Modules: modules.Names(), Playbooks: books, Reserved: store.Folders(),
	})
	if p == nil {
		return nil, rest, &diagnosed{diags, sources}
	}
	for _, s := range p.Secrets {
		a.mask.Add(s)
	}
	found, rules := environment.Check(p)
	maps.Copy(sources, rules)
	diags = append(diags, found...)
	if p.Store != nil && p.Store.Bucket == "" && diags.HasErrors() {
		return nil, rest, &diagnosed{diags, sources}
	}
	files, err := a.storeOf(p)
	return &project{Pipeline: p, sources: sources, diags: diags, files: files}, rest, err
}

// record is read for commands that look at what is recorded of runs. A bare repository holds what its hook has started,
// by manifests that are in its commits.
func (a *app) record(args []string) (*project, []string, error) {
	dir := "."
	if path, rest := manifestArg(args); path != "" {
		dir, args = path, append([]string{path}, rest...)
	}
	if dir, err := filepath.Abs(dir); err == nil && bare(dir) {
		_, rest := manifestArg(args)
		return &project{Pipeline: &core.Pipeline{Dir: dir}, files: store.Open(filepath.Join(dir, bareState))}, rest, nil
	}
	return a.read(args)
}

// bareState is the folder of the store in a bare repository.
const bareState = "troop"

// bare reports whether a folder is a bare repository.
func bare(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// store opens the store of a manifest's folder. Every environment is kept there, too.
func (a *app) store(dir string) *store.Files {
	f := store.Open(cmp.Or(a.state, filepath.Join(dir, ".troop")))
	f.Workspaces = a.workspaces
	return f
}

// storePatience is how long a command goes on trying when a shared store does not do its work: a run that has begun waits
// longer than one that could still be refused.
const (
	storePatience = 2 * time.Minute
	checkPatience = 10 * time.Second
)

// storeOf opens the store that a pipeline names, and tests that a shared one can be used.
//
//nolint:contextcheck // it lasts as long as the command
func (a *app) storeOf(p *core.Pipeline) (*store.Files, error) {
	if p.Store == nil || a.offline {
		return a.store(p.Dir), nil
	}
	dir, err := copyFolder(*p.Store)
	if err != nil {
		return nil, err
	}
	f, err := a.shared(*p.Store, cmp.Or(a.state, dir))
	if err != nil {
		return nil, err
	}
	write := a.need == manifest.Everything
	ctx, cancel := context.WithTimeout(a.ctx, checkPatience)
	defer cancel()
	if err := f.Check(ctx, write); err != nil {
		return nil, err
	}
	if write {
		if err := f.SendRest(a.ctx); err != nil {
			a.ui.Note(err.Error())
		}
	}
	return f, nil
}

// shared opens a shared store with its copy in a folder.
func (a *app) shared(c core.StoreConfig, dir string) (*store.Files, error) {
	s3, err := store.OpenS3(a.ctx, store.S3Options{
		Bucket: c.Bucket, Prefix: c.Prefix, Region: c.Region, Endpoint: c.Endpoint, Profile: c.Profile, PathStyle: c.PathStyle,
	})
	if err != nil {
		return nil, err
	}
	objects := store.Patient{Objects: s3, Wait: storePatience, Say: a.ui.Note}
	f := store.OpenShared(dir, objects, a.ui.Note)
	f.Workspaces = a.workspaces
	return f, nil
}

// copyFolder is the folder of a shared store's copy on this machine.
func copyFolder(c core.StoreConfig) (string, error) {
	cache, err := core.CacheFolder()
	return filepath.Join(cache, "projects", core.DigestOf([]byte(c.ID())).Hex()[:16]), err
}

// identities are those of the user of this process.
func (a *app) identities() *vault.Identities {
	home, _ := os.UserHomeDir() // without one there is no .ssh
	x := &vault.Identities{Env: os.Getenv, Home: home}
	if f, ok := a.in.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		x.Passphrase = func(file string) ([]byte, error) {
			a.ui.Ask("Passphrase of " + file + ":")
			return term.ReadPassword(int(f.Fd()))
		}
	}
	return x
}

// load is read for commands that need a manifest without mistakes.
func (a *app) load(args []string) (*project, []string, error) {
	p, rest, err := a.read(args)
	if err == nil && p.diags.HasErrors() {
		err = &diagnosed{p.diags, p.sources}
	}
	return p, rest, err
}

// options say for what a command uses an environment.
func (a *app) options(ctx context.Context, p *project, command string) (environment.Options, error) {
	lock, err := core.DigestFile(filepath.Join(p.Dir, loader.LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // everything may run
	}
	var private *environment.Vault
	if p.files.Shared() {
		private = &environment.Vault{Objects: p.files.Objects(), Identities: a.identities()}
	}
	return environment.Options{
		Vault: private, Stop: a.stop,
		Pipeline: p.Pipeline, Name: a.env, Dir: p.files.Dir(), What: command, Locks: p.files, Log: a.ui.Note,
		Commit: head(ctx, p), Manifest: p.sources[p.File], PluginLock: lock, Argument: argument(p.File),
	}, err
}

// head is the commit that is checked out in the pipeline's source folder; empty: there is none, which hosts do not need.
func head(ctx context.Context, p *project) string {
	hash, err := git.Head(ctx, p.Source.Path)
	if err != nil {
		return ""
	}
	return hash
}

// argument is how a command line in this folder names a manifest; empty: it is the default.
func argument(file string) string {
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

// service makes what serves the environments of a run or an action. The caller closes it.
func (a *app) service(ctx context.Context, p *project, command string) (*environment.Service, error) {
	o, err := a.options(ctx, p, command)
	return &environment.Service{Options: o, Artifacts: p.files, Plugins: a.plugins}, err
}

// open opens the environment that a command is about, and returns the arguments after the manifest. The caller closes
// it.
func (a *app) open(c *cobra.Command, args []string) (*environment.Environment, []string, error) {
	p, rest, err := a.load(args)
	if err != nil {
		return nil, rest, err
	}
	e, err := a.openIn(c, p)
	return e, rest, err
}

// openAlone is open for a command that takes no further arguments.
func (a *app) openAlone(c *cobra.Command, args []string) (*environment.Environment, error) {
	p, rest, err := a.load(args)
	if err == nil {
		err = want(rest)
	}
	if err != nil {
		return nil, err
	}
	return a.openIn(c, p)
}

// openLeniently is open for a command that reads local files only, and works in spite of mistakes in the manifest.
func (a *app) openLeniently(c *cobra.Command, args []string) (*environment.Environment, []string, error) {
	p, rest, err := a.read(args)
	if err != nil {
		return nil, rest, err
	}
	e, err := a.openIn(c, p)
	return e, rest, err
}

func (a *app) openIn(c *cobra.Command, p *project) (*environment.Environment, error) {
	o, err := a.options(c.Context(), p, c.CommandPath())
	if err != nil {
		return nil, err
	}
	e, err := environment.Open(o)
	if err == nil {
		a.opened = append(a.opened, e)
	}
	return e, err
}

// close closes the environments that the command has left open: private files of a shared store do not stay.
func (a *app) close() {
	for _, e := range a.opened {
		if err := e.Close(); err != nil {
			a.ui.Note(err.Error())
		}
	}
}

// want checks how many arguments are left after the manifest.
func want(rest []string, names ...string) error {
	if len(rest) == len(names) {
		return nil
	}
	if len(names) == 0 {
		return usage{fmt.Errorf("unexpected argument %q; a manifest ends in .hcl or is a folder written with a /", rest[0])}
	}
	return usage{fmt.Errorf("want the arguments %s, got %d", strings.Join(names, " "), len(rest))}
}

func (a *app) completeEnvironments(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	a.offline = true
	p, _, err := a.read(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, e := range p.Environments {
		names = append(names, e.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// confirm asks a person. Where stdin is no terminal, it refuses and says what to do instead.
func (a *app) confirm(question, otherwise string) error {
	f, ok := a.in.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return usage{errors.New("stdin is not a terminal; " + otherwise)}
	}
	a.ui.Ask(question + " Only \"yes\" goes on:")
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "yes" {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}
