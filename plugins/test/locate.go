package main

import (
	"cmp"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/plugins/test/results"
)

// frames finds the places in a trace, whatever printed it: "file:///x/y.js:12:5", "(/x/y.rb:12", "y_test.go:12:",
// Python's `File "y.py", line 12` Perl's "at t/y.t line 12", and "in test file y.bats, line 12" of Bats.
var frames = regexp.MustCompile(`(?:file://)?([^\s"'()<>:]+\.\w+):(\d+)|File "([^"]+)", line (\d+)|\b(?:at|file) ([^\s"'()<>:,]+\.\w+),? line (\d+)`)

// tree answers where in the workspace a reported path is.
type tree struct {
	root, real string // the workspace, and the same without links
	dir        string // where the command ran, relative to root
	names      map[string]string
}

func newTree(root, dir string) *tree {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		real = root
	}
	return &tree{root: root, real: real, dir: dir}
}

// relative maps a path as a tool wrote it to one relative to the workspace. It is false when the file is not
// there, or is not the project's own.
func (t *tree) relative(path string) (string, bool) {
	if u, err := url.PathUnescape(strings.TrimPrefix(path, "file://")); err == nil {
		path = u
	}
	if filepath.IsAbs(path) {
		for _, root := range []string{t.root, t.real} {
			if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) {
				return t.own(rel)
			}
		}
		return "", false
	}
	for _, rel := range []string{filepath.Join(t.dir, path), path} {
		if rel, ok := t.own(rel); ok {
			return rel, true
		}
	}
	// Go's import paths and -trimpath begin with the module's name, which is no folder.
	for rest := path; strings.Contains(rest, "/"); {
		_, rest, _ = strings.Cut(rest, "/")
		if rel, ok := t.own(filepath.Join(t.dir, rest)); ok {
			return rel, true
		}
	}
	return t.bySuffix(path)
}

func (t *tree) own(rel string) (string, bool) {
	rel = filepath.ToSlash(rel)
	if !filepath.IsLocal(rel) || strings.Contains("/"+rel, "/node_modules/") {
		return "", false
	}
	info, err := os.Stat(filepath.Join(t.root, rel))
	return rel, err == nil && info.Mode().IsRegular()
}

// bySuffix finds the one file of the workspace that a bare name ("price_test.go"), or a path that begins with
// the name of a package, must mean. It is false when there are several.
func (t *tree) bySuffix(path string) (string, bool) {
	if t.names == nil {
		t.names = map[string]string{}
		_ = filepath.WalkDir(t.root, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // what cannot be read is not found
			}
			if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
				return fs.SkipDir
			}
			if d.Type().IsRegular() {
				rel, _ := filepath.Rel(t.root, file)
				if _, twice := t.names[d.Name()]; twice {
					rel = ""
				}
				t.names[d.Name()] = filepath.ToSlash(rel)
			}
			return nil
		})
	}
	rel := t.names[filepath.Base(path)]
	return rel, rel != "" && (strings.HasSuffix("/"+rel, "/"+path) || strings.HasSuffix("/"+path, "/"+rel))
}

// locate says where a test failed: in the test's own file if the trace leads through it, at the line that the report names
// if that is on the way; else the line that the report names, else where the trace first touches the project.
func (t *tree) locate(c results.Case) (path string, line int) {
	own, known, first := "", false, 0
	if c.File != "" {
		own, known = t.relative(c.File)
	}
	for _, m := range frames.FindAllStringSubmatch(c.Trace, -1) {
		name, number := m[1]+m[3]+m[5], m[2]+m[4]+m[6]
		rel, ok := t.relative(name)
		if !ok {
			continue
		}
		n, _ := strconv.Atoi(number)
		if known && rel == own {
			if n == c.Line {
				return own, n
			}
			first = cmp.Or(first, n)
		}
		if path == "" {
			path, line = rel, n
		}
	}
	if known && (first > 0 || c.Line > 0 || path == "") {
		return own, cmp.Or(first, c.Line)
	}
	return path, line
}
