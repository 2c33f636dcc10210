package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/test/document"
)

// maxReports is how many files a pattern may match.
const maxReports = 10_000

// stamp tells whether a file is the one from before the command.
type stamp struct {
	info     fs.FileInfo
	size     int64
	modified time.Time
}

func (s stamp) same(info fs.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && s.size == info.Size() && s.modified.Equal(info.ModTime())
}

// snapshot remembers the reports that are there before the command runs, such as from a cache.
func snapshot(t *tree, patterns []string) (map[string]stamp, error) {
	files := map[string]stamp{}
	for _, p := range patterns {
		list, err := glob(t, p)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			if info, err := os.Stat(name); err == nil {
				files[name] = stamp{info, info.Size(), info.ModTime()}
			}
		}
	}
	return files, nil
}

// reportFile is a regular file of the workspace.
type reportFile struct{ io.Reader }

// readNew calls parse for each file of a pattern that the command has written.
func readNew(t *tree, pattern string, before map[string]stamp, parse func(*reportFile) error) error {
	list, err := glob(t, pattern)
	if err != nil {
		return err
	}
	for _, name := range list {
		rel, _ := filepath.Rel(t.root, name)
		info, err := os.Stat(name)
		if err == nil && before[name].same(info) {
			continue
		}
		if err == nil {
			err = readOne(t, name, parse)
		}
		if p := (*fs.PathError)(nil); errors.As(err, &p) {
			err = p.Err
		}
		if err != nil {
			return sdk.Failf("report %s cannot be read: %v", rel, err)
		}
	}
	return nil
}

// readOne opens a file that a command has made, and trusts nothing about it: a link must stay in the workspace,
// and only a regular file is read. Opening a pipe does not wait for a writer.
func readOne(t *tree, name string, parse func(*reportFile) error) error {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(t.real, real)
	if err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("it is a link to %s, outside of the workspace", real)
	}
	root, err := os.OpenRoot(t.real)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Lstat(rel); err != nil {
		return err
	} else if err := readable(info); err != nil {
		return err
	}
	f, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // it may have been replaced
	if err == nil {
		err = readable(info)
	}
	if err != nil {
		return err
	}
	return parse(&reportFile{f})
}

func readable(info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return errors.New("it is a folder")
	case mode&fs.ModeNamedPipe != 0:
		return errors.New("it is a named pipe, not a file")
	case mode&fs.ModeDevice != 0:
		return errors.New("it is a device, not a file")
	case !mode.IsRegular():
		return errors.New("it is no regular file")
	case info.Size() > document.MaxSize:
		return fmt.Errorf("it is larger than %d MiB", document.MaxSize>>20)
	}
	return nil
}

// glob finds the files of a pattern. Links to folders are not followed where the pattern leaves the name open.
func glob(t *tree, pattern string) ([]string, error) {
	if pattern == standardOutput {
		return nil, nil
	}
	dir := filepath.Join(t.root, t.dir)
	list, err := doublestar.Glob(os.DirFS(dir), path.Clean(pattern), doublestar.WithFilesOnly(), doublestar.WithNoFollow())
	if err != nil {
		return nil, fmt.Errorf("find reports: %w", err)
	}
	if len(list) > maxReports {
		return nil, sdk.Failf("%s matches %d files; at most %d are read", pattern, len(list), maxReports)
	}
	slices.Sort(list)
	for i, name := range list {
		list[i] = filepath.Join(dir, name)
	}
	return list, nil
}
