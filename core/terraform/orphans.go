package terraform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	tfjson "github.com/hashicorp/terraform-json"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/core"
)

// An orphan carries the environment's tags and is in no state: a killed apply made it and could not record it. The next
// apply makes it again. That fails where a name must be unique, and costs money elsewhere.

// findOrphans adds to a plan what the provider holds and the state does not. A plan without them is better than none.
func (w *Workspace) findOrphans(ctx context.Context, p *Plan, shown *tfjson.Plan) {
	if w.Tagged == nil {
		return
	}
	found, err := w.Tagged(ctx)
	if err != nil {
		w.Log(fmt.Sprintf("could not look for resources that are in no state: %v", err))
		return
	}
	p.Orphans = orphans(found, shown)
}

// orphans returns what is neither in a plan's state nor imported by the plan. What hangs on another resource is an orphan
// only if it stands in the plan's way: it goes along with its orphan, and a route that somebody added is drift.
func orphans(found []core.Tagged, shown *tfjson.Plan) []core.Tagged {
	known := []*tfjson.StateResource{}
	if shown.PriorState != nil && shown.PriorState.Values != nil {
		known = managed(shown.PriorState.Values.RootModule)
	}
	var all []core.Tagged
	for _, f := range found {
		if !slices.ContainsFunc(known, func(r *tfjson.StateResource) bool { return r.Type == f.Type && has(r.AttributeValues, f.Values) }) &&
			!slices.ContainsFunc(shown.ResourceChanges, func(r *tfjson.ResourceChange) bool { return r.Type == f.Type && imports(r, f.Import) }) {
			all = append(all, f)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(f core.Tagged) bool {
		if f.Tags != nil {
			return false
		}
		return f.On(all) || !slices.ContainsFunc(shown.ResourceChanges, func(r *tfjson.ResourceChange) bool { return wants(r, f) })
	})
}

func imports(r *tfjson.ResourceChange, id string) bool {
	return r.Change.Importing != nil && r.Change.Importing.ID == id
}

// has reports whether attributes have all of some values.
func has(attributes map[string]any, values map[string]string) bool {
	for name, v := range values {
		if s, _ := attributes[name].(string); s != v {
			return false
		}
	}
	return len(values) > 0
}

// wants reports whether a plan makes a new resource that a found one could be: same type, same tags, or for one without tags
// the same values.
func wants(r *tfjson.ResourceChange, f core.Tagged) bool {
	if r.Type != f.Type || f.Import == "" || r.Mode != tfjson.ManagedResourceMode || !r.Change.Actions.Create() || r.Change.Importing != nil {
		return false
	}
	after := object(r.Change.After)
	if f.Tags == nil {
		return has(after, f.Values)
	}
	tags := object(after["tags_all"])
	for key, v := range tags {
		if f.Tags[key] != v {
			return false
		}
	}
	return len(tags) > 0
}

// adoptable pairs new resources of a plan with orphans, by address. Where two fit one, nobody can say which: neither is.
func adoptable(found []core.Tagged, shown *tfjson.Plan) map[string]core.Tagged {
	fits, pairs := map[string]int{}, map[string]core.Tagged{}
	taken := map[string]int{}
	for _, r := range shown.ResourceChanges {
		for _, f := range found {
			if wants(r, f) {
				fits[r.Address]++
				taken[f.Type+f.Import]++
				pairs[r.Address] = f
			}
		}
	}
	for address, f := range pairs {
		if fits[address] > 1 || taken[f.Type+f.Import] > 1 {
			delete(pairs, address)
		}
	}
	return pairs
}

// NothingToAdoptError: no orphan is like a resource that the module makes.
type NothingToAdoptError struct{ Orphans []core.Tagged }

func (e *NothingToAdoptError) Error() string {
	if len(e.Orphans) == 0 {
		return "there is nothing to take in: every resource with the tags of the environment is in the state"
	}
	names := make([]string, len(e.Orphans))
	for i, o := range e.Orphans {
		names[i] = o.String()
	}
	return fmt.Sprintf("there is nothing to take in: the module makes no new resource, or two, like %s", list(names))
}

// tagged lists the resources with the environment's tags.
func (w *Workspace) tagged(ctx context.Context) ([]core.Tagged, error) {
	if w.Tagged == nil {
		return nil, errors.New("troop does not know how to find the resources of this module's providers")
	}
	found, err := w.Tagged(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for resources that are in no state: %w", err)
	}
	return found, nil
}

// adoptRounds: resources with tags, what hangs on them and is known once they are, and a last plan.
const adoptRounds = 3

// Adopt saves a plan that takes orphans into the state, by Terraform's import blocks, besides whatever else is to change.
// Its Orphans are those that it does not take in: no new resource of the plan is like them, or two of them are alike.
func (w *Workspace) Adopt(ctx context.Context) (*Plan, error) {
	release, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	found, err := w.tagged(ctx)
	if err != nil {
		return nil, err
	}
	taken := map[string]core.Tagged{}
	defer func() { _ = remove(w.importsFile()) }()
	for round := 1; ; round++ {
		if err := w.writeImports(taken); err != nil {
			return nil, err
		}
		p, shown, err := w.makeShown(ctx, "plan", planOptions())
		if err != nil {
			return nil, err
		}
		more := adoptable(found, shown)
		if len(more) == 0 || round > adoptRounds {
			if p.Orphans = orphans(found, shown); len(taken) == 0 {
				return nil, errors.Join(&NothingToAdoptError{p.Orphans}, w.Forget())
			}
			return p, w.save(p)
		}
		maps.Copy(taken, more)
	}
}

// Orphans lists the orphans of the present state, once no process of an interrupted apply can make more.
func (w *Workspace) Orphans(ctx context.Context) ([]core.Tagged, error) {
	release, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	release() // State takes the lock itself
	s, err := w.State(ctx)
	if err != nil {
		return nil, err
	}
	found, err := w.tagged(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(f core.Tagged) bool {
		return f.Tags == nil || slices.ContainsFunc(s.Resources, func(r Resource) bool { return r.Type == f.Type && has(r.values, f.Values) })
	}), nil
}

// importsFile is beside the module's files while Adopt plans. No other plan reads it.
func (w *Workspace) importsFile() string { return filepath.Join(w.Dir, "troop_import.tf") }

func (w *Workspace) writeImports(taken map[string]core.Tagged) error {
	if len(taken) == 0 {
		return remove(w.importsFile())
	}
	var b strings.Builder
	for address, f := range taken {
		fmt.Fprintf(&b, "import {\n  to = %s\n  id = %s\n}\n", address, hclwrite.TokensForValue(cty.StringVal(f.Import)).Bytes())
	}
	return writeFile(w.importsFile(), []byte(b.String()))
}

// orphanLines name the plan's orphans and say what can be done. arguments select the environment in commands.
func (p *Plan) orphanLines(arguments string) []string {
	if len(p.Orphans) == 0 {
		return nil
	}
	head := "! 1 resource has the tags of the environment and is in no state, as after an interrupted apply:"
	if n := len(p.Orphans); n > 1 {
		head = fmt.Sprintf("! %d resources have the tags of the environment and are in no state, as after an interrupted apply:", n)
	}
	lines := []string{head}
	for _, o := range p.Orphans {
		lines = append(lines, "!   "+o.String())
	}
	return append(lines, fmt.Sprintf("! take them in: troop state adopt%s; or remove them: troop state orphans --remove%[1]s", arguments))
}
