package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-b96de936/troop/core"
)

// Taken says what TakeOver did.
type Taken struct {
	Runs, Artifacts int // copied
	There           int // runs that were there already
	Damaged         []string
}

// TakeOver copies the runs and artifacts of a folder into a shared store. A run is checked first: one whose chain is
// broken is left out. What is there already stays. It may be repeated, and stops at the first error of the store.
func (f *Files) TakeOver(ctx context.Context, from *Files) (Taken, error) {
	var n Taken
	ids, err := from.ids()
	if err != nil {
		return n, err
	}
	there := map[core.RunID]bool{}
	have, _, err := f.newestShared(ctx, 0, "")
	if err != nil {
		return n, err
	}
	for _, id := range have {
		there[id] = true
	}
	artifacts := map[core.Digest]bool{}
	for _, id := range ids {
		took, err := f.takeRun(ctx, from, id, there[id])
		if damage := (*DamageError)(nil); errors.As(err, &damage) {
			n.Damaged = append(n.Damaged, fmt.Sprintf("run %s: %v", id, damage))
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // it died before its first line
		}
		if err != nil {
			return n, fmt.Errorf("copy run %s: %w", id, err)
		}
		if took {
			n.Runs++
		} else {
			n.There++
		}
		r, err := from.Run(ctx, id)
		if err != nil {
			return n, err
		}
		addDigests(artifacts, r)
	}
	for d := range artifacts {
		a, err := from.Artifact(ctx, d)
		if errors.As(err, new(*core.NotFoundError)) {
			continue // pruned
		}
		if damage := (*DamageError)(nil); errors.As(err, &damage) {
			n.Damaged = append(n.Damaged, damage.Error())
			continue
		}
		if err != nil {
			return n, err
		}
		if err := f.sendArtifact(ctx, a.Path); err != nil {
			return n, fmt.Errorf("copy artifact %s: %w", d, err)
		}
		n.Artifacts++
	}
	return n, nil
}

// takeRun copies a run. There is one with its ID already: what it lacks is added.
func (f *Files) takeRun(ctx context.Context, from *Files, id core.RunID, there bool) (took bool, err error) {
	if err := from.Verify(ctx, id); err != nil {
		return false, err
	}
	text, err := os.ReadFile(from.recordPath(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if there && text != nil {
		if have, _, err := ReadObject(ctx, f.shared, runKey(id, "run.json")); err == nil {
			if string(have) != string(text) {
				return false, fmt.Errorf("the store has another run with this ID")
			}
			return false, nil
		}
	}
	x := &sending{id: id, file: from.journalPath(id)}
	for o, err := range f.shared.List(ctx, runKey(id, "journal/"), false) {
		if err != nil {
			return false, err
		}
		if at, ok := offset(o.Key); ok {
			x.sent = max(x.sent, at+o.Size)
		}
	}
	if _, err := os.Stat(x.file); err == nil {
		if err := x.flush(ctx, f.shared); err != nil {
			return false, err
		}
	}
	if text == nil {
		return true, nil
	}
	return true, putSame(ctx, f.shared, runKey(id, "run.json"), text)
}
