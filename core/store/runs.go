package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/oklog/ulid/v2"

	"github.com/seed-b96de936/troop/core"
)

// record is a run in a journal.
type record struct {
	core.Run
	Process string  `json:"process,omitempty"` // distinguishes the process that executes the run from a later one with its PID
	Machine string  `json:"machine,omitempty"` // on which that process is
	After   *before `json:"after,omitempty"`   // when the run begins
}

// before is the newest run that had ended when another began.
type before struct {
	Run  core.RunID `json:"run"`
	Hash string     `json:"hash"` // of the line that ended it
}

// seal is run.json: the line of the journal that ended the run.
type seal struct {
	Line int             `json:"line"` // its number
	Hash string          `json:"hash"`
	Text json.RawMessage `json:"text"`
}

// oldRecord is run.json as the first version of troop wrote it, with the results that are in the journal now.
type oldRecord struct {
	record
	Journal string `json:"journal,omitempty"` // hash of the journal's last line when this was written
}

// PutRun records a run when it begins and when it ends. The end is on the disk when PutRun returns. What is recorded
// before survives the death of the process, but not a loss of power: waiting for the disk would take most of the time
// of a short run, and a run that the machine did not survive is repeated anyway.
//
// In a shared store, a run has begun when its beginning is sent, and ended when all of it is.
func (f *Files) PutRun(ctx context.Context, r core.Run) error {
	rec := record{Run: r}
	if r.Ended.IsZero() {
		rec.Process, rec.Machine, rec.After = processStart(r.PID), machine(), f.newest(ctx)
	}
	sealed, err := f.write(r.ID, line{Record: &rec})
	if err != nil {
		return fmt.Errorf("write run %s: %w", r.ID, err)
	}
	if r.Ended.IsZero() {
		if err := f.sendLines(ctx, r.ID, true); err != nil {
			return errors.Join(fmt.Errorf("write run %s: %w; it does not begin", r.ID, err), f.discard(r.ID))
		}
		return nil
	}
	if err := f.closeJournal(r.ID); err != nil {
		return err
	}
	b, err := json.Marshal(sealed)
	if err != nil {
		return fmt.Errorf("encode run %s: %w", r.ID, err)
	}
	b = append(b, '\n')
	err = renameio.WriteFile(f.recordPath(r.ID), b, 0o644)
	if err == nil {
		err = f.sendRecord(ctx, r.ID, b)
	}
	if err != nil {
		return fmt.Errorf("write run %s: %w", r.ID, err)
	}
	return nil
}

func (f *Files) recordPath(id core.RunID) string {
	return filepath.Join(f.dir, "runs", string(id), "run.json")
}

// PutRefused records a run that could not begin, with its reason.
func (f *Files) PutRefused(ctx context.Context, r core.Run, reason string) error {
	r.Started, r.PID, r.Status = time.Now(), os.Getpid(), core.Running
	if err := f.PutRun(ctx, r); err != nil {
		return err
	}
	r.Status, r.Reason, r.Ended = core.Failed, "could not begin: "+reason, time.Now()
	return f.PutRun(ctx, r)
}

// few is how many of the newest runs newest reads: some of them may still run.
const few = 10

// newest returns the newest run that has ended, for the chain from run to run; nil: none of the newest few has.
func (f *Files) newest(ctx context.Context) *before {
	_, err := f.refresh(ctx, few, "")
	ids, listErr := f.ids()
	if err != nil || listErr != nil {
		return nil // one link less in the chain is no reason not to run
	}
	for _, id := range slices.Backward(ids[max(0, len(ids)-few):]) {
		if s, err := f.seal(id); err == nil && s != nil && s.Hash != "" {
			return &before{Run: id, Hash: s.Hash}
		}
	}
	return nil
}

// Filter chooses runs; the zero value takes all.
type Filter = core.RunFilter

func takes(f Filter, r core.Run) bool {
	// A damaged record may not tell, nor one of a run whose manifest could not be read.
	unknown := r.Status == core.Damaged || r.Status == core.Failed && len(r.Stages) == 0
	fits := func(want, got string) bool { return want == "" || want == got || unknown && got == "" }
	return fits(f.Pipeline, r.Pipeline) && fits(f.Branch, r.Branch) && fits(f.Environment, r.Environment) &&
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, r.Status))
}

// Runs returns the runs that a filter takes, the newest first.
func (f *Files) Runs(ctx context.Context, filter Filter) ([]core.Run, error) {
	for n := filter.Limit; ; n *= 4 {
		more, err := f.refresh(ctx, n, "")
		if err != nil {
			return nil, err
		}
		runs, err := f.runsHere(ctx, filter)
		if err != nil || !more || len(runs) == filter.Limit {
			return runs, err
		}
	}
}

// runsHere is Runs of what is on this machine.
func (f *Files) runsHere(ctx context.Context, filter Filter) ([]core.Run, error) {
	ids, err := f.ids()
	if err != nil {
		return nil, err
	}
	var runs []core.Run
	for _, id := range slices.Backward(ids) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if filter.Before != "" && id >= filter.Before {
			continue
		}
		r, err := f.Run(ctx, id)
		if errors.Is(err, fs.ErrNotExist) { // it died before its first record, or is being removed
			continue
		}
		if err != nil {
			return nil, err
		}
		if takes(filter, r) {
			runs = append(runs, r)
		}
		if filter.Limit > 0 && len(runs) == filter.Limit {
			break
		}
	}
	return runs, nil
}

// Find returns the only run whose ID begins with prefix, in upper or lower case. An empty prefix is the newest
// run. A run that is not there is a *core.NotFoundError.
func (f *Files) Find(ctx context.Context, prefix string) (core.Run, error) {
	few := 6 // as many as join names
	if prefix == "" {
		few = 1
	}
	if _, err := f.refresh(ctx, few, prefix); err != nil {
		return core.Run{}, err
	}
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
	return f.Run(ctx, found[0])
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

// Run returns a run as it is now. A run whose process is gone was interrupted. A run whose record is not as it was
// written is damaged; the reason says where, and the rest is what can still be read.
func (f *Files) Run(ctx context.Context, id core.RunID) (core.Run, error) {
	if err := f.fetch(ctx, id); err != nil {
		return core.Run{}, err
	}
	rec, err := f.read(ctx, id)
	if damage := (*DamageError)(nil); errors.As(err, &damage) {
		return f.damagedRun(ctx, id, damage), nil
	}
	if err != nil {
		return core.Run{}, err
	}
	if rec.Ended.IsZero() && !f.alive(rec) {
		interrupt(&rec.Run)
	}
	return rec.Run, nil
}

// damagedRun returns what can still be read of a run whose record is not as it was written. The journal may be whole,
// or whole at its beginning.
func (f *Files) damagedRun(ctx context.Context, id core.RunID, damage *DamageError) core.Run {
	told, err := f.replay(ctx, id, nil)
	if err == nil {
		f.differ(damage, told.Run)
	}
	r := core.Run{
		ID: id, Pipeline: told.Pipeline, Manifest: told.Manifest, Commit: told.Commit, Subject: told.Subject, Branch: told.Branch,
		Environment: told.Environment, Started: told.Started, Status: core.Damaged, Reason: damage.Error(),
	}
	if u, err := ulid.ParseStrict(string(id)); err == nil && r.Started.IsZero() {
		r.Started = ulid.Time(u.Time())
	}
	return r
}

// interrupt marks a run whose process is gone as cancelled.
func interrupt(r *core.Run) {
	r.Status, r.Reason = core.Cancelled, fmt.Sprintf("interrupted: process %d is gone", r.PID)
	for i, s := range r.Stages {
		switch {
		case s.Status == core.Running:
			r.Stages[i].Status, r.Stages[i].Reason = core.Cancelled, "interrupted"
		case s.Status == core.Pending && s.Reason == "":
			r.Stages[i].Reason = "not reached"
		}
	}
}

// read returns the record of a run: how it ended, or what its journal says so far.
func (f *Files) read(ctx context.Context, id core.RunID) (record, error) {
	sealed, err := f.seal(id)
	switch {
	case err != nil:
		return record{}, err
	case sealed == nil:
		return f.replay(ctx, id, nil)
	case sealed.Hash == "":
		old, err := f.readOld(id)
		return old.record, err
	}
	var l line
	if err := json.Unmarshal(sealed.Text, &l); err != nil || l.Record == nil {
		return record{}, &DamageError{File: f.recordPath(id), Problem: "holds no run"}
	}
	if l.Record.ID != id {
		return record{}, &DamageError{File: f.recordPath(id), Problem: fmt.Sprintf("belongs to run %s", l.Record.ID), Want: string(id)}
	}
	return *l.Record, nil
}

// seal reads run.json and checks its hash; nil: there is none. That of the first version of troop has no hash.
func (f *Files) seal(id core.RunID) (*seal, error) {
	path := f.recordPath(id)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, fmt.Errorf("read run: %w", err)
	}
	var s seal
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, &DamageError{File: path, Problem: "cannot be read: " + err.Error()}
	}
	if s.Text == nil && s.Hash == "" {
		return &s, nil
	}
	if got := hash(s.Text); got != s.Hash {
		return nil, &DamageError{File: path, Problem: "was changed: the SHA-256 of its text is " + got, Want: s.Hash}
	}
	return &s, nil
}

func (f *Files) readOld(id core.RunID) (oldRecord, error) {
	path := f.recordPath(id)
	b, err := os.ReadFile(path)
	if err != nil {
		return oldRecord{}, fmt.Errorf("read run: %w", err)
	}
	var old oldRecord
	if err := json.Unmarshal(b, &old); err != nil {
		return oldRecord{}, &DamageError{File: path, Problem: "cannot be read: " + err.Error()}
	}
	if old.ID != id {
		return oldRecord{}, &DamageError{File: path, Problem: fmt.Sprintf("belongs to run %q", old.ID), Want: string(id)}
	}
	return old, nil
}

// running reports whether a run is still running. Its cost does not grow with the journal.
func (f *Files) running(ctx context.Context, id core.RunID) (bool, error) {
	if err := f.fetch(ctx, id); err != nil {
		return false, err
	}
	sealed, err := f.seal(id)
	if err != nil {
		return false, err
	}
	if sealed != nil {
		if sealed.Hash != "" {
			return false, nil
		}
		old, err := f.readOld(id)
		return err == nil && old.Ended.IsZero() && f.alive(old.record), err
	}
	file, err := os.Open(f.journalPath(id))
	if err != nil {
		return false, fmt.Errorf("read run: %w", err)
	}
	defer file.Close()
	for text, err := range lines(file) {
		var l line
		if err == nil && !isEvent(text) {
			err = json.Unmarshal(text, &l)
		}
		if err != nil {
			return false, fmt.Errorf("read journal: %w", err)
		}
		if l.Record != nil {
			return f.alive(*l.Record), nil
		}
	}
	return false, nil
}

// Newest returns the newest run of a pipeline.
func (f *Files) Newest(ctx context.Context, pipeline string) (core.Run, error) {
	runs, err := f.Runs(ctx, Filter{Pipeline: pipeline, Limit: 1})
	if err == nil && len(runs) == 0 {
		err = &core.NotFoundError{What: "run of pipeline", Name: pipeline, Remedy: "there is none yet: troop run makes one"}
	}
	if err != nil {
		return core.Run{}, err
	}
	return runs[0], nil
}
