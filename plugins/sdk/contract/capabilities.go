package contract

import (
	"context"
	"fmt"
)

// Capability names services of the core that a plugin may call. A call whose capability is not declared is refused.
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

// facts are what is known of each capability.
var facts = []struct {
	name        Capability
	allows      string
	environment bool // works only where an environment was prepared
	granted     bool // only to stages to which the manifest grants it
}{
	{Workspace, "work in the checked-out commit", false, false},
	{Inventory, "list the hosts of the environment", true, false},
	{Playbook, "run playbooks on them", true, false},
	{Agents, "install its agent on them", true, false},
	{Artifacts, "keep and read artifacts", false, false},
	{Flags, "read and set feature flags", true, false},
	{State, "share state with its agents", true, false},
	{Events, "publish and read events", true, false},
	{Notify, "tell people", false, false},
	{Secrets, "read by name the secrets that its block refers to", false, false},
	{Storage, "send files to the storage host, with the key of all hosts", true, true},
}

// AllCapabilities returns every capability that there is.
func AllCapabilities() []Capability {
	var all []Capability
	for _, f := range facts {
		all = append(all, f.name)
	}
	return all
}

// Allows says what the capability lets a plugin do; empty: there is no such capability.
func (c Capability) Allows() string {
	for _, f := range facts {
		if f.name == c {
			return f.allows
		}
	}
	return ""
}

// NeedsEnvironment reports whether the capability works only where an environment was prepared.
func (c Capability) NeedsEnvironment() bool {
	for _, f := range facts {
		if f.name == c {
			return f.environment
		}
	}
	return false
}

// NeedsGrant reports whether a stage gets the capability only when the manifest grants it: what it gives away is more
// than the stage's own.
func (c Capability) NeedsGrant() bool {
	for _, f := range facts {
		if f.name == c {
			return f.granted
		}
	}
	return false
}

// IsService reports whether the capability is something to call. That of the workspace is a folder.
func (c Capability) IsService() bool { return c != Workspace }

// Capabilities are the services that a plugin may call while it works, and what the core implements for one job.
//
// Concurrency: all methods may be called from several goroutines at once. A listener (each) is called from one
// goroutine at a time, before its method returns; while it works, the other side waits.
//
// Context: a method ends soon after ctx does, with an error that is the cause of ctx. What it had begun may have
// happened. No method works after its job's call has ended.
//
// Errors: a call whose capability is not declared, or that this place cannot serve, is ErrRefused. A name, a digest or
// a host that does not exist is ErrNotFound. When Redis or a host behind a call cannot be reached, the error is
// ErrUnavailable, and the call may be repeated where its method says that this is harmless. An error text names what was
// asked for; it never holds a secret.
type Capabilities interface {
	// Hosts returns the hosts of the environment, in the order of its inventory, the same during one job. It connects
	// to nothing. Reading is harmless to repeat, here and in all methods that only read.
	Hosts(ctx context.Context) ([]Host, error)

	// Playbook runs a playbook to its end and gives each what every task did on every host, in the order in which the
	// tasks ended. One playbook runs in an environment at a time; others wait. A task that failed is a result, and
	// makes the call fail after the last result. A playbook or a host that does not exist is ErrNotFound, before
	// anything ran. Whether it may be repeated is up to the playbook; those that ship with troop may.
	Playbook(ctx context.Context, p PlaybookRun, each func(TaskResult)) error

	// InstallAgent puts the plugin's agent on hosts, with the configuration of the calling stage, and starts it; none
	// named: on every host. Hosts where the same agent with the same configuration runs already are left alone, so that
	// repeating it is harmless. Results come as in Playbook.
	InstallAgent(ctx context.Context, hosts []HostName, each func(TaskResult)) error

	// PutArtifact moves a regular file into the content-addressed store. Afterwards the file is the store's, at the
	// path that is returned, read-only, and no longer where it was; after an error it may be in neither place. Putting
	// another file with the same content is harmless and returns the same artifact.
	PutArtifact(ctx context.Context, path string) (Artifact, error)

	// Artifact finds a file in the store, and has just verified its content. One that is damaged is an error of no kind.
	Artifact(ctx context.Context, d Digest) (Artifact, error)

	// Flag returns the value of a feature flag, as JSON has it. A flag that is not set is nil, and no error.
	Flag(ctx context.Context, name string) (any, error)

	// SetFlag sets a feature flag to a value that JSON can hold. Readers see it when SetFlag has returned. The change is
	// in the flag's audit trail, each time. Of several writers the last one wins.
	SetFlag(ctx context.Context, name string, value any) error

	// State returns an entry of the state that this plugin shares with its agents in the environment; other plugins
	// have other entries. An entry that is not set has Version 0, and is no error.
	State(ctx context.Context, key string) (Entry, error)

	// SetState writes an entry whole and returns it with its new version, one more than the version before. Of several
	// writers the last one wins, and each gets a version of its own. After an error it may have been written; repeating
	// it counts another version, and wakes the watchers again.
	SetState(ctx context.Context, key string, value []byte) (Entry, error)

	// WatchState gives each the entries under prefix that stand, in no order, then every change, in order per key, until
	// ctx ends or each returns an error, which WatchState then returns. Changes that follow each other closely may come
	// as one: the latest. While Redis is away it waits, and goes on with what changed meanwhile.
	WatchState(ctx context.Context, prefix string, each func(Entry) error) error

	// Publish records an event and tells everyone who listens. On a host it returns when the event is safe on that
	// host's disk, and succeeds while Redis is away; elsewhere when Redis has it. An event with an ID that was published
	// within a day is not told again, so that repeating it with the same ID is harmless. Events of one caller arrive in
	// the order in which its calls returned.
	Publish(ctx context.Context, e Event) error

	// Subscribe gives each the events that f chooses, in the order of the environment's stream, until ctx ends or each
	// returns an error, which Subscribe then returns. While Redis is away it waits, and goes on after the last event
	// that each took.
	Subscribe(ctx context.Context, f EventFilter, each func(Event) error) error

	// Notify is Publish for an event that people are to hear of at once, by the manifest's notify blocks. It returns
	// before they are reached; a receiver that cannot be reached is tried again by the core.
	Notify(ctx context.Context, e Event) error

	// Secret returns a secret that the stage's own block refers to, as secret.NAME or env.NAME, also through a local
	// value. Every other name is ErrNotFound. What is returned is masked from then on wherever it appears in an output.
	Secret(ctx context.Context, name string) (string, error)

	// StorageKey returns what a host needs to send files to the storage host of the environment. Only a stage to which
	// the manifest grants "storage" gets it, in its actions and on its hosts; for others it is ErrRefused.
	StorageKey(ctx context.Context) (StorageKey, error)
}

// Guard returns capabilities that ask allow before each call, and refuse the call with the error that allow returns.
// allow is called from the goroutines that call.
func Guard(c Capabilities, allow func(Capability) error) Capabilities { return guard{c, allow} }

// NoCapabilities refuses every call. Embedded, it leaves out what an implementation of Capabilities cannot do where it
// runs.
type NoCapabilities struct{ guard }

var _ Capabilities = NoCapabilities{}

// guard is the one place that says which capability a call needs. Its zero value refuses everything.
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
