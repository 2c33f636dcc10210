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
)

// facts are what is known of each capability.
var facts = []struct {
	name        Capability
	allows      string
	environment bool // works only where an environment was prepared
}{
	{Workspace, "work in the checked-out commit", false},
	{Inventory, "list the hosts of the environment", true},
	{Playbook, "run playbooks on them", true},
	{Agents, "install its agent on them", true},
	{Artifacts, "keep and read artifacts", false},
	{Flags, "read and set feature flags", true},
	{State, "share state with its agents", true},
	{Events, "publish and read events", true},
	{Notify, "tell people", false},
	{Secrets, "read the secrets that the environment shares with agents", false},
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

// IsService reports whether the capability is something to call. That of the workspace is a folder.
func (c Capability) IsService() bool { return c != Workspace }

// Capabilities are the services that a plugin may call while it works.
type Capabilities interface {
	Hosts(ctx context.Context) ([]Host, error)
	Playbook(ctx context.Context, p PlaybookRun, each func(TaskResult)) error
	InstallAgent(ctx context.Context, hosts []HostName, each func(TaskResult)) error
	PutArtifact(ctx context.Context, path string) (Artifact, error)
	Artifact(ctx context.Context, d Digest) (Artifact, error)
	Flag(ctx context.Context, name string) (value any, err error) // nil: not set
	SetFlag(ctx context.Context, name string, value any) error
	State(ctx context.Context, key string) (Entry, error)
	SetState(ctx context.Context, key string, value []byte) (Entry, error)
	WatchState(ctx context.Context, prefix string, each func(Entry) error) error
	Publish(ctx context.Context, e Event) error
	Subscribe(ctx context.Context, f EventFilter, each func(Event) error) error
	Notify(ctx context.Context, e Event) error
	Secret(ctx context.Context, name string) (string, error)
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
