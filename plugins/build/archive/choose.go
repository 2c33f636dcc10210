package archive

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// entry is one file, folder or link, by its path relative to the folder, with slashes.
type entry struct {
	path string
	info fs.FileInfo
}

// CheckPattern says what is wrong with a pattern.
func CheckPattern(p string) error {
	if !doublestar.ValidatePattern(p) {
		return fmt.Errorf("%q is no pattern; brackets or braces are not closed", p)
	}
	if strings.HasPrefix(p, "/") || strings.HasPrefix(p, "./") {
		return fmt.Errorf("%q can match nothing: patterns are relative, write it without the leading %q", p, p[:strings.IndexByte(p, '/')+1])
	}
	return nil
}

// choose lists what to pack, sorted. A folder that is left out is not entered; one of which nothing was chosen
// is not listed when there is an include list.
func choose(dir string, include, exclude []string) ([]entry, error) {
	var list []entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == dir {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.Name() == ".git" || matches(exclude, rel) {
			return skip(d)
		}
		if len(include) > 0 && (d.IsDir() || !within(include, rel)) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		list = append(list, entry{rel, info})
		return nil
	})
	return list, err
}

// within reports whether path, or a folder that it is in, is matched.
func within(patterns []string, path string) bool {
	for ; path != "."; path = filepath.ToSlash(filepath.Dir(path)) {
		if matches(patterns, path) {
			return true
		}
	}
	return false
}

func matches(patterns []string, path string) bool {
	for _, p := range patterns {
		if ok, _ := doublestar.Match(p, path); ok { // CheckPattern has refused bad patterns
			return true
		}
	}
	return false
}
