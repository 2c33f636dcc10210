package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// checkout is the files that a manifest may read: those of the git work tree that it is in, or else of its folder. Whoever
// proposes a change to a manifest must not learn, by a person's validation of it, what else is on that person's machine.
type checkout struct {
	dir string // of the manifest; relative paths start there
	top string
}

func newCheckout(dir string) checkout {
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			return checkout{dir, top}
		}
		if top == filepath.Dir(top) {
			return checkout{dir, dir}
		}
	}
}

var errOutside = errors.New("a path stays in the checkout that the manifest is in")

// open opens a regular file. No link leads out of the checkout.
func (c checkout) open(path string) (*os.File, error) {
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(c.dir, path)
	}
	name, err := filepath.Rel(c.top, full)
	if err != nil || !filepath.IsLocal(name) {
		return nil, errOutside
	}
	root, err := os.OpenRoot(c.top)
	if err != nil {
		return nil, reason(err)
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fs.ErrNotExist
	case err != nil && c.leadsOut(name):
		return nil, errOutside
	case err != nil:
		return nil, reason(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	return f, nil
}

// leadsOut reports whether a name that cannot be opened is one that links lead out of the checkout.
func (c checkout) leadsOut(name string) bool {
	top, err := filepath.EvalSymlinks(c.top)
	if err != nil {
		return false
	}
	full, err := filepath.EvalSymlinks(filepath.Join(c.top, name))
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(top, full)
	return err != nil || !filepath.IsLocal(rel)
}

// text is the function file.
func (c checkout) text(path string) (string, error) {
	f, err := c.open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no file %s; the path starts at the manifest's folder", path)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	src, err := readAll(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if !utf8.Valid(src) {
		return "", fmt.Errorf("%s: not UTF-8 text", path)
	}
	return string(src), nil
}

// exists is the function fileexists.
func (c checkout) exists(path string) (bool, error) {
	f, err := c.open(path)
	if errors.Is(err, errOutside) {
		return false, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // it is no file that can be read
	}
	return true, f.Close()
}
