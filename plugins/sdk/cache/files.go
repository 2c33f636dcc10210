package cache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

var errLimit = errors.New("larger than the limit")

// stamp tells a file that has not changed since it was kept.
type stamp struct {
	root, name string
	size       int64
	modified   time.Time
}

func (x *Cache) stamp(f file) stamp {
	return stamp{x.config.Paths[f.Root], f.Name, f.Size, f.Modified.UTC()}
}

// known are the sums of the files in all entries of the same paths, so that only new files are read.
func (x *Cache) known() map[stamp]string {
	known := map[stamp]string{}
	names, _ := filepath.Glob(filepath.Join(x.dir, "entries", "*.json"))
	for _, name := range names {
		e, err := readEntry(name)
		if err != nil {
			continue
		}
		for _, f := range e.Files {
			if f.Sum != "" && f.Root < len(x.config.Paths) {
				known[x.stamp(f)] = f.Sum
			}
		}
	}
	return known
}

// collect adds what is below a path to an entry, and the content of its files to the store. Links are kept as links.
func (x *Cache) collect(ctx context.Context, root int, e *entry, size *int64, known map[stamp]string) error {
	top, err := os.OpenRoot(x.roots[root])
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }()
	return fs.WalkDir(top.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a tool that shares the folder has removed it
		}
		if err != nil {
			return err
		}
		f := file{Root: root, Name: name, Mode: info.Mode() & (fs.ModeType | fs.ModePerm)}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			f.Link, err = top.Readlink(name)
		case info.Mode().IsRegular():
			f.Size, f.Modified = info.Size(), info.ModTime().UTC()
			if *size += f.Size; *size > int64(x.config.Limit) {
				return errLimit
			}
			if f.Sum = known[x.stamp(f)]; f.Sum == "" || !exists(x.contentFile(f.Sum)) {
				f.Sum, err = x.store(top, name)
			}
		case !info.IsDir():
			return nil // sockets and pipes
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			e.Files = append(e.Files, f)
		}
		return err
	})
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// store copies a file into the store, under the sum of what was copied.
func (x *Cache) store(top *os.Root, name string) (sum string, err error) {
	in, err := top.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Join(x.dir, "new"), "")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(out.Name()) }() // in vain once it is renamed
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	if err = errors.Join(err, out.Close()); err != nil {
		return "", err
	}
	sum = hex.EncodeToString(h.Sum(nil))
	to := x.contentFile(sum)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	return sum, os.Rename(out.Name(), to)
}

// restore puts the files of an entry where they belong. A path of the source is made beside its place and renamed when
// it is whole; one of the home folder, which other programs use, gets the files that it lacks.
func (x *Cache) restore(ctx context.Context, e entry) error {
	for root, to := range x.roots {
		files := slices.DeleteFunc(slices.Clone(e.Files), func(f file) bool { return f.Root != root })
		if len(files) == 0 {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if x.home(root) {
			if err := x.fill(ctx, to, files, exists(to)); err != nil {
				return err
			}
			continue
		}
		if exists(to) {
			continue // the commit's own
		}
		scratch, err := os.MkdirTemp(filepath.Dir(to), ".cache-")
		if err != nil {
			return err
		}
		err = x.fill(ctx, scratch, files, false)
		if err == nil {
			err = os.Rename(scratch, to)
		}
		if err != nil {
			_ = removeAll(scratch)
			return err
		}
	}
	return nil
}

// fill puts files below a folder, where there is nothing yet. Nothing is written outside of it, whatever links are
// there. The modes of folders come last: some allow no writing. That of the folder itself stays when it is used by others.
func (x *Cache) fill(ctx context.Context, to string, files []file, used bool) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	top, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }()
	var folders []file
	for _, f := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.Name == "." && used || f.Name != "." && existsIn(top, f.Name) {
			continue
		}
		switch {
		case f.Mode.IsDir():
			folders = append(folders, f)
			if f.Name != "." {
				err = top.Mkdir(f.Name, 0o700)
			}
		case f.Mode&fs.ModeSymlink != 0:
			err = top.Symlink(f.Link, f.Name)
		default:
			err = x.fetch(top, f)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, f := range slices.Backward(folders) {
		if err := top.Chmod(f.Name, f.Mode.Perm()); err != nil {
			return err
		}
	}
	return nil
}

func existsIn(top *os.Root, name string) bool {
	_, err := top.Lstat(name)
	return err == nil
}

// fetch copies a file out of the store. It appears under its name when it is whole and its sum is right.
func (x *Cache) fetch(top *os.Root, f file) error {
	in, err := os.Open(x.contentFile(f.Sum))
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	part := f.Name + ".part" + fmt.Sprint(os.Getpid())
	out, err := top.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = top.Remove(part) }() // in vain once it is renamed
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	if err = errors.Join(err, out.Chmod(f.Mode.Perm()), out.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.Sum {
		_ = os.Remove(x.contentFile(f.Sum))
		return fmt.Errorf("the content of %s is not what was kept", f.Name)
	}
	if err := top.Chtimes(part, f.Modified, f.Modified); err != nil {
		return err
	}
	return top.Rename(part, f.Name)
}

// removeAll removes a tree, also folders that allow no writing.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(name, 0o700) //nolint:gosec // about to be removed
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// evict removes the entries that were not used for longest until the rest is within the limit, then every file that no
// entry names. While another run uses the store it does nothing: the next one makes room.
func (x *Cache) evict() error {
	unlock, ok, err := x.lock(true)
	if err != nil || !ok {
		return err
	}
	defer unlock()
	type kept struct {
		name string
		used time.Time
		entry
	}
	var list []kept
	names, err := filepath.Glob(filepath.Join(x.dir, "entries", "*.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		e, readErr := readEntry(name)
		if err != nil || readErr != nil {
			_ = os.Remove(name)
			continue
		}
		list = append(list, kept{name, info.ModTime(), e})
	}
	slices.SortFunc(list, func(a, b kept) int { return b.used.Compare(a.used) })
	needed := map[string]bool{}
	var size int64
	for _, k := range list {
		more := int64(0)
		added := map[string]bool{}
		for _, f := range k.Files {
			if f.Sum != "" && !needed[f.Sum] && !added[f.Sum] {
				added[f.Sum] = true
				more += f.Size
			}
		}
		if size+more > int64(x.config.Limit) {
			if err := os.Remove(k.name); err != nil {
				return err
			}
			continue
		}
		size += more
		for sum := range added {
			needed[sum] = true
		}
	}
	return x.sweep(needed)
}

// sweep removes what no entry needs, and what a killed run has left.
func (x *Cache) sweep(needed map[string]bool) error {
	if err := os.RemoveAll(filepath.Join(x.dir, "new")); err != nil {
		return err
	}
	files := filepath.Join(x.dir, "files")
	err := filepath.WalkDir(files, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || needed[filepath.Base(name)] {
			return err
		}
		return os.Remove(name)
	})
	return errors.Join(err, os.MkdirAll(filepath.Join(x.dir, "new"), 0o700))
}
