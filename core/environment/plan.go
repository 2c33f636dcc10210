package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/policy"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (e *Environment) terraformDir() string { return filepath.Join(e.dir, "terraform") }

// errNoTerraform is the error for an environment whose hosts troop does not make.
func (e *Environment) errNoTerraform() error {
	return &core.UsageError{Err: fmt.Errorf("environment %s has no terraform block", e.conf.Name)}
}

// workspaceOrNone is terraform, but nil for an environment that has only given hosts.
func (e *Environment) workspaceOrNone(ctx context.Context) (*terraform.Workspace, error) {
	if e.conf.Terraform == nil && len(e.conf.Hosts) > 0 {
		return nil, nil
	}
	return e.terraform(ctx)
}

// terraform opens the workspace of the environment's root module.
func (e *Environment) terraform(ctx context.Context) (*terraform.Workspace, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.workspace != nil {
		return e.workspace, nil
	}
	t := e.conf.Terraform
	if t == nil {
		return nil, e.errNoTerraform()
	}
	if e.o.Untrusted && filepath.IsAbs(t.Module) {
		return nil, core.Diagnostics{{
			Summary: "Module waits for a person",
			Detail:  "Terraform starts the programs that a module names, so this one may do what its author likes. Look at it, and plan without --untrusted. The modules that come with troop need no such look.",
			Range:   t.Range,
		}}
	}
	module, err := openModule(t)
	if err != nil {
		return nil, err
	}
	o := terraform.Options{
		Dir: e.terraformDir(), Module: module, Program: t.Program, Environment: e.conf.Name, Variables: t.Variables, Backend: t.Backend,
		Secrets: e.o.Pipeline.Secrets, What: e.o.What, Run: e.o.Run, Log: e.o.Log, Arguments: e.Arguments(),
	}
	if o.Providers, err = e.o.localProviders(module); err != nil {
		return nil, err
	}
	if o.Tagged, err = e.tagged(module); err != nil {
		return nil, err
	}
	if o.Rules, o.Origin, err = e.rules(); err != nil {
		return nil, err
	}
	ssh, err := e.openSSH()
	if err != nil {
		return nil, err
	}
	o.PublicKey = ssh.PublicKey()
	if o.Project, err = e.project(); err != nil {
		return nil, err
	}
	e.workspace, err = terraform.Open(ctx, o)
	return e.workspace, err
}

// rules returns the team's rules for plans, and the origin of plans, which includes the rules.
func (e *Environment) rules() (terraform.Rules, terraform.Origin, error) {
	origin := terraform.Origin{Commit: e.o.Commit, Lock: e.o.PluginLock}
	texts, err := readRules(e.conf)
	if err != nil {
		return nil, origin, err
	}
	sources := [][]byte{e.o.Manifest}
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		sources = append(sources, texts[path])
	}
	origin.Manifest = core.DigestAll(sources...)
	if len(texts) == 0 {
		return nil, origin, nil
	}
	rules, err := policy.Compile(e.o.Pipeline.Dir, texts)
	return rules, origin, err
}

// Plan compares the hosts with the manifest and saves the plan.
func (e *Environment) Plan(ctx context.Context) (*terraform.Plan, error) {
	w, err := e.workspaceOrNone(ctx)
	if err != nil {
		return nil, err
	}
	if w == nil {
		return e.withGiven(&terraform.Plan{}), nil
	}
	plan, err := w.Plan(ctx)
	return e.withGiven(plan), err
}

// PlanDestroy saves a plan that removes everything.
func (e *Environment) PlanDestroy(ctx context.Context) (*terraform.Plan, error) {
	if e.conf.Terraform == nil && len(e.conf.Hosts) > 0 {
		return nil, e.errGiven()
	}
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.PlanDestroy(ctx)
}

// Saved returns the last plan if it was not applied yet, else a *core.NotFoundError.
func (e *Environment) Saved(ctx context.Context) (*terraform.Plan, error) {
	w, err := e.workspaceOrNone(ctx)
	if err != nil {
		return nil, err
	}
	if w == nil {
		return e.withGiven(&terraform.Plan{}), nil
	}
	plan, err := w.Saved()
	if errors.Is(err, terraform.ErrNoPlan) {
		err = &core.NotFoundError{What: "saved plan of environment", Name: e.conf.Name, Remedy: "troop plan and troop run make one"}
	}
	return e.withGiven(plan), err
}

// ToApply returns the plan to apply: the saved one, or a new one. A saved plan that removes everything is refused.
func (e *Environment) ToApply(ctx context.Context) (*terraform.Plan, error) {
	plan, err := e.Saved(ctx)
	if errors.As(err, new(*core.NotFoundError)) {
		return e.Plan(ctx)
	}
	if err == nil && plan.Destroy {
		return nil, fmt.Errorf("the saved plan removes all hosts; to apply it: troop destroy%s; or plan again: troop plan%[1]s", e.Arguments())
	}
	return plan, err
}

// Review checks a plan against the manifest's limits and the team's rules, and finds its approval.
func (e *Environment) Review(ctx context.Context, plan *terraform.Plan) (*terraform.Review, error) {
	w, err := e.workspaceOrNone(ctx)
	if err != nil {
		return nil, err
	}
	if w == nil {
		return &terraform.Review{Environment: e.conf.Name, Plan: plan, Findings: []core.Finding{}, Refused: []string{}}, nil
	}
	return w.Review(ctx, plan, e.conf.Terraform.Review)
}

// ToApprove returns the review of the saved plan. The plan must need an approval, must not be refused, and must be the one
// that is named, if any.
func (e *Environment) ToApprove(ctx context.Context, name ...string) (*terraform.Review, error) {
	plan, err := e.Saved(ctx)
	if err != nil {
		return nil, err
	}
	r, err := e.Review(ctx, plan)
	switch {
	case err != nil:
		return nil, err
	case !r.Needed:
		return nil, fmt.Errorf("environment %s asks for no approval; its manifest would say: review { approve = true }", e.Name())
	case len(name) > 0 && !plan.Called(name[0]):
		return nil, fmt.Errorf("the saved plan is %s, not %s; read it: troop plan --saved%s", plan.Name(), name[0], e.Arguments())
	}
	return r, nil
}

// Decide records that this person approves one apply of the plan, or denies it.
func (e *Environment) Decide(ctx context.Context, r *terraform.Review, d terraform.Decision) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	d.By = e.o.by()
	return w.Decide(r, d)
}

// Refusal returns why a reviewed plan cannot be applied now, with a remedy, or nil.
func (e *Environment) Refusal(r *terraform.Review) error {
	err := r.Err()
	args := e.Arguments()
	switch {
	case r.Denied != nil:
		return fmt.Errorf("%w; change what it is made of, and plan again: troop plan%s", err, args)
	case errors.As(err, new(*terraform.WaitsError)):
		return fmt.Errorf("%w; read it: troop plan --saved%s; approve it: troop approve%s %s; then repeat the command", err, args, args, r.Name())
	case errors.As(err, new(*terraform.OutdatedError)):
		return fmt.Errorf("%w: troop plan%s", err, args)
	}
	return err
}

// planEvent returns the event that records a plan and its approval in a run's journal.
func planEvent(r *terraform.Review) (core.Event, error) {
	data, err := json.Marshal(map[string]any{"review": r, "lines": r.Lines()})
	if err != nil {
		return core.Event{}, err
	}
	e := core.Event{Kind: core.KindPlan, Summary: r.Summary()}
	if !r.Empty() {
		e.Summary += " (plan " + r.Name() + ")"
	}
	if r.Approval != nil {
		e.Summary += ", approved by " + r.Approval.String()
	}
	return e, json.Unmarshal(data, &e.Data)
}
