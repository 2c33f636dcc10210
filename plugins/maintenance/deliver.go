package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/move"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

func (a *agent) claim(ctx context.Context, f wanted) {
	err := a.mover.Claim(ctx, f.rule, f.Found)
	rest := "claim/" + f.Path
	switch {
	case err == nil:
		delete(a.rests, rest)
	case errors.Is(err, os.ErrNotExist):
	case errors.Is(err, file.ErrUnsafe):
		a.refuse(f.rule.Name, map[string]error{f.Path: err})
	default:
		a.heldBack[f.Path] = a.pauseAfter(rest)
		hint := ""
		if errors.Is(err, unix.EROFS) {
			hint = "; if the folder was made after the agent started, restart the agent: its unit may write to folders that were there"
		}
		a.alert("file.stuck", "file/"+f.Path, fmt.Sprintf("%s on %s cannot be claimed: %v%s", f.Path, a.info.Host, err, hint), map[string]any{"path": f.Path})
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
		key := "file/" + m.Claim.Path.String()
		switch {
		case errors.Is(err, file.ErrHeld):
			a.tellHeld(m)
			a.rests[m.ID] = rest{failures: a.rests[m.ID].failures, until: a.now().Add(heldPause / 2), told: a.rests[m.ID].told}
		case err != nil:
			a.fault(m, err)
		case done == move.Moved:
			a.gone.add(m.Claim.File.Size)
			a.emitMoved(m)
			a.resolve(key, fmt.Sprintf("%s on %s was moved", m.Claim.Path, a.info.Host))
			a.resolve("storage.full", a.where()+" has space again for "+string(a.info.Host))
		case done == move.Returned:
			a.heldBack[string(m.Claim.Path)] = a.now().Add(givenBack)
			a.emit(sdk.Event{
				Kind: "file.held", Severity: sdk.Warning, Key: "file:" + string(a.info.Host) + ":" + m.Claim.Path.String(),
				Summary: fmt.Sprintf(`%s on %s has its old name again: its writer (%s) does not close it; use reopen = "signal" or "copytruncate" in rule %q`,
					m.Claim.Path, a.info.Host, strings.Join(file.Writers("/proc", m.Claim.File), ", "), m.Claim.Rule),
				Data: map[string]any{"path": m.Claim.Path.String(), "rule": m.Claim.Rule},
			})
		case done == move.Vanished:
			a.alert("file.vanished", key, fmt.Sprintf("%s on %s was removed by another program before it was sent", m.Claim.Path, a.info.Host), map[string]any{"path": m.Claim.Path.String()})
		}
	}
}

func (a *agent) emitMoved(m *journal.Move) {
	r := m.Receipt
	a.emit(sdk.Event{
		Kind: "file.moved", Severity: sdk.Info, Key: "file:" + string(a.info.Host) + ":" + r.Path.String(),
		Summary: fmt.Sprintf("%s (%s) on %s was moved to %s and read back, and is removed here", r.Path, human(r.File.Size), a.info.Host, a.where()),
		Data: map[string]any{
			"receipt": r.ID, "rule": r.Rule, "path": r.Path.String(), "remote": r.Remote.String(), "bytes": r.File.Size,
			"stored_bytes": r.StoredSize, "sha256": r.SHA256, "inode": r.File.Inode,
		},
	})
}

// pauseAfter counts one more failure of a move or a claim, and returns when it may be tried again.
func (a *agent) pauseAfter(key string) time.Time {
	n := a.rests[key].failures + 1
	until := a.now().Add(min(firstPause<<min(n-1, 10), longestWait))
	a.rests[key] = rest{failures: n, until: until, told: a.rests[key].told}
	return until
}

// tellHeld publishes, once for each move, that a writer has kept its old file open although there is a new one of its name.
func (a *agent) tellHeld(m *journal.Move) {
	r := a.rests[m.ID]
	if r.told || a.now().Sub(m.Begun) < 2*move.HoldTime {
		return
	}
	r.told = true
	a.rests[m.ID] = r
	a.emit(sdk.Event{
		Kind: "file.held", Severity: sdk.Warning, Key: "file:" + string(a.info.Host) + ":" + m.Claim.Path.String(),
		Summary: fmt.Sprintf("%s on %s waits as %s: a new file has its name, and %s writes to the old one; it is sent when that is closed",
			m.Claim.Path, a.info.Host, m.Claim.Claimed, strings.Join(file.Writers("/proc", m.Claim.File), ", ")),
		Data: map[string]any{"path": m.Claim.Path.String(), "rule": m.Claim.Rule},
	})
}

// fault handles a failed step: the move pauses, and an alert is raised if needed. A failed connection is dropped; the next
// scan opens a new one.
func (a *agent) fault(m *journal.Move, err error) {
	a.pauseAfter(m.ID)
	n := a.rests[m.ID].failures
	key, data := "file/"+m.Claim.Path.String(), map[string]any{"path": m.Claim.Path.String(), "failures": n}
	switch {
	case errors.Is(err, storage.ErrMismatch):
		a.alert("file.mismatch", key, fmt.Sprintf("%s on %s is kept and sent again: %v", m.Claim.Path, a.info.Host, err), data)
	case a.full() != "":
		a.alert("storage.full", "storage.full", fmt.Sprintf("%s takes no files of %s, where nothing is deleted: %s: %v", a.where(), a.info.Host, a.full(), err), data)
	case n >= stuckAfter:
		a.alert("file.stuck", key, fmt.Sprintf("%s on %s cannot be moved (%d failures): %v", m.Claim.Path, a.info.Host, n, err), data)
	}
	if !errors.Is(err, file.ErrUnsafe) && !errors.Is(err, storage.ErrChanged) {
		a.disconnect()
	}
}

// full says why the storage host has no space for this host; empty: it has, or that is not known.
func (a *agent) full() string {
	if a.remote == nil {
		return ""
	}
	return a.remote.Full()
}
