package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
)

func (a *app) pluginLockCmd() *cobra.Command {
	return &cobra.Command{
		Use: "lock [MANIFEST]", Short: "Accept the plugins that a manifest uses as they are now",
		Long: `Lock writes the SHA-256 of every plugin that the manifest uses to troop.lock.hcl beside it. From then on no other
binary is executed for this manifest: a changed one is refused until lock is run again. Commit the file. On another
platform, lock adds the digests of that platform.`,
		RunE: func(c *cobra.Command, args []string) error {
			p, rest, err := a.readUnlocked(args)
			if err == nil && p.diags.HasErrors() {
				err = &diagnosed{p.diags, p.sources}
			}
			if err == nil {
				err = want(rest)
			}
			if err != nil {
				return err
			}
			return a.lock(c, p)
		},
	}
}

func (a *app) lock(c *cobra.Command, p *project) error {
	lock, err := readLock(p.Dir)
	if err != nil {
		return err
	}
	if lock == nil {
		lock = &loader.Lock{File: filepath.Join(p.Dir, loader.LockFile)}
	}
	types := map[string]bool{}
	for _, s := range p.Stages {
		types[s.Type] = true
	}
	t := core.Table{Columns: []string{"plugin", "version", "platform", "digest", "status"}}
	for _, typ := range slices.Sorted(maps.Keys(types)) {
		d, digest, err := a.plugins.Describe(c.Context(), typ)
		if err != nil {
			return err
		}
		_, known := lock.Plugins[typ]
		status := "as before"
		if lock.Accept(typ, d.Version, digest) {
			status = "changed"
			if !known {
				status = "new"
			}
		}
		t.Rows = append(t.Rows, []string{typ, d.Version, loader.Platform, string(digest), status})
	}
	if alone(p.File) {
		for _, typ := range slices.Sorted(maps.Keys(lock.Plugins)) {
			if !types[typ] {
				t.Rows = append(t.Rows, []string{typ, lock.Plugins[typ].Version, "", "", "not used, removed"})
				delete(lock.Plugins, typ)
			}
		}
	}
	if err := lock.Write(); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	a.ui.Table(t)
	a.ui.Printf("wrote %s", lock.File)
	return nil
}

// alone reports whether a manifest is the only one in its folder, and so the only one with its lock.
func alone(file string) bool {
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() != filepath.Base(file) && e.Name() != loader.LockFile && filepath.Ext(e.Name()) == ".hcl"
	})
}

// readLock reads the lock of a folder; nil: there is none.
func readLock(dir string) (*loader.Lock, error) {
	lock, err := loader.ReadLock(filepath.Join(dir, loader.LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // everything may run
	}
	if diags := core.Diagnostics(nil); errors.As(err, &diags) {
		sources := manifest.Sources{}
		for _, d := range diags {
			if src, err := os.ReadFile(d.Range.File); err == nil {
				sources[d.Range.File] = src
			}
		}
		return nil, &diagnosed{diags, sources}
	}
	return lock, err
}

// enforce applies the lock of a folder to all plugins that are opened from now on.
func (a *app) enforce(dir string) error {
	l, err := a.loader()
	if err != nil {
		return err
	}
	lock, err := readLock(dir)
	if err == nil && lock != nil {
		a.plugins = l.Locked(lock)
	}
	return err
}

// enforceAhead is enforce before the manifest is read, when plugins are asked for their actions: no plugin is executed
// that the lock does not name.
func (a *app) enforceAhead(args []string) error {
	for _, arg := range args {
		if path, _ := manifestArg([]string{arg}); path != "" {
			if file, diags := manifest.Find(path); !diags.HasErrors() {
				return a.enforce(filepath.Dir(file))
			}
		}
	}
	return a.enforce(".")
}
