package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"
)

// found is a file that a rule names.
type found struct {
	root, path string
	id         fileID
}

// listing is what a look at one rule's paths found.
type listing struct {
	files   []found          // newest first
	orphans []found          // claimed by an agent
	refused map[string]error // by path: why a file that the rule names stays
}

const (
	maxFiles = 100_000 // that one look takes in; the others come next time
	maxDepth = 32
)

// list looks at all files that a rule names. A path that does not exist names none.
func list(r ruleConfig, allowed places) (listing, error) {
	l := listing{refused: map[string]error{}}
	var errs []error
	seen := map[string]bool{}
	for _, pattern := range r.Paths {
		root, rel := splitPattern(pattern)
		d, err := openFolder(root, root)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		depth := maxDepth
		if !strings.Contains(rel, "**") {
			depth = strings.Count(rel, "/")
		}
		w := walk{list: &l, seen: seen, root: root, pattern: rel, allowed: allowed}
		errs = append(errs, w.folder(d, "", depth), d.Close())
	}
	slices.SortFunc(l.files, func(a, b found) int {
		return cmp.Or(b.id.MTime.Compare(a.id.MTime), strings.Compare(a.path, b.path))
	})
	return l, errors.Join(errs...)
}

type walk struct {
	list    *listing
	seen    map[string]bool
	root    string
	pattern string
	allowed places
}

func (w *walk) folder(d *folder, rel string, depth int) error {
	entries, err := d.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("read folder %s: %w", d.path, err)
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		full := path.Join(w.root, name)
		if e.IsDir() {
			if depth == 0 || below(full, keptFolders...) {
				continue
			}
			sub, err := d.sub(e.Name())
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnsafe) || errors.Is(err, unix.EACCES) {
				continue // not below this root for the agent
			}
			if err != nil {
				return err
			}
			if err := errors.Join(w.folder(sub, name, depth-1), sub.Close()); err != nil {
				return err
			}
			continue
		}
		if w.seen[full] || len(w.list.files) >= maxFiles {
			continue
		}
		claimed := strings.HasPrefix(e.Name(), claimPrefix)
		if !claimed && !doublestar.MatchUnvalidated(w.pattern, name) {
			continue
		}
		w.seen[full] = true
		if claimed {
			w.orphan(d, e.Name(), full)
			continue
		}
		id, err := d.inspect(e.Name(), w.allowed)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went meanwhile
		case err != nil:
			w.list.refused[full] = err
		default:
			w.list.files = append(w.list.files, found{w.root, full, id})
		}
	}
	return nil
}

// orphan notes a claimed file. Only one whose old name the rule has is the rule's.
func (w *walk) orphan(d *folder, name, full string) {
	rest := strings.TrimPrefix(name, claimPrefix)
	_, base, ok := strings.Cut(rest, "-")
	rel := strings.TrimPrefix(path.Join(path.Dir(full), base), w.root+"/")
	if !ok || !doublestar.MatchUnvalidated(w.pattern, rel) {
		return
	}
	f, id, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return // refused for what it is, or gone
	}
	_ = f.Close() // read only
	w.list.orphans = append(w.list.orphans, found{w.root, full, id})
}

// space is the size and the free part of a file system, in bytes.
type space struct{ size, free int64 }

func spaceOf(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("measure file system of %s: %w", dir, err)
	}
	// What is reserved for root counts as used: applications cannot have it.
	return space{size: int64(st.Blocks) * st.Bsize, free: int64(st.Bavail) * st.Bsize}, nil
}

// choose picks the files of a rule that go now, oldest first, and says how many bytes its free space goal lacks
// even when they and what is on its way (pending bytes) are gone.
func choose(r ruleConfig, files []found, fs space, pending int64, now time.Time) (due []found, short int64) {
	var rest []found
	for i, f := range files {
		switch {
		case i < r.Keep || f.id.Size == 0:
		case r.Above > 0 && f.id.Size > int64(r.Above), r.Older > 0 && now.Sub(f.id.MTime) > r.Older.Std():
			due = append(due, f)
			pending += f.id.Size
		default:
			rest = append(rest, f)
		}
	}
	if r.Free != nil {
		short = r.Free.missing(fs.size, fs.free)
		for i := len(rest) - 1; i >= 0 && short > pending; i-- {
			due = append(due, rest[i])
			pending += rest[i].id.Size
		}
		short = max(0, short-pending)
	}
	slices.SortFunc(due, func(a, b found) int {
		return cmp.Or(a.id.MTime.Compare(b.id.MTime), strings.Compare(a.path, b.path))
	})
	return due, short
}
