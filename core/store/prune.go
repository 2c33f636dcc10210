package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// unreferenced is how long an artifact is kept before a run names it.
const unreferenced = time.Hour

// Keep says what Prune leaves. Records and journals of runs always stay.
type Keep struct {
	Workspaces int // of the newest runs
	// Artifacts are kept when one of the newest Runs runs, or of the newest Runs runs that passed, names them
	// in an output.
	Runs int
}

// Prune removes workspaces and artifacts that nothing needs, never those of a running run. If one cannot be removed, it
// goes on with the rest. It stops reading runs as soon as it knows enough, so its cost does not grow with their number.
func (f *Files) Prune(ctx context.Context, keep Keep) error {
	ids, err := f.ids()
	if err != nil {
		return err
	}
	named := map[core.Digest]bool{}
	errs := []error{f.pruneWorkspaces(ctx, ids[max(0, len(ids)-keep.Workspaces):], named)}
	candidates, err := f.oldArtifacts()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	passed := 0
	for i, id := range slices.Backward(ids) {
		recent := len(ids)-i <= keep.Runs
		if len(candidates) == 0 || !recent && (passed >= keep.Runs || allNamed(candidates, named)) {
			break
		}
		r, err := f.Run(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if recent || r.Status.Passed() {
			addDigests(named, r)
		}
		if r.Status.Passed() {
			passed++
		}
	}
	for _, a := range candidates {
		if !named[digestOf(a)] {
			errs = append(errs, remove(filepath.Join(f.dir, "artifacts", a)))
		}
	}
	return errors.Join(errs...)
}

// removeAll is os.RemoveAll, also for read-only folders, which some package managers make.
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

// digests collects the digests in the outputs of a stage.
func digests(s core.StageResult) map[core.Digest]bool {
	named := map[core.Digest]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if d, ok := core.ParseDigest(v); ok {
				named[d] = true
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

// Artifacts returns the digests in the outputs of a run's stages, sorted.
func Artifacts(r core.Run) []core.Digest {
	named := map[core.Digest]bool{}
	addDigests(named, r)
	return slices.Sorted(maps.Keys(named))
}

// addDigests adds the digests in the outputs of a run's stages.
func addDigests(named map[core.Digest]bool, r core.Run) {
	for _, s := range r.Stages {
		maps.Copy(named, digests(s))
	}
}

func allNamed(artifacts []string, named map[core.Digest]bool) bool {
	return !slices.ContainsFunc(artifacts, func(a string) bool { return !named[digestOf(a)] })
}

// oldArtifacts lists the files in the folder of artifacts that are too old for a run to be about to name them.
func (f *Files) oldArtifacts() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, "artifacts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	var old []string
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) >= unreferenced { // else another process was faster
			old = append(old, e.Name())
		}
	}
	return old, nil
}
