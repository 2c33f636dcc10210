package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// capability returns the way to the core, unless the stage did not say that it needs it. The core looks too.
func (j *Job) capability(c Capability) (wire.CapabilitiesClient, error) {
	if !slices.Contains(j.declared, c) {
		return nil, fmt.Errorf("capability %q is not declared: add it to the stage's Capabilities", c)
	}
	if j.core == nil {
		return nil, fmt.Errorf("capability %q is not offered to this call", c)
	}
	return j.core, nil
}

// Hosts returns the hosts of the environment. Capability: Inventory.
func (j *Job) Hosts(ctx context.Context) ([]Host, error) {
	c, err := j.capability(Inventory)
	if err != nil {
		return nil, err
	}
	r, err := c.Inventory(ctx, &wire.InventoryRequest{})
	if err != nil {
		return nil, capError(ctx, "read inventory", err)
	}
	hosts := make([]Host, 0, len(r.GetHosts()))
	for _, h := range r.GetHosts() {
		hosts = append(hosts, Host{
			Name: h.GetName(), Role: h.GetRole(), Address: h.GetAddress(), PrivateAddress: h.GetPrivateAddress(),
			User: h.GetUser(), Port: int(h.GetPort()),
		})
	}
	return hosts, nil
}

// Playbook runs a playbook on some hosts and returns what each task did. The error of a failed run names the
// first host and task that failed. Capability: Playbook.
func (j *Job) Playbook(ctx context.Context, p PlaybookRun) ([]TaskResult, error) {
	c, err := j.capability(Playbook)
	if err != nil {
		return nil, err
	}
	vars, err := json.Marshal(p.Vars)
	if err != nil {
		return nil, fmt.Errorf("encode variables of playbook %s: %w", p.Name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.Playbook(ctx, &wire.PlaybookRequest{Name: p.Name, Hosts: p.Hosts, VarsJson: vars})
	if err != nil {
		return nil, capError(ctx, "run playbook "+p.Name, err)
	}
	return taskResults(ctx, "run playbook "+p.Name, s)
}

// InstallAgent puts the plugin's agent on hosts, with this stage's configuration, and starts it; none named:
// on every host. Capability: Agents.
func (j *Job) InstallAgent(ctx context.Context, hosts ...string) error {
	c, err := j.capability(Agents)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.InstallAgent(ctx, &wire.InstallAgentRequest{Hosts: hosts})
	if err != nil {
		return capError(ctx, "install agent", err)
	}
	_, err = taskResults(ctx, "install agent", s)
	return err
}

func taskResults(ctx context.Context, what string, s grpc.ServerStreamingClient[wire.TaskResult]) ([]TaskResult, error) {
	var results []TaskResult
	var bad *TaskResult
	for {
		t, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			err = capError(ctx, what, err)
			if bad != nil && ctx.Err() == nil {
				err = fmt.Errorf("%w: host %s, task %q: %s", err, bad.Host, bad.Task, bad.Message)
			}
			return results, err
		}
		r := TaskResult{Host: t.GetHost(), Task: t.GetTask(), Status: t.GetStatus(), Message: t.GetMessage(), Path: t.GetPath()}
		if b := t.GetFactsJson(); len(b) > 0 {
			if err := json.Unmarshal(b, &r.Facts); err != nil {
				return results, fmt.Errorf("decode facts of task %q: %w", r.Task, err)
			}
		}
		results = append(results, r)
		if bad == nil && (r.Status == "failed" || r.Status == "unreachable") {
			bad = &r
		}
	}
}

// PutArtifact moves a file into the content-addressed store. Capability: Artifacts.
func (j *Job) PutArtifact(ctx context.Context, path string) (Artifact, error) {
	c, err := j.capability(Artifacts)
	if err != nil {
		return Artifact{}, err
	}
	a, err := c.PutArtifact(ctx, &wire.PutArtifactRequest{Path: path})
	if err != nil {
		return Artifact{}, capError(ctx, "store artifact", err)
	}
	return Artifact{Digest: a.GetDigest(), Path: a.GetPath(), Size: a.GetSize()}, nil
}

// Artifact finds a file in the store by its digest. Capability: Artifacts.
func (j *Job) Artifact(ctx context.Context, digest string) (Artifact, error) {
	c, err := j.capability(Artifacts)
	if err != nil {
		return Artifact{}, err
	}
	a, err := c.GetArtifact(ctx, &wire.GetArtifactRequest{Digest: digest})
	if err != nil {
		return Artifact{}, capError(ctx, "find artifact "+digest, err)
	}
	return Artifact{Digest: a.GetDigest(), Path: a.GetPath(), Size: a.GetSize()}, nil
}

// Flag returns the value of a feature flag: nil when it is not set. Capability: Flags.
func (j *Job) Flag(ctx context.Context, name string) (any, error) {
	c, err := j.capability(Flags)
	if err != nil {
		return nil, err
	}
	f, err := c.GetFlag(ctx, &wire.GetFlagRequest{Name: name})
	if err != nil {
		return nil, capError(ctx, "read flag "+name, err)
	}
	if len(f.GetJson()) == 0 {
		return nil, nil
	}
	var v any
	if err := json.Unmarshal(f.GetJson(), &v); err != nil {
		return nil, fmt.Errorf("decode flag %s: %w", name, err)
	}
	return v, nil
}

// SetFlag sets a feature flag, for every reader at once. Capability: Flags.
func (j *Job) SetFlag(ctx context.Context, name string, v any) error {
	c, err := j.capability(Flags)
	if err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode flag %s: %w", name, err)
	}
	_, err = c.SetFlag(ctx, &wire.Flag{Name: name, Json: b})
	return capError(ctx, "set flag "+name, err)
}

// State returns one value that the plugin shares with its agents; Version 0: not set. Capability: State.
func (j *Job) State(ctx context.Context, key string) (Entry, error) {
	c, err := j.capability(State)
	if err != nil {
		return Entry{}, err
	}
	e, err := c.GetState(ctx, &wire.GetStateRequest{Key: key})
	if err != nil {
		return Entry{}, capError(ctx, "read state "+key, err)
	}
	return Entry{Key: key, Value: e.GetValue(), Version: e.GetVersion()}, nil
}

// SetState sets one value that the plugin shares with its agents. Capability: State.
func (j *Job) SetState(ctx context.Context, key string, value []byte) (Entry, error) {
	c, err := j.capability(State)
	if err != nil {
		return Entry{}, err
	}
	e, err := c.SetState(ctx, &wire.StateEntry{Key: key, Value: value})
	if err != nil {
		return Entry{}, capError(ctx, "set state "+key, err)
	}
	return Entry{Key: key, Value: value, Version: e.GetVersion()}, nil
}

// WatchState calls each with the present values under prefix, then with every change, until ctx ends or each
// returns an error, which it hands back. Capability: State.
func (j *Job) WatchState(ctx context.Context, prefix string, each func(Entry) error) error {
	c, err := j.capability(State)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.WatchState(ctx, &wire.WatchStateRequest{Prefix: prefix})
	if err != nil {
		return capError(ctx, "watch state "+prefix, err)
	}
	for {
		e, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return context.Cause(ctx)
		}
		if err != nil {
			return capError(ctx, "watch state "+prefix, err)
		}
		if err := each(Entry{Key: e.GetKey(), Value: e.GetValue(), Version: e.GetVersion()}); err != nil {
			return err
		}
	}
}

// Publish tells an event to everyone who listens: the journal, the terminal, other hosts. Capability: Events.
func (j *Job) Publish(ctx context.Context, e Event) error {
	return j.tell(ctx, Events, "publish event", e, wire.CapabilitiesClient.Publish)
}

// Notify sends an event to people at once, by the manifest's notify blocks. Capability: Notify.
func (j *Job) Notify(ctx context.Context, e Event) error {
	return j.tell(ctx, Notify, "notify", e, wire.CapabilitiesClient.Notify)
}

type tellCall func(wire.CapabilitiesClient, context.Context, *wire.Event, ...grpc.CallOption) (*wire.PublishReply, error)

func (j *Job) tell(ctx context.Context, need Capability, what string, e Event, call tellCall) error {
	c, err := j.capability(need)
	if err != nil {
		return err
	}
	w, err := eventToWire(e)
	if err != nil {
		return err
	}
	_, err = call(c, ctx, w)
	return capError(ctx, what, err)
}

// Subscribe calls each with every event that f chooses, until ctx ends or each returns an error, which it
// hands back. Capability: Events.
func (j *Job) Subscribe(ctx context.Context, f EventFilter, each func(Event) error) error {
	c, err := j.capability(Events)
	if err != nil {
		return err
	}
	r := &wire.SubscribeRequest{Kinds: f.Kinds}
	for _, s := range f.Severities {
		r.Severities = append(r.Severities, string(s))
	}
	if !f.Since.IsZero() {
		r.SinceUnixNano = f.Since.UnixNano()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.Subscribe(ctx, r)
	if err != nil {
		return capError(ctx, "subscribe to events", err)
	}
	for {
		w, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return context.Cause(ctx)
		}
		if err != nil {
			return capError(ctx, "subscribe to events", err)
		}
		e, err := eventFromWire(w)
		if err != nil {
			return err
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// Secret returns a secret by name. It must not be logged; the core masks it when it is. Capability: Secrets.
func (j *Job) Secret(ctx context.Context, name string) (string, error) {
	c, err := j.capability(Secrets)
	if err != nil {
		return "", err
	}
	r, err := c.Secret(ctx, &wire.SecretRequest{Name: name})
	if err != nil {
		return "", capError(ctx, "read secret "+name, err)
	}
	return r.GetValue(), nil
}

// capError strips gRPC's own words from an error of the core, and gives a cancelled call its cause. The core may end a
// call before the cancellation of the job itself arrives: such an error is context.Canceled, too, so that a plugin does
// not take it for a failure.
func capError(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	st := status.Convert(err)
	text := fmt.Sprintf("%s: %s", what, st.Message())
	if st.Code() == codes.Canceled {
		return &cancelError{text: text, kind: context.Canceled}
	}
	return errors.New(text)
}

func eventToWire(e Event) (*wire.Event, error) {
	w := &wire.Event{
		Id: e.ID, Environment: e.Environment, Host: e.Host, Role: e.Role, Run: e.Run, Source: e.Source,
		Kind: e.Kind, Severity: string(e.Severity), Summary: cutLine(e.Summary), Key: cutLine(e.Key),
	}
	if !e.Time.IsZero() {
		w.TimeUnixNano = e.Time.UnixNano()
	}
	if e.Data != nil {
		b, err := json.Marshal(e.Data)
		if err != nil {
			return nil, fmt.Errorf("encode data of event %s: %w", e.Kind, err)
		}
		w.DataJson = b
	}
	return w, nil
}

func eventFromWire(w *wire.Event) (Event, error) {
	e := Event{
		ID: w.GetId(), Environment: w.GetEnvironment(), Host: w.GetHost(), Role: w.GetRole(), Run: w.GetRun(),
		Source: w.GetSource(), Kind: w.GetKind(), Severity: Severity(w.GetSeverity()), Summary: w.GetSummary(), Key: w.GetKey(),
	}
	if n := w.GetTimeUnixNano(); n != 0 {
		e.Time = time.Unix(0, n)
	}
	if b := w.GetDataJson(); len(b) > 0 {
		if err := json.Unmarshal(b, &e.Data); err != nil {
			return Event{}, fmt.Errorf("decode data of event %s: %w", e.Kind, err)
		}
	}
	return e, nil
}
