package terraform

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func TestRefusals(t *testing.T) {
	plan := func(actions ...Action) *Plan {
		p := &Plan{}
		for _, a := range actions {
			p.Changes = append(p.Changes, Change{Address: "x." + string(a), Action: a})
		}
		return p
	}
	tests := map[string]struct {
		plan    *Plan
		rules   core.Review
		reasons []string
	}{
		"nothing forbidden":       {plan(Create, Destroy, Replace), core.Review{MaxDestroy: -1}, nil},
		"forbidden but absent":    {plan(Create), core.Review{MaxDestroy: -1, Forbid: []string{"destroy"}}, nil},
		"destroy":                 {plan(Destroy), core.Review{MaxDestroy: -1, Forbid: []string{"destroy"}}, []string{"destroy is forbidden, and it would destroy x.destroy"}},
		"a replacement destroys":  {plan(Replace), core.Review{MaxDestroy: -1, Forbid: []string{"destroy"}}, []string{"destroy is forbidden, and it would destroy x.replace"}},
		"several rules":           {plan(Create, Update), core.Review{MaxDestroy: -1, Forbid: []string{"create", "update"}}, []string{"create is forbidden, and it would create x.create", "update is forbidden, and it would update x.update"}},
		"as many as allowed":      {plan(Destroy), core.Review{MaxDestroy: 1}, nil},
		"more than allowed":       {plan(Destroy, Replace), core.Review{MaxDestroy: 1}, []string{"it would destroy 2 resources, and 1 are allowed: x.destroy, x.replace"}},
		"none allowed":            {plan(Destroy), core.Review{MaxDestroy: 0}, []string{"it would destroy 1 resources, and 0 are allowed: x.destroy"}},
		"forgetting is no ending": {plan(Forget), core.Review{MaxDestroy: 0, Forbid: []string{"destroy"}}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := refusals(tt.plan, tt.rules, nil); !slices.Equal(got, tt.reasons) {
				t.Errorf("got %q, want %q", got, tt.reasons)
			}
		})
	}
}

// judge is a fake of the team's rules with the same findings for every plan.
type judge []core.Finding

func (j judge) Judge(context.Context, map[string]any) ([]core.Finding, error) {
	return slices.Clone(j), nil
}

// reviewed reviews a plan in a workspace without Terraform.
func reviewed(t *testing.T, w *Workspace, p *Plan, conf core.Review) *Review {
	t.Helper()
	p.ID = p.id()
	r, err := w.Review(t.Context(), p, conf)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func workspaceFor(t *testing.T) *Workspace {
	t.Helper()
	w := &Workspace{Options: Options{Dir: t.TempDir(), Environment: "lab", Origin: origin}}
	if err := os.MkdirAll(w.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

var (
	origin  = Origin{Commit: "c1", Manifest: "m1", Lock: "l1", Terraform: "terraform 1.5.0"}
	approve = core.Review{Approve: true, MaxDestroy: -1}
)

func planA() *Plan {
	return &Plan{Digest: "sha256:aaaa", Origin: origin, Changes: []Change{{Address: "x.y", Action: Create}}}
}

func TestRules(t *testing.T) {
	w := workspaceFor(t)
	w.Secrets = []string{"hunter2-sentinel"}
	w.Rules = judge{
		{Path: "p.rego", Line: 3, Severity: "error", Message: "no hunter2-sentinel\x1b[2J here"},
		{Path: "p.rego", Line: 7, Severity: "warning", Message: "large"},
	}
	r := reviewed(t, w, planA(), core.Review{MaxDestroy: -1})
	if want := []string{"p.rego:3: no *** here"}; !slices.Equal(r.Refused, want) {
		t.Errorf("refused %q, want %q", r.Refused, want)
	}
	if err := r.Err(); !errors.As(err, new(*RefusedError)) {
		t.Errorf("got %v, want a refusal", err)
	}
	if !slices.Contains(r.Lines(), "warning: p.rego:7: large") {
		t.Errorf("the warning is not shown: %q", r.Lines())
	}
	if err := w.Decide(r, Decision{By: "alice", From: "here"}); err == nil {
		t.Error("a refused plan was approved")
	}
	if r := reviewed(t, w, &Plan{Origin: origin}, core.Review{MaxDestroy: -1}); r.Err() != nil {
		t.Errorf("a plan that changes nothing is refused: %v", r.Err())
	}
}

func TestApproval(t *testing.T) {
	w := workspaceFor(t)
	if err := reviewed(t, w, planA(), core.Review{MaxDestroy: -1}).Err(); err != nil {
		t.Errorf("where no approval is needed: %v", err)
	}
	if err := reviewed(t, w, &Plan{Origin: origin}, approve).Err(); err != nil {
		t.Errorf("a plan that changes nothing: %v", err)
	}
	r := reviewed(t, w, planA(), approve)
	if err := r.Err(); !errors.As(err, new(*WaitsError)) {
		t.Fatalf("before the approval: %v", err)
	}
	if err := w.Decide(r, Decision{By: "alice", From: "10.0.0.1 by way of bastion"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Errorf("right after it: %v", err)
	}

	// The same plan, made again.
	again := planA()
	again.File, again.Made = "another", time.Now()
	r = reviewed(t, w, again, approve)
	if r.Err() != nil || r.Approval.By != "alice" || r.Approval.From != "10.0.0.1 by way of bastion" || r.Approval.Time.IsZero() {
		t.Errorf("the same plan, made again: %v, %+v", r.Err(), r.Approval)
	}

	// Another plan, and the same plan of another origin.
	for what, change := range map[string]func(*Plan){
		"the plan":                 func(p *Plan) { p.Digest = "sha256:bbbb" },
		"the commit":               func(p *Plan) { p.Origin.Commit = "c2" },
		"the manifest":             func(p *Plan) { p.Origin.Manifest = "m2" },
		"the plugin lock":          func(p *Plan) { p.Origin.Lock = "" },
		"the version of Terraform": func(p *Plan) { p.Origin.Terraform = "tofu 1.5.0" },
	} {
		p := planA()
		change(p)
		w.Origin = p.Origin
		err := reviewed(t, w, p, approve).Err()
		if !errors.As(err, new(*WaitsError)) || !strings.HasSuffix(err.Error(), "and since then "+what+" changed") || !strings.Contains(err.Error(), "that of alice") {
			t.Errorf("%s: %v", what, err)
		}
		w.Origin = origin
		if what == "the plan" {
			continue
		}
		if err := reviewed(t, w, p, approve).Err(); !errors.As(err, new(*OutdatedError)) || !strings.Contains(err.Error(), what+" changed") {
			t.Errorf("a saved plan of which %s changed: %v", what, err)
		}
	}
	moved := planA()
	moved.Origin.Commit = "c2"
	if err := reviewed(t, w, moved, core.Review{MaxDestroy: -1}).Err(); err != nil {
		t.Errorf("a commit that nobody approved anything for: %v", err)
	}

	// It allows one apply.
	if _, err := w.used(again); err != nil {
		t.Fatal(err)
	}
	r = reviewed(t, w, planA(), approve)
	if !errors.As(r.Err(), new(*WaitsError)) || r.Lapsed != nil {
		t.Errorf("after the apply: %v", r.Err())
	}
	if err := w.Decide(r, Decision{By: "bob", From: "here"}); err != nil {
		t.Fatal(err)
	}
	if r = reviewed(t, w, planA(), approve); r.Err() != nil || r.Approval.By != "bob" {
		t.Errorf("approved a second time: %v, %+v", r.Err(), r.Approval)
	}

	// Somebody denies it; the last word counts, also for the same plan made again.
	if err := w.Decide(r, Decision{By: "carol", From: "here", Reason: "not on a Friday", Deny: true}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Review{r, reviewed(t, w, planA(), approve)} {
		if err := r.Err(); !errors.As(err, new(*WaitsError)) || !strings.Contains(err.Error(), "was denied by carol") || !strings.HasSuffix(err.Error(), ": not on a Friday") {
			t.Errorf("denied: %v", err)
		}
	}
	other := planA()
	other.Digest = "sha256:cccc"
	if err := reviewed(t, w, other, approve).Err(); err == nil || strings.Contains(err.Error(), "carol") {
		t.Errorf("another plan: %v", err)
	}
	r = reviewed(t, w, planA(), approve)
	if err := w.Decide(r, Decision{By: "carol", From: "here"}); err != nil || r.Err() != nil {
		t.Errorf("approved after all: %v, %v", err, r.Err())
	}
}

func TestCalled(t *testing.T) {
	p := &Plan{ID: "sha256:0123456789abcdef"}
	for s, want := range map[string]bool{
		p.Name(): true, "01234567": true, "0123456789ABCDEF": true, "sha256:0123456789": true,
		"0123456": false, "": false, "1234567890": false, "0123456789abcdef0": false,
	} {
		if p.Called(s) != want {
			t.Errorf("%q: %v, want %v", s, !want, want)
		}
	}
}
