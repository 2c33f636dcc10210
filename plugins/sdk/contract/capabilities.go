package contract

import (
	"context"
	"fmt"
)

// Capability names a service of the core. A plugin must declare the capabilities it calls; other calls are refused.
type Capability string

// The capabilities.
const (
	Workspace Capability = "workspace" // RunInfo.Workspace
	Inventory Capability = "inventory" // Hosts
	Playbook  Capability = "playbook"  // Playbook
	Agents    Capability = "agents"    // InstallAgent
	Artifacts Capability = "artifacts" // PutArtifact, Artifact
	Flags     Capability = "flags"     // Flag, SetFlag
	State     Capability = "state"     // State, SetState, WatchState
	Events    Capability = "events"    // Publish, Subscribe
	Notify    Capability = "notify"    // Notify
	Secrets   Capability = "secrets"   // Secret
	Storage   Capability = "storage"   // StorageKey
)

// facts describes each capability.
var facts = []struct {
	name        Capability
	allows      string
	environment bool // needs a prepared environment
	granted     bool // needs the manifest's grant
}{
	{Workspace, "work in the checked-out commit", false, false},
	{Inventory, "list the hosts of the environment", true, false},
	{Playbook, "run playbooks on them", true, false},
	{Agents, "install its agent on them", true, false},
	{Artifacts, "keep and read artifacts", false, false},
	{Flags, "read and set feature flags", true, false},
	{State, "share state with its agents", true, false},
	{Events, "publish and read events", true, false},
	{Notify, "notify people", false, false},
	{Secrets, "read the secrets that its block refers to", false, false},
	{Storage, "send files to the storage host or a bucket, with the account of its host", true, true},
}

// AllCapabilities returns every capability.
func AllCapabilities() []Capability {
	var all []Capability
	for _, f := range facts {
		all = append(all, f.name)
	}
	return all
}

// Allows says what the capability lets a plugin do, or "" for an unknown one.
func (c Capability) Allows() string {
	for _, f := range facts {
		if f.name == c {
			return f.allows
		}
	}
	return ""
}

// NeedsEnvironment reports whether the capability needs a prepared environment.
func (c Capability) NeedsEnvironment() bool {
	for _, f := range facts {
		if f.name == c {
			return f.environment
		}
	}
	return false
}

// NeedsGrant reports whether the manifest must grant the capability, because it gives access to more than the stage's
// own data.
func (c Capability) NeedsGrant() bool {
	for _, f := range facts {
		if f.name == c {
			return f.granted
		}
	}
	return false
}

// IsService reports whether the capability is a call. Workspace is a folder.
func (c Capability) IsService() bool { return c != Workspace }

// Capabilities are the services that a plugin may call during a job. The core implements them, one instance per job.
//
// Concurrency: all methods may be called from several goroutines at once. A callback (each) is called from one
// goroutine at a time and never after its method has returned; a slow callback delays the sender.
//
// Context: a method returns soon after ctx is done, with the cause of ctx as error. Its effect may have happened. All
// methods fail once the job has ended.
//
// Errors: ErrRefused if the capability is not declared or not served here. ErrNotFound for an unknown name, digest or
// host. ErrUnavailable if Redis or a host cannot be reached; the call may be repeated if its method says so. An error
// text names what was asked for and never holds a secret.
type Capabilities interface {
	// Hosts returns the environment's hosts in inventory order. The list does not change during a job. Hosts opens no
	// connection. It may be repeated, like all methods that only read.
	Hosts(ctx context.Context) ([]Host, error)

	// Playbook runs a playbook to its end and passes each the result of every task on every host, in the order in
	// which they end. One playbook at a time runs in an environment; others wait. A failed task is a result, too, and
	// makes the call fail after the last result. An unknown playbook or host is ErrNotFound before anything runs.
	// Whether it may be repeated depends on the playbook; those that ship with troop may.
	Playbook(ctx context.Context, p PlaybookRun, each func(TaskResult)) error

	// InstallAgent installs the plugin's agent with the calling stage's configuration on hosts and starts it; no hosts
	// means every host. It may be repeated: hosts that already run the same agent with the same configuration do not
	// change. Results come as in Playbook.
	InstallAgent(ctx context.Context, hosts []HostName, each func(TaskResult)) error

	// PutArtifact moves a regular file into the content-addressed store, read-only, and returns its new path. The file
	// no longer exists at path; after an error it may exist in neither place. Putting another file with the same
	// content returns the same artifact.
	PutArtifact(ctx context.Context, path string) (Artifact, error)

	// Artifact returns a file of the store after verifying its content. A damaged file is a plain error.
	Artifact(ctx context.Context, d Digest) (Artifact, error)

	// Flag returns a feature flag's value as decoded from JSON. An unset flag is nil without error.
	Flag(ctx context.Context, name string) (any, error)

	// SetFlag sets a feature flag to a value that JSON can encode. Readers see it once SetFlag has returned. The last
	// writer wins. It may be repeated; each call adds a line to the flag's audit trail.
	SetFlag(ctx context.Context, name string, value any) error

	// State returns an entry of the state that this plugin shares with its agents in the environment. Each plugin has
	// its own entries. An unset entry has Version 0 and is no error. On a host there are the entries of the stages and
	// actions, and its own; an entry that no stage or action wrote is ErrRefused, as is one older than one that this host
	// has read.
	State(ctx context.Context, key string) (Entry, error)

	// SetState replaces an entry and returns it with its new version, which is one more than the old one. An agent sets
	// entries with a HostKey of its host, stages and actions all others; else it is ErrRefused. The last
	// writer wins; each write gets its own version. After an error the entry may have been written. It may be repeated;
	// that adds a version and notifies watchers again.
	SetState(ctx context.Context, key string, value []byte) (Entry, error)

	// WatchState passes each the current entries under prefix, in no order, then every change, in order per key, until
	// ctx is done or each returns an error, which WatchState returns. Of changes in quick succession, only the latest
	// may be delivered. While Redis is unreachable it waits, then delivers what changed meanwhile. To watch the entries
	// of a host, prefix begins with HostKey(host, ""). Refused entries are not delivered.
	WatchState(ctx context.Context, prefix string, each func(Entry) error) error

	// Publish records an event and delivers it to all subscribers. On a host it returns once the event is on the host's
	// disk, even while Redis is unreachable; elsewhere once Redis has stored it. It may be repeated with the same ID: an
	// ID published within the last day is not delivered again. Events of one caller arrive in the order in which its
	// calls returned.
	Publish(ctx context.Context, e Event) error

	// Subscribe passes each the events that f selects, in order per host, until ctx is done or each returns an error,
	// which Subscribe returns. Who published an event is known, not only said: Host and Role are those of the publisher,
	// and an alert's Key begins with "HOST/". On a host of the application there are only the host's own events. While Redis is unreachable it waits, then resumes after the last
	// event that each accepted.
	Subscribe(ctx context.Context, f EventFilter, each func(Event) error) error

	// Notify publishes an event and sends it to the receivers of the manifest's notify blocks. It returns before the
	// event is sent; the core retries unreachable receivers.
	Notify(ctx context.Context, e Event) error

	// Secret returns a secret that the stage's own block refers to as secret.NAME or env.NAME, directly or through a
	// local value. Any other name is ErrNotFound. From then on the value is masked in all output.
	Secret(ctx context.Context, name string) (string, error)

	// StorageKey returns, on a host, the credentials of that host's account on the environment's storage host, and its own for
	// a bucket. The account can add files and read them, and neither change nor remove any. It is ErrRefused unless the manifest grants
	// "storage" to the stage, and always elsewhere.
	StorageKey(ctx context.Context) (StorageKey, error)
}

// Guard returns capabilities that call allow before each call and return its error. allow runs in the caller's
// goroutine.
func Guard(c Capabilities, allow func(Capability) error) Capabilities { return guard{c, allow} }

// NoCapabilities refuses every call. Embed it in an implementation that serves only some of them.
type NoCapabilities struct{ guard }

var _ Capabilities = NoCapabilities{}

// guard maps each call to the capability it needs. Its zero value refuses everything.
type guard struct {
	to    Capabilities
	allow func(Capability) error // nil: nothing is allowed
}

func (g guard) need(c Capability) error {
	if g.allow == nil {
		return &Error{ErrRefused, fmt.Sprintf("the capability %q is not available here", c)}
	}
	return g.allow(c)
}

func (g guard) Hosts(ctx context.Context) ([]Host, error) {
	if err := g.need(Inventory); err != nil {
		return nil, err
	}
	return g.to.Hosts(ctx)
}

func (g guard) Playbook(ctx context.Context, p PlaybookRun, each func(TaskResult)) error {
	if err := g.need(Playbook); err != nil {
		return err
	}
	return g.to.Playbook(ctx, p, each)
}

func (g guard) InstallAgent(ctx context.Context, hosts []HostName, each func(TaskResult)) error {
	if err := g.need(Agents); err != nil {
		return err
	}
	return g.to.InstallAgent(ctx, hosts, each)
}

func (g guard) PutArtifact(ctx context.Context, path string) (Artifact, error) {
	if err := g.need(Artifacts); err != nil {
		return Artifact{}, err
	}
	return g.to.PutArtifact(ctx, path)
}

func (g guard) Artifact(ctx context.Context, d Digest) (Artifact, error) {
	if err := g.need(Artifacts); err != nil {
		return Artifact{}, err
	}
	return g.to.Artifact(ctx, d)
}

func (g guard) Flag(ctx context.Context, name string) (any, error) {
	if err := g.need(Flags); err != nil {
		return nil, err
	}
	return g.to.Flag(ctx, name)
}

func (g guard) SetFlag(ctx context.Context, name string, value any) error {
	if err := g.need(Flags); err != nil {
		return err
	}
	return g.to.SetFlag(ctx, name, value)
}

func (g guard) State(ctx context.Context, key string) (Entry, error) {
	if err := g.need(State); err != nil {
		return Entry{}, err
	}
	return g.to.State(ctx, key)
}

func (g guard) SetState(ctx context.Context, key string, value []byte) (Entry, error) {
	if err := g.need(State); err != nil {
		return Entry{}, err
	}
	return g.to.SetState(ctx, key, value)
}

func (g guard) WatchState(ctx context.Context, prefix string, each func(Entry) error) error {
	if err := g.need(State); err != nil {
		return err
	}
	return g.to.WatchState(ctx, prefix, each)
}

func (g guard) Publish(ctx context.Context, e Event) error {
	if err := g.need(Events); err != nil {
		return err
	}
	return g.to.Publish(ctx, e)
}

func (g guard) Subscribe(ctx context.Context, f EventFilter, each func(Event) error) error {
	if err := g.need(Events); err != nil {
		return err
	}
	return g.to.Subscribe(ctx, f, each)
}

func (g guard) Notify(ctx context.Context, e Event) error {
	if err := g.need(Notify); err != nil {
		return err
	}
	return g.to.Notify(ctx, e)
}

func (g guard) Secret(ctx context.Context, name string) (string, error) {
	if err := g.need(Secrets); err != nil {
		return "", err
	}
	return g.to.Secret(ctx, name)
}

func (g guard) StorageKey(ctx context.Context) (StorageKey, error) {
	if err := g.need(Storage); err != nil {
		return StorageKey{}, err
	}
	return g.to.StorageKey(ctx)
}
