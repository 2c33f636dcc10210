package terraform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
	"github.com/seed-b96de936/troop/core/price"
)

// Action is what a plan does to a resource.
type Action string

// The actions. The last three change only the state: Import takes in a resource that exists, Move gives it another address,
// Forget removes it from the state.
const (
	Create  Action = "create"
	Update  Action = "update"
	Replace Action = "replace"
	Destroy Action = "destroy"
	Import  Action = "import"
	Move    Action = "move"
	Forget  Action = "forget"
)

// Plan is what an apply would do.
type Plan struct {
	// ID identifies the plan's effect, state and origin: equal ones have the same ID. Approvals are bound to it.
	ID       core.Digest  `json:"id"`
	Digest   core.Digest  `json:"digest"` // of everything that the plan changes
	Origin   Origin       `json:"origin"`
	Made     time.Time    `json:"made"`
	Destroy  bool         `json:"destroy,omitempty"`  // it removes everything
	Changes  []Change     `json:"changes"`            // by role, host and address
	Drift    []Change     `json:"drift"`              // what somebody changed since the last apply, by weight
	Computed []Change     `json:"computed,omitempty"` // what the provider computed anew since then
	Hosts    []HostChange `json:"hosts,omitempty"`    // changes of the output "hosts"
	Outputs  []string     `json:"outputs"`            // names of the outputs that change, sorted
	Capacity []Capacity   `json:"capacity"`           // by name
	Warnings []string     `json:"warnings,omitempty"` // checks of the module that fail, and deferred changes
	Network  *Network     `json:"network,omitempty"`  // nil: no security groups
	Cost     *Cost        `json:"cost,omitempty"`     // nil: nothing that has a price

	// Orphans are resources with the environment's tags that are in no state.
	Orphans []core.Tagged `json:"orphans,omitempty"`

	// Given are the environment's hosts that exist already, as text. No plan changes them.
	Given []string `json:"given,omitempty"`

	File core.Digest `json:"file"` // of the file that Apply will use

	Inputs core.Digest `json:"inputs,omitempty"` // of the module and its variables

	// Lock was left on the state by an interrupted command of ours. The plan was made without taking it; Apply frees it
	// first.
	Lock *Lock `json:"lock,omitempty"`

	shown map[string]any // Terraform's JSON form without sensitive values; nil: not read yet
}

// Origin is what a plan was made from, apart from the state.
type Origin struct {
	Commit    string      `json:"commit,omitempty"`
	Manifest  core.Digest `json:"manifest,omitempty"`
	Lock      core.Digest `json:"lock,omitempty"` // plugin lock; empty: none
	Terraform string      `json:"terraform"`      // product and version, such as "terraform 1.9.0"
}

// Change is a planned change of one resource.
type Change struct {
	Address    string        `json:"address"`
	Type       string        `json:"type"`
	Host       core.HostName `json:"host,omitempty"` // the host that the resource belongs to, if any
	Role       string        `json:"role,omitempty"`
	Action     Action        `json:"action"`
	Reason     string        `json:"reason,omitempty"`     // why it is replaced or destroyed, if no attribute shows it
	Attributes []Attribute   `json:"attributes,omitempty"` // changed ones: first those that force a replacement, then by name
	Unknown    []string      `json:"unknown,omitempty"`    // attributes known only after apply, sorted
	From       string        `json:"from,omitempty"`       // the address before a move, or the ID of an import
	Facts      string        `json:"facts,omitempty"`      // what a new resource is, in a line
	Rules      []Rule        `json:"rules,omitempty"`      // who may reach whom, if that changes
	Concern    core.Concern  `json:"concern,omitempty"`    // of drift
}

// Attribute is a changed top-level attribute. Values are JSON; sensitive ones are hidden.
type Attribute struct {
	Name   string `json:"name"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Forces bool   `json:"forces,omitempty"` // forces replacement
}

// Placeholders for values.
const (
	sensitive = "(sensitive)"
	unknown   = "(known after apply)"
)

// Capacity is the total capacity of one kind of host, from the module's output "capacity": figures by name, to compare
// with quotas and prices before an apply.
type Capacity struct {
	Name   string         `json:"name"`
	Before map[string]any `json:"before,omitempty"` // nil: there were none
	After  map[string]any `json:"after,omitempty"`  // nil: there will be none
}

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

// Plan compares the module with the existing resources and saves the plan. Apply does exactly that.
func (w *Workspace) Plan(ctx context.Context) (*Plan, error) { return w.plan(ctx, false) }

// PlanDestroy is a Plan to remove everything.
func (w *Workspace) PlanDestroy(ctx context.Context) (*Plan, error) {
	return w.plan(ctx, true, tfexec.Destroy(true))
}

func (w *Workspace) plan(ctx context.Context, destroy bool, options ...tfexec.PlanOption) (*Plan, error) {
	release, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	p, err := w.make(ctx, "plan", planOptions(options...))
	if err != nil {
		return nil, err
	}
	p.Destroy = destroy
	if p.Empty() {
		return p, w.Forget() // an empty plan is not saved: it would hide later changes
	}
	return p, w.save(p)
}

// planOptions are the same for all inputs.
func planOptions(options ...tfexec.PlanOption) func(core.Digest) []tfexec.PlanOption {
	return func(core.Digest) []tfexec.PlanOption { return options }
}

// Drift lists changes since the last apply that Terraform did not make. It does not touch the saved plan. While module and
// variables are those of the last apply, it also lists every rule of a security group that the next apply would take away
// or add, so that a foreign rule is drift every time, whatever the state says.
func (w *Workspace) Drift(ctx context.Context) (*Plan, error) {
	release, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	defer func() { _ = os.Remove(w.path("drift")) }() // it is never applied
	same := false
	p, err := w.make(ctx, "drift", func(inputs core.Digest) []tfexec.PlanOption {
		if applied, err := os.ReadFile(w.path("applied")); err == nil && core.Digest(applied) == inputs {
			same = true
			return nil
		}
		return []tfexec.PlanOption{tfexec.RefreshOnly(true)}
	})
	if err != nil || !same {
		return p, err
	}
	p.Drift, p.Changes = append(foreignRules(p), p.Drift...), nil // what an apply would do about it is a plan's to say
	return p, nil
}

// make runs Terraform to write a plan to a file. options chooses the kind of plan, given the digest of the module and its
// variables. The caller holds the lock.
func (w *Workspace) make(ctx context.Context, name string, options func(inputs core.Digest) []tfexec.PlanOption) (*Plan, error) {
	if err := w.writeImports(nil); err != nil { // of an Adopt that was killed
		return nil, err
	}
	p, shown, err := w.makeShown(ctx, name, options)
	if err != nil {
		return nil, err
	}
	w.findOrphans(ctx, p, shown)
	return p, nil
}

// makeShown is make that also returns the plan as Terraform shows it. It does not look for orphans.
func (w *Workspace) makeShown(ctx context.Context, name string, options func(inputs core.Digest) []tfexec.PlanOption) (*Plan, *tfjson.Plan, error) {
	if err := errors.Join(w.repair(), w.errored()); err != nil {
		return nil, nil, err
	}
	if err := w.prepare(ctx); err != nil {
		return nil, nil, err
	}
	variables, err := w.writeVariables()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.Remove(variables) }() // may hold secrets; written anew for every plan
	inputs, err := w.inputs(variables)
	if err != nil {
		return nil, nil, err
	}
	file := w.path(name)
	if err := remove(file); err != nil {
		return nil, nil, err
	}
	lock, err := w.planPast(ctx, append(options(inputs), tfexec.VarFile(variables), tfexec.Out(file)))
	if err != nil {
		return nil, nil, fmt.Errorf("plan: %w", err)
	}
	p, shown, err := w.shown(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	p.Lock, p.Inputs = lock, inputs
	return p, shown, nil
}

// shown reads a plan from the file that Terraform wrote.
func (w *Workspace) shown(ctx context.Context, file string) (*Plan, *tfjson.Plan, error) {
	var raw bytes.Buffer
	if err := os.Chmod(file, 0o600); err != nil { // holds secrets
		return nil, nil, err
	}
	var shown *tfjson.Plan
	err := w.run(ctx, func(tf *tfexec.Terraform) (err error) {
		tf.SetStdout(&raw) // rules get Terraform's complete JSON, not only what terraform-json decodes
		shown, err = tf.ShowPlanFile(ctx, file)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("show plan: %w", err)
	}
	now := time.Now()
	p, err := read(shown, raw.Bytes(), w.Secrets, now)
	if err != nil {
		return nil, nil, fmt.Errorf("read plan: %w", err)
	}
	p.Made, p.Origin = now, w.Origin
	p.ID = p.id()
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	p.File = core.DigestOf(b)
	return p, shown, nil
}

// inputs is the digest of the module's files and of the variables in a file.
func (w *Workspace) inputs(variables string) (core.Digest, error) {
	module, err := os.ReadFile(w.path("module.json"))
	if err != nil {
		return "", err
	}
	values, err := os.ReadFile(variables)
	if err != nil {
		return "", err
	}
	return core.DigestAll(module, values), nil
}

// id computes ID.
func (p *Plan) id() core.Digest {
	b, err := json.Marshal([]any{p.Digest, p.Origin})
	if err != nil {
		panic(err) // cannot happen: strings only
	}
	return core.DigestOf(b)
}

// save stores a plan for Saved. Terraform has already written its own file; Apply refuses a plan whose file digest
// differs.
func (w *Workspace) save(p *Plan) error {
	shown, err := json.Marshal(p.shown)
	if err != nil {
		return err
	}
	if err := writeFile(w.path("shown.json"), shown); err != nil {
		return err
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(w.path("plan.json"), b)
}

// ErrNoPlan: no plan was made since the last apply.
var ErrNoPlan = errors.New("there is no plan")

// Saved returns the last plan if it was not applied yet, or ErrNoPlan.
func (w *Workspace) Saved() (*Plan, error) {
	p := new(Plan)
	if err := w.load("plan.json", p); err != nil {
		return nil, err
	}
	return p, w.load("shown.json", &p.shown)
}

func (w *Workspace) load(name string, v any) error {
	b, err := os.ReadFile(w.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoPlan
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read saved plan: %w", err)
	}
	return nil
}

// Forget removes the saved plan, if any.
func (w *Workspace) Forget() error {
	for _, name := range []string{"plan", "plan.json", "shown.json"} {
		if err := os.Remove(w.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// read converts Terraform's plan to a Plan without sensitive values.
func read(shown *tfjson.Plan, raw []byte, secrets []string, now time.Time) (*Plan, error) {
	r := reader{hosts: knownHosts(shown), images: imagesOf(shown), now: now}
	r.network, r.address = networkOf(shown, r.hosts), addressesOf(shown, r.hosts)
	p := &Plan{
		Outputs:  []string{},
		Changes:  r.changes(shown.ResourceChanges),
		Hosts:    hostChanges(shown.OutputChanges[output]),
		Capacity: capacities(shown.OutputChanges["capacity"]),
	}
	p.Warnings = warnings(shown)
	p.Network = networkPlan(shown, r.network, r.hosts)
	p.Cost = costOf(shown, r.hosts, price.Known())
	p.Drift, p.Computed = outside(shown, r.changes(shown.ResourceDrift))
	for _, name := range slices.Sorted(maps.Keys(shown.OutputChanges)) {
		if a := shown.OutputChanges[name].Actions; !a.NoOp() {
			p.Outputs = append(p.Outputs, name)
		}
	}
	// Everything that has an effect; nothing that differs between equal plans, such as the time.
	effect := []any{shown.OutputChanges}
	for _, c := range shown.ResourceChanges {
		if _, ok := effectOf(c); ok {
			effect = append(effect, c)
		}
	}
	b, err := json.Marshal(effect) // maps are sorted by key
	if err != nil {
		return nil, err
	}
	p.Digest = core.DigestOf(b)
	var hidden *mask.Mask
	if p.shown, hidden, err = hide(raw, secrets); err != nil {
		return nil, err
	}
	for i, w := range p.Warnings {
		p.Warnings[i] = hidden.String(w)
	}
	if p.Network != nil {
		for i, link := range p.Network.Links {
			p.Network.Links[i].From = hidden.String(link.From)
		}
	}
	if p.Cost != nil {
		for i, part := range p.Cost.Parts {
			p.Cost.Parts[i].What = hidden.String(part.What)
		}
		for _, names := range [][]string{p.Cost.Unknown, p.Cost.New} {
			for i, name := range names {
				names[i] = hidden.String(name)
			}
		}
	}
	for i, h := range p.Hosts {
		p.Hosts[i].Text = hidden.String(h.Text)
	}
	for _, list := range [][]Change{p.Changes, p.Drift, p.Computed} {
		for i, c := range list {
			list[i].Facts, list[i].From = hidden.String(c.Facts), hidden.String(c.From)
			for i, r := range c.Rules {
				c.Rules[i].Text = hidden.String(r.Text)
			}
			for i, a := range c.Attributes {
				c.Attributes[i].Before, c.Attributes[i].After = hidden.String(a.Before), hidden.String(a.After)
			}
		}
	}
	return p, nil
}

// capacities reads the output "capacity". It is optional; it must be a map of objects.
func capacities(c *tfjson.Change) []Capacity {
	all := []Capacity{}
	if c == nil || marked(c.BeforeSensitive) || marked(c.AfterSensitive) {
		return all
	}
	before, after := object(c.Before), object(c.After)
	names := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		all = append(all, Capacity{Name: name, Before: object(before[name]), After: object(after[name])})
	}
	return all
}

// actionReasons describes Terraform's reasons that no changed attribute shows.
var actionReasons = map[tfjson.ActionReason]string{
	tfjson.ActionReasonReplaceBecauseTainted:         "it is marked as damaged (tainted)",
	tfjson.ActionReasonReplaceByRequest:              "a replacement was asked for",
	tfjson.ActionReasonReplaceByTriggers:             "something that it depends on changes (replace_triggered_by)",
	tfjson.ActionReasonDeleteBecauseNoResourceConfig: "it is no longer in the module",
	tfjson.ActionReasonDeleteBecauseWrongRepetition:  "the module counts it in another way",
	tfjson.ActionReasonDeleteBecauseCountIndex:       "the module has fewer of them",
	tfjson.ActionReasonDeleteBecauseEachKey:          "it is no longer among the module's keys",
	tfjson.ActionReasonDeleteBecauseNoModule:         "the part of the module that it belonged to is gone",
	tfjson.ActionReasonDeleteBecauseNoMoveTarget:     "it was moved to an address that the module does not have",
}

// reader is what the changes of one plan have in common.
type reader struct {
	hosts   map[string]string // roles by host
	images  images
	network network
	address map[string]string // by host: its address, or what kind it will be
	now     time.Time
}

func (x reader) changes(resources []*tfjson.ResourceChange) []Change {
	all := []Change{}
	for _, r := range resources {
		action, ok := effectOf(r)
		if !ok || r.Mode != tfjson.ManagedResourceMode {
			continue
		}
		c := Change{Address: r.Address, Type: r.Type, Action: action, Reason: actionReasons[r.ActionReason], From: r.PreviousAddress}
		c.Host, c.Role = hostOf(r.Address, x.hosts)
		if i := r.Change.Importing; i != nil {
			c.From = cmp.Or(i.ID, "its identity")
		}
		if !slices.Contains([]Action{Forget, Import, Move}, action) {
			c.Attributes = attributes(r.Change)
			c.Rules = x.network.rules(r)
		}
		if action == Create || action == Replace {
			c.Facts = facts(r, x.images, x.now)
			if address := x.address[string(c.Host)]; address != "" && r.Type == "aws_instance" {
				c.Facts += ", " + address
			}
		}
		for name, mark := range object(r.Change.AfterUnknown) {
			if marked(mark) {
				c.Unknown = append(c.Unknown, name)
			}
		}
		slices.Sort(c.Unknown)
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Address, b.Address))
	})
	return all
}

// effectOf returns what a plan does to a resource, and whether it does anything: an import or a move alone is an effect.
func effectOf(r *tfjson.ResourceChange) (Action, bool) {
	action, ok := actionOf(r.Change.Actions)
	switch {
	case ok || r.Mode != tfjson.ManagedResourceMode:
		return action, ok
	case r.Change.Importing != nil:
		return Import, true
	case r.PreviousAddress != "" && r.PreviousAddress != r.Address:
		return Move, true
	}
	return "", false
}

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

// attributes lists the top-level attributes that differ between before and after.
func attributes(c *tfjson.Change) []Attribute {
	before, after := object(c.Before), object(c.After)
	hiddenBefore, hiddenAfter, unknowns := object(c.BeforeSensitive), object(c.AfterSensitive), object(c.AfterUnknown)
	allBefore, allAfter := c.BeforeSensitive == true, c.AfterSensitive == true
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
		if allBefore || marked(hiddenBefore[name]) {
			a.Before = sensitive
		}
		if allAfter || marked(hiddenAfter[name]) || a.Before == sensitive {
			a.After = sensitive
		}
		all = append(all, a)
	}
	slices.SortStableFunc(all, func(a, b Attribute) int {
		if a.Forces == b.Forces {
			return 0
		} else if a.Forces {
			return -1
		}
		return 1
	})
	return all
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// marked reports whether any mark is set in a tree of marks, which Terraform writes parallel to values.
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

// knownHosts returns the hosts before and after the plan, with their roles if known.
func knownHosts(shown *tfjson.Plan) map[string]string {
	roles := map[string]string{}
	change := shown.OutputChanges[output]
	if change == nil {
		return roles
	}
	for _, hosts := range []any{change.Before, change.After} {
		for name, host := range object(hosts) {
			roles[name] = roleOf(object(host))
		}
	}
	return roles
}
