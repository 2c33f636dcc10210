package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// goModules reads a go.mod, which since Go 1.17 lists every module that the build needs. Licences are in the modules
// themselves: under vendor, if the source has that, else in the module cache.
func goModules(ctx context.Context, c *config, job *sdk.Job, file string) ([]dependency, error) {
	path := filepath.Join(job.Info.Workspace, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read go.mod: %w", err)
	}
	mod, err := modfile.Parse(file, text, nil)
	if err != nil {
		return nil, fmt.Errorf("read go.mod: %w", err)
	}
	find, err := vendored(filepath.Dir(path))
	if find == nil && err == nil {
		find, err = cached(ctx, c, job, filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	var list []dependency
	for _, r := range mod.Require {
		used := replaced(mod, r.Mod)
		d := dependency{name: used.Path, version: used.Version, file: file, line: r.Syntax.Start.Line}
		if modfile.IsDirectoryPath(used.Path) {
			d.name, d.version = r.Mod.Path, r.Mod.Version
		}
		dir, missing := find(r.Mod, used)
		switch {
		case missing != "":
			d.unknown = missing
		case dir == "":
			continue
		default:
			d.licence, d.unknown = licenceOf(ctx, dir)
		}
		list = append(list, d)
	}
	return list, nil
}

func replaced(f *modfile.File, m module.Version) module.Version {
	for _, r := range f.Replace {
		if r.Old.Path == m.Path && (r.Old.Version == "" || r.Old.Version == m.Version) {
			return r.New
		}
	}
	return m
}

// finder returns the folder of a module that is required, and perhaps replaced, or why there is none. Neither means
// that nothing of it is used.
type finder func(required, used module.Version) (dir, missing string)

// vendored finds modules under vendor, which holds all that the build uses; nil: there is no such folder.
func vendored(dir string) (finder, error) {
	text, err := os.ReadFile(filepath.Join(dir, "vendor", "modules.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read list of vendored modules: %w", err)
	}
	holds := map[string]bool{} // modules with a package
	var path string
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "#" {
			path = words[1]
		} else if !strings.HasPrefix(line, "#") {
			holds[path] = true
		}
	}
	return func(required, _ module.Version) (string, string) {
		if !holds[required.Path] {
			return "", ""
		}
		return filepath.Join(dir, "vendor", filepath.FromSlash(required.Path)), ""
	}, nil
}

func cached(ctx context.Context, c *config, job *sdk.Job, dir string) (finder, error) {
	cache := c.ModuleCache
	if cache == "" {
		var out strings.Builder
		if err := job.Exec(ctx, sdk.Command{Args: []string{"go", "env", "GOMODCACHE"}, Dir: dir, Stdout: &out}); err != nil {
			return nil, fmt.Errorf("find the module cache (module_cache can name it): %w", err)
		}
		cache = strings.TrimSpace(out.String())
	}
	return func(_, used module.Version) (string, string) {
		if modfile.IsDirectoryPath(used.Path) {
			if filepath.IsAbs(used.Path) {
				return used.Path, ""
			}
			return filepath.Join(dir, used.Path), ""
		}
		path, err1 := module.EscapePath(used.Path)
		version, err2 := module.EscapeVersion(used.Version)
		if err := errors.Join(err1, err2); err != nil {
			return "", "no module has such a name: " + err.Error()
		}
		folder := filepath.Join(cache, filepath.FromSlash(path)+"@"+version)
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return "", "not in the module cache: run go mod download before this stage"
		}
		return folder, ""
	}, nil
}

// licenceFile matches the names that licences go by.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|unlicen[cs]e)(-[\w.-]+)?(\.(md|markdown|txt|rst|lesser|mit|bsd|apache))?$`)

// scan finds licences in a text, unless ctx ends: the first scan of a process takes a second or two.
func scan(ctx context.Context, text []byte) (licensecheck.Coverage, bool) {
	if ctx.Err() != nil {
		return licensecheck.Coverage{}, false
	}
	found := make(chan licensecheck.Coverage, 1)
	go func() { found <- licensecheck.Scan(text) }()
	select {
	case <-ctx.Done():
		return licensecheck.Coverage{}, false
	case c := <-found:
		return c, true
	}
}

// wholeLicence is how much of a file, in per cent, has to be the text of known licences.
const wholeLicence = 75

// licenceOf reads the licence files at the top of a package. Several of them hold together.
func licenceOf(ctx context.Context, dir string) (licence, unknown string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", "it cannot be read: " + err.Error()
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", "it cannot be read: " + err.Error()
		}
		found, ok := scan(ctx, text)
		if !ok {
			return "", "it was not looked at"
		}
		if found.Percent < wholeLicence {
			return "", e.Name() + " is the text of no known licence"
		}
		for _, m := range found.Match {
			names = append(names, m.ID)
		}
	}
	if len(names) == 0 {
		return "", "no licence file"
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " AND "), ""
}
