// Command program runs the pipeline of a project's HEAD commit: program MANIFEST ENVIRONMENT PROGRAMS. PROGRAMS is a
// folder with the plugins and troop's own programs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/environment"
	"github.com/seed-b96de936/troop/core/git"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

func main() {
	proc.Main()
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file, env, programs string) error {
	p, _, diags := manifest.Load(file, manifest.Options{})
	if diags.HasErrors() {
		return diags
	}
	plugins, err1 := loader.New(loader.Options{Dirs: []string{programs}})
	repo, err2 := git.Open(ctx, p.Source.Path)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	head, err := repo.Resolve(ctx, "HEAD")
	if err != nil {
		return err
	}
	dir := filepath.Join(p.Dir, ".troop")
	files := store.Open(dir)
	defer files.Close()
	o := environment.Options{Dir: dir, What: "program", Commit: head.Hash, Programs: programs, Locks: files}
	envs := &environment.Service{Options: o, Artifacts: files, Plugins: plugins}
	defer envs.Close()
	e := &engine.Engine{Plugins: plugins, Store: files, Folders: files, Source: repo, Environments: envs}
	e.Emit = func(e core.Event) { fmt.Println(e.Source, e.Kind, e.Summary) }
	r, err := e.Run(ctx, p, core.RunOptions{Commit: head.Hash, Branch: head.Branch, Environment: env})
	if err == nil && r.Status != core.Passed {
		err = errors.New(r.Reason)
	}
	return err
}
