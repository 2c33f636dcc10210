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

// errNoTerraform says that the hosts of an environment are not made by troop.
func (e *Environment) errNoTerraform() error {
	return fmt.Errorf("environment %s has no terraform block, so there is nothing to make", e.conf.Name)
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
	module, err := openModule(t)
	if err != nil {
		return nil, err
	}
	o := terraform.Options{
		Dir: e.terraformDir(), Module: module, Environment: e.conf.Name, Variables: t.Variables, Backend: t.Backend,
		Secrets: e.o.Pipeline.Secrets, What: e.o.What, Run: e.o.Run, Log: e.o.Log,
	}
	if o.Providers, err = e.o.localProviders(module); err != nil {
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
	e.workspace, err = terraform.Open(ctx, o)
	return e.workspace, err
}

// rules are the team's rules for plans, and what plans are made from: the rules are a part of that.
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

// Plan compares the hosts with what the manifest wants, and saves what an apply would change.
func (e *Environment) Plan(ctx context.Context) (*terraform.Plan, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.Plan(ctx)
}

// PlanDestroy is a Plan to remove everything.
func (e *Environment) PlanDestroy(ctx context.Context) (*terraform.Plan, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.PlanDestroy(ctx)
}

// Saved returns the plan that was made last and not applied. When there is none, the error is a *core.NotFoundError.
func (e *Environment) Saved(ctx context.Context) (*terraform.Plan, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := w.Saved()
	if errors.Is(err, terraform.ErrNoPlan) {
		err = &core.NotFoundError{What: "saved plan of environment", Name: e.conf.Name, Remedy: "troop plan and troop run make one"}
	}
	return plan, err
}

// ToApply returns the plan that an apply carries out: the saved one, or a new one. A saved plan that removes
// everything is refused.
func (e *Environment) ToApply(ctx context.Context) (*terraform.Plan, error) {
	plan, err := e.Saved(ctx)
	if errors.As(err, new(*core.NotFoundError)) {
		return e.Plan(ctx)
	}
	if err == nil && plan.Destroy {
		return nil, fmt.Errorf("the saved plan removes all hosts; carry it out: troop destroy%s; or plan again: troop plan%[1]s", e.Arguments())
	}
	return plan, err
}

// Review checks a plan against the rules of the manifest and of the team, and looks for its approval.
func (e *Environment) Review(ctx context.Context, plan *terraform.Plan) (*terraform.Review, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.Review(ctx, plan, e.conf.Terraform.Review)
}

// Approve records that somebody has read a plan, on the machine from, and wants it applied, once.
func (e *Environment) Approve(ctx context.Context, r *terraform.Review, from string) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	return w.Approve(r, e.o.by(), from)
}

// Refusal says why a reviewed plan cannot be applied now, and what to do about it; nil: it can.
func (e *Environment) Refusal(r *terraform.Review) error {
	err := r.Err()
	args := e.Arguments()
	switch {
	case errors.As(err, new(*terraform.WaitsError)):
		return fmt.Errorf("%w; read it: troop plan --saved%s; approve it: troop approve%s %s; then repeat the command", err, args, args, r.Name())
	case errors.As(err, new(*terraform.OutdatedError)):
		return fmt.Errorf("%w: troop plan%s", err, args)
	}
	return err
}

// planEvent tells the journal of a run what was planned, and who approved it.
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
