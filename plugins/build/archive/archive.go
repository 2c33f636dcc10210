// Package archive writes a folder as a zstd-compressed tar whose bytes depend on nothing but the folder's files:
// sorted, owned by root, with one date, the same on any number of processors. Two builds of one commit are one
// artifact. The build plugin imports it.
package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what goes in. Patterns are doublestar's, relative to the folder, with slashes.
type Options struct {
	Include  []string // files; empty: all
	Exclude  []string // files and folders; beats Include
	Time     time.Time
	Comment  string          // of the archive; tar does not show it
	Progress func(files int) // packed so far; optional
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

// Write packs dir into file, which must not exist. When ctx ends it stops; the file is then incomplete. It reads the
// tree once, each file with one open, and follows no link, also not one that takes the place of a file or a folder
// meanwhile. Its memory does not depend on the size of the tree.
func Write(ctx context.Context, file, dir string, o Options) (Stats, error) {
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Stats{}, fmt.Errorf("write archive: %w", err)
	}
	stats, err := write(ctx, out, dir, o)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Stats{}, fmt.Errorf("write archive: %w", err)
	}
	return stats, nil
}

func write(ctx context.Context, out io.Writer, dir string, o Options) (Stats, error) {
	root, err := os.Open(dir)
	if err != nil {
		return Stats{}, err
	}
	defer func() { _ = root.Close() }()
	z, err := newFrames(out)
	if err != nil {
		return Stats{}, err
	}
	p := packer{ctx: ctx, o: o, tar: tar.NewWriter(z), buffer: make([]byte, 256<<10)}
	if o.Comment != "" {
		err = p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": o.Comment}})
	}
	if err == nil {
		err = p.folder(root, "")
	}
	if err == nil {
		err = p.tar.Close()
	}
	if closeErr := z.Close(); err == nil {
		err = closeErr
	}
	return p.stats, err
}

// packer writes a tree to a tar.
type packer struct {
	ctx    context.Context
	o      Options
	tar    *tar.Writer
	buffer []byte
	stats  Stats
}

// progressEvery is after how many files Progress is called.
const progressEvery = 500

// folder packs what is in an open folder, sorted, and with it the folders in it. path is its own, with a slash at the
// end; empty for the whole tree. A folder that is left out is not entered; with an include list folders have no entry
// of their own.
func (p *packer) folder(dir *os.File, path string) error {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if err := p.ctx.Err(); err != nil {
			return context.Cause(p.ctx)
		}
		name := path + e.Name()
		if e.Name() == ".git" || matches(p.o.Exclude, name) {
			continue
		}
		if e.IsDir() {
			err = p.subfolder(dir, e.Name(), name)
		} else if len(p.o.Include) == 0 || within(p.o.Include, name) {
			err = p.entry(dir, e, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) subfolder(dir *os.File, name, path string) error {
	if len(p.o.Include) == 0 {
		if err := p.header(tar.Header{Typeflag: tar.TypeDir, Name: path + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	fd, err := openAt(dir, name, unix.O_DIRECTORY)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	sub := os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name))
	defer func() { _ = sub.Close() }()
	return p.folder(sub, path+"/")
}

// entry packs what is no folder.
func (p *packer) entry(dir *os.File, e fs.DirEntry, path string) error {
	switch {
	case e.Type() == fs.ModeSymlink:
		target, err := p.target(dir, e.Name())
		if err != nil {
			return &fs.PathError{Op: "readlink", Path: path, Err: err}
		}
		if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(path), target)) {
			return &LeavesError{path, target}
		}
		if err := p.header(tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: target, Mode: 0o777}); err != nil {
			return err
		}
	case e.Type().IsRegular():
		if err := p.file(dir, e.Name(), path); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is neither file, folder nor link (%s)", path, e.Type())
	}
	p.stats.Files++
	if p.o.Progress != nil && p.stats.Files%progressEvery == 0 {
		p.o.Progress(p.stats.Files)
	}
	return nil
}

// target reads a link in an open folder.
func (p *packer) target(dir *os.File, name string) (string, error) {
	n, err := unix.Readlinkat(int(dir.Fd()), name, p.buffer)
	return string(p.buffer[:max(n, 0)]), err
}

// openAt opens what has a name in an open folder, but no link.
func openAt(dir *os.File, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// file packs a regular file. It goes without os.File, whose setting up costs as much as the reading of a small file.
func (p *packer) file(dir *os.File, name, path string) error {
	fail := func(op string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }
	fd, err := openAt(dir, name, unix.O_NONBLOCK) // a FIFO that has taken its place must not block
	if err != nil {
		return fail("open", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s changed while it was packed", path)
	}
	h := tar.Header{Typeflag: tar.TypeReg, Name: path, Size: st.Size, Mode: 0o644}
	if st.Mode&0o100 != 0 {
		h.Mode = 0o755
	}
	if err := p.header(h); err != nil {
		return err
	}
	for left := st.Size; ; {
		n, err := unix.Read(fd, p.buffer)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fail("read", err)
		case int64(n) > left, n == 0 && left > 0:
			return fmt.Errorf("%s changed while it was packed", path)
		case n == 0:
			p.stats.Bytes += st.Size
			return nil
		}
		if _, err := p.tar.Write(p.buffer[:n]); err != nil {
			return err
		}
		if left -= int64(n); p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
	}
}

func (p *packer) header(h tar.Header) error {
	h.ModTime, h.Format = p.o.Time, tar.FormatPAX
	return p.tar.WriteHeader(&h)
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
