package terraform

import (
	"errors"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

func TestReview(t *testing.T) {
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
			err := Review(tt.plan, tt.rules)
			var refused *RefusedError
			if errors.As(err, &refused) != (len(tt.reasons) > 0) {
				t.Fatalf("got %v, want %q", err, tt.reasons)
			}
			for i, reason := range tt.reasons {
				if i >= len(refused.Reasons) || refused.Reasons[i] != reason {
					t.Errorf("got %q, want %q", refused.Reasons, tt.reasons)
				}
			}
		})
	}
}

func TestNeedsApproval(t *testing.T) {
	change := &Plan{Changes: []Change{{Action: Create}}}
	if !NeedsApproval(change, core.Review{Approve: true}) || NeedsApproval(change, core.Review{}) || NeedsApproval(&Plan{}, core.Review{Approve: true}) {
		t.Error("approval is needed for a plan that changes something, where the rules ask for it")
	}
}
