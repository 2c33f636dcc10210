package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/playbooks"
)

// environment is one environment of a pipeline whose hosts exist: what this program needs to reach them.
type environment struct {
	pipeline *core.Pipeline
	conf     core.Environment
	dir      string // .troop/NAME
	ssh      *remote.Client
	hosts    []core.Host
	secrets  secrets
	ansible  *ansible.Runner
	bus      *bus.Bus
	flags    *flags.Flags

	configuring sync.Mutex // one playbook at a time: they may touch the same files
}

const redisPort = 6379

// openEnvironment reaches the hosts that the last apply recorded. It starts nothing and connects on first use.
func openEnvironment(p *core.Pipeline, conf core.Environment) (*environment, error) {
	dir := environmentDir(p, conf.Name)
	hosts, err := readHosts(dir)
	if err != nil {
		return nil, noHosts(conf.Name, err)
	}
	ssh, err := remote.New(dir)
	if err != nil {
		return nil, err
	}
	s, err := environmentSecrets(dir)
	if err != nil {
		return nil, errors.Join(err, ssh.Close())
	}
	e := &environment{pipeline: p, conf: conf, dir: dir, ssh: ssh, hosts: hosts, secrets: s}
	vars := map[string]any{
		"troop_environment":         conf.Name,
		"troop_pipeline":            p.Name,
		"troop_storage_public_key":  s.StoragePublicKey,
		"troop_storage_private_key": s.StoragePrivateKey,
	}
	if router, ok := e.role("router"); ok {
		address := fmt.Sprintf("%s:%d", router.PrivateAddress, redisPort)
		vars["troop_redis_address"] = router.PrivateAddress
		vars["troop_redis_port"] = redisPort
		vars["troop_redis_password"] = s.RedisPassword
		e.bus = bus.Open(bus.Options{Address: address, Password: s.RedisPassword, Dial: ssh.Dialer(router)})
		e.flags = flags.Open(e.bus.Client())
	}
	if conf.Ansible != nil {
		maps.Copy(vars, conf.Ansible.Variables)
	}
	e.ansible, err = ansible.New(ansible.Config{
		Dir: dir, Manifest: p.Dir, Playbooks: playbooks.FS, SSH: ssh, Hosts: hosts, Vars: vars,
	})
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *environment) close() error {
	var err error
	if e.bus != nil {
		err = e.bus.Close()
	}
	if e.ansible != nil {
		err = errors.Join(err, e.ansible.Close())
	}
	return errors.Join(err, e.ssh.Close())
}

// role returns the first host of a role.
func (e *environment) role(role string) (core.Host, bool) {
	i := slices.IndexFunc(e.hosts, func(h core.Host) bool { return h.Role == role })
	if i < 0 {
		return core.Host{}, false
	}
	return e.hosts[i], true
}

// host returns the host of a name that a person has typed.
func (e *environment) host(name string) (core.Host, error) {
	var names []string
	for _, h := range e.hosts {
		if string(h.Name) == name {
			return h, nil
		}
		names = append(names, string(h.Name))
	}
	return core.Host{}, &core.NotFoundError{What: "host", Name: name, Remedy: "there are " + strings.Join(names, ", ")}
}

// shared returns the environment's Redis, which lives on the router.
func (e *environment) shared() (*bus.Bus, error) {
	if e.bus == nil {
		return nil, fmt.Errorf("environment %s has no host with the role router, which holds its flags, state and events", e.conf.Name)
	}
	return e.bus, nil
}

// configure brings all hosts to what the playbook of the environment says, unless they are there already.
func (e *environment) configure(ctx context.Context, force bool, emit func(core.Event)) error {
	if e.conf.Ansible == nil {
		return nil
	}
	pin := func(h core.HostName, state string) {
		emit(core.Event{Kind: core.KindProgress, Host: h, Summary: string(h) + ": " + state})
	}
	if err := e.ssh.Wait(ctx, e.hosts, 5*time.Minute, pin); err != nil {
		return err
	}
	err := e.tell(ctx, ansible.Run{Playbook: e.conf.Ansible.Playbook, Retries: 1}, force, emit)
	if err != nil || len(e.pipeline.Notifiers) == 0 {
		return err
	}
	return e.installRelay(ctx, force, emit)
}

// tell is play with events of its tasks and its outcome.
func (e *environment) tell(ctx context.Context, run ansible.Run, force bool, emit func(core.Event)) error {
	done, err := e.play(ctx, run, force, func(t core.TaskResult) { emit(core.TaskEvent(t)) })
	if err == nil {
		emit(core.Event{Kind: core.KindLog, Summary: done})
	}
	return err
}

// play runs a playbook unless nothing that decides its outcome has changed since it last succeeded and every
// host still carries that outcome. It returns a line on what was done, or why not.
func (e *environment) play(ctx context.Context, run ansible.Run, force bool, each func(core.TaskResult)) (string, error) {
	e.configuring.Lock()
	defer e.configuring.Unlock()
	name := run.Name
	if name == "" {
		name = run.Playbook
	}
	if !force {
		if ok, why := e.ansible.Unchanged(ctx, run); ok {
			return name + ": skipped, " + why, nil
		}
	}
	start := time.Now()
	recap, err := e.ansible.Run(ctx, run, each)
	if err != nil {
		return "", err
	}
	done := fmt.Sprintf("%s: %d hosts, %d changed, in %.1f s", name, len(recap), recap.Changed(), time.Since(start).Seconds())
	return done, e.ansible.Record(ctx, run)
}

func environmentDir(p *core.Pipeline, name string) string { return filepath.Join(troopDir(p), name) }

func troopDir(p *core.Pipeline) string { return filepath.Join(p.Dir, ".troop") }

// findEnvironment returns the environment that a command is about: the one that is named, or the only one.
func findEnvironment(p *core.Pipeline, name string) (core.Environment, error) {
	var names []string
	for _, e := range p.Environments {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	switch {
	case len(names) == 0:
		return core.Environment{}, fmt.Errorf("%s has no environment block", p.File)
	case name != "":
		return core.Environment{}, &core.NotFoundError{What: "environment", Name: name, Remedy: fmt.Sprintf("%s has %v", p.File, names)}
	case len(names) == 1:
		return p.Environments[0], nil
	}
	return core.Environment{}, fmt.Errorf("which environment? say --env with one of %v", names)
}

func hostsFile(dir string) string { return filepath.Join(dir, "hosts.json") }

// readHosts returns the hosts that the last apply recorded.
func readHosts(dir string) ([]core.Host, error) {
	data, err := os.ReadFile(hostsFile(dir))
	if err != nil {
		return nil, err
	}
	var hosts []core.Host
	if err := json.Unmarshal(data, &hosts); err != nil {
		return nil, fmt.Errorf("read %s: %w", hostsFile(dir), err)
	}
	return hosts, nil
}

// noHosts says of an environment that was never applied how its hosts are made.
func noHosts(env string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return &core.NotFoundError{What: "hosts of environment", Name: env, Remedy: "make them: troop apply --env " + env}
	}
	return err
}

func writeHosts(dir string, hosts []core.Host) error {
	data, err := json.MarshalIndent(hosts, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(hostsFile(dir), append(data, '\n'), 0o644)
}

// secrets are made once per environment and never leave .troop but for the hosts that need them.
type secrets struct {
	RedisPassword     string `json:"redis_password"`
	StoragePrivateKey string `json:"storage_private_key"` // with which hosts send backups
	StoragePublicKey  string `json:"storage_public_key"`
}

// values lists what must be masked wherever it appears.
func (s secrets) values() []string { return []string{s.RedisPassword, s.StoragePrivateKey} }

// environmentSecrets reads an environment's secrets and makes them the first time.
func environmentSecrets(dir string) (secrets, error) {
	file := filepath.Join(dir, "secrets.json")
	var s secrets
	data, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(data, &s); err != nil {
			return s, fmt.Errorf("read %s: %w", file, err)
		}
		return s, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	s.RedisPassword = rand.Text()
	s.StoragePrivateKey, s.StoragePublicKey, err = remote.NewKey("troop backups")
	if err != nil {
		return s, err
	}
	data, err = json.MarshalIndent(s, "", "  ")
	if err != nil {
		return s, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, err
	}
	return s, renameio.WriteFile(file, data, 0o600)
}
