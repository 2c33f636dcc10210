package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/store"
)

// capabilities serves one job of a plugin in this program.
type capabilities struct {
	core.NoCapabilities
	job     core.Job
	typ     string
	files   *store.Files
	plugins *loader.Loader
	// env reaches the hosts; it fails when the job has no environment.
	env func() (*environment, error)
}

var _ core.Capabilities = (*capabilities)(nil)

func (c *capabilities) Hosts(context.Context) ([]core.PluginHost, error) {
	e, err := c.env()
	if err != nil {
		return nil, err
	}
	return core.PluginHosts(e.hosts), nil
}

func (c *capabilities) Playbook(ctx context.Context, p core.PlaybookRun, each func(core.TaskResult)) error {
	e, err := c.env()
	if err != nil {
		return err
	}
	e.configuring.Lock()
	defer e.configuring.Unlock()
	_, err = e.ansible.Run(ctx, ansible.Run{Playbook: p.Name, Hosts: p.Hosts, Vars: p.Vars}, each)
	return err
}

func (c *capabilities) InstallAgent(ctx context.Context, hosts []core.HostName, each func(core.TaskResult)) error {
	e, err := c.env()
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
		Type: c.typ, Name: c.job.Config.Name, Digest: digest,
		Plugin: filepath.Join("/usr/local/lib/troop/plugins", filepath.Base(path)),
		Block:  c.job.Config.Block, Scope: c.job.Config.Scope,
	}
	if slices.Contains(d.Capabilities, "secrets") {
		conf.Secrets = e.shareable()
	}
	run, err := e.agentRun(conf, path, *d.Agent, hosts)
	if err != nil {
		return err
	}
	done, err := e.play(ctx, run, false, each)
	if err == nil {
		each(core.TaskResult{Task: done, Status: "ok"})
	}
	return err
}

// shareable are the secrets that a plugin may ask for by name, when it declares that capability.
func (e *environment) shareable() map[string]string {
	return map[string]string{
		"storage_private_key": e.secrets.StoragePrivateKey,
		"storage_known_hosts": e.knownHosts("storage"),
	}
}

// knownHosts are the pinned keys of the hosts of a role under their private addresses, as sshd's clients on
// other hosts need them.
func (e *environment) knownHosts(role string) string {
	var lines strings.Builder
	for _, h := range e.hosts {
		if h.Role != role {
			continue
		}
		if key, err := e.ssh.HostKey(h); err == nil {
			fmt.Fprintf(&lines, "%s %s\n", h.PrivateAddress, key)
		}
	}
	return lines.String()
}

// installRelay puts the built-in agent on the router that tells people of alerts.
func (e *environment) installRelay(ctx context.Context, force bool, emit func(core.Event)) error {
	router, ok := e.role("router")
	if !ok {
		return nil
	}
	run, err := e.agentRun(agent.Config{Type: "troop", Name: "relay", Notifiers: e.pipeline.Notifiers}, "", core.Agent{}, []core.HostName{router.Name})
	if err != nil {
		return err
	}
	return e.tell(ctx, run, force, emit)
}

// agentRun is the playbook run that installs one agent on some hosts. binary is the plugin on this machine.
func (e *environment) agentRun(c agent.Config, binary string, needs core.Agent, hosts []core.HostName) (ansible.Run, error) {
	self, err := os.Executable()
	if err != nil {
		return ansible.Run{}, err
	}
	program := filepath.Join(filepath.Dir(self), "troop-agent")
	unit := "troop-agent@" + c.Type + "-" + c.Name + ".service"
	lists := []string{unit + ".sha256"} // that the role agent writes
	inputs := make([]core.Digest, 0, 2)
	for _, f := range []string{program, binary} {
		if f == "" {
			continue
		}
		d, err := fileDigest(f)
		if err != nil {
			return ansible.Run{}, fmt.Errorf("read agent's program: %w", err)
		}
		inputs = append(inputs, d)
		lists = append(lists, filepath.Base(f)+".sha256")
	}
	c.Pipeline, c.Environment, c.Hosts = e.pipeline.Name, e.conf.Name, slices.Clone(e.hosts)
	for i := range c.Hosts {
		c.Hosts[i].Vars = nil // Ansible's alone
	}
	router, _ := e.role("router")
	c.Redis = agent.Redis{Address: fmt.Sprintf("%s:%d", router.PrivateAddress, redisPort), Password: e.secrets.RedisPassword}
	vars := map[string]any{
		"agent_type": c.Type, "agent_name": c.Name, "agent_binary": program, "agent_plugin": binary, "agent_config": c,
		"agent_capabilities":   notNil(needs.LinuxCapabilities),
		"agent_groups":         notNil(needs.Groups),
		"agent_writable_paths": notNil(needs.WritablePaths),
	}
	if needs.User != "" {
		vars["agent_user"] = needs.User
	}
	return ansible.Run{
		Name: "agent-" + c.Type + "-" + c.Name, Playbook: "agent.yml", Hosts: hosts, Vars: vars, Inputs: inputs,
		Healthy: fmt.Sprintf("systemctl is-active --quiet %s && cd /etc/troop/installed && sha256sum --check --status -- %s", unit, strings.Join(lists, " ")),
	}, nil
}

func notNil(list []string) []string { return append([]string{}, list...) }

func (c *capabilities) PutArtifact(ctx context.Context, path string) (core.Artifact, error) {
	return c.files.PutArtifact(ctx, path)
}

func (c *capabilities) Artifact(ctx context.Context, d core.Digest) (core.Artifact, error) {
	return c.files.Artifact(ctx, d)
}

func (c *capabilities) Flag(ctx context.Context, name string) (any, error) {
	e, err := c.env()
	if err != nil {
		return nil, err
	}
	if _, err := e.shared(); err != nil {
		return nil, err
	}
	f, _, err := e.flags.Get(ctx, name)
	return f.Value, err
}

func (c *capabilities) SetFlag(ctx context.Context, name string, value any) error {
	e, err := c.env()
	if err != nil {
		return err
	}
	if _, err := e.shared(); err != nil {
		return err
	}
	_, err = e.flags.Set(ctx, name, value, c.source())
	return err
}

func (c *capabilities) source() string {
	if c.job.Info.Run != "" {
		return string(c.job.Info.Stage) + " in run " + string(c.job.Info.Run)
	}
	return string(c.job.Info.Stage) + " by " + whoami()
}

// whoami names the person at the keyboard, for audit trails.
func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

func (c *capabilities) state() (*bus.State, error) {
	e, err := c.env()
	if err != nil {
		return nil, err
	}
	b, err := e.shared()
	if err != nil {
		return nil, err
	}
	return b.State(c.typ), nil
}

func (c *capabilities) State(ctx context.Context, key string) (core.Entry, error) {
	s, err := c.state()
	if err != nil {
		return core.Entry{}, err
	}
	return s.Get(ctx, key)
}

func (c *capabilities) SetState(ctx context.Context, key string, value []byte) (core.Entry, error) {
	s, err := c.state()
	if err != nil {
		return core.Entry{}, err
	}
	return s.Set(ctx, key, value)
}

func (c *capabilities) WatchState(ctx context.Context, prefix string, each func(core.Entry) error) error {
	s, err := c.state()
	if err != nil {
		return err
	}
	return s.Watch(ctx, prefix, each)
}

func (c *capabilities) Publish(ctx context.Context, ev core.Event) error {
	e, err := c.env()
	if err != nil {
		return err
	}
	b, err := e.shared()
	if err != nil {
		return err
	}
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	if ev.ID == "" {
		ev.ID = core.NewID(ev.Time)
	}
	if ev.Severity == "" {
		ev.Severity = core.Info
	}
	if ev.Source == "" {
		ev.Source = string(c.job.Info.Stage)
	}
	ev.Environment, ev.Run = e.conf.Name, c.job.Info.Run
	return b.Publish(ctx, ev)
}

// Notify is Publish: the relay on the router hears of it from the stream.
func (c *capabilities) Notify(ctx context.Context, ev core.Event) error { return c.Publish(ctx, ev) }

func (c *capabilities) Subscribe(ctx context.Context, f core.EventFilter, each func(core.Event) error) error {
	e, err := c.env()
	if err != nil {
		return err
	}
	b, err := e.shared()
	if err != nil {
		return err
	}
	return b.Follow(ctx, f, each)
}

func (c *capabilities) Secret(_ context.Context, name string) (string, error) {
	e, err := c.env()
	if err != nil {
		return "", err
	}
	if v, ok := e.shareable()[name]; ok {
		return v, nil
	}
	return "", &core.NotFoundError{What: "secret", Name: name}
}
