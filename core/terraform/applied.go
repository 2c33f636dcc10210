package terraform

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Applied is a plan that was applied, as far as the next plan is compared with it.
type Applied struct {
	Plan    string    `json:"plan"` // its name
	Summary string    `json:"summary"`
	Time    time.Time `json:"time"`
	By      string    `json:"by,omitempty"`   // who approved it; empty: it needed nobody
	Cost    string    `json:"cost,omitempty"` // a month, after it
	Origin  Origin    `json:"origin"`
	Inputs  string    `json:"inputs"`
	Changed []string  `json:"changed"` // addresses, sorted
}

// Since compares a plan with the last one that was applied.
type Since struct {
	Applied
	Differs []string `json:"differs"` // inputs that changed since
	Again   []string `json:"again"`   // addresses that both plans change
}

const lastPlan = "last.json"

// keep records a plan that was applied.
func (w *Workspace) keep(p *Plan, approval *Approval, now time.Time) error {
	a := Applied{Plan: p.Name(), Summary: p.Summary(), Time: now.UTC().Truncate(time.Second), Origin: p.Origin, Inputs: string(p.Inputs), Changed: []string{}}
	if approval != nil {
		a.By = approval.By
	}
	if p.Cost != nil {
		a.Cost = p.Cost.After.String()
	}
	for _, c := range p.Changes {
		a.Changed = append(a.Changed, c.Address)
	}
	slices.Sort(a.Changed)
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeFile(w.path(lastPlan), b)
}

// since compares a plan with the last that was applied from here; nil: none was.
func (w *Workspace) since(p *Plan) (*Since, error) {
	var last Applied
	if err := w.load(lastPlan, &last); errors.Is(err, ErrNoPlan) || p.Empty() {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	s := &Since{Applied: last, Differs: p.differs(p.Digest, last.Origin), Again: []string{}}
	if last.Inputs != string(p.Inputs) {
		s.Differs = append(s.Differs, "the module or its variables")
	}
	for _, c := range p.Changes {
		if slices.Contains(last.Changed, c.Address) {
			s.Again = append(s.Again, c.Address)
		}
	}
	slices.Sort(s.Again)
	return s, nil
}

// String is the comparison in a line.
func (s *Since) String() string {
	text := fmt.Sprintf("plan %s (%s) was applied %s", s.Plan, s.Summary, s.Time.UTC().Format("2006-01-02 15:04 UTC"))
	if s.By != "" {
		text += ", approved by " + s.By
	}
	text += "; since then "
	if len(s.Differs) == 0 {
		text += "nothing that a plan is made from changed"
	} else {
		text += list(s.Differs) + " changed"
	}
	if len(s.Again) > 0 {
		text += "; changed again: " + strings.Join(s.Again, ", ")
	}
	return text
}
