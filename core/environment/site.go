package environment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/playbooks"
)

// redisPort is where the router's Redis answers.
const redisPort = 6379

// site is what depends on which hosts there are: an apply makes it anew.
type site struct {
	hosts   []core.Host
	secrets secrets
	ssh     *remote.Client
	ansible *ansible.Runner
	bus     *bus.Bus // nil: there is no router
	flags   *flags.Flags
}

// open returns the site of the hosts that the last apply recorded. It connects to nothing yet.
func (e *Environment) open() (*site, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.site != nil {
		return e.site, nil
	}
	hosts, err := e.Hosts()
	if err != nil {
		return nil, err
	}
	s := &site{hosts: hosts}
	if s.ssh, err = e.openSSH(); err != nil {
		return nil, err
	}
	if s.secrets, err = e.secrets(); err != nil {
		return nil, err
	}
	vars := map[string]any{
		"troop_environment":         e.conf.Name,
		"troop_pipeline":            e.o.Pipeline.Name,
		"troop_storage_public_key":  s.secrets.StoragePublicKey,
		"troop_storage_private_key": s.secrets.StoragePrivateKey,
	}
	router, routed := withRole(hosts, "router")
	if routed {
		vars["troop_redis_address"] = router.PrivateAddress
		vars["troop_redis_port"] = redisPort
		vars["troop_redis_password"] = s.secrets.RedisPassword
	}
	if e.conf.Ansible != nil {
		maps.Copy(vars, e.conf.Ansible.Variables)
	}
	s.ansible, err = ansible.New(ansible.Config{
		Dir: e.dir, Manifest: e.o.Pipeline.Dir, Playbooks: playbooks.FS, SSH: s.ssh, Hosts: hosts, Vars: vars,
	})
	if err != nil {
		return nil, err
	}
	if routed {
		s.bus = bus.Open(bus.Options{Address: redisAddress(router), Password: s.secrets.RedisPassword, Dial: s.ssh.Dialer(router)})
		s.flags = flags.Open(s.bus.Client())
	}
	e.site = s
	return s, nil
}

// leave closes the site, for callers that hold mu.
func (e *Environment) leave() error {
	s := e.site
	if s == nil {
		return nil
	}
	e.site = nil
	err := s.ansible.Close()
	if s.bus != nil {
		err = errors.Join(err, s.bus.Close())
	}
	return err
}

func redisAddress(router core.Host) string {
	return fmt.Sprintf("%s:%d", router.PrivateAddress, redisPort)
}

// Bus returns the events and the state that the hosts share. They are in a Redis on the router.
func (e *Environment) Bus() (*bus.Bus, error) {
	s, err := e.routed()
	if err != nil {
		return nil, err
	}
	return s.bus, nil
}

// Flags returns the feature flags, which are in the same Redis.
func (e *Environment) Flags() (*flags.Flags, error) {
	s, err := e.routed()
	if err != nil {
		return nil, err
	}
	return s.flags, nil
}

func (e *Environment) routed() (*site, error) {
	s, err := e.open()
	if err == nil && s.bus == nil {
		err = fmt.Errorf("environment %s has no host with the role router, which holds its flags, state and events", e.conf.Name)
	}
	return s, err
}

// hostsWait is how long hosts may take to start.
const hostsWait = 5 * time.Minute

// Configure brings all hosts to what the environment's playbook says. Where nothing has changed since it last
// succeeded it is skipped, unless forced.
func (e *Environment) Configure(ctx context.Context, force bool, emit func(core.Event)) error {
	if e.conf.Ansible == nil {
		return nil
	}
	s, err := e.open()
	if err != nil {
		return err
	}
	emit = e.emitter(emit)
	progress := func(h core.HostName, state string) {
		emit(core.Event{Kind: core.KindProgress, Host: h, Summary: string(h) + ": " + state})
	}
	if err := s.ssh.Wait(ctx, s.hosts, hostsWait, progress); err != nil {
		return err
	}
	runs := []ansible.Run{{Playbook: e.conf.Ansible.Playbook, Retries: 1}}
	if router, ok := withRole(s.hosts, "router"); ok && len(e.o.Pipeline.Notifiers) > 0 {
		relay, err := e.relay(s, router)
		if err != nil {
			return err
		}
		runs = append(runs, relay)
	}
	for _, run := range runs {
		done, err := e.play(ctx, s, run, force, func(t core.TaskResult) { emit(core.TaskEvent(t)) })
		if err != nil {
			return err
		}
		emit(core.Event{Kind: core.KindLog, Summary: done})
	}
	return nil
}

// play runs a playbook unless nothing that decides its outcome has changed since it last succeeded, and every host
// still carries that outcome. It returns a line on what was done, or why not.
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
