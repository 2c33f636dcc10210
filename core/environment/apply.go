package environment

import (
	"context"
	"errors"
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

// State returns the state of the hosts, as Terraform knows it now.
func (e *Environment) State(ctx context.Context) (*terraform.State, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.State(ctx)
}

// Copies lists the copies of the state, the newest first. It opens nothing.
func (e *Environment) Copies() ([]terraform.Copy, error) { return terraform.Copies(e.terraformDir()) }

// Copied returns the state as a copy has it.
func (e *Environment) Copied(ctx context.Context, number int) (*terraform.State, error) {
	w, err := e.terraform(ctx)
	if err != nil {
		return nil, err
	}
	return w.Copied(ctx, number)
}

// Restore puts a copy in the place of the state. It changes no host; those that are recorded from then on are those of
// the copy.
func (e *Environment) Restore(ctx context.Context, number int) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	if err := w.Restore(ctx, number); err != nil {
		return err
	}
	err = e.record(ctx, w)
	if errors.Is(err, terraform.ErrNoHosts) {
		return e.forget()
	}
	return err
}

// Holders are the commands that keep others from an environment and from its state. Nil: nobody.
type Holders struct {
	Environment *core.Holder    `json:"environment"`
	State       *terraform.Lock `json:"state"`

	name string
}

// Holders looks who has locked the environment and its state.
func (e *Environment) Holders(ctx context.Context) (Holders, error) {
	found := Holders{name: e.conf.Name}
	release, err := e.TryLock(ctx)
	if taken, ok := errors.AsType[*core.LockedError](err); ok {
		found.Environment = &taken.Holder
	} else if err != nil {
		return found, err
	} else if err := release(); err != nil {
		return found, err
	}
	state, err := e.StateHolder(ctx)
	found.State = state.State
	return found, err
}

// StateHolder is Holders for a caller that holds the environment's lock itself.
func (e *Environment) StateHolder(ctx context.Context) (Holders, error) {
	found := Holders{name: e.conf.Name}
	w, err := e.terraform(ctx)
	if err != nil {
		return found, err
	}
	found.State, err = w.Locked(ctx)
	return found, err
}

// Lines are the holders for people, with what to do about them.
func (h Holders) Lines() []string {
	const wait = "wait for it, or end it: kill -INT %d"
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if x := h.Environment; x != nil {
		say("environment %s is in use by %s", h.name, x)
		say(wait, x.PID)
	}
	switch l := h.State; {
	case l == nil:
		say("nobody has locked the state of environment %s", h.name)
	case l.ID == "":
		say("the state of environment %s is in use by %s", h.name, l)
		say(wait, l.Holder.PID)
	case l.Abandoned:
		say("the state of environment %s is locked by %s (lock %s)", h.name, l, l.ID)
		say("troop apply --env %s frees the lock and repairs what was left; troop state unlock --env %[1]s only frees it", h.name)
	default:
		say("the state of environment %s is locked by %s (lock %s)", h.name, l, l.ID)
		say("wait for it; when nobody works on it any more: troop state unlock --env %s", h.name)
	}
	return lines
}

// Unlock frees a lock of the state's backend. That nobody works on the state any more, the caller must know.
func (e *Environment) Unlock(ctx context.Context, l terraform.Lock) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	return w.Unlock(ctx, l)
}
