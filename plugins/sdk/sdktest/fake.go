package sdktest

import (
	"context"
	"crypto/sha256"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Fake is a fake of the core. State, flags, events and artifacts work in memory; the test sets hosts and the results of
// playbooks. Safe for concurrent use; the zero value is ready to use.
type Fake struct {
	Hosts      []sdk.Host
	OnPlaybook func(sdk.PlaybookRun) ([]sdk.TaskResult, error) // nil: every playbook passes without a task
	OnInstall  func(hosts []sdk.HostName) error                // nil: every installation passes
	OnState    func(ctx context.Context, key string) error     // called before a read of the shared state; nil: every read passes
	Secrets    map[string]string                               // secrets that the block refers to, by name
	Storage    *sdk.StorageKey                                 // nil: not granted

	mu        sync.Mutex
	changed   chan struct{} // closed at the next change of state or events
	state     map[string]sdk.Entry
	flags     map[string]any
	events    []sdk.Event
	notified  []sdk.Event
	playbooks []sdk.PlaybookRun
	installed [][]sdk.HostName
	artifacts map[sdk.Digest]sdk.Artifact
	content   map[sdk.Digest][]byte // artifacts by digest
}

// Capabilities returns the Fake as Capabilities.
func (f *Fake) Capabilities() contract.Capabilities { return core{f: f} }

// Published returns the events that were published or notified, in order.
func (f *Fake) Published() []sdk.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

// Notified returns the events that were sent to people.
func (f *Fake) Notified() []sdk.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.notified)
}

// Playbooks returns the requested playbook runs, in order.
func (f *Fake) Playbooks() []sdk.PlaybookRun {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.playbooks)
}

// Installed returns the hosts of each installation of an agent.
func (f *Fake) Installed() [][]sdk.HostName {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.installed)
}

// SetFlag sets a flag, as an operator would.
func (f *Fake) SetFlag(name string, v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flags == nil {
		f.flags = map[string]any{}
	}
	f.flags[name] = v
}

// SetState sets an entry, as the plugin's agent or action would.
func (f *Fake) SetState(key string, value []byte) sdk.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil {
		f.state = map[string]sdk.Entry{}
	}
	e := sdk.Entry{Key: key, Value: slices.Clone(value), Version: f.state[key].Version + 1}
	f.state[key] = e
	f.wake()
	return e
}

// State returns an entry; Version 0: not set.
func (f *Fake) State(key string) sdk.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.state[key]
	e.Key = key
	return e
}

// Publish publishes an event, as another part of the system would.
func (f *Fake) Publish(e sdk.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	f.events = append(f.events, e)
	f.wake()
}

// ArtifactBytes returns the content of a stored artifact, or nil.
func (f *Fake) ArtifactBytes(d sdk.Digest) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.content[d]
}

// wake wakes all waiters. The caller holds the lock.
func (f *Fake) wake() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// wait returns a channel that is closed at the next change. The caller holds the lock.
func (f *Fake) wait() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// core implements Capabilities with a Fake, so that the Fake's own methods can have simpler signatures for tests.
type core struct {
	f    *Fake
	host sdk.HostName // of an agent; empty: a stage or an action
}

func (c core) Hosts(context.Context) ([]sdk.Host, error) { return c.f.Hosts, nil }

func (c core) Playbook(_ context.Context, p sdk.PlaybookRun, each func(sdk.TaskResult)) error {
	c.f.mu.Lock()
	c.f.playbooks = append(c.f.playbooks, p)
	c.f.mu.Unlock()
	if c.f.OnPlaybook == nil {
		return nil
	}
	results, err := c.f.OnPlaybook(p)
	for _, r := range results {
		each(r)
	}
	return err
}

func (c core) InstallAgent(_ context.Context, hosts []sdk.HostName, _ func(sdk.TaskResult)) error {
	c.f.mu.Lock()
	c.f.installed = append(c.f.installed, hosts)
	c.f.mu.Unlock()
	if c.f.OnInstall == nil {
		return nil
	}
	return c.f.OnInstall(hosts)
}

func (c core) PutArtifact(_ context.Context, path string) (sdk.Artifact, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return sdk.Artifact{}, err
	}
	sum := sha256.Sum256(b)
	a := sdk.Artifact{Digest: contract.DigestSum(sum[:]), Path: path, Size: int64(len(b))}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.artifacts == nil {
		c.f.artifacts, c.f.content = map[sdk.Digest]sdk.Artifact{}, map[sdk.Digest][]byte{}
	}
	c.f.artifacts[a.Digest], c.f.content[a.Digest] = a, b
	return a, nil
}

func (c core) Artifact(_ context.Context, d sdk.Digest) (sdk.Artifact, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	a, ok := c.f.artifacts[d]
	if !ok {
		return a, &sdk.NotFoundError{What: "artifact", Name: string(d)}
	}
	return a, nil
}

func (c core) Flag(_ context.Context, name string) (any, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return c.f.flags[name], nil
}

func (c core) SetFlag(_ context.Context, name string, v any) error {
	c.f.SetFlag(name, v)
	return nil
}

func (c core) State(ctx context.Context, key string) (sdk.Entry, error) {
	if c.f.OnState != nil {
		if err := c.f.OnState(ctx, key); err != nil {
			return sdk.Entry{}, err
		}
	}
	return c.f.State(key), nil
}

func (c core) SetState(_ context.Context, key string, value []byte) (sdk.Entry, error) {
	if owner, _, _ := sdk.CutHostKey(key); owner != c.host {
		return sdk.Entry{}, &contract.Error{Kind: contract.ErrRefused, Text: "state " + key + " belongs to another writer"}
	}
	return c.f.SetState(key, value), nil
}

func (c core) WatchState(ctx context.Context, prefix string, each func(sdk.Entry) error) error {
	seen := map[string]int64{}
	for {
		c.f.mu.Lock()
		var news []sdk.Entry
		for k, e := range c.f.state {
			if strings.HasPrefix(k, prefix) && e.Version > seen[k] {
				seen[k] = e.Version
				news = append(news, e)
			}
		}
		changed := c.f.wait()
		c.f.mu.Unlock()
		sort.Slice(news, func(i, j int) bool { return news[i].Key < news[j].Key })
		for _, e := range news {
			if err := each(e); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

func (c core) Publish(_ context.Context, e sdk.Event) error {
	c.f.Publish(e)
	return nil
}

func (c core) Notify(_ context.Context, e sdk.Event) error {
	c.f.mu.Lock()
	c.f.notified = append(c.f.notified, e)
	c.f.mu.Unlock()
	c.f.Publish(e)
	return nil
}

func (c core) Subscribe(ctx context.Context, filter sdk.EventFilter, each func(sdk.Event) error) error {
	c.f.mu.Lock()
	next := len(c.f.events)
	c.f.mu.Unlock()
	if !filter.Since.IsZero() {
		next = 0
	}
	for {
		c.f.mu.Lock()
		news := slices.Clone(c.f.events[next:])
		next = len(c.f.events)
		changed := c.f.wait()
		c.f.mu.Unlock()
		for _, e := range news {
			if !chosen(filter, e) {
				continue
			}
			if err := each(e); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

func chosen(f sdk.EventFilter, e sdk.Event) bool {
	kind := len(f.Kinds) == 0 || slices.ContainsFunc(f.Kinds, func(k string) bool { return strings.HasPrefix(e.Kind, k) })
	severity := len(f.Severities) == 0 || slices.Contains(f.Severities, e.Severity)
	return kind && severity && !e.Time.Before(f.Since)
}

// Secret does the same as core/environment and agents.
func (c core) Secret(_ context.Context, name string) (string, error) {
	return contract.Scope{Secrets: c.f.Secrets}.Secret(name)
}

func (c core) StorageKey(context.Context) (sdk.StorageKey, error) {
	if c.f.Storage == nil {
		return sdk.StorageKey{}, contract.NotGranted(sdk.Storage)
	}
	return *c.f.Storage, nil
}
