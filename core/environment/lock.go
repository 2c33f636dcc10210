package environment

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/terraform"
)

// Locks locks environments. The store implements it.
type Locks interface {
	// Lock waits until the environment is free and calls wait once with the holder. If wait is nil and the lock is held,
	// it fails with a *core.LockedError.
	Lock(ctx context.Context, env string, h core.Holder, wait func(core.Holder)) (core.Lease, error)
	// Fence returns the number of the present or last holder; 0: there was none.
	Fence(ctx context.Context, env string) (int64, error)
}

// Lock locks the environment until it is released or this process ends. While another command holds the lock, Lock waits
// and logs the holder.
func (e *Environment) Lock(ctx context.Context) (release func() error, err error) {
	return e.lock(ctx, func(h core.Holder) {
		e.o.Log(fmt.Sprintf("environment %s: waiting for %s", e.conf.Name, h))
	})
}

// TryLock is Lock, but fails at once if another command holds the lock.
func (e *Environment) TryLock(ctx context.Context) (release func() error, err error) {
	return e.lock(ctx, nil)
}

func (e *Environment) lock(ctx context.Context, wait func(core.Holder)) (release func() error, err error) {
	lease, err := e.o.Locks.Lock(ctx, e.conf.Name, core.Holder{What: e.o.What, Run: e.o.Run, By: e.o.by()}, wait)
	if err != nil {
		return nil, err
	}
	if lease.After != nil {
		e.o.Log(fmt.Sprintf("environment %s: taking the place of %s, which has not been heard of", e.conf.Name, lease.After))
	}
	if e.share != nil {
		end, err := e.share.hold(e, &lease)
		if err != nil {
			return nil, errors.Join(err, lease.Release())
		}
		e.end = end
	}
	e.mu.Lock()
	e.lease, e.held = &lease, true
	e.mu.Unlock()
	released := make(chan struct{})
	go func() {
		select {
		case <-lease.Lost:
			e.o.Stop(&core.LostError{Environment: e.conf.Name})
		case <-released:
		}
	}()
	return sync.OnceValue(func() error {
		close(released)
		err := errors.Join(e.letGo(), lease.Release())
		e.mu.Lock()
		e.held = false
		e.mu.Unlock()
		return err
	}), nil
}

// letGo writes what was changed, before the environment is free for others. The environment may be closed already.
func (e *Environment) letGo() error {
	e.mu.Lock()
	end := e.end
	e.end = nil
	e.mu.Unlock()
	if end == nil {
		return nil
	}
	err := end()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed && e.share != nil {
		err = errors.Join(err, e.share.close())
		e.share = nil
	}
	return err
}

// Fence returns the number of the holder of the environment: this command if it has locked it, else the last one. It
// grows with each holder: hosts do not obey an earlier one.
func (e *Environment) Fence() (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.held {
		return e.o.Locks.Fence(context.Background(), e.conf.Name)
	}
	select {
	case <-e.lease.Lost:
		return 0, &core.LostError{Environment: e.conf.Name}
	default:
		return e.lease.Fence, nil
	}
}

// Holders are the commands that hold an environment's lock and its state's lock; nil: unlocked.
type Holders struct {
	Environment *core.Holder    `json:"environment"`
	State       *terraform.Lock `json:"state"`

	name string
}

// Holders returns who holds the locks of the environment and its state.
func (e *Environment) Holders(ctx context.Context) (Holders, error) {
	found := Holders{name: e.conf.Name}
	release, err := e.lock(ctx, nil)
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

// StateHolder is Holders for a caller that holds the environment's lock.
func (e *Environment) StateHolder(ctx context.Context) (Holders, error) {
	found := Holders{name: e.conf.Name}
	w, err := e.workspaceOrNone(ctx)
	if err != nil || w == nil {
		return found, err
	}
	found.State, err = w.Locked(ctx)
	return found, err
}

// Lines is the report as text, with remedies.
func (h Holders) Lines() []string {
	const wait = "wait for it, or stop it: kill -INT %d"
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if x := h.Environment; x != nil {
		say("environment %s is in use by %s", h.name, x)
		say(wait, x.PID)
	}
	switch l := h.State; {
	case l == nil:
		say("the state of environment %s is not locked", h.name)
	case l.ID == "":
		say("the state of environment %s is in use by %s", h.name, l)
		say(wait, l.Holder.PID)
	case l.Abandoned:
		say("the state of environment %s is locked by %s (lock %s)", h.name, l, l.ID)
		say("troop apply --env %s frees the lock and repairs the rest; troop state unlock --env %[1]s only frees it", h.name)
	default:
		say("the state of environment %s is locked by %s (lock %s)", h.name, l, l.ID)
		say("wait for it; if the holder is dead: troop state unlock --env %s", h.name)
	}
	return lines
}

// Unlock frees a lock in the state's backend. The caller must know that its holder is dead.
func (e *Environment) Unlock(ctx context.Context, l terraform.Lock) error {
	w, err := e.terraform(ctx)
	if err != nil {
		return err
	}
	return w.Unlock(ctx, l)
}
