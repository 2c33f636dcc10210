package loader

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// keepCopies is how many copies of one plugin are kept: the old ones may be starting in another process.
const keepCopies = 3

// settled is how old the last change of a file must be, when it is hashed, for its times to tell every later
// change: the kernel's clock for files ticks every 10 ms at the slowest, that of some file systems every 2 s.
func settled(changed int64) time.Duration {
	if changed%int64(time.Second) == 0 {
		return 2 * time.Second
	}
	return 50 * time.Millisecond
}

// store holds the private copies of plugin binaries, in a folder that only its user can enter:
//
//	DIGEST/troop-plugin-TYPE     the copy
//	DIGEST/description-2.json    what it said of itself; the number counts changes of the format
//	DIGEST/good.json             blocks of manifests in which it found nothing, by hash
//	sources/NAME.json            which file had which digest
//
// The digest that counts is always that of the copy.
type store struct {
	dir string
	mu  sync.Mutex // one copy is made at a time
}

// stored is a verified copy.
type stored struct {
	path   string
	digest core.Digest
}

func openStore(dir string) (*store, error) {
	if dir == "" {
		var err error
		if dir, err = core.CacheFolder(); err != nil {
			return nil, fmt.Errorf("find folder for plugins: %w", err)
		}
	}
	dir = filepath.Join(dir, "plugins")
	if err := os.MkdirAll(filepath.Join(dir, "sources"), 0o700); err != nil {
		return nil, fmt.Errorf("make folder for plugins: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("read folder for plugins: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("folder for plugins %s: want a folder of this user's own with mode 0700", dir)
	}
	return &store{dir: dir}, nil
}

// identity tells one state of a file from every other one.
type identity struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // ns
}

func identify(info fs.FileInfo) (identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, false
	}
	return identity{
		Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size, //nolint:unconvert // 32 bits on other platforms
		Mtime: info.ModTime().UnixNano(), Ctime: changed(st),
	}, true
}

// record remembers one hashing: of which source, and of which state of the copy.
type record struct {
	Source, Copy identity
	Digest       core.Digest
	Hashed       time.Time
}

// trusts reports whether a file still is what was hashed. Its times only tell if the last change before the
// hashing was not too fresh.
func (r record) trusts(now, then identity) bool {
	return now == then && r.Hashed.Sub(time.Unix(0, now.Ctime)) > settled(now.Ctime)
}

// copy returns a verified copy of the binary at path. A copy is hashed whenever its state is not the one that
// was hashed before; no other process of another user can reach it.
func (s *store) copy(path string) (stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(path)
	if err != nil {
		return stored{}, err
	}
	source, ok := identify(info)
	if !ok {
		return stored{}, fmt.Errorf("%s: no identity", path)
	}
	sum := sha256.Sum256([]byte(path))
	recordPath := filepath.Join(s.dir, "sources", hex.EncodeToString(sum[:8])+".json")
	var r record
	if b, err := os.ReadFile(recordPath); err == nil && json.Unmarshal(b, &r) == nil && r.trusts(source, r.Source) {
		if c, ok := s.verified(&r, filepath.Base(path), recordPath); ok {
			return c, nil
		}
	}
	c, state, err := s.add(path)
	if err != nil {
		return stored{}, err
	}
	r = record{Source: source, Copy: state, Digest: c.digest, Hashed: time.Now()}
	s.save(recordPath, r)
	s.prune(filepath.Base(path), c.digest)
	return c, nil
}

// verified looks at the copy that a record speaks of: unchanged since it was hashed, or hashed again.
func (s *store) verified(r *record, name, recordPath string) (stored, bool) {
	path := s.path(r.Digest, name)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return stored{}, false
	}
	state, ok := identify(info)
	if !ok {
		return stored{}, false
	}
	if r.trusts(state, r.Copy) {
		return stored{path, r.Digest}, true
	}
	digest, err := hashFile(path)
	if err != nil || digest != r.Digest {
		return stored{}, false
	}
	r.Copy, r.Hashed = state, time.Now()
	s.save(recordPath, *r)
	return stored{path, digest}, true
}

// add copies a binary into the store and hashes the copy.
func (s *store) add(path string) (stored, identity, error) {
	tmp, err := s.copyFile(path)
	if err != nil {
		return stored{}, identity{}, err
	}
	defer func() { _ = os.Remove(tmp) }() // once renamed, there is nothing to remove
	digest, err := hashFile(tmp)
	if err != nil {
		return stored{}, identity{}, err
	}
	target := s.path(digest, filepath.Base(path))
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return stored{}, identity{}, err
	}
	if err := os.Rename(tmp, target); err != nil {
		return stored{}, identity{}, err
	}
	info, err := os.Lstat(target)
	if err != nil {
		return stored{}, identity{}, err
	}
	state, _ := identify(info)
	return stored{target, digest}, state, nil
}

// copyFile copies a binary to a temporary file. No process may be forked meanwhile: it would hold the file open
// for writing until its exec, and the kernel refuses to execute such a file.
func (s *store) copyFile(path string) (tmp string, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	to, err := os.CreateTemp(s.dir, ".copy-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	err = errors.Join(err, to.Chmod(0o500), to.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(to.Name()))
	}
	return to.Name(), nil
}

func (s *store) path(d core.Digest, name string) string {
	return filepath.Join(s.dir, d.Hex(), name)
}

// save keeps something that only saves time: without it, the work is done again.
func (s *store) save(path string, v any) {
	if b, err := json.Marshal(v); err == nil {
		_ = renameio.WriteFile(path, b, 0o600)
	}
}

// prune removes old copies of a plugin.
func (s *store) prune(name string, keep core.Digest) {
	paths, _ := filepath.Glob(filepath.Join(escapeGlob(s.dir), "*", name))
	type old struct {
		dir  string
		when time.Time
	}
	var copies []old
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && path != s.path(keep, name) {
			copies = append(copies, old{filepath.Dir(path), info.ModTime()})
		}
	}
	slices.SortFunc(copies, func(a, b old) int { return b.when.Compare(a.when) })
	for i, c := range copies {
		if i >= keepCopies-1 {
			_ = os.RemoveAll(c.dir)
		}
	}
}

func (s *store) description(d core.Digest) (core.Description, bool) {
	var desc core.Description
	b, err := os.ReadFile(s.path(d, "description-2.json"))
	return desc, err == nil && json.Unmarshal(b, &desc) == nil
}

func (s *store) saveDescription(d core.Digest, desc core.Description) {
	if _, ok := s.description(d); !ok {
		s.save(s.path(d, "description-2.json"), desc)
	}
}

func hashFile(path string) (core.Digest, error) {
	d, err := core.DigestFile(path)
	if err != nil {
		return "", fmt.Errorf("hash %s: %w", path, err)
	}
	return d, nil
}

// ownedByRoot reports whether only root can change what a path leads to.
func ownedByRoot(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil || real != path {
		return false
	}
	for {
		info, err := os.Lstat(path)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
			return false
		}
		if path == "/" {
			return true
		}
		path = filepath.Dir(path)
	}
}
