// Package archive writes a folder as a zstd-compressed tar whose bytes depend on nothing but the folder's files:
// sorted, owned by root, dated alike. Two builds of one commit are one artifact. The build plugin imports it.
package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Options say what goes in. Patterns are doublestar's, relative to the folder, with slashes.
type Options struct {
	Include  []string // files; empty: all
	Exclude  []string // files and folders; beats Include
	Time     time.Time
	Progress func(done, total int) // of files; optional
}

// Stats is what went in.
type Stats struct {
	Files int
	Bytes int64 // before compression
}

// LeavesError says that a link points out of the folder: on a host it would lead somewhere else, or nowhere.
type LeavesError struct{ Path, Target string }

func (e *LeavesError) Error() string {
	return fmt.Sprintf("%s is a link to %s, outside the package; exclude it or make it a file", e.Path, e.Target)
}

// Write packs dir into file, which must not exist. When ctx ends it stops; the file is then incomplete.
func Write(ctx context.Context, file, dir string, o Options) (Stats, error) {
	list, err := choose(dir, o.Include, o.Exclude)
	if err != nil {
		return Stats{}, fmt.Errorf("read tree: %w", err)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Stats{}, fmt.Errorf("write archive: %w", err)
	}
	stats, err := write(ctx, out, dir, list, o)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Stats{}, fmt.Errorf("write archive: %w", err)
	}
	return stats, nil
}

func write(ctx context.Context, out io.Writer, dir string, list []entry, o Options) (Stats, error) {
	// One goroutine: what several of them write may depend on how many processors there are.
	z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Stats{}, err
	}
	t := tar.NewWriter(z)
	var stats Stats
	for i, e := range list {
		if err := ctx.Err(); err != nil {
			return stats, context.Cause(ctx)
		}
		n, err := add(t, dir, e, o.Time)
		if err != nil {
			return stats, err
		}
		if !e.info.IsDir() {
			stats.Files++
		}
		stats.Bytes += n
		if o.Progress != nil && i%500 == 0 {
			o.Progress(i, len(list))
		}
	}
	if err := t.Close(); err != nil {
		return stats, err
	}
	return stats, z.Close()
}

func add(t *tar.Writer, dir string, e entry, when time.Time) (int64, error) {
	h := &tar.Header{Name: e.path, ModTime: when, Format: tar.FormatPAX}
	switch mode := e.info.Mode(); {
	case mode.IsDir():
		h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, e.path+"/"
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(filepath.Join(dir, e.path))
		if err != nil {
			return 0, err
		}
		if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(e.path), target)) {
			return 0, &LeavesError{e.path, target}
		}
		h.Typeflag, h.Mode, h.Linkname = tar.TypeSymlink, 0o777, target
	case mode.IsRegular():
		h.Typeflag, h.Mode, h.Size = tar.TypeReg, 0o644, e.info.Size()
		if mode&0o100 != 0 {
			h.Mode = 0o755
		}
	default:
		return 0, fmt.Errorf("%s is neither file, folder nor link (%s)", e.path, mode.Type())
	}
	if err := t.WriteHeader(h); err != nil {
		return 0, err
	}
	if h.Typeflag != tar.TypeReg {
		return 0, nil
	}
	f, err := os.Open(filepath.Join(dir, e.path))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	n, err := io.Copy(t, f)
	if err == nil && n != h.Size {
		err = fmt.Errorf("%s changed while it was packed", e.path)
	}
	return n, err
}

// Copy copies the folder from, without its .git, to the folder to, which must not exist: files, folders, links
// and modes.
func Copy(ctx context.Context, from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if d.Name() == ".git" && path != from {
			return skip(d)
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case d.Type().IsRegular():
			return copyFile(path, target, info.Mode().Perm())
		}
		return fmt.Errorf("%s is neither file, folder nor link (%s)", path, d.Type())
	})
	if err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	return nil
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o200)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
