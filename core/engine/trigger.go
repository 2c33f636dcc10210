package engine

import (
	"slices"

	"github.com/seed-b96de936/troop/core"
)

// triggered fills in what the options of a run leave to the triggers of the manifest: the first one that fits the
// branch, and the environment when one is chosen.
func triggered(p *core.Pipeline, o core.RunOptions) core.RunOptions {
	for _, t := range p.Triggers {
		fits := slices.ContainsFunc(t.Branches, func(pattern string) bool { return matches(pattern, o.Branch) })
		if !fits || (o.Environment != "" && t.Environment != o.Environment) {
			continue
		}
		if o.Until == "" {
			o.Until = t.Until
		}
		o.Environment = t.Environment
		return o
	}
	return o
}
