package terraform

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/plain"
)

// Rules are a team's own rules. They judge a plan in Terraform's JSON form without sensitive values. A finding of
// severity "error" refuses the plan.
type Rules interface {
	Judge(ctx context.Context, plan map[string]any) ([]core.Finding, error)
}

// Review is a plan with all that a reviewer reads and that decides whether it may be applied.
type Review struct {
	Environment string `json:"environment"`
	*Plan
	Findings []core.Finding `json:"findings"`           // of the team's rules
	Refused  []string       `json:"refused"`            // reasons that no approval can override
	Outdated []string       `json:"outdated,omitempty"` // inputs that changed since the plan was made
	Needed   bool           `json:"approval_needed"`    // whether apply needs an approval
	Costly   string         `json:"costly,omitempty"`   // why the cost asks for an approval
	Approval *Approval      `json:"approval,omitempty"` // nil: not approved
	Denied   *Approval      `json:"denied,omitempty"`   // who has denied it
	Lapsed   *Approval      `json:"lapsed,omitempty"`   // the last approval, if it was for another plan

	Since *Since `json:"since,omitempty"` // nil: nothing was applied yet

	arguments string // select the environment in commands
}

// Review checks a plan against the manifest's limits and the team's rules, and finds its approval.
func (w *Workspace) Review(ctx context.Context, p *Plan, conf core.Review) (*Review, error) {
	r := &Review{Environment: w.Environment, Plan: p, Findings: []core.Finding{}, Costly: p.Cost.over(conf.MaxMonthly), arguments: w.arguments()}
	r.Needed = (conf.Approve || r.Costly != "") && !p.Empty()
	if w.Rules != nil && !p.Empty() {
		findings, err := w.Rules.Judge(ctx, p.shown)
		if err != nil {
			return nil, fmt.Errorf("judge plan: %w", err)
		}
		secrets := mask.New(w.Secrets...)
		for _, f := range findings {
			f.Message = plain.Line(secrets.String(f.Message))
			r.Findings = append(r.Findings, f)
		}
	}
	r.Refused = refusals(p, conf, r.Findings)
	now := w.Origin
	if !r.Needed {
		now.Commit = p.Origin.Commit // does not affect hosts, but is part of what people approve
	}
	r.Outdated = p.differs(p.Digest, now)
	var err error
	if r.Since, err = w.since(p); err != nil {
		return nil, err
	}
	return r, w.findApproval(r)
}

// refusals lists the rules that a plan breaks. A replacement counts as a destruction.
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

// Err returns why the plan cannot be applied now: a *RefusedError, an *OutdatedError, a *WaitsError, or nil.
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

// RefusedError lists the rules that a plan breaks.
type RefusedError struct{ Reasons []string }

func (e *RefusedError) Error() string {
	return "the review refuses the plan: " + strings.Join(e.Reasons, "; ")
}

// WaitsError: the plan needs an approval, or was denied one. It says why the last approval does not hold.
type WaitsError struct{ Review *Review }

func (e *WaitsError) Error() string {
	if no := e.Review.Denied; no != nil {
		return fmt.Sprintf("plan %s (%s) was denied by %s", e.Review.Name(), e.Review.Summary(), no)
	}
	s := fmt.Sprintf("plan %s (%s) waits for approval", e.Review.Name(), e.Review.Summary())
	if costly := e.Review.Costly; costly != "" {
		s += ": " + costly
	}
	if old := e.Review.Lapsed; old != nil {
		s += fmt.Sprintf(": that of %s is for plan %s, and since then %s changed", old.By, name(old.ID), list(e.Review.differs(old.Digest, old.Origin)))
	}
	return s
}

// differs names the inputs that differ from another plan's.
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

// OutdatedError: the plan's inputs have changed since it was made.
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
	for _, a := range []Action{Create, Update, Replace, Destroy, Import, Move, Forget} {
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

// Name is a short prefix of the plan's ID for people.
func (p *Plan) Name() string { return name(p.ID) }

func name(id core.Digest) string {
	s := id.Hex()
	return s[:min(len(s), 12)]
}

// Write writes the review to files, as JSON and as a page; an empty name is left out.
func (r *Review) Write(out, page string) error {
	if out != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(out, append(data, '\n'), 0o644); err != nil {
			return fmt.Errorf("write plan: %w", err)
		}
	}
	if page != "" {
		data, err := r.HTML()
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(page, data, 0o644); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
	}
	return nil
}
