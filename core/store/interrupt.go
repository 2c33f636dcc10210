package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// Interrupt records the end of a run whose process is thought to be dead, in a shared store, so that another run may take
// its place. If the process lives after all, it can record nothing from then on, and stops at the next safe point. r says
// what is known of a run that has not begun; it cannot begin any more. The error of a run that goes on, or has ended
// meanwhile, is a core.ErrChanged.
func (f *Files) Interrupt(ctx context.Context, r core.Run, reason string) error {
	err := f.fetchAgain(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("interrupt run %s: %w", r.ID, err)
	}
	rec, err := f.read(ctx, r.ID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Started, r.Status = time.Now(), core.Running
		rec, err = record{Run: r}, nil
	case err == nil && !rec.Ended.IsZero():
		return fmt.Errorf("interrupt run %s: it has ended: %w", r.ID, core.ErrChanged)
	}
	if err != nil {
		return fmt.Errorf("interrupt run %s: %w", r.ID, err)
	}
	interrupt(&rec.Run)
	rec.Reason, rec.Ended = reason, time.Now()
	if err := f.seize(ctx, rec); err != nil {
		return errors.Join(fmt.Errorf("interrupt run %s: %w", r.ID, err), f.closeJournal(r.ID), remove(f.journalPath(r.ID)))
	}
	return nil
}

// seize writes the last line of a run's journal where its own process would write its next part, and then the run's end.
func (f *Files) seize(ctx context.Context, rec record) error {
	_, began, err := f.lastPart(ctx, rec.ID)
	if err != nil {
		return err
	}
	if info, err := os.Stat(f.journalPath(rec.ID)); err == nil && info.Size() != began || err != nil && began > 0 {
		return core.ErrChanged // since it was read
	}
	if began == 0 {
		begins := rec
		begins.Status, begins.Reason, begins.Ended = core.Running, "", time.Time{}
		if _, err := f.write(rec.ID, line{Record: &begins}); err != nil {
			return err
		}
	}
	sealed, err := f.write(rec.ID, line{Record: &rec})
	if err == nil {
		err = f.closeJournal(rec.ID)
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(f.journalPath(rec.ID))
	if err != nil {
		return err
	}
	if _, err := PutBytes(ctx, f.shared, partKey(rec.ID, began), text[began:], core.Condition{Absent: true}); err != nil {
		return err
	}
	b, err := json.Marshal(sealed)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if err := putSame(ctx, f.shared, runKey(rec.ID, "run.json"), b); err != nil {
		return err
	}
	return renameio.WriteFile(f.recordPath(rec.ID), b, 0o644)
}

// Silent is how long nothing was heard of a run in a shared store; while its process lives, that is a few seconds at most.
func (f *Files) Silent(ctx context.Context, id core.RunID) (time.Duration, error) {
	if err := f.fetchJournal(ctx, id); err != nil {
		return 0, err
	}
	silent, ok := f.shared.silent(id)
	if !ok {
		return 0, &core.NotFoundError{What: "run", Name: string(id)}
	}
	return silent, nil
}
