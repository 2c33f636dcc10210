package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// unreferenced is how long an artifact is kept that no run has named yet.
const unreferenced = time.Hour

// Keep says what Prune leaves. Records and journals of runs always stay.
type Keep struct {
	Workspaces int // of the newest runs
	// Artifacts are kept when one of the newest Runs runs, or of the newest Runs runs that passed, names them
	// in an output.
	Runs int
}

// Prune removes workspaces and artifacts that nothing needs. Those of running runs are never touched. What
// cannot be removed does not keep the rest.
func (f *Files) Prune(ctx context.Context, keep Keep) error {
	runs, err := f.Runs(ctx, Filter{})
	if err != nil {
		return err
	}
	var errs []error
	named := map[string]bool{}
	passed := 0
	for i, r := range runs {
		running := r.Status == core.Running
		if i < keep.Runs || running || r.Status == core.Passed && passed < keep.Runs {
			for _, s := range r.Stages {
				maps.Copy(named, digests(s))
			}
		}
		if r.Status == core.Passed {
			passed++
		}
		if i >= keep.Workspaces && !running {
			errs = append(errs, f.removeWorkspace(r.ID))
		}
	}
	return errors.Join(append(errs, f.pruneArtifacts(named))...)
}

// removeWorkspace removes the checkout of a run with what belongs to it.
func (f *Files) removeWorkspace(id core.RunID) error {
	dir := filepath.Join(f.dir, "runs", string(id))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove workspace: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() { // run.json and events.jsonl
			continue
		}
		if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove workspace: %w", err)
		}
	}
	return nil
}

// removeAll also removes what lies in folders that were made read-only, as some package managers do.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// digests collects the hexadecimal digests in the outputs of a stage.
func digests(s core.StageResult) map[string]bool {
	named := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if sum, ok := strings.CutPrefix(v, "sha256:"); ok {
				named[sum] = true
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	for _, v := range s.Outputs {
		walk(v)
	}
	return named
}

func (f *Files) pruneArtifacts(named map[string]bool) error {
	dir := filepath.Join(f.dir, "artifacts")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list artifacts: %w", err)
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil { // another process was faster
			continue
		}
		if sum := e.Name(); len(sum) >= 64 && named[sum[:64]] || time.Since(info.ModTime()) < unreferenced {
			continue
		}
		errs = append(errs, remove(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}
