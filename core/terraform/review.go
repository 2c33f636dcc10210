package terraform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// RefusedError says which rules of the review a plan breaks.
type RefusedError struct{ Reasons []string }

func (e *RefusedError) Error() string {
	return "the review refuses the plan: " + strings.Join(e.Reasons, "; ")
}

// Review holds a plan against the rules of the manifest: nil, or a *RefusedError. A replacement is also a
// destruction. Whether someone must approve the plan is another question: NeedsApproval.
func Review(p *Plan, rules core.Review) error {
	by := map[Action][]string{}
	for _, c := range p.Changes {
		by[c.Action] = append(by[c.Action], c.Address)
	}
	destroyed := slices.Concat(by[Destroy], by[Replace])
	var reasons []string
	for _, forbidden := range rules.Forbid {
		hit := by[Action(forbidden)]
		if Action(forbidden) == Destroy {
			hit = destroyed
		}
		if len(hit) > 0 {
			reasons = append(reasons, fmt.Sprintf("%s is forbidden, and it would %s %s", forbidden, forbidden, strings.Join(hit, ", ")))
		}
	}
	if rules.MaxDestroy >= 0 && len(destroyed) > rules.MaxDestroy {
		reasons = append(reasons, fmt.Sprintf("it would destroy %d resources, and %d are allowed: %s",
			len(destroyed), rules.MaxDestroy, strings.Join(destroyed, ", ")))
	}
	if len(reasons) > 0 {
		return &RefusedError{Reasons: reasons}
	}
	return nil
}

// NeedsApproval reports whether someone must say yes to the plan before it is applied, which frees a lock that an
// interrupted command left on the state only then.
func NeedsApproval(p *Plan, rules core.Review) bool {
	return rules.Approve && !p.Empty() || p.Lock != nil
}
