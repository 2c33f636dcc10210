package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
)

// Action is what a plan does to a resource.
type Action string

// The actions. Forget takes a resource out of the state and leaves it alone.
const (
	Create  Action = "create"
	Update  Action = "update"
	Replace Action = "replace"
	Destroy Action = "destroy"
	Forget  Action = "forget"
)

// Plan is what an apply would do.
type Plan struct {
	// Digest stands for everything that the plan changes: two plans with the same effect on the same state have
	// the same digest. Approvals are bound to it.
	Digest  core.Digest `json:"digest"`
	Changes []Change    `json:"changes"` // by host and address
	Drift   []Change    `json:"drift"`   // what changed since the last apply, other than by Terraform
	Outputs []string    `json:"outputs"` // names of the outputs that change, sorted

	File core.Digest `json:"file"` // of the file that apply will use

	// Lock is one that an interrupted command of ours left on the state. The plan was made beside it, and Apply
	// frees it first.
	Lock *Lock `json:"lock,omitempty"`
}

// Change is what happens to one resource.
type Change struct {
	Address    string        `json:"address"`
	Type       string        `json:"type"`
	Host       core.HostName `json:"host,omitempty"` // that the resource is part of, if any
	Role       string        `json:"role,omitempty"`
	Action     Action        `json:"action"`
	Attributes []Attribute   `json:"attributes,omitempty"` // that change, sorted by name
}

// Attribute is a top-level attribute that changes. Values are JSON; what is sensitive is never shown.
type Attribute struct {
	Name   string `json:"name"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Forces bool   `json:"forces,omitempty"` // the reason why the resource is replaced
}

// Texts that stand for a value.
const (
	sensitive = "(sensitive)"
	unknown   = "(known after apply)"
)

// Empty reports whether there is nothing to apply.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 && len(p.Outputs) == 0 && p.Lock == nil }

// Count returns how many resources get each action.
func (p *Plan) Count() map[Action]int {
	n := map[Action]int{}
	for _, c := range p.Changes {
		n[c.Action]++
	}
	return n
}

// Plan compares the module with what exists and saves what an apply would do; Apply does that and nothing else.
func (w *Workspace) Plan(ctx context.Context) (*Plan, error) {
	return w.save(w.plan(ctx, w.path("plan")))
}

// PlanDestroy is a Plan to remove everything.
func (w *Workspace) PlanDestroy(ctx context.Context) (*Plan, error) {
	return w.save(w.plan(ctx, w.path("plan"), tfexec.Destroy(true)))
}

// Drift says what changed since the last apply, other than by Terraform. It is no plan to apply: the state and a
// saved plan stay as they are, and what to do about the drift, Plan says.
func (w *Workspace) Drift(ctx context.Context) (*Plan, error) {
	file := w.path("drift")
	defer func() { _ = os.Remove(file) }()
	return w.plan(ctx, file, tfexec.RefreshOnly(true))
}

func (w *Workspace) plan(ctx context.Context, file string, options ...tfexec.PlanOption) (*Plan, error) {
	release, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := w.mend(); err != nil {
		return nil, err
	}
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	variables, err := w.writeVariables()
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(variables) }() // it may hold secrets, and is written for every plan
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	options = append(options, tfexec.VarFile(variables), tfexec.Out(file))
	lock, err := w.planPast(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	var shown *tfjson.Plan
	err = w.run(ctx, func(tf *tfexec.Terraform) error {
		shown, err = tf.ShowPlanFile(ctx, file)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("show plan: %w", err)
	}
	plan, err := read(shown)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	plan.File, plan.Lock = digest(b), lock
	return plan, nil
}

// save keeps what the plan's file says beside it.
func (w *Workspace) save(p *Plan, err error) (*Plan, error) {
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, err
	}
	return p, writeFile(w.path("plan.json"), b)
}

// ErrNoPlan says that no plan was made, or that it was applied already.
var ErrNoPlan = errors.New("there is no plan")

// Saved returns the plan that was made last and not applied yet, or ErrNoPlan.
func (w *Workspace) Saved() (*Plan, error) {
	b, err := os.ReadFile(w.path("plan.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoPlan
	} else if err != nil {
		return nil, err
	}
	p := new(Plan)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("read saved plan: %w", err)
	}
	return p, nil
}

// read turns Terraform's plan into ours.
func read(shown *tfjson.Plan) (*Plan, error) {
	known := knownHosts(shown)
	p := &Plan{Changes: changes(shown.ResourceChanges, known), Drift: changes(shown.ResourceDrift, known)}
	for _, name := range slices.Sorted(maps.Keys(shown.OutputChanges)) {
		if a := shown.OutputChanges[name].Actions; !a.NoOp() {
			p.Outputs = append(p.Outputs, name)
		}
	}
	// Everything that has an effect, and nothing that differs between two equal plans, such as the time.
	effect := []any{shown.OutputChanges}
	for _, c := range shown.ResourceChanges {
		if !c.Change.Actions.NoOp() {
			effect = append(effect, c)
		}
	}
	b, err := json.Marshal(effect) // maps are sorted by key
	if err != nil {
		return nil, err
	}
	p.Digest = digest(b)
	return p, nil
}

func changes(resources []*tfjson.ResourceChange, known map[string]string) []Change {
	var all []Change
	for _, r := range resources {
		action, ok := actionOf(r.Change.Actions)
		if !ok || r.Mode != tfjson.ManagedResourceMode {
			continue
		}
		c := Change{Address: r.Address, Type: r.Type, Action: action}
		if name, ok := r.Index.(string); ok {
			if role, ok := known[name]; ok {
				c.Host, c.Role = core.HostName(name), role
			}
		}
		if action == Update || action == Replace {
			c.Attributes = attributes(r.Change)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Change) int {
		if a.Host != b.Host {
			return compare(string(a.Host), string(b.Host))
		}
		return compare(a.Address, b.Address)
	})
	return all
}

func compare(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) }

func actionOf(a tfjson.Actions) (Action, bool) {
	switch {
	case a.Create():
		return Create, true
	case a.Update():
		return Update, true
	case a.Replace():
		return Replace, true
	case a.Delete():
		return Destroy, true
	case a.Forget():
		return Forget, true
	}
	return "", false
}

// attributes lists what differs between before and after, at the top level.
func attributes(c *tfjson.Change) []Attribute {
	before, after := object(c.Before), object(c.After)
	hiddenBefore, hiddenAfter, unknowns := object(c.BeforeSensitive), object(c.AfterSensitive), object(c.AfterUnknown)
	forces := map[string]bool{}
	for _, p := range c.ReplacePaths {
		if path, ok := p.([]any); ok && len(path) > 0 {
			if name, ok := path[0].(string); ok {
				forces[name] = true
			}
		}
	}
	names := slices.Collect(maps.Keys(before))
	names = append(names, slices.Collect(maps.Keys(after))...)
	names = append(names, slices.Collect(maps.Keys(unknowns))...)
	slices.Sort(names)
	var all []Attribute
	for _, name := range slices.Compact(names) {
		isUnknown := marked(unknowns[name])
		if reflect.DeepEqual(before[name], after[name]) && !isUnknown {
			continue
		}
		a := Attribute{Name: name, Before: text(before[name]), After: text(after[name]), Forces: forces[name]}
		if isUnknown {
			a.After = unknown
		}
		if marked(hiddenBefore[name]) {
			a.Before = sensitive
		}
		if marked(hiddenAfter[name]) || marked(hiddenBefore[name]) {
			a.After = sensitive
		}
		all = append(all, a)
	}
	return all
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// marked reports whether a tree of marks, as Terraform writes them beside values, has one that is set.
func marked(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case []any:
		return slices.ContainsFunc(v, marked)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), marked)
	}
	return false
}

func text(v any) string {
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// knownHosts are the hosts before and after the plan, with their roles as far as they are known.
func knownHosts(shown *tfjson.Plan) map[string]string {
	roles := map[string]string{}
	change := shown.OutputChanges[output]
	if change == nil {
		return roles
	}
	for _, hosts := range []any{change.Before, change.After} {
		for name, host := range object(hosts) {
			role, _ := object(host)["role"].(string)
			roles[name] = role
		}
	}
	return roles
}
