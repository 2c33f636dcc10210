package environment

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/agent"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
)

// agentPlugins is the folder of agents' plugin binaries on hosts.
const agentPlugins = "/usr/local/lib/troop/plugins"

// relayName is the name of the agent on the router that sends alerts to people.
const relayName = "relay"

// relay returns the playbook run that installs it.
func (e *Environment) relay(s *site, router core.Host) (ansible.Run, error) {
	c := agent.Config{Type: "troop", Name: relayName, Notifiers: e.o.Pipeline.Notifiers}
	return e.agentRun(s, c, "", false, core.Agent{}, []core.HostName{router.Name})
}

// flagServer returns the playbook run that installs the built-in agent that serves flags on the hosts of the application.
// ok is false without such hosts.
func (e *Environment) flagServer(s *site) (run ansible.Run, ok bool, err error) {
	var hosts []core.HostName
	for _, h := range s.hosts {
		if h.Has("production") || h.Has("canary") {
			hosts = append(hosts, h.Name)
		}
	}
	if len(hosts) == 0 {
		return ansible.Run{}, false, nil
	}
	run, err = e.agentRun(s, agent.Config{Type: "troop", Name: ofrep.Agent}, "", false, core.Agent{}, hosts)
	return run, err == nil, err
}

// own is what only one host has.
func (s *site) own(host core.HostName, storage bool, bucket core.BucketKey) agent.Own {
	o := agent.Own{Redis: agent.Redis{Password: s.secrets.hostPassword(host)}}
	if storage {
		private, _ := s.secrets.storageKey(host)
		o.Storage = &core.StorageKey{
			PrivateKey: private, KnownHosts: s.knownHosts("storage"), AccessKeyID: bucket.ID, SecretAccessKey: bucket.Secret,
		}
	}
	return o
}

// agentRun returns the playbook run that installs one agent on hosts; none means all. binary is its plugin on this machine;
// empty: none. storage says that it gets the key of its host's account on the storage host.
func (e *Environment) agentRun(s *site, c agent.Config, binary string, storage bool, needs core.Agent, hosts []core.HostName) (ansible.Run, error) {
	name := "troop-agent"
	if c.Type == "troop" && c.Name == relayName {
		name = "troop-relay"
	}
	program, err := e.o.program(name)
	if err != nil {
		return ansible.Run{}, err
	}
	unit := "troop-agent@" + c.Type + "-" + c.Name + ".service"
	lists := []string{unit + ".sha256", "troop.slice.sha256"} // written by the role agent
	inputs := make([]core.Digest, 0, 2)
	for _, f := range []string{program, binary} {
		if f == "" {
			continue
		}
		d, err := core.DigestFile(f)
		if err != nil {
			return ansible.Run{}, fmt.Errorf("read program of agent: %w", err)
		}
		inputs = append(inputs, d)
		lists = append(lists, filepath.Base(f)+".sha256")
	}
	if binary != "" {
		c.Plugin = filepath.Join(agentPlugins, filepath.Base(binary))
	}
	c.Pipeline, c.Environment, c.Hosts = e.o.Pipeline.Name, e.conf.Name, slices.Clone(s.hosts)
	for i := range c.Hosts {
		c.Hosts[i].Vars = nil // only for Ansible
	}
	c.Writable = needs.WritablePaths
	router, _ := withRole(s.hosts, "router")
	c.Redis, c.Trust = agent.Redis{Address: redisAddress(router), Certificates: s.secrets.trusted()}, s.secrets.trust()
	own := map[core.HostName]agent.Own{}
	for _, h := range s.hosts {
		if len(hosts) == 0 || slices.Contains(hosts, h.Name) {
			key, ok := e.conf.BucketKeys[h.Name]
			if storage && !ok && len(e.conf.BucketKeys) > 0 {
				return ansible.Run{}, &core.UsageError{Err: fmt.Errorf(
					"host %s has no storage_key, as others of environment %s have: write storage_key %q { id = …, secret = … } in its block", h.Name, e.conf.Name, h.Name)}
			}
			own[h.Name] = s.own(h.Name, storage, key)
		}
	}
	vars := map[string]any{
		"agent_type": c.Type, "agent_name": c.Name, "agent_binary": program, "agent_plugin": binary, "agent_config": c, "agent_own": own,
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

// knownHosts returns the pinned keys of a role's hosts under their private addresses, for SSH clients on other hosts.
func (s *site) knownHosts(role string) string {
	var lines strings.Builder
	for _, h := range s.hosts {
		if !h.Has(role) {
			continue
		}
		if key, err := s.ssh.HostKey(h); err == nil {
			fmt.Fprintf(&lines, "%s %s\n", h.PrivateAddress, key)
		}
	}
	return lines.String()
}
