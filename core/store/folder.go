package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// Folder keeps objects as files of a folder, for the processes of one machine. The tag of a value is the SHA-256 of its
// content, so that files which were there before have one, too. A key is the file's path in the folder.
type Folder struct{ dir string }

var _ core.Objects = Folder{}

// NewFolder returns the objects in a folder. It is made when something is first written.
func NewFolder(dir string) Folder { return Folder{dir} }

// writeLock is the file that one writer at a time locks.
const writeLock = ".writing"

// path returns the file of a key.
func (f Folder) path(key string) (string, error) {
	if !fs.ValidPath(key) || key == "." || slices.Contains(strings.Split(key, "/"), writeLock) {
		return "", fmt.Errorf("key %q is not a path", key)
	}
	return filepath.Join(f.dir, filepath.FromSlash(key)), nil
}

// Get implements core.Objects.
func (f Folder) Get(_ context.Context, key string) (io.ReadCloser, core.Object, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, core.Object{}, err
	}
	file, err := open(path)
	if err != nil {
		return nil, core.Object{}, err
	}
	o, err := describe(key, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, core.Object{}, errors.Join(err, file.Close())
	}
	return file, o, nil
}

// open opens a regular file. Anything else is no value.
func open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fs.ErrNotExist, err, file.Close())
	}
	return file, nil
}

func describe(key string, file *os.File) (core.Object, error) {
	info, err := file.Stat()
	if err != nil {
		return core.Object{}, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return core.Object{}, err
	}
	return core.Object{Key: key, Size: info.Size(), Tag: hex.EncodeToString(sum.Sum(nil)), Age: time.Since(info.ModTime())}, nil
}

// Put implements core.Objects.
func (f Folder) Put(ctx context.Context, key string, data io.ReadSeeker, when core.Condition) (core.Object, error) {
	path, err := f.path(key)
	if err != nil {
		return core.Object{}, err
	}
	unlock, err := f.lock(ctx, filepath.Dir(path))
	if err != nil {
		return core.Object{}, fmt.Errorf("write %s: %w", key, err)
	}
	defer unlock()
	if when != (core.Condition{}) {
		switch old, err := f.tag(key, path); {
		case err != nil:
			return core.Object{}, err
		case when.Absent && old != "", when.Tag != "" && old != when.Tag:
			return core.Object{}, fmt.Errorf("write %s: %w", key, core.ErrChanged)
		}
	}
	o, err := write(ctx, path, data)
	o.Key = key
	if err != nil {
		err = fmt.Errorf("write %s: %w", key, err)
	}
	return o, err
}

// tag returns the tag of a file; empty: there is none.
func (f Folder) tag(key, path string) (string, error) {
	file, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	o, err := describe(key, file)
	return o.Tag, err
}

// write replaces a file. Only its owner can read it: some values are private.
func write(ctx context.Context, path string, data io.ReadSeeker) (core.Object, error) {
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return core.Object{}, err
	}
	return writeAll(ctx, path, data)
}

// writeAll replaces a file with what is read.
func writeAll(ctx context.Context, path string, data io.Reader) (core.Object, error) {
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return core.Object{}, err
	}
	defer func() { _ = file.Cleanup() }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, sum), &reader{ctx: ctx, Reader: data})
	if err == nil {
		err = file.CloseAtomicallyReplace()
	}
	return core.Object{Size: n, Tag: hex.EncodeToString(sum.Sum(nil))}, err
}

// lock keeps other writers out of a folder, which it makes. Reading needs no lock.
func (f Folder) lock(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(dir, writeLock), flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, 5*time.Millisecond); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return func() { _ = l.Close() }, nil
}

// Delete implements core.Objects.
func (f Folder) Delete(ctx context.Context, key string) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	unlock, err := f.lock(ctx, filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	defer unlock()
	return remove(path)
}

// List implements core.Objects.
func (f Folder) List(ctx context.Context, prefix string, shallow bool) iter.Seq2[core.Object, error] {
	return func(yield func(core.Object, error) bool) {
		if err := f.list(ctx, prefix, shallow, yield); err != nil && !errors.Is(err, fs.SkipAll) {
			yield(core.Object{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}

func (f Folder) list(ctx context.Context, prefix string, shallow bool, yield func(core.Object, error) bool) error {
	var keys []string
	below, _ := filepath.Split(filepath.FromSlash(prefix)) // what the prefix says about folders
	root := filepath.Join(f.dir, below)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return nil
		case err != nil:
			return err
		case path == root:
			return nil
		}
		rel, err := filepath.Rel(f.dir, path)
		if err != nil {
			return err
		}
		key := filepath.ToSlash(rel)
		if d.IsDir() {
			key += "/"
			switch {
			case strings.HasPrefix(prefix, key):
			case !strings.HasPrefix(key, prefix):
				return fs.SkipDir
			case shallow:
				keys = append(keys, key)
				return fs.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && strings.HasPrefix(key, prefix) && !strings.HasPrefix(d.Name(), ".") {
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(keys) // a folder a/ comes after a file a.b in the order of keys, not in that of a walk
	for _, key := range keys {
		o := core.Object{Key: key}
		if !strings.HasSuffix(key, "/") {
			file, err := open(filepath.Join(f.dir, filepath.FromSlash(key)))
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err == nil {
				o, err = describe(key, file)
				err = errors.Join(err, file.Close())
			}
			if err != nil {
				return err
			}
		}
		if !yield(o, nil) {
			return fs.SkipAll
		}
	}
	return nil
}

// ReadObject returns a whole value, for small ones.
func ReadObject(ctx context.Context, objects core.Objects, key string) ([]byte, core.Object, error) {
	body, o, err := objects.Get(ctx, key)
	if err != nil {
		return nil, o, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		err = fmt.Errorf("read %s: %w", key, err)
	}
	return b, o, err
}

// PutBytes writes a small value.
func PutBytes(ctx context.Context, objects core.Objects, key string, data []byte, when core.Condition) (core.Object, error) {
	return objects.Put(ctx, key, bytes.NewReader(data), when)
}
