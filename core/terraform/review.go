package terraform

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// Rules are a team's own. They judge a plan in Terraform's JSON form, from which sensitive values are taken out.
// Findings of severity "error" refuse it.
type Rules interface {
	Judge(ctx context.Context, plan map[string]any) ([]core.Finding, error)
}

// Review is what a reviewer reads, and what decides whether a plan may be applied.
type Review struct {
	Environment string `json:"environment"`
	*Plan
	Findings []core.Finding `json:"findings"`           // of the team's rules
	Refused  []string       `json:"refused"`            // why it cannot be applied, whoever approves it
	Outdated []string       `json:"outdated,omitempty"` // what is not what it was when the plan was made
	Needed   bool           `json:"approval_needed"`    // before it is applied
	Approval *Approval      `json:"approval,omitempty"` // that it has
	Lapsed   *Approval      `json:"lapsed,omitempty"`   // the last one, when it is for another plan
}

// Review holds a plan against the rules of the manifest and of the team, and looks for its approval.
func (w *Workspace) Review(ctx context.Context, p *Plan, conf core.Review) (*Review, error) {
	r := &Review{Environment: w.Environment, Plan: p, Findings: []core.Finding{}, Needed: conf.Approve && !p.Empty()}
	if w.Rules != nil && !p.Empty() {
		findings, err := w.Rules.Judge(ctx, p.shown)
		if err != nil {
			return nil, fmt.Errorf("judge plan: %w", err)
		}
		secrets := mask.New(w.Secrets...)
		for _, f := range findings {
			f.Message = oneLine(secrets.String(f.Message))
			r.Findings = append(r.Findings, f)
		}
	}
	r.Refused = refusals(p, conf, r.Findings)
	now := w.Origin
	if !r.Needed {
		now.Commit = p.Origin.Commit // it has no influence on hosts, but is a part of what people approve
	}
	r.Outdated = p.differs(p.Digest, now)
	return r, w.findApproval(r)
}

// oneLine leaves out what could move a terminal's cursor.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, s)
}

// refusals says which rules a plan breaks. A replacement is also a destruction.
func refusals(p *Plan, conf core.Review, findings []core.Finding) []string {
	by := map[Action][]string{}
	for _, c := range p.Changes {
		by[c.Action] = append(by[c.Action], c.Address)
	}
	destroyed := slices.Concat(by[Destroy], by[Replace])
	reasons := []string{}
	for _, forbidden := range conf.Forbid {
		hit := by[Action(forbidden)]
		if Action(forbidden) == Destroy {
			hit = destroyed
		}
		if len(hit) > 0 {
			reasons = append(reasons, fmt.Sprintf("%s is forbidden, and it would %s %s", forbidden, forbidden, strings.Join(hit, ", ")))
		}
	}
	if conf.MaxDestroy >= 0 && len(destroyed) > conf.MaxDestroy {
		reasons = append(reasons, fmt.Sprintf("it would destroy %d resources, and %d are allowed: %s",
			len(destroyed), conf.MaxDestroy, strings.Join(destroyed, ", ")))
	}
	for _, f := range findings {
		if f.Severity == "error" {
			reasons = append(reasons, place(f)+": "+f.Message)
		}
	}
	return reasons
}

func place(f core.Finding) string { return fmt.Sprintf("%s:%d", f.Path, f.Line) }

// Err is why the plan cannot be applied now: a *RefusedError, an *OutdatedError, a *WaitsError, or nil.
func (r *Review) Err() error {
	switch {
	case len(r.Refused) > 0:
		return &RefusedError{Reasons: r.Refused}
	case len(r.Outdated) > 0:
		return &OutdatedError{What: r.Outdated}
	case r.Needed && r.Approval == nil:
		return &WaitsError{Review: r}
	}
	return nil
}

// RefusedError says which rules of the review a plan breaks.
type RefusedError struct{ Reasons []string }

func (e *RefusedError) Error() string {
	return "the review refuses the plan: " + strings.Join(e.Reasons, "; ")
}

// WaitsError says that someone must approve the plan, and what became of the last approval.
type WaitsError struct{ Review *Review }

func (e *WaitsError) Error() string {
	s := fmt.Sprintf("plan %s (%s) waits for approval", e.Review.Name(), e.Review.Summary())
	if old := e.Review.Lapsed; old != nil {
		s += fmt.Sprintf(": that of %s is for plan %s, and since then %s changed", old.By, name(old.ID), list(e.Review.differs(old.Digest, old.Origin)))
	}
	return s
}

// differs names what is not the same in another plan.
func (p *Plan) differs(d core.Digest, o Origin) []string {
	var names []string
	for _, x := range []struct {
		name string
		same bool
	}{
		{"the plan", d == p.Digest},
		{"the commit", o.Commit == p.Origin.Commit},
		{"the manifest", o.Manifest == p.Origin.Manifest},
		{"the plugin lock", o.Lock == p.Origin.Lock},
		{"the version of Terraform", o.Terraform == p.Origin.Terraform},
	} {
		if !x.same {
			names = append(names, x.name)
		}
	}
	return names
}

// OutdatedError says that what a plan was made from has changed since.
type OutdatedError struct{ What []string }

func (e *OutdatedError) Error() string {
	return "since the plan was made " + list(e.What) + " changed; plan again"
}

// list joins names for a sentence.
func list(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// Summary is the plan in one line.
func (p *Plan) Summary() string {
	if p.Empty() {
		return "nothing to change"
	}
	var parts []string
	count := p.Count()
	for _, a := range []Action{Create, Update, Replace, Destroy, Forget} {
		if n := count[a]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, a))
		}
	}
	if len(parts) == 0 && len(p.Outputs) > 0 {
		parts = append(parts, "outputs change")
	}
	if p.Lock != nil {
		parts = append([]string{"1 lock to free"}, parts...)
	}
	return strings.Join(parts, ", ")
}

// Name is the beginning of the plan's ID, by which people call it.
func (p *Plan) Name() string { return name(p.ID) }

func name(id core.Digest) string {
	s := id.Hex()
	return s[:min(len(s), 12)]
}
