package rule

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
	Orphans []Found          // claimed by an agent
	Refused map[string]error // by path: why a matching file is not moved
}

// ClaimPrefix begins the name of a file that is being moved: PREFIX ULID - OLD NAME, in the old folder.
const ClaimPrefix = ".troop-"

const (
	maxFiles = 100_000 // in one scan; the rest is found by the next
	maxDepth = 32
)

// List scans for the files of a rule. A folder that does not exist has none.
func List(r Rule, allowed Places) (Listing, error) {
	l := Listing{Refused: map[string]error{}}
	var errs []error
	seen := map[string]bool{}
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
		w := walk{list: &l, seen: seen, root: root, pattern: rel, allowed: allowed}
		errs = append(errs, w.folder(d, "", depth), d.Close())
	}
	slices.SortFunc(l.Files, func(a, b Found) int {
		return cmp.Or(b.ID.MTime.Compare(a.ID.MTime), strings.Compare(a.Path, b.Path))
	})
	return l, errors.Join(errs...)
}

type walk struct {
	list    *Listing
	seen    map[string]bool
	root    string
	pattern string
	allowed Places
}

func (w *walk) folder(d *file.Folder, rel string, depth int) error {
	entries, err := d.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("read folder %s: %w", d.Path, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	kind, shown := database(names)
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		full := path.Join(w.root, name)
		if e.IsDir() {
			if depth == 0 || file.Below(full, keptFolders...) {
				continue
			}
			sub, err := d.Sub(e.Name())
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, file.ErrUnsafe) || errors.Is(err, unix.EACCES) {
				continue // a link, a mount, or no permission
			}
			if err != nil {
				return err
			}
			if err := errors.Join(w.folder(sub, name, depth-1), sub.Close()); err != nil {
				return err
			}
			continue
		}
		if w.seen[full] || len(w.list.Files) >= maxFiles {
			continue
		}
		claimed := strings.HasPrefix(e.Name(), ClaimPrefix)
		if !claimed && !doublestar.MatchUnvalidated(w.pattern, name) {
			continue
		}
		w.seen[full] = true
		if claimed {
			w.orphan(d, e.Name(), full)
			continue
		}
		if kind != "" {
			w.list.Refused[full] = file.Refuse(full, fmt.Sprintf("its folder holds a database of %s (%s)", kind, shown))
			continue
		}
		id, err := w.allowed.Inspect(d, e.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was removed meanwhile
		case err != nil:
			w.list.Refused[full] = err
		default:
			w.list.Files = append(w.list.Files, Found{w.root, full, id})
		}
	}
	return nil
}

// orphan adds a claimed file, if its old name matches the rule.
func (w *walk) orphan(d *file.Folder, name, full string) {
	rest := strings.TrimPrefix(name, ClaimPrefix)
	_, base, ok := strings.Cut(rest, "-")
	rel := strings.TrimPrefix(path.Join(path.Dir(full), base), w.root+"/")
	if !ok || !doublestar.MatchUnvalidated(w.pattern, rel) {
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
