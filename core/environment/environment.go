// Package environment works on one environment of a pipeline: it plans, reviews, applies and destroys its hosts with
// Terraform, configures them with Ansible, checks them for drift, and serves what stages and actions ask of them. It is
// the only package that ties core/terraform, core/ansible, core/remote, core/bus and core/flags together, and the only
// one that knows what lies in the folder of an environment:
//
//	hosts.json                             the hosts of the last apply
//	secrets.json                           passwords and keys of the hosts
//	lock                                   who works on the environment: core/store
//	ssh_key, known_hosts                   how hosts are reached: core/remote
//	terraform/                             module, state, plans and approvals: core/terraform
//	ansible/, fingerprints/, inventory.yml core/ansible
//
// The troop program imports it. It assumes no terminal and no working folder.
package environment

import (
	"cmp"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"sync"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
)

// Options say which environment is worked on, by whom and for what.
type Options struct {
	Pipeline *core.Pipeline
	Name     string // of the environment; empty: the only one of the pipeline
	Dir      string // holds the folders of all environments of the pipeline

	// What is the command that is carried out, such as "troop apply", Run the run that it is part of, if any, and By
	// the person; without one, it is the user of this process. Those who wait for a lock and those who read an audit
	// trail are told.
	What string
	Run  core.RunID
	By   string

	// Commit, Manifest and PluginLock are what a plan is made from, and its approval is bound to: the commit that is
	// checked out, the text of the manifest, and the digest of the lock of the plugins. Each may be empty.
	Commit     string
	Manifest   []byte
	PluginLock core.Digest

	// Argument is how a command line names the manifest, for the commands that messages advise; empty: it need not.
	Argument string
	// Programs is the folder of the programs that belong to troop; empty: that of the running one.
	Programs string
	Locks    Locks
	// Log takes what a person should know while something is done. Optional.
	Log func(line string)
}

// Environment is one environment, before or after its hosts exist. Everything is opened at its first use. Its methods
// may be called from several goroutines; those that change hosts want the caller to hold Lock.
type Environment struct {
	o    Options
	conf core.Environment
	dir  string

	mu        sync.Mutex // of what follows
	ssh       *remote.Client
	workspace *terraform.Workspace
	site      *site

	configuring sync.Mutex // one playbook at a time: they may touch the same files
}

// Open returns an environment of a pipeline. It touches nothing. The caller closes it.
func Open(o Options) (*Environment, error) {
	conf, err := o.Pipeline.Environment(o.Name)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	return &Environment{o: o, conf: conf, dir: filepath.Join(o.Dir, conf.Name)}, nil
}

// Name is the name of the environment.
func (e *Environment) Name() string { return e.conf.Name }

// Close ends all connections.
func (e *Environment) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.leave()
	if e.ssh != nil {
		err = errors.Join(err, e.ssh.Close())
		e.ssh = nil
	}
	return err
}

// SSH returns the client that reaches the hosts with the environment's key. Its first call makes the key.
func (e *Environment) SSH() (*remote.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.openSSH()
}

// openSSH is SSH for callers that hold mu.
func (e *Environment) openSSH() (*remote.Client, error) {
	var err error
	if e.ssh == nil {
		e.ssh, err = remote.New(e.dir)
	}
	return e.ssh, err
}

// by is who works here, for audit trails.
func (o Options) by() string { return cmp.Or(o.By, User()) }

// User is the name of the user of this process.
func User() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

// program is the path of a program that belongs to troop.
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

// Arguments are those by which a command line names this environment.
func (e *Environment) Arguments() string {
	s := " --env " + e.conf.Name
	if e.o.Argument != "" {
		s = " " + e.o.Argument + s
	}
	return s
}

// emitter makes the environment the source of events.
func (e *Environment) emitter(emit func(core.Event)) func(core.Event) {
	return func(event core.Event) {
		event.Source, event.Environment = "environment."+e.conf.Name, e.conf.Name
		emit(event)
	}
}
