package environment

import (
	"context"
	"fmt"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
)

// Apply carries a plan out, and records and pins the hosts that it leaves. A plan that removes everything also drops
// what was known of the hosts. Each step is an event. It asks for no review: Refusal does.
func (e *Environment) Apply(ctx context.Context, plan *terraform.Plan, emit func(core.Event)) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	emit = e.emitter(emit)
	err = w.Apply(ctx, plan, func(s terraform.Progress) {
		if s.Status == "running" {
			return // repeated every ten seconds
		}
		emit(core.TaskEvent(core.TaskResult{
			Host: s.Host, Task: fmt.Sprintf("%s %s", s.Action, s.Address), Status: s.Status, Elapsed: s.Elapsed,
		}))
	})
	switch {
	case err != nil:
		return err
	case plan.Destroy:
		return e.forget()
	}
	return e.record(ctx, w)
}

// Prepare makes the environment ready for a run: it looks for drift where the manifest asks for that, plans, reviews,
// applies and configures. What needs a person's yes ends it. force goes on in spite of drift, and configures what has
// not changed, too.
func (e *Environment) Prepare(ctx context.Context, force bool, emit func(core.Event)) error {
	emit = e.emitter(emit)
	if err := e.stopAtDrift(ctx, force, emit); err != nil {
		return err
	}
	if e.conf.Terraform != nil {
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
	if plan.Lock != nil { // freeing it takes a person's yes
		return fmt.Errorf("the state is locked by %s; free the lock: troop apply%s; then run again", plan.Lock, e.Arguments())
	}
	return e.Apply(ctx, plan, emit)
}
