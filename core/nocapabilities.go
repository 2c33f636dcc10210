package core

import (
	"context"
	"fmt"
)

// NoCapabilities refuses every call. Embedded, it leaves out what an implementation of Capabilities cannot do
// where it runs.
type NoCapabilities struct{}

var _ Capabilities = NoCapabilities{}

func unavailable(name string) error {
	return fmt.Errorf("the capability %q is not available here", name)
}

// Hosts is refused.
func (NoCapabilities) Hosts(context.Context) ([]Host, error) { return nil, unavailable("inventory") }

// Playbook is refused.
func (NoCapabilities) Playbook(context.Context, PlaybookRun, func(TaskResult)) error {
	return unavailable("playbook")
}

// InstallAgent is refused.
func (NoCapabilities) InstallAgent(context.Context, []HostName, func(TaskResult)) error {
	return unavailable("agents")
}

// PutArtifact is refused.
func (NoCapabilities) PutArtifact(context.Context, string) (Artifact, error) {
	return Artifact{}, unavailable("artifacts")
}

// Artifact is refused.
func (NoCapabilities) Artifact(context.Context, Digest) (Artifact, error) {
	return Artifact{}, unavailable("artifacts")
}

// Flag is refused.
func (NoCapabilities) Flag(context.Context, string) (any, error) { return nil, unavailable("flags") }

// SetFlag is refused.
func (NoCapabilities) SetFlag(context.Context, string, any) error { return unavailable("flags") }

// State is refused.
func (NoCapabilities) State(context.Context, string) (Entry, error) {
	return Entry{}, unavailable("state")
}

// SetState is refused.
func (NoCapabilities) SetState(context.Context, string, []byte) (Entry, error) {
	return Entry{}, unavailable("state")
}

// WatchState is refused.
func (NoCapabilities) WatchState(context.Context, string, func(Entry) error) error {
	return unavailable("state")
}

// Publish is refused.
func (NoCapabilities) Publish(context.Context, Event) error { return unavailable("events") }

// Subscribe is refused.
func (NoCapabilities) Subscribe(context.Context, EventFilter, func(Event) error) error {
	return unavailable("events")
}

// Notify is refused.
func (NoCapabilities) Notify(context.Context, Event) error { return unavailable("notify") }

// Secret is refused.
func (NoCapabilities) Secret(context.Context, string) (string, error) {
	return "", unavailable("secrets")
}
