package rule

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
)

// Found is a file that matches a rule.
type Found struct {
	Root, Path string
	ID         file.ID
}

// Listing is the result of scanning the paths of one rule.
type Listing struct {
	Files   []Found          // newest first
	Orphans []Found          // named like those that an agent has claimed
	Refused map[string]error // by path: why a matching file is not moved
}

// ClaimPrefix begins the name of a file that is being moved: PREFIX ULID - OLD NAME, in the old folder.
const ClaimPrefix = ".troop-"

const (
	maxFiles = 100_000 // in one scan, of those that take most; the rest is found when they are gone
	maxDepth = 32
	// batch is how many names of a folder are read at once: whoever may write to it may make millions.
	batch = 1000
)

// List scans for the files of a rule. A folder that does not exist has none.
func List(r Rule, allowed Places) (Listing, error) { return list(r, allowed, maxFiles) }

func list(r Rule, allowed Places, most int) (Listing, error) {
	l := Listing{Refused: map[string]error{}}
	var errs []error
	for _, pattern := range r.Paths {
		root, rel := splitPattern(pattern)
		d, err := file.OpenFolder(root, root)
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
		w := walk{list: &l, most: most, root: root, pattern: rel, allowed: allowed}
		errs = append(errs, w.folder(d, "", depth), d.Close())
	}
	l.Files, l.Orphans = distinct(l.Files), distinct(l.Orphans)
	l.prune(most)
	NewestFirst(l.Files)
	return l, errors.Join(errs...)
}

// NewestFirst sorts files as Choose wants them.
func NewestFirst(list []Found) {
	slices.SortFunc(list, func(a, b Found) int {
		return cmp.Or(b.ID.MTime.Compare(a.ID.MTime), strings.Compare(a.Path, b.Path))
	})
}

// distinct drops files that several patterns of a rule name.
func distinct(list []Found) []Found {
	slices.SortFunc(list, func(a, b Found) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(list, func(a, b Found) bool { return a.Path == b.Path })
}

// prune keeps the files that take most: none hides behind a number of small ones.
func (l *Listing) prune(most int) {
	if len(l.Files) <= most {
		return
	}
	slices.SortFunc(l.Files, func(a, b Found) int {
		return cmp.Or(cmp.Compare(b.ID.Used(), a.ID.Used()), strings.Compare(a.Path, b.Path))
	})
	clear(l.Files[most:])
	l.Files = l.Files[:most]
}

type walk struct {
	list    *Listing
	most    int
	root    string
	pattern string
	allowed Places
}

// each reads the names of a folder.
func each(d *file.Folder, do func(fs.DirEntry) error) error {
	_, err := d.Seek(0, io.SeekStart)
	for err == nil {
		var entries []fs.DirEntry
		entries, err = d.ReadDir(batch)
		for _, e := range entries {
			if err := do(e); err != nil {
				return err
			}
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("read folder %s: %w", d.Path, err)
}

func (w *walk) folder(d *file.Folder, rel string, depth int) error {
	database := make(signs, len(databases))
	if err := each(d, func(e fs.DirEntry) error { database.add(e.Name()); return nil }); err != nil {
		return err
	}
	return each(d, func(e fs.DirEntry) error {
		name := path.Join(rel, e.Name())
		if !e.IsDir() {
			w.file(d, e.Name(), name, database.kind())
			return nil
		}
		if depth == 0 || file.Below(path.Join(w.root, name), keptFolders...) {
			return nil
		}
		sub, err := d.Sub(e.Name())
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, file.ErrUnsafe) || errors.Is(err, unix.EACCES) {
			return nil // a link, a mount, or no permission
		}
		if err != nil {
			return err
		}
		return errors.Join(w.folder(sub, name, depth-1), sub.Close())
	})
}

// file adds a file of an open folder, if the rule names it. rel is its path below the root.
func (w *walk) file(d *file.Folder, base, rel, database string) {
	full := path.Join(w.root, rel)
	switch {
	case strings.HasPrefix(base, ClaimPrefix):
		w.orphan(d, base, full)
		return
	case !doublestar.MatchUnvalidated(w.pattern, rel):
		return
	}
	var id file.ID
	err := file.Refuse(full, "its folder holds a database of "+database)
	if database == "" {
		id, err = w.allowed.Inspect(d, base)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // it was removed meanwhile
	case err == nil:
		w.list.Files = append(w.list.Files, Found{w.root, full, id})
		if len(w.list.Files) >= 2*w.most {
			w.list.prune(w.most)
		}
	case len(w.list.Refused) < w.most:
		w.list.Refused[full] = err
	}
}

// orphan adds a claimed file, if its old name matches the rule.
func (w *walk) orphan(d *file.Folder, name, full string) {
	rest := strings.TrimPrefix(name, ClaimPrefix)
	_, base, ok := strings.Cut(rest, "-")
	rel := strings.TrimPrefix(path.Join(path.Dir(full), base), w.root+"/")
	if !ok || len(w.list.Orphans) >= w.most || !doublestar.MatchUnvalidated(w.pattern, rel) {
		return
	}
	f, id, err := d.Open(name, unix.O_RDONLY)
	if err != nil {
		return // refused for what it is, or gone
	}
	_ = f.Close() // read only
	w.list.Orphans = append(w.list.Orphans, Found{w.root, full, id})
}

// Space is the size and the free part of a file system, in bytes.
type Space struct{ Size, Free int64 }

// SpaceOf measures the file system of a folder.
func SpaceOf(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, fmt.Errorf("measure file system of %s: %w", dir, err)
	}
	// What is reserved for root counts as used: applications cannot have it.
	return Space{Size: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize}, nil
}

// Choose returns the files of a rule that are moved now, oldest first. short is how many bytes the free space goal
// still lacks when they are gone, and pending bytes, which are being moved, are gone too.
func Choose(r Rule, files []Found, fs Space, pending int64, now time.Time) (due []Found, short int64) {
	var rest []Found
	for i, f := range files {
		switch {
		case i < r.Keep || f.ID.Size == 0:
		case r.Above > 0 && f.ID.Used() > int64(r.Above), r.Older > 0 && now.Sub(f.ID.MTime) > r.Older.Std():
			due = append(due, f)
			pending += f.ID.Used()
		default:
			rest = append(rest, f)
		}
	}
	if r.Free != nil {
		short = r.Free.missing(fs.Size, fs.Free)
		for i := len(rest) - 1; i >= 0 && short > pending; i-- {
			due = append(due, rest[i])
			pending += rest[i].ID.Used()
		}
		short = max(0, short-pending)
	}
	slices.SortFunc(due, func(a, b Found) int {
		return cmp.Or(a.ID.MTime.Compare(b.ID.MTime), strings.Compare(a.Path, b.Path))
	})
	return due, short
}
