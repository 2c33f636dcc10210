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

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// PutArtifact takes over a file: it is moved into the store, under the digest of its content, and made
// read-only. On another file system it is copied. Putting the same content twice is harmless.
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
	// It is hashed where nobody else looks for it, so that what is stored is what was hashed.
	own := filepath.Join(dir, ".incoming-"+core.NewID(info.ModTime()))
	if err := os.Rename(path, own); err != nil {
		if err := copyFile(ctx, path, own); err != nil {
			return core.Artifact{}, errors.Join(fmt.Errorf("store artifact: %w", err), remove(own))
		}
		if err := os.Remove(path); err != nil {
			return core.Artifact{}, errors.Join(fmt.Errorf("take over artifact: %w", err), remove(own))
		}
	}
	a, err := adopt(ctx, own, dir, extension(path))
	if err != nil {
		return core.Artifact{}, errors.Join(fmt.Errorf("store artifact: %w", err), remove(own))
	}
	return a, nil
}

// adopt gives a file of ours the name of its content.
func adopt(ctx context.Context, own, dir, ext string) (core.Artifact, error) {
	sum, size, err := digest(ctx, own)
	if err != nil {
		return core.Artifact{}, err
	}
	if err := os.Chmod(own, 0o444); err != nil {
		return core.Artifact{}, err
	}
	if there, err := find(dir, sum); err == nil {
		if again, n, err := digest(ctx, there); err == nil && again == sum {
			return core.Artifact{Digest: core.Digest("sha256:" + sum), Path: there, Size: n}, remove(own)
		}
		ext = strings.TrimPrefix(filepath.Base(there), sum) // what stands there is broken: replace it
	}
	path := filepath.Join(dir, sum+ext)
	if err := os.Rename(own, path); err != nil {
		return core.Artifact{}, err
	}
	return core.Artifact{Digest: core.Digest("sha256:" + sum), Path: path, Size: size}, nil
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

// checkArtifact reads a file whose content has to have a hash, and returns its size.
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

// extension keeps .tar.zst and its like whole.
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

func copyFile(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := renameio.NewPendingFile(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Cleanup()) }()
	if _, err := io.Copy(out, reader{ctx, in}); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}

// reader ends with its context.
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
