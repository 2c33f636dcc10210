// Package cache keeps folders of downloaded dependencies between the runs of a stage, by a key such as the hash of a
// lock file. Files are stored once, under the SHA-256 of their content. A kill at any moment leaves a store that can be
// read; two runs may use it at once. The build and the test plugin import it.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// Config is a block cache of a manifest.
type Config struct {
	Paths []string `hcl:"paths" doc:"folders to keep: ~/PATH is in the home folder, other paths are inside the source. In the home folder only missing files are restored; a folder of the source is restored whole, where the commit has none"`
	Key   string   `hcl:"key" doc:"what the folders' content depends on, such as filehash(\"package-lock.json\"); they are kept and restored under this key and no other"`
	Limit sdk.Size `hcl:"limit,optional" default:"\"5GiB\"" doc:"the most that the stage keeps; the keys that were not used for longest go first"`
}

// Check returns what is wrong with a block, as sdk.BadAttr does; path is where it stands.
func (c *Config) Check(path string) error {
	var errs []error
	for i, p := range c.Paths {
		inner := strings.TrimPrefix(p, "~/")
		if !filepath.IsLocal(inner) || filepath.Clean(inner) == "." {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("%s.paths[%d]", path, i), "want ~/PATH or the path of a folder inside the source, got %q", p))
		}
	}
	if c.Paths != nil && len(c.Paths) == 0 {
		errs = append(errs, sdk.BadAttr(path+".paths", "want a folder, got an empty list"))
	}
	if c.Limit < 0 {
		errs = append(errs, sdk.BadAttr(path+".limit", "want a size, got %s", c.Limit))
	}
	return errors.Join(errs...)
}

// Holds reports whether a path of the source lies in a folder that is kept: it may be of an earlier commit.
func (c *Config) Holds(path string) bool {
	for _, p := range c.Paths {
		rel, err := filepath.Rel(filepath.Clean(p), filepath.Clean(path))
		if err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

// regular is how many of the files have a content.
func (e *entry) regular() int {
	n := 0
	for _, f := range e.Files {
		if f.Sum != "" {
			n++
		}
	}
	return n
}

// Cache is the store of a stage, opened for one run.
type Cache struct {
	config Config
	dir    string   // of the store
	roots  []string // where the paths are
	hit    bool
}

// entry is what is kept under a key.
type entry struct {
	Key   string
	Files []file
}

// file is a file, folder or link below a path.
type file struct {
	Root     int // index of the path
	Name     string
	Mode     fs.FileMode
	Size     int64     `json:",omitempty"`
	Modified time.Time `json:",omitzero"`
	Sum      string    `json:",omitempty"` // of a regular file
	Link     string    `json:",omitempty"`
}

// Open opens the store in the state folder of a stage. Without a block there is none: nil, whose methods do nothing.
func Open(c *Config, job *sdk.Job) (*Cache, error) {
	if c == nil {
		return nil, nil
	}
	x := &Cache{config: *c, dir: filepath.Join(job.Info.StateDir, "cache")}
	for _, p := range c.Paths {
		root := filepath.Join(job.Info.Workspace, p)
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				return nil, fmt.Errorf("open cache: %w", err)
			}
			root = filepath.Join(home, rest)
		}
		x.roots = append(x.roots, root)
	}
	for _, name := range []string{"entries", "files", "new"} {
		if err := os.MkdirAll(filepath.Join(x.dir, name), 0o700); err != nil {
			return nil, fmt.Errorf("open cache: %w", err)
		}
	}
	return x, nil
}

// home tells a path in the home folder.
func (x *Cache) home(root int) bool { return strings.HasPrefix(x.config.Paths[root], "~/") }

func (x *Cache) entryFile() string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{runtime.GOOS, runtime.GOARCH, x.config.Key}, x.config.Paths...), "\x00")))
	return filepath.Join(x.dir, "entries", hex.EncodeToString(sum[:])+".json")
}

func (x *Cache) contentFile(sum string) string { return filepath.Join(x.dir, "files", sum[:2], sum) }

// lock keeps eviction out, or, with exclusive, everybody else. It goes with the process.
func (x *Cache) lock(exclusive bool) (unlock func(), ok bool, err error) {
	l := flock.New(filepath.Join(x.dir, "lock"))
	if exclusive {
		ok, err = l.TryLock()
	} else {
		ok, err = true, l.RLock()
	}
	if err != nil {
		return nil, false, fmt.Errorf("lock cache: %w", err)
	}
	return func() { _ = l.Close() }, ok, nil
}

func readEntry(name string) (entry, error) {
	var e entry
	b, err := os.ReadFile(name)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, err
	}
	for _, f := range e.Files {
		if !filepath.IsLocal(f.Name) || f.Mode.IsRegular() && len(f.Sum) != sha256.Size*2 {
			return e, fmt.Errorf("%q is no entry", f.Name)
		}
	}
	return e, nil
}

// Restore puts what is kept under the key where it was. What cannot be read is as if it had not been kept: the stage
// has a warning in its log, and its command downloads it again.
func (x *Cache) Restore(ctx context.Context, job *sdk.Job) error {
	if x == nil {
		return nil
	}
	start := time.Now()
	unlock, _, err := x.lock(false)
	if err != nil {
		return err
	}
	defer unlock()
	e, err := readEntry(x.entryFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		job.Logf("cache: nothing is kept under this key yet")
		return nil
	case err == nil:
		err = x.restore(ctx, e)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		job.Warnf("cache: what is kept cannot be restored: %v", err)
		return os.Remove(x.entryFile())
	}
	x.hit = true
	now := time.Now()
	_ = os.Chtimes(x.entryFile(), now, now) // for eviction; only its order depends on it
	job.Logf("cache: restored %s in %s", strings.Join(x.config.Paths, ", "), time.Since(start).Round(10*time.Millisecond))
	return nil
}

// Save keeps the folders under the key, when nothing is kept there yet, and makes room. Call it when the commands have
// passed. Trouble is a warning: a stage does not fail because of its cache.
func (x *Cache) Save(ctx context.Context, job *sdk.Job) {
	if x == nil || x.hit {
		return
	}
	start := time.Now()
	e, size, err := x.save(ctx)
	switch {
	case errors.Is(err, errLimit):
		job.Warnf("cache: %s hold more than %s: nothing is kept; raise limit, or name less", strings.Join(x.config.Paths, ", "), x.config.Limit)
	case err != nil:
		job.Warnf("cache: nothing is kept: %v", err)
	case len(e.Files) > 0:
		job.Logf("cache: keeping %d files, %.1f MiB, after %s", e.regular(), float64(size)/(1<<20), time.Since(start).Round(10*time.Millisecond))
	}
	if err := x.evict(); err != nil {
		job.Warnf("cache: cannot make room: %v", err)
	}
}

func (x *Cache) save(ctx context.Context) (entry, int64, error) {
	e := entry{Key: x.config.Key}
	unlock, _, err := x.lock(false)
	if err != nil {
		return e, 0, err
	}
	defer unlock()
	known := x.known()
	var size int64
	for root := range x.roots {
		if err := x.collect(ctx, root, &e, &size, known); err != nil {
			return e, size, err
		}
	}
	if len(e.Files) == 0 {
		return e, 0, nil
	}
	b, err := json.Marshal(e)
	if err == nil {
		err = renameio.WriteFile(x.entryFile(), b, 0o600, renameio.WithTempDir(filepath.Join(x.dir, "new")))
	}
	return e, size, err
}
