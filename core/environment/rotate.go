package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/remote"
)

// Rotate makes a new SSH key of the environment, new passwords and a new certificate of its Redis, and new keys of the accounts
// on its storage host, and puts them on the hosts in place of the earlier ones. Hosts that are made later have the first SSH key until
// they are configured. A rotation that was interrupted is carried on by the next configuration. The caller must hold Lock.
func (e *Environment) Rotate(ctx context.Context, emit func(core.Event)) error {
	if e.conf.Ansible == nil {
		return &core.UsageError{Err: fmt.Errorf("environment %s has no ansible block, so that nothing would put new keys on its hosts", e.conf.Name)}
	}
	if _, err := e.Hosts(); err != nil {
		return err
	}
	if _, err := e.SSH(); err != nil { // makes the first one
		return err
	}
	s, err := e.secrets()
	if err != nil {
		return err
	}
	if _, unsettled := s.after(); unsettled {
		return fmt.Errorf("the last rotation is not at its end on all hosts yet: troop apply%s first", e.Arguments())
	}
	if err := remote.Rotate(e.dir); errors.Is(err, remote.ErrUnsettled) {
		return fmt.Errorf("%w: troop apply%s first", err, e.Arguments())
	} else if err != nil {
		return err
	}
	next := newGeneration()
	s.Next = &next
	if err := e.replaceSecrets(ctx, s); err != nil {
		return err
	}
	return e.Configure(ctx, false, emit)
}

// replaceSecrets writes other secrets, before a host has them, and closes what was opened with the earlier ones.
func (e *Environment) replaceSecrets(ctx context.Context, s secrets) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(e.secretsFile(), data, 0o600); err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	if e.share != nil {
		if err := e.share.push(ctx, e.conf.Name, e.lease.Fence); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	err = e.leave()
	if e.ssh != nil {
		err = errors.Join(err, e.ssh.Close())
		e.ssh = nil
	}
	return err
}

// carryOn takes a rotation one step further, when every host has the present secrets. more is false at its end.
func (e *Environment) carryOn(ctx context.Context, s *site, emit func(core.Event)) (more bool, err error) {
	next, more := s.secrets.after()
	if !more {
		return false, nil
	}
	if err := e.renewAgents(ctx, s, emit); err != nil {
		return false, err
	}
	return true, e.replaceSecrets(ctx, next)
}

// renewAgents gives all agents the present secrets. Those of stages are installed by runs.
func (e *Environment) renewAgents(ctx context.Context, s *site, emit func(core.Event)) error {
	all := map[core.HostName][]renewed{}
	for _, h := range s.hosts {
		if r := s.secrets.renewals(h.Name); r != nil {
			all[h.Name] = r
		}
	}
	if len(all) == 0 {
		return nil
	}
	e.configuring.Lock()
	defer e.configuring.Unlock()
	run := ansible.Run{Playbook: "renew.yml", Vars: map[string]any{"renew_secrets": all}, Retries: 1}
	_, err := s.ansible.Run(ctx, run, func(t core.TaskResult) { emit(core.TaskEvent(t)) })
	return err
}
