package engine

import (
	"cmp"
	"slices"

	"github.com/seed-b96de936/troop/core"
)

// triggered fills in what the options of a run leave to the triggers of the manifest: the first one that fits the
// branch or the tag, and the environment when one is chosen.
func triggered(p *core.Pipeline, o core.RunOptions) core.RunOptions {
	t := Trigger(p, o)
	if t == nil {
		return o
	}
	if o.Until == "" {
		o.Until = t.Until
	}
	o.Environment = cmp.Or(t.Environment, o.Environment)
	return o
}

// Trigger returns the trigger of a manifest that fits a run, or nil.
func Trigger(p *core.Pipeline, o core.RunOptions) *core.Trigger {
	for i, t := range p.Triggers {
		patterns, name := t.Branches, o.Branch
		if o.Tag != "" {
			patterns, name = t.Tags, o.Tag
		}
		fits := slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, name) })
		if fits && (o.Environment == "" || t.Environment == "" || t.Environment == o.Environment) {
			return &p.Triggers[i]
		}
	}
	return nil
}
