package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/move"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

func (a *agent) claim(ctx context.Context, f wanted) {
	err := a.mover.Claim(ctx, f.rule, f.Found)
	switch {
	case err == nil || errors.Is(err, os.ErrNotExist):
	case errors.Is(err, file.ErrUnsafe):
		a.refuse(f.rule.Name, map[string]error{f.Path: err})
	default:
		a.alert("file.stuck", "file/"+f.Path, fmt.Sprintf("%s on %s cannot be claimed: %v", f.Path, a.info.Host, err), map[string]any{"path": f.Path})
	}
}

// advance takes every open move as far as possible.
func (a *agent) advance(ctx context.Context) {
	for _, m := range a.journal.Moves() {
		if ctx.Err() != nil {
			return
		}
		if a.now().Before(a.rests[m.ID].until) {
			continue
		}
		done, err := a.mover.Advance(m)
		if err == nil && done != move.Waiting {
			delete(a.rests, m.ID)
		}
		key := "file/" + m.Claim.Path
		switch {
		case errors.Is(err, file.ErrHeld):
			a.rests[m.ID] = rest{failures: a.rests[m.ID].failures, until: a.now().Add(heldPause / 2)}
		case err != nil:
			a.fault(m, err)
		case done == move.Moved:
			a.gone.add(m.Claim.File.Size)
			a.emitMoved(m)
			a.resolve(key, fmt.Sprintf("%s on %s was moved", m.Claim.Path, a.info.Host))
			a.resolve("storage.full", "the storage host has space again for "+string(a.info.Host))
		case done == move.Returned:
			a.heldBack[m.Claim.Path] = a.now().Add(givenBack)
			a.emit(sdk.Event{
				Kind: "file.held", Severity: sdk.Warning, Key: "file:" + string(a.info.Host) + ":" + m.Claim.Path,
				Summary: fmt.Sprintf(`%s on %s has its old name again: its writer (%s) does not close it; use reopen = "signal" or "copytruncate" in rule %q`,
					m.Claim.Path, a.info.Host, strings.Join(file.Writers("/proc", m.Claim.File), ", "), m.Claim.Rule),
				Data: map[string]any{"path": m.Claim.Path, "rule": m.Claim.Rule},
			})
		case done == move.Vanished:
			a.alert("file.vanished", key, fmt.Sprintf("%s on %s was removed by another program before it was sent", m.Claim.Path, a.info.Host), map[string]any{"path": m.Claim.Path})
		}
	}
}

func (a *agent) emitMoved(m *journal.Move) {
	r := m.Receipt
	a.emit(sdk.Event{
		Kind: "file.moved", Severity: sdk.Info, Key: "file:" + string(a.info.Host) + ":" + r.Path,
		Summary: fmt.Sprintf("%s (%s) on %s was moved to the storage host and read back, and is removed here", r.Path, human(r.File.Size), a.info.Host),
		Data: map[string]any{
			"receipt": r.ID, "rule": r.Rule, "path": r.Path, "remote": r.Remote, "bytes": r.File.Size,
			"stored_bytes": r.StoredSize, "sha256": r.SHA256, "inode": r.File.Inode,
		},
	})
}

// fault handles a failed step: the move pauses, and an alert is raised if needed. A failed connection is dropped; the next
// scan opens a new one.
func (a *agent) fault(m *journal.Move, err error) {
	n := a.rests[m.ID].failures + 1
	a.rests[m.ID] = rest{failures: n, until: a.now().Add(min(firstPause<<min(n-1, 10), longestWait))}
	key, data := "file/"+m.Claim.Path, map[string]any{"path": m.Claim.Path, "failures": n}
	switch {
	case errors.Is(err, storage.ErrMismatch):
		a.alert("file.mismatch", key, fmt.Sprintf("%s on %s is kept and sent again: %v", m.Claim.Path, a.info.Host, err), data)
	case a.storageFull():
		a.alert("storage.full", "storage.full", fmt.Sprintf("the storage host has no space left; nothing is deleted on %s: %v", a.info.Host, err), data)
	case n >= stuckAfter:
		a.alert("file.stuck", key, fmt.Sprintf("%s on %s cannot be moved (%d failures): %v", m.Claim.Path, a.info.Host, n, err), data)
	}
	if !errors.Is(err, file.ErrUnsafe) && !errors.Is(err, storage.ErrChanged) {
		a.disconnect()
	}
}

// fullBelow is the number of free bytes below which the storage host counts as full.
const fullBelow = 16 << 20

func (a *agent) storageFull() bool {
	if a.remote == nil {
		return false
	}
	free, known := a.remote.Free()
	return known && free < fullBelow
}
