package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	sum, size, err := take(ctx, path, own)
	if err == nil {
		path, err = adopt(ctx, own, dir, extension(path), sum)
	}
	if err != nil {
		return core.Artifact{}, errors.Join(fmt.Errorf("store artifact: %w", err), remove(own))
	}
	return core.Artifact{Digest: core.Digest("sha256:" + sum), Path: path, Size: size}, nil
}

// take moves a file to a name that nobody else knows, then hashes it there, so that what is stored is what was hashed.
func take(ctx context.Context, path, own string) (sum string, size int64, err error) {
	if os.Rename(path, own) == nil {
		return digest(ctx, own)
	}
	if sum, size, err = copyFile(ctx, path, own); err != nil {
		return "", 0, err
	}
	return sum, size, os.Remove(path)
}

// adopt renames a file to the hash of its content and returns its path.
func adopt(ctx context.Context, own, dir, ext, sum string) (string, error) {
	if err := os.Chmod(own, 0o444); err != nil {
		return "", err
	}
	if there, err := find(dir, sum); err == nil {
		if _, err := checkArtifact(ctx, there, sum); err == nil {
			return there, remove(own)
		}
		ext = strings.TrimPrefix(filepath.Base(there), sum) // the stored file is damaged: replace it
	}
	path := filepath.Join(dir, sum+ext)
	return path, os.Rename(own, path)
}

// Artifact returns an artifact whose content has just been verified. One that is not there is a
// *core.NotFoundError.
func (f *Files) Artifact(ctx context.Context, d core.Digest) (core.Artifact, error) {
	sum, ok := strings.CutPrefix(string(d), "sha256:")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != sha256.Size {
		return core.Artifact{}, fmt.Errorf("digest %q is not sha256: and 64 hexadecimal digits", d)
	}
	path, err := find(filepath.Join(f.dir, "artifacts"), sum)
	if err != nil {
		return core.Artifact{}, err
	}
	size, err := checkArtifact(ctx, path, sum)
	if err != nil {
		return core.Artifact{}, err
	}
	return core.Artifact{Digest: d, Path: path, Size: size}, nil
}

// checkArtifact checks that a file's content has a hash, and returns its size.
func checkArtifact(ctx context.Context, path, sum string) (int64, error) {
	got, size, err := digest(ctx, path)
	if err != nil {
		return 0, fmt.Errorf("verify artifact: %w", err)
	}
	if got != sum {
		return 0, &DamageError{File: path, Problem: "artifact is damaged: its content has the digest sha256:" + got, Want: "sha256:" + sum + "; build it again"}
	}
	return size, nil
}

func find(dir, sum string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("list artifacts: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), sum) {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", &core.NotFoundError{What: "artifact", Name: "sha256:" + sum, Remedy: "build it again"}
}

// sumOf is the hash in the name of an artifact's file.
func sumOf(name string) string { return name[:min(len(name), 2*sha256.Size)] }

// extension returns the extension of a file; .tar.zst and the like count as one.
func extension(path string) string {
	ext := filepath.Ext(path)
	if inner := filepath.Ext(strings.TrimSuffix(path, ext)); inner == ".tar" {
		ext = inner + ext
	}
	return ext
}

func digest(ctx context.Context, path string) (sum string, size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	h := sha256.New()
	size, err = io.Copy(h, reader{ctx, file})
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// copyFile copies a file and hashes it on the way.
func copyFile(ctx context.Context, from, to string) (sum string, size int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(out, h), reader{ctx, in})
	return hex.EncodeToString(h.Sum(nil)), size, errors.Join(err, out.Close())
}

// reader stops when its context ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
