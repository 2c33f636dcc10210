package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// PutArtifact takes over a file: it is moved into the store, under the digest of its content, and made read-only. On
// another file system it is copied, and hashed on the way. Putting the same content twice is harmless.
//
// The store hashes the file itself, although its writer could have done so while writing: whoever installs an artifact
// relies on the store for its name.
func (f *Files) PutArtifact(ctx context.Context, path string) (core.Artifact, error) {
	dir, err := f.makeFolder("artifacts")
	if err != nil {
		return core.Artifact{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return core.Artifact{}, fmt.Errorf("store artifact: %w", err)
	}
	if !info.Mode().IsRegular() {
		return core.Artifact{}, fmt.Errorf("store artifact: %s is not a regular file", path)
	}
	own := filepath.Join(dir, ".incoming-"+core.NewID(info.ModTime()))
	d, size, err := take(ctx, path, own)
	if err == nil {
		path, err = adopt(ctx, own, dir, extension(path), d)
	}
	if err != nil {
		return core.Artifact{}, errors.Join(fmt.Errorf("store artifact: %w", err), remove(own))
	}
	if err := f.sendArtifact(ctx, path); err != nil {
		return core.Artifact{}, fmt.Errorf("store artifact: %w", err)
	}
	return core.Artifact{Digest: d, Path: path, Size: size}, nil
}

// take moves a file to a name that nobody else knows, then hashes it there, so that what is stored is what was hashed.
func take(ctx context.Context, path, own string) (d core.Digest, size int64, err error) {
	if os.Rename(path, own) == nil {
		return digest(ctx, own)
	}
	if d, size, err = copyFile(ctx, path, own); err != nil {
		return "", 0, err
	}
	return d, size, os.Remove(path)
}

// adopt renames a file to the hash of its content and returns its path.
func adopt(ctx context.Context, own, dir, ext string, d core.Digest) (string, error) {
	if err := os.Chmod(own, 0o444); err != nil {
		return "", err
	}
	if there, err := find(dir, d); err == nil {
		if _, err := checkArtifact(ctx, there, d); err == nil {
			return there, remove(own)
		}
		ext = strings.TrimPrefix(filepath.Base(there), d.Hex()) // the stored file is damaged: replace it
	}
	path := filepath.Join(dir, d.Hex()+ext)
	return path, os.Rename(own, path)
}

// Artifact returns an artifact whose content has just been verified. One that is not there is a
// *core.NotFoundError.
func (f *Files) Artifact(ctx context.Context, d core.Digest) (core.Artifact, error) {
	if _, ok := core.ParseDigest(string(d)); !ok {
		return core.Artifact{}, fmt.Errorf("digest %q is not sha256: and 64 hexadecimal digits", d)
	}
	path, err := find(filepath.Join(f.dir, "artifacts"), d)
	if errors.As(err, new(*core.NotFoundError)) && f.shared != nil {
		if err := f.fetchArtifact(ctx, d); err != nil {
			return core.Artifact{}, fmt.Errorf("read artifact: %w", err)
		}
		path, err = find(filepath.Join(f.dir, "artifacts"), d)
	}
	if err != nil {
		return core.Artifact{}, err
	}
	size, err := checkArtifact(ctx, path, d)
	if errors.As(err, new(*DamageError)) && f.shared != nil { // the copy is: others may have it whole
		if err := errors.Join(remove(path), f.fetchArtifact(ctx, d)); err != nil {
			return core.Artifact{}, fmt.Errorf("read artifact: %w", err)
		}
		if path, err = find(filepath.Join(f.dir, "artifacts"), d); err != nil {
			return core.Artifact{}, err
		}
		size, err = checkArtifact(ctx, path, d)
	}
	if err != nil {
		return core.Artifact{}, err
	}
	return core.Artifact{Digest: d, Path: path, Size: size}, nil
}

// checkArtifact checks that a file's content has a digest, and returns its size.
func checkArtifact(ctx context.Context, path string, d core.Digest) (int64, error) {
	got, size, err := digest(ctx, path)
	if err != nil {
		return 0, fmt.Errorf("verify artifact: %w", err)
	}
	if got != d {
		return 0, &DamageError{File: path, Problem: "artifact is damaged: its content has the digest " + string(got), Want: string(d) + "; build it again"}
	}
	return size, nil
}

func find(dir string, d core.Digest) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("list artifacts: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), d.Hex()) {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", &core.NotFoundError{What: "artifact", Name: string(d), Remedy: "build it again"}
}

// digestOf is the digest in the name of an artifact's file; empty: there is none.
func digestOf(name string) core.Digest {
	sum, _, _ := strings.Cut(name, ".")
	d, _ := core.DigestHex(sum)
	return d
}

// extension returns the extension of a file; .tar.zst and the like count as one.
func extension(path string) string {
	ext := filepath.Ext(path)
	if inner := filepath.Ext(strings.TrimSuffix(path, ext)); inner == ".tar" {
		ext = inner + ext
	}
	return ext
}

func digest(ctx context.Context, path string) (d core.Digest, size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	in := &reader{ctx: ctx, Reader: file}
	d, err = core.DigestReader(in)
	return d, in.size, err
}

// copyFile copies a file and hashes it on the way.
func copyFile(ctx context.Context, from, to string) (d core.Digest, size int64, err error) {
	file, err := os.Open(from)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, err
	}
	in := &reader{ctx: ctx, Reader: file}
	d, err = core.DigestReader(io.TeeReader(in, out))
	return d, in.size, errors.Join(err, out.Close())
}

// reader stops when its context ends, and counts.
type reader struct {
	ctx context.Context
	io.Reader
	size int64
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.Reader.Read(b)
	r.size += int64(n)
	return n, err
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
