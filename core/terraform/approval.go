package terraform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Approval says that someone has read a plan and wants it applied, once. It holds for every plan of that ID, so
// that making the same plan again does not undo it.
type Approval struct {
	ID     core.Digest `json:"id"` // of the plan
	Digest core.Digest `json:"digest"`
	Origin Origin      `json:"origin"`
	By     string      `json:"by"`
	From   string      `json:"from"` // the machine
	Time   time.Time   `json:"time"`
	// Applied is when the plan was; the approval has ended then.
	Applied time.Time `json:"applied,omitzero"`
}

// String says who, from where and when.
func (a *Approval) String() string {
	return fmt.Sprintf("%s from %s at %s", a.By, a.From, a.Time.Local().Format(time.DateTime))
}

// approvals is the file of all approvals ever made, one per line, the newest last. Their ends are lines, too.
const approvals = "approvals.jsonl"

// Approve records that someone approves a plan that a review does not refuse.
func (w *Workspace) Approve(r *Review, by, from string) error {
	if len(r.Refused) > 0 {
		return r.Err()
	}
	a := &Approval{ID: r.id(), Digest: r.Digest, Origin: r.Origin, By: by, From: from, Time: time.Now().UTC().Truncate(time.Second)}
	if err := w.record(a); err != nil {
		return fmt.Errorf("record approval: %w", err)
	}
	r.Approval, r.Lapsed = a, nil
	return nil
}

// record appends a line and waits for the disk.
func (w *Workspace) record(a *Approval) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(w.path(approvals), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// findApproval looks for the approval of a reviewed plan, and else for the last one that has not ended.
func (w *Workspace) findApproval(r *Review) error {
	if !r.Needed {
		return nil
	}
	b, err := os.ReadFile(w.path(approvals))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read approvals: %w", err)
	}
	last := map[core.Digest]*Approval{}
	var open *Approval
	for line := range bytes.Lines(b) {
		a := new(Approval)
		if json.Unmarshal(line, a) != nil {
			continue // cut off when the machine went down: it approves nothing
		}
		last[a.ID] = a
		if a.Applied.IsZero() {
			open = a
		}
	}
	if a := last[r.id()]; a != nil && a.Applied.IsZero() {
		r.Approval = a
	} else if open != nil && last[open.ID] == open {
		r.Lapsed = open
	}
	return nil
}

// used ends the approval of a plan that was applied, if it has one.
func (w *Workspace) used(p *Plan) error {
	r := &Review{Plan: p, Needed: true}
	if err := w.findApproval(r); err != nil || r.Approval == nil {
		return err
	}
	end := *r.Approval
	end.Applied = time.Now().UTC().Truncate(time.Second)
	if err := w.record(&end); err != nil {
		return fmt.Errorf("record approval: %w", err)
	}
	return nil
}

// Called reports whether people may mean this plan by what they type: its name, or more or less of its ID.
func (p *Plan) Called(s string) bool {
	const least = 8
	s = core.Digest(strings.ToLower(s)).Hex()
	return len(s) >= least && strings.HasPrefix(p.ID.Hex(), s)
}
