package environment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/flags"
)

// capabilities serves one job of a plugin.
type capabilities struct {
	core.NoCapabilities
	job       core.Job
	typ       string // of the stage
	artifacts Artifacts
	plugins   Plugins
	// env returns the job's environment, or an error if it has none.
	env func() (*Environment, error)
}

var _ core.Capabilities = (*capabilities)(nil)

// site returns the job's environment and the site of its hosts.
func (c *capabilities) site() (*Environment, *site, error) {
	e, err := c.env()
	if err != nil {
		return nil, nil, err
	}
	s, err := e.open()
	return e, s, err
}

func (c *capabilities) Hosts(context.Context) ([]core.PluginHost, error) {
	e, err := c.env()
	if err != nil {
		return nil, err
	}
	hosts, err := e.Hosts()
	return core.PluginHosts(hosts), err
}

func (c *capabilities) Playbook(ctx context.Context, p core.PlaybookRun, each func(core.TaskResult)) error {
	e, s, err := c.site()
	if err != nil {
		return err
	}
	e.configuring.Lock()
	defer e.configuring.Unlock()
	// Whoever names a host that is left out learns it as if Ansible had tried.
	var errs []error
	for _, h := range p.Hosts {
		if why := s.away[h]; why != nil {
			each(core.TaskResult{Host: h, Task: "Connect", Status: "unreachable", Message: why.Error()})
			errs = append(errs, fmt.Errorf("%s is left out: %w", h, why))
		}
	}
	if hosts, ok := s.present(p.Hosts); ok {
		_, err := s.ansible.Run(ctx, ansible.Run{Playbook: p.Name, Hosts: hosts, Vars: p.Vars}, each)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *capabilities) InstallAgent(ctx context.Context, hosts []core.HostName, each func(core.TaskResult)) error {
	e, s, err := c.site()
	if err != nil {
		return err
	}
	path, err := c.plugins.Path(c.typ)
	if err != nil {
		return err
	}
	d, digest, err := c.plugins.Describe(ctx, c.typ)
	if err != nil {
		return err
	}
	if d.Agent == nil {
		return fmt.Errorf("plugin %s has no agent", d.Name)
	}
	conf := agent.Config{
		Type: c.typ, Name: c.job.Config.Name, Digest: digest, Block: c.job.Config.Block, Scope: c.job.Config.Scope,
	}
	storage := slices.Contains(d.Agent.Capabilities, core.Storage) && e.o.Pipeline.Granted(c.job.Info.Stage, core.Storage)
	hosts, ok := s.present(hosts)
	if !ok {
		return errors.New("no host of the agent can be reached")
	}
	run, err := e.agentRun(s, conf, path, storage, *d.Agent, hosts)
	if err != nil {
		return err
	}
	done, err := e.play(ctx, s, run, false, each)
	if err == nil {
		each(core.TaskResult{Task: done, Status: "ok"})
	}
	return err
}

func (c *capabilities) PutArtifact(ctx context.Context, path string) (core.Artifact, error) {
	return c.artifacts.PutArtifact(ctx, path)
}

func (c *capabilities) Artifact(ctx context.Context, d core.Digest) (core.Artifact, error) {
	return c.artifacts.Artifact(ctx, d)
}

func (c *capabilities) Flag(ctx context.Context, name string) (any, error) {
	e, err := c.env()
	if err != nil {
		return nil, err
	}
	flags, err := e.Flags()
	if err != nil {
		return nil, err
	}
	f, _, err := flags.Get(ctx, name)
	return f.Value, err
}

func (c *capabilities) SetFlag(ctx context.Context, name string, value any) error {
	e, err := c.env()
	if err != nil {
		return err
	}
	flags, err := e.Flags()
	if err != nil {
		return err
	}
	by := string(c.job.Info.Stage) + " by " + e.o.by()
	if c.job.Info.Run != "" {
		by = string(c.job.Info.Stage) + " in run " + string(c.job.Info.Run)
	}
	_, err = flags.Set(ctx, name, value, by)
	return err
}

func (c *capabilities) bus() (*bus.Bus, error) {
	e, err := c.env()
	if err != nil {
		return nil, err
	}
	return e.Bus()
}

func (c *capabilities) State(ctx context.Context, key string) (core.Entry, error) {
	b, err := c.bus()
	if err != nil {
		return core.Entry{}, err
	}
	return b.State(c.typ).Get(ctx, key)
}

func (c *capabilities) SetState(ctx context.Context, key string, value []byte) (core.Entry, error) {
	b, err := c.bus()
	if err != nil {
		return core.Entry{}, err
	}
	return b.State(c.typ).Set(ctx, key, value)
}

func (c *capabilities) WatchState(ctx context.Context, prefix string, each func(core.Entry) error) error {
	b, err := c.bus()
	if err != nil {
		return err
	}
	return b.State(c.typ).Watch(ctx, prefix, each)
}

func (c *capabilities) Publish(ctx context.Context, e core.Event) error {
	b, err := c.bus()
	if err != nil {
		return err
	}
	e = core.Complete(e)
	if e.Source == "" {
		e.Source = string(c.job.Info.Stage)
	}
	e.Environment, e.Run = c.job.Info.Environment, c.job.Info.Run
	if e, err = flags.Open(b).Heed(ctx, e); err != nil {
		return err
	}
	return b.Publish(ctx, e)
}

// Notify publishes the event; the relay on the router sends it to people.
func (c *capabilities) Notify(ctx context.Context, e core.Event) error { return c.Publish(ctx, e) }

func (c *capabilities) Subscribe(ctx context.Context, f core.EventFilter, each func(core.Event) error) error {
	b, err := c.bus()
	if err != nil {
		return err
	}
	return b.Follow(ctx, f, each)
}

func (c *capabilities) Secret(_ context.Context, name string) (string, error) {
	return c.job.Config.Scope.Secret(name)
}

// StorageKey is refused here: each host has an account of its own on the storage host, and only its agents use it.
func (c *capabilities) StorageKey(context.Context) (core.StorageKey, error) {
	if e, err := c.env(); err != nil || !e.o.Pipeline.Granted(c.job.Info.Stage, core.Storage) {
		return core.StorageKey{}, errors.Join(err, core.NotGranted(core.Storage))
	}
	return core.StorageKey{}, core.Refused("only an agent on a host has a key of the storage host, for the account of its host")
}
