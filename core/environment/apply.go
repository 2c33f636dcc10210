package environment

import (
	"context"
	"fmt"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
)

// Apply applies a plan, then records the remaining hosts and pins their keys. If no hosts remain, it deletes the records
// of the old ones. Each step is an event. It does not check the review; see Refusal.
func (e *Environment) Apply(ctx context.Context, plan *terraform.Plan, emit func(core.Event)) error {
	if err := e.checkGiven(); err != nil && !plan.Destroy {
		return err
	}
	if e.conf.Terraform == nil {
		return e.record(ctx, nil)
	}
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	emit = e.emitter(emit)
	err = w.Apply(ctx, plan, func(s terraform.Progress) {
		if s.Status == "running" {
			return // Terraform repeats it every ten seconds
		}
		emit(core.TaskEvent(core.TaskResult{
			Host: s.Host, Task: fmt.Sprintf("%s %s", s.Action, s.Address), Status: s.Status, Elapsed: s.Elapsed,
		}))
	})
	switch {
	case err != nil:
		return err
	case plan.Destroy && len(e.conf.Hosts) == 0:
		return e.forget()
	}
	return e.record(ctx, w)
}

// Prepare makes the environment ready for a run: it checks for drift if the manifest says so, then plans, reviews, applies
// and configures. It fails if the plan needs an approval. force ignores drift, and configures even if nothing changed.
func (e *Environment) Prepare(ctx context.Context, force bool, emit func(core.Event)) error {
	emit = e.emitter(emit)
	if err := e.stopAtDrift(ctx, force, emit); err != nil {
		return err
	}
	if e.conf.Terraform != nil || len(e.conf.Hosts) > 0 {
		if err := e.provision(ctx, emit); err != nil {
			return err
		}
	}
	return e.Configure(ctx, force, emit)
}

func (e *Environment) provision(ctx context.Context, emit func(core.Event)) error {
	plan, err := e.Plan(ctx)
	if err != nil {
		return err
	}
	review, err := e.Review(ctx, plan)
	if err != nil {
		return err
	}
	event, err := planEvent(review)
	if err != nil {
		return err
	}
	emit(event)
	if err := e.Refusal(review); err != nil {
		return err
	}
	if plan.Lock != nil { // only an operator may free it
		return fmt.Errorf("the state is locked by %s; free the lock: troop apply%s; then run again", plan.Lock, e.Arguments())
	}
	return e.Apply(ctx, plan, emit)
}
