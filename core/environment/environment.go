// Package environment manages one environment of a pipeline: it plans, reviews, applies and destroys the hosts with
// Terraform, configures them with Ansible, checks them for drift, and serves the capabilities of stages and actions. It is
// the only package that combines core/terraform, core/ansible, core/remote, core/bus and core/flags, and the only one
// that knows the layout of an environment's folder:
//
//	hosts.json                             the hosts of the last apply
//	configured.json                        those of them that were configured
//	secrets.json                           from which the hosts' passwords and keys are derived
//	fence                                  how many holders the environment has had
//	lock                                   the lock and its holder: core/store
//	ssh_key*, known_hosts                  our SSH keys, the hosts' pinned keys: core/remote
//	terraform/                             module, state, plans and approvals: core/terraform
//	ansible/, fingerprints/, inventory.yml core/ansible
//
// The troop program imports it. It uses neither a terminal nor the current folder.
package environment

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
	"github.com/seed-b96de936/troop/core/vault"
)

// Options select an environment and say who uses it, and for what.
type Options struct {
	Pipeline *core.Pipeline
	Name     string // of the environment; empty: the only one of the pipeline
	Dir      string // folder with the folders of the pipeline's environments

	// What is the running command, such as "troop apply", Run its run, if any, and By the person; empty: the user of
	// this process. They appear in locks and audit trails.
	What string
	Run  core.RunID
	By   string

	// Commit, Manifest and PluginLock are the inputs of a plan, to which its approval is bound: the checked-out commit,
	// the text of the manifest and the digest of the plugin lock. Each may be empty.
	Commit     string
	Manifest   []byte
	PluginLock core.Digest

	// Untrusted says that the manifest is a stranger's: no module of it is executed.
	Untrusted bool

	// Domains returns the names that an environment serves, for its preflight. Optional.
	Domains func(environment string) []string
	// Argument names the manifest in commands that messages suggest; empty: not needed.
	Argument string
	// Programs is the folder of troop's own programs; empty: that of the running program.
	Programs string
	Locks    Locks
	// Vault is where a shared store keeps the files of environments, and who opens it. Nil: they lie in Dir only.
	Vault *Vault
	// Stop is called when somebody else has, or may have, the environment that was locked: the command ends at the next
	// safe point, as after Ctrl-C. Optional.
	Stop func(cause error)
	// Log receives lines for the user. Optional.
	Log func(line string)

	patience time.Duration // of tests, instead of hostsWait; other timeouts shrink with it
}

// Environment is one environment, before or after its hosts exist. Connections and files are opened on first use. Its
// methods may be called from several goroutines; for those that change hosts the caller must hold Lock.
type Environment struct {
	o    Options
	conf core.Environment
	dir  string

	mu        sync.Mutex   // guards the following fields
	lease     *core.Lease  // nil: it was never locked
	held      bool         // it is locked now
	share     *share       // nil: the files are only here
	end       func() error // of holding the share; nil: it is not held
	closed    bool
	ssh       *remote.Client
	workspace *terraform.Workspace
	site      *site

	configuring sync.Mutex // one playbook at a time: playbooks may touch the same files
}

// Vault says how the vaults of a pipeline's environments are opened.
type Vault struct {
	Objects    core.Objects
	Identities *vault.Identities
}

// of is the vault of one environment.
func (v *Vault) of(p *core.Pipeline, env string) *vault.Vault {
	return &vault.Vault{Objects: v.Objects, Environment: env, Team: p.Team, Identities: v.Identities}
}

// Open returns an environment of a pipeline, which the caller must close. It changes nothing. Of a shared store, it reads
// the environment's files.
//
//nolint:contextcheck // it has patience of its own
func Open(o Options) (*Environment, error) {
	conf, err := o.Pipeline.Environment(o.Name)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Stop == nil {
		o.Stop = func(error) {}
	}
	e := &Environment{o: o, conf: conf, dir: filepath.Join(o.Dir, conf.Name)}
	if err := e.openShare(context.Background()); err != nil {
		return nil, err
	}
	return e, nil
}

// Name returns the environment's name.
func (e *Environment) Name() string { return e.conf.Name }

// Close closes all connections.
//
//nolint:contextcheck // what has changed is written, whatever has ended
func (e *Environment) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.leave()
	if e.ssh != nil {
		err = errors.Join(err, e.ssh.Close())
		e.ssh = nil
	}
	e.closed = true
	if e.share == nil {
		return err
	}
	if e.lease == nil { // else what it has written is complete
		err = errors.Join(err, e.share.push(context.Background(), e.conf.Name, 0))
	}
	if e.end == nil {
		err = errors.Join(err, e.share.close())
		e.share = nil
	}
	return err
}

// SSH returns a client that connects to the hosts with the environment's key. The first call makes the key.
func (e *Environment) SSH() (*remote.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.openSSH()
}

// openSSH is SSH. The caller holds mu.
func (e *Environment) openSSH() (*remote.Client, error) {
	var err error
	if e.ssh == nil {
		e.ssh, err = remote.New(e.dir)
	}
	return e.ssh, err
}

// by names the person for audit trails.
func (o Options) by() string { return cmp.Or(o.By, User()) }

// User returns who acts: the user of this process, or whom TROOP_USER names for a program that acts for others, such as
// troop serve.
func User() string {
	if name := os.Getenv("TROOP_USER"); name != "" {
		return name
	}
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

// program returns the path of one of troop's own programs.
func (o Options) program(name string) (string, error) {
	if o.Programs != "" {
		return filepath.Join(o.Programs, name), nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(self), name), nil
}

// Arguments returns the command-line arguments that select this environment.
func (e *Environment) Arguments() string {
	s := " --env " + e.conf.Name
	if e.o.Argument != "" {
		s = " " + e.o.Argument + s
	}
	return s
}

// emitter sets the environment as the source of events.
func (e *Environment) emitter(emit func(core.Event)) func(core.Event) {
	return func(event core.Event) {
		event.Source, event.Environment = "environment."+e.conf.Name, e.conf.Name
		emit(event)
	}
}

// Machine returns the computer that the user sits at: the SSH client, where there is one.
func Machine() string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	if client, _, ok := strings.Cut(os.Getenv("SSH_CONNECTION"), " "); ok {
		return client + " by way of " + host
	}
	return host
}
