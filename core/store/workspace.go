package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed-b96de936/troop/core"
)

// beginning is how long a workspace without a record may belong to a run that is about to begin.
const beginning = time.Hour

// ownerFile, in a project's folder of workspaces, names the store to which they belong.
const ownerFile = "project"

// WorkspaceFolder is where workspaces lie when nobody says otherwise: the user's cache folder, or, when a part of its
// path begins with a dot, /var/cache/troop/workspaces for root and /var/tmp/troop-UID for others. Web servers, bundlers and test
// runners leave out what lies below a folder whose name begins with a dot.
func WorkspaceFolder() string {
	if cache, err := os.UserCacheDir(); err == nil && !dotted(cache) {
		return filepath.Join(cache, "troop", "workspaces")
	}
	if os.Getuid() == 0 {
		return "/var/cache/troop/workspaces"
	}
	return fmt.Sprintf("/var/tmp/troop-%d", os.Getuid())
}

func dotted(path string) bool {
	return slices.ContainsFunc(strings.Split(path, string(filepath.Separator)), func(part string) bool { return strings.HasPrefix(part, ".") })
}

// Workspace returns the folder for the commit of a run. It does not exist yet.
func (f *Files) Workspace(id core.RunID) (string, error) {
	dir := f.workspaces()
	if f.Workspaces == "" {
		if _, err := f.makeFolder("workspaces"); err != nil {
			return "", err
		}
	} else {
		if _, err := f.makeFolder(); err != nil { // without it, another project's Prune takes this one for gone
			return "", err
		}
		if err := f.makeWorkspaces(dir); err != nil {
			return "", err
		}
	}
	dir = filepath.Join(dir, string(id))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder of workspace: %w", err)
	}
	return filepath.Join(dir, "src"), nil
}

// workspaces is the folder of this project's workspaces: those of others may be beside it.
func (f *Files) workspaces() string {
	if f.Workspaces == "" {
		return filepath.Join(f.dir, "workspaces")
	}
	return filepath.Join(f.Workspaces, core.DigestOf([]byte(absolute(f.dir))).Hex()[:16])
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// makeWorkspaces makes the folder of this project's workspaces, which nobody else can read or change.
func (f *Files) makeWorkspaces(dir string) error {
	if err := os.MkdirAll(f.Workspaces, 0o700); err != nil {
		return fmt.Errorf("make folder of workspaces: %w", err)
	}
	if err := safe(f.Workspaces, false); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder of workspaces: %w", err)
	}
	if err := safe(dir, true); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ownerFile), []byte(absolute(f.dir)), 0o600)
}

// safe refuses a folder in which somebody else could put or exchange files. One that is private belongs to this user
// alone; another may be root's, or one where only owners remove their files, such as /tmp.
func safe(dir string, private bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at folder of workspaces: %w", err)
	}
	refuse := func(why string) error {
		return fmt.Errorf("workspaces cannot be in %s: %s; remove it, or name another folder with --workspace-dir", dir, why)
	}
	owner := -1
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(s.Uid)
	}
	mode := info.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		return refuse("it is a symbolic link")
	case !mode.IsDir():
		return refuse("it is not a folder")
	case owner != os.Getuid() && (private || owner != 0):
		return refuse(fmt.Sprintf("it belongs to user %d", owner))
	case mode&0o022 != 0 && (private || mode&fs.ModeSticky == 0):
		return refuse("others may write to it")
	}
	return nil
}

// pruneWorkspaces removes the checkouts of runs that have ended, except those in keep, and those of projects that are
// gone. It adds the artifacts of running runs to named.
func (f *Files) pruneWorkspaces(ctx context.Context, keep []core.RunID, named map[core.Digest]bool) error {
	errs := []error{f.pruneFolder(ctx, f.workspaces(), keep, named)}
	if f.Workspaces != "" {
		errs = append(errs, f.pruneFolder(ctx, filepath.Join(f.dir, "workspaces"), nil, named), f.pruneProjects()) // where they were once
	}
	return errors.Join(errs...)
}

func (f *Files) pruneFolder(ctx context.Context, dir string, keep []core.RunID, named map[core.Digest]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list workspaces: %w", err)
	}
	var errs []error
	for _, e := range entries {
		id := core.RunID(e.Name())
		if !e.IsDir() || slices.Contains(keep, id) {
			continue
		}
		rec, err := f.read(ctx, id)
		if err == nil && rec.Ended.IsZero() && f.alive(rec) {
			addDigests(named, rec.Run)
			continue
		}
		if err != nil && begins(id) {
			continue
		}
		if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove workspace: %w", err))
		}
	}
	return errors.Join(errs...)
}

// begins reports whether a run without a record may be about to begin.
func begins(id core.RunID) bool {
	u, err := ulid.ParseStrict(string(id))
	return err == nil && time.Since(ulid.Time(u.Time())) < beginning
}

// pruneProjects removes the workspaces of projects whose store is gone.
func (f *Files) pruneProjects() error {
	entries, err := os.ReadDir(f.Workspaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list workspaces: %w", err)
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(f.Workspaces, e.Name())
		owner, err := os.ReadFile(filepath.Join(dir, ownerFile))
		if err != nil || !e.IsDir() || dir != (&Files{dir: string(owner), Workspaces: f.Workspaces}).workspaces() || safe(dir, true) != nil {
			continue // not ours
		}
		if _, err := os.Lstat(string(owner)); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, removeAll(dir))
		}
	}
	return errors.Join(errs...)
}
