package environment

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
)

// hostsWait is the timeout for hosts to start.
const hostsWait = 5 * time.Minute

// Configure runs the environment's playbook on all hosts but those that are left out; see reach. It is skipped if nothing
// has changed since it last succeeded, unless forced.
func (e *Environment) Configure(ctx context.Context, force bool, emit func(core.Event)) error {
	if e.conf.Ansible == nil {
		return nil
	}
	s, err := e.open()
	if err != nil {
		return err
	}
	if len(e.conf.Accessories) > 0 {
		if _, err := core.DataHost(s.hosts); err != nil {
			return fmt.Errorf("environment %s: %w", e.conf.Name, err)
		}
	}
	emit = e.emitter(emit)
	if err := e.reach(ctx, s, emit); err != nil {
		return err
	}
	if err := e.inspect(ctx, s); err != nil {
		return err
	}
	runs := []ansible.Run{{Playbook: e.conf.Ansible.Playbook, Retries: 1}}
	if router, ok := withRole(s.hosts, "router"); ok {
		if len(e.o.Pipeline.Notifiers) > 0 {
			relay, err := e.relay(s, router)
			if err != nil {
				return err
			}
			runs = append(runs, relay)
		}
		if server, ok, err := e.flagServer(s); err != nil {
			return err
		} else if ok {
			runs = append(runs, server)
		}
	}
	for _, run := range runs {
		if err := e.configure(ctx, s, run, force, emit); err != nil {
			return err
		}
	}
	if err := e.noteConfigured(s); err != nil || len(s.away) > 0 {
		return err
	}
	if more, err := e.carryOn(ctx, s, emit); err != nil || more {
		if err == nil {
			err = e.Configure(ctx, false, emit)
		}
		return err
	}
	return s.ssh.Settle(ctx, s.hosts)
}

// configure runs one playbook. Hosts that go away meanwhile are left out, too, and the others get all of it.
func (e *Environment) configure(ctx context.Context, s *site, run ansible.Run, force bool, emit func(core.Event)) error {
	for all := run.Hosts; ; {
		var ok bool
		if run.Hosts, ok = s.present(all); !ok {
			return nil
		}
		done, err := e.play(ctx, s, run, force, func(t core.TaskResult) { emit(core.TaskEvent(t)) })
		if err == nil {
			emit(core.Event{Kind: core.KindLog, Summary: done})
			return nil
		}
		gone := unreachable(err)
		if len(gone) == 0 || len(s.needed(gone)) > 0 {
			return err
		}
		s.leaveOut(gone, emit)
	}
}

// waitEvent is what a host waits for. What is due is a line, also in a pipe and in the journal.
func waitEvent(w remote.Waiting) core.Event {
	kind := core.KindProgress
	if w.Due {
		kind = core.KindLog
	}
	return core.Event{Kind: kind, Host: w.Host, Summary: string(w.Host) + ": " + w.State}
}

// play runs a playbook, or skips it if its inputs are unchanged since it last succeeded and every host still has the
// result. It returns a line that says what was done, or why it was skipped.
func (e *Environment) play(ctx context.Context, s *site, run ansible.Run, force bool, each func(core.TaskResult)) (string, error) {
	e.configuring.Lock()
	defer e.configuring.Unlock()
	name := run.Name
	if name == "" {
		name = run.Playbook
	}
	if !force {
		if ok, why := s.ansible.Unchanged(ctx, run); ok {
			return name + ": skipped, " + why, nil
		}
	}
	start := time.Now()
	recap, err := s.ansible.Run(ctx, run, each)
	if err != nil {
		return "", err
	}
	done := fmt.Sprintf("%s: %d hosts, %d changed, in %.1f s", name, len(recap), recap.Changed(), time.Since(start).Seconds())
	return done, s.ansible.Record(ctx, run)
}
