package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// record is run.json.
type record struct {
	core.Run
	Process string `json:"process,omitempty"` // tells the process that executes the run from another with its PID
	Journal string `json:"journal,omitempty"` // hash of the journal's last line when this was written
}

// PutRun saves the state of a run. The end of a run is on the disk when it returns; a state on the way to it
// survives the death of this process, but may be lost when the machine loses power.
func (f *Files) PutRun(_ context.Context, r core.Run) error {
	dir, err := f.makeFolder("runs", string(r.ID))
	if err != nil {
		return err
	}
	rec := record{Run: r}
	if r.Ended.IsZero() {
		rec.Process = processStart(r.PID)
	}
	if rec.Journal, err = f.settle(r.ID, !r.Ended.IsZero()); err != nil {
		return err
	}
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("encode run %s: %w", r.ID, err)
	}
	write := replace
	if !r.Ended.IsZero() {
		write = func(path string, b []byte) error { return renameio.WriteFile(path, b, 0o644) }
	}
	if err := write(filepath.Join(dir, "run.json"), append(b, '\n')); err != nil {
		return fmt.Errorf("write run %s: %w", r.ID, err)
	}
	return nil
}

// replace is renameio.WriteFile without waiting for the disk, which would take most of the time of a short run.
func replace(path string, b []byte) error {
	next := path + ".next" // one process writes a run, and one goroutine at a time
	if err := os.WriteFile(next, b, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Filter chooses runs; the zero value takes all.
type Filter = core.RunFilter

func takes(f Filter, r core.Run) bool {
	return (f.Pipeline == "" || r.Pipeline == "" || f.Pipeline == r.Pipeline) && // one that cannot be read is of any
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, r.Status)) &&
		(f.Branch == "" || f.Branch == r.Branch) &&
		(f.Environment == "" || f.Environment == r.Environment)
}

// Runs returns the runs that a filter takes, the newest first.
func (f *Files) Runs(ctx context.Context, filter Filter) ([]core.Run, error) {
	ids, err := f.ids()
	if err != nil {
		return nil, err
	}
	var runs []core.Run
	for _, id := range slices.Backward(ids) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rec, err := f.read(id)
		if errors.Is(err, fs.ErrNotExist) { // it died before its first record, or is being removed
			continue
		}
		if err != nil { // one damaged record must not hide the others
			rec.Run = core.Run{ID: id, Status: core.Cancelled, Reason: err.Error()}
		}
		if takes(filter, rec.Run) {
			runs = append(runs, rec.Run)
		}
		if filter.Limit > 0 && len(runs) == filter.Limit {
			break
		}
	}
	return runs, nil
}

// reusable is how many of the newest runs are searched for what need not be done again: Prune keeps the artifacts
// of these.
const reusable = 20

// Passed returns the newest result of a stage that passed with some inputs, or nil. Empty inputs are equal to none.
func (f *Files) Passed(ctx context.Context, stage core.StageID, inputs core.Digest) (*core.StageResult, error) {
	if inputs == "" {
		return nil, nil
	}
	runs, err := f.Runs(ctx, Filter{Limit: reusable})
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		for _, r := range run.Stages {
			if r.ID != stage || r.Inputs != inputs || r.Status != core.Passed && r.Reused == "" || !f.complete(r) {
				continue
			}
			if r.Reused == "" {
				r.Reused = run.ID
			}
			return &r, nil
		}
	}
	return nil, nil
}

// complete tells whether all digests in a result's outputs are of artifacts that are there.
func (f *Files) complete(r core.StageResult) bool {
	for sum := range digests(r) {
		if found, err := filepath.Glob(filepath.Join(f.dir, "artifacts", sum+"*")); err != nil || len(found) == 0 {
			return false
		}
	}
	return true
}

// Find returns the only run whose ID begins with prefix, in upper or lower case. An empty prefix is the newest
// run. A run that is not there is a *core.NotFoundError.
func (f *Files) Find(_ context.Context, prefix string) (core.Run, error) {
	ids, err := f.ids()
	if err != nil {
		return core.Run{}, err
	}
	var found []core.RunID
	for _, id := range ids {
		if strings.HasPrefix(string(id), strings.ToUpper(prefix)) {
			found = append(found, id)
		}
	}
	switch {
	case len(ids) == 0:
		return core.Run{}, &core.NotFoundError{What: "run", Name: prefix, Remedy: "there is none yet: troop run makes one"}
	case prefix == "":
		found = found[len(found)-1:]
	case len(found) == 0:
		return core.Run{}, &core.NotFoundError{What: "run", Name: prefix, Remedy: "troop runs lists them"}
	case len(found) > 1:
		return core.Run{}, fmt.Errorf("run %s is not unique: it begins %s", prefix, join(found))
	}
	rec, err := f.read(found[0])
	return rec.Run, err
}

// join names a few runs.
func join(ids []core.RunID) string {
	var names []string
	for _, id := range ids[:min(len(ids), 5)] {
		names = append(names, string(id))
	}
	if len(ids) > 5 {
		names = append(names, fmt.Sprintf("and %d more", len(ids)-5))
	}
	return strings.Join(names, ", ")
}

// ids returns the runs there are, the oldest first.
func (f *Files) ids() ([]core.RunID, error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, "runs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var ids []core.RunID
	for _, e := range entries { // sorted by name, and so by time
		if e.IsDir() && len(e.Name()) == 26 {
			ids = append(ids, core.RunID(e.Name()))
		}
	}
	return ids, nil
}

// read returns a run as it is now: one whose process is gone was interrupted.
func (f *Files) read(id core.RunID) (record, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, "runs", string(id), "run.json"))
	if err != nil {
		return record{}, fmt.Errorf("read run: %w", err)
	}
	var rec record
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&rec); err != nil {
		return record{}, fmt.Errorf("read run %s: %w", id, err)
	}
	if rec.Ended.IsZero() && !alive(rec.PID, rec.Process) {
		rec.Status, rec.Reason = core.Cancelled, fmt.Sprintf("interrupted: process %d is gone", rec.PID)
		for i, s := range rec.Stages {
			switch {
			case s.Status == core.Running:
				rec.Stages[i].Status, rec.Stages[i].Reason = core.Cancelled, "interrupted"
			case s.Status == core.Pending && s.Reason == "":
				rec.Stages[i].Reason = "not reached"
			}
		}
	}
	return rec, nil
}
