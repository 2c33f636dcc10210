package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/terraform"
)

func (e *Environment) hostsFile() string { return filepath.Join(e.dir, "hosts.json") }

// Hosts returns the hosts of the last apply without connecting to them. Before the first apply, they are those that the
// manifest gives if Terraform makes none, else the error is a *core.NotFoundError.
func (e *Environment) Hosts() ([]core.Host, error) {
	data, err := os.ReadFile(e.hostsFile())
	if errors.Is(err, fs.ErrNotExist) {
		if e.conf.Terraform == nil && len(e.conf.Hosts) > 0 {
			return e.conf.Hosts, nil
		}
		return nil, &core.NotFoundError{
			What: "hosts of environment", Name: e.conf.Name, Remedy: "make them: troop apply" + e.Arguments(),
		}
	}
	if err != nil {
		return nil, err
	}
	var hosts []core.Host
	if err := json.Unmarshal(data, &hosts); err != nil {
		return nil, fmt.Errorf("read %s: %w", e.hostsFile(), err)
	}
	return hosts, nil
}

// Host returns a host by name. The error for an unknown name lists the hosts.
func (e *Environment) Host(name string) (core.Host, error) {
	hosts, err := e.Hosts()
	if err != nil {
		return core.Host{}, err
	}
	var names []string
	for _, h := range hosts {
		if string(h.Name) == name {
			return h, nil
		}
		names = append(names, string(h.Name))
	}
	return core.Host{}, &core.NotFoundError{What: "host", Name: name, Remedy: "there are " + strings.Join(names, ", ")}
}

// withRole returns the first host with a role.
func withRole(hosts []core.Host, role string) (core.Host, bool) {
	i := slices.IndexFunc(hosts, func(h core.Host) bool { return h.Has(role) })
	if i < 0 {
		return core.Host{}, false
	}
	return hosts[i], true
}

// record records the hosts in Terraform's state and those of the manifest for Hosts, and pins their keys. Without a
// workspace there are only the latter.
func (e *Environment) record(ctx context.Context, w *terraform.Workspace) error {
	hosts := slices.Clone(e.conf.Hosts)
	if w != nil {
		made, err := w.Hosts(ctx)
		if err != nil && (len(hosts) == 0 || !errors.Is(err, terraform.ErrNoHosts)) {
			return err
		}
		if hosts, err = e.join(hosts, made); err != nil {
			return err
		}
	}
	return e.keep(hosts)
}

// keep records hosts for Hosts, and pins their keys.
func (e *Environment) keep(hosts []core.Host) error {
	ssh, err := e.SSH()
	if err != nil {
		return err
	}
	if err := ssh.Pin(hosts); err != nil {
		return err
	}
	data, err := json.MarshalIndent(hosts, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(e.hostsFile(), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("record hosts: %w", err)
	}
	return e.reset()
}

// forget deletes all records of destroyed hosts: the list, their pinned keys, fingerprints and secrets.
func (e *Environment) forget() error {
	ssh, err := e.SSH()
	if err != nil {
		return err
	}
	err = errors.Join(e.reset(), ssh.Forget(), ansible.Forget(e.dir))
	for _, file := range []string{e.hostsFile(), e.configuredFile(), e.secretsFile()} {
		if e := os.Remove(file); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// reset closes what was opened for the old hosts.
func (e *Environment) reset() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ssh != nil {
		e.ssh.Disconnect()
	}
	return e.leave()
}

// HostKeys are the keys of a host in authorized_keys format.
type HostKeys struct {
	Pinned  string // empty: none
	Offered string // what answers at the host's address now
}

// HostKeys asks a host for its key.
func (e *Environment) HostKeys(ctx context.Context, h core.Host) (HostKeys, error) {
	client, err := e.SSH()
	if err != nil {
		return HostKeys{}, err
	}
	offered, err := client.Offered(ctx, h)
	if err != nil {
		return HostKeys{}, err
	}
	pinned, err := client.HostKey(h)
	if err != nil {
		pinned = ""
	}
	return HostKeys{Pinned: pinned, Offered: offered}, nil
}

// Trust pins a host's key in place of the old one.
func (e *Environment) Trust(h core.Host, key string) error {
	client, err := e.SSH()
	if err != nil {
		return err
	}
	h.HostKey = key
	return client.Pin([]core.Host{h})
}

// SSHCommand returns the command line that logs in to a host, or runs a command there: with the user's own key where a
// configuration has put it on the hosts, so that their logs tell members apart, else with the environment's.
func (e *Environment) SSHCommand(ctx context.Context, host string, command ...string) ([]string, error) {
	h, err := e.Host(host)
	if err != nil {
		return nil, err
	}
	client, err := e.SSH()
	if err != nil {
		return nil, err
	}
	var own []string
	if e.o.Vault != nil {
		own = e.o.Vault.Identities.KeyFiles(e.o.Pipeline.Team)
	}
	line, err := client.Command(ctx, h, own, command...)
	if err != nil {
		return nil, err
	}
	if line[0], err = exec.LookPath(line[0]); err != nil {
		return nil, fmt.Errorf("%w; install OpenSSH's client", err)
	}
	return line, nil
}
