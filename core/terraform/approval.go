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

// Approval is what a person has decided of a plan: it allows one apply, or denies it. It holds for every plan with that ID, so
// that making the same plan again keeps it. The last one counts.
type Approval struct {
	ID     core.Digest `json:"id"` // of the plan
	Digest core.Digest `json:"digest"`
	Origin Origin      `json:"origin"`
	By     string      `json:"by"`
	From   string      `json:"from"` // machine
	Time   time.Time   `json:"time"`
	Cost   string      `json:"cost,omitempty"` // that the approver read
	Reason string      `json:"reason,omitempty"`
	Denied bool        `json:"denied,omitempty"`
	// Applied is when the plan was applied, which ends the approval.
	Applied time.Time `json:"applied,omitzero"`
}

// String names the person, the machine and the time.
func (a *Approval) String() string {
	s := fmt.Sprintf("%s from %s at %s", a.By, a.From, a.Time.Local().Format(time.DateTime))
	if a.Reason != "" {
		s += ": " + a.Reason
	}
	return s
}

// approvals is the file of all approvals, one per line, newest last. The end of an approval is a line of its own.
const approvals = "approvals.jsonl"

// Decision is what somebody says of a plan.
type Decision struct {
	By, From, Reason string
	Deny             bool
}

// Decide records what somebody has decided of a reviewed plan. A refused plan cannot be approved.
func (w *Workspace) Decide(r *Review, d Decision) error {
	if len(r.Refused) > 0 && !d.Deny {
		return r.Err()
	}
	a := &Approval{
		ID: r.id(), Digest: r.Digest, Origin: r.Origin, By: d.By, From: d.From, Time: time.Now().UTC().Truncate(time.Second), Reason: d.Reason, Denied: d.Deny,
	}
	if r.Cost != nil {
		a.Cost = r.Cost.String()
	}
	if err := w.record(a); err != nil {
		return fmt.Errorf("record approval: %w", err)
	}
	r.decided(a)
	return nil
}

// decided fills in the decision that counts.
func (r *Review) decided(a *Approval) {
	r.Approval, r.Denied, r.Lapsed = a, nil, nil
	if a.Denied {
		r.Approval, r.Denied = nil, a
	}
}

// record appends a line and syncs it to disk.
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

// findApproval finds the approval of a reviewed plan, or else the last approval that has not ended.
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
			continue // truncated by a crash
		}
		last[a.ID] = a
		if a.Applied.IsZero() && !a.Denied {
			open = a
		}
	}
	if a := last[r.id()]; a != nil && a.Applied.IsZero() {
		r.decided(a)
	} else if open != nil && last[open.ID] == open {
		r.Lapsed = open
	}
	return nil
}

// used ends the approval, if any, of an applied plan, and returns it.
func (w *Workspace) used(p *Plan) (*Approval, error) {
	r := &Review{Plan: p, Needed: true}
	if err := w.findApproval(r); err != nil || r.Approval == nil {
		return nil, err
	}
	end := *r.Approval
	end.Applied = time.Now().UTC().Truncate(time.Second)
	if err := w.record(&end); err != nil {
		return nil, fmt.Errorf("record approval: %w", err)
	}
	return &end, nil
}

// Called reports whether typed text refers to this plan: its name, or a prefix of its ID.
func (p *Plan) Called(s string) bool {
	const least = 8
	s = core.Digest(strings.ToLower(s)).Hex()
	return len(s) >= least && strings.HasPrefix(p.ID.Hex(), s)
}
