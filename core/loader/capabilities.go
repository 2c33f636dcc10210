package loader

import (
	"context"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// capabilities offers the core's services in the plugins' types.
type capabilities struct{ core core.Capabilities }

func (c capabilities) Hosts(ctx context.Context) ([]sdk.Host, error) {
	hosts, err := c.core.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]sdk.Host, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, sdk.Host{
			Name: string(h.Name), Role: h.Role, Address: h.Address, PrivateAddress: h.PrivateAddress, User: h.User, Port: h.Port,
		})
	}
	return out, nil
}

func (c capabilities) Playbook(ctx context.Context, p sdk.PlaybookRun, each func(sdk.TaskResult)) error {
	run := core.PlaybookRun{Name: p.Name, Hosts: hostNames(p.Hosts), Vars: p.Vars}
	return c.core.Playbook(ctx, run, func(t core.TaskResult) { each(taskToSDK(t)) })
}

func (c capabilities) InstallAgent(ctx context.Context, hosts []string, each func(sdk.TaskResult)) error {
	return c.core.InstallAgent(ctx, hostNames(hosts), func(t core.TaskResult) { each(taskToSDK(t)) })
}

func hostNames(in []string) []core.HostName {
	var out []core.HostName
	for _, h := range in {
		out = append(out, core.HostName(h))
	}
	return out
}

func taskToSDK(t core.TaskResult) sdk.TaskResult {
	return sdk.TaskResult{Host: string(t.Host), Task: t.Task, Status: t.Status, Message: t.Message, Path: t.Path, Facts: t.Facts}
}

func (c capabilities) PutArtifact(ctx context.Context, path string) (sdk.Artifact, error) {
	a, err := c.core.PutArtifact(ctx, path)
	return sdk.Artifact{Digest: string(a.Digest), Path: a.Path, Size: a.Size}, err
}

func (c capabilities) Artifact(ctx context.Context, digest string) (sdk.Artifact, error) {
	a, err := c.core.Artifact(ctx, core.Digest(digest))
	return sdk.Artifact{Digest: string(a.Digest), Path: a.Path, Size: a.Size}, err
}

func (c capabilities) Flag(ctx context.Context, name string) (any, error) {
	return c.core.Flag(ctx, name)
}

func (c capabilities) SetFlag(ctx context.Context, name string, value any) error {
	return c.core.SetFlag(ctx, name, value)
}

func (c capabilities) State(ctx context.Context, key string) (sdk.Entry, error) {
	e, err := c.core.State(ctx, key)
	return sdk.Entry(e), err
}

func (c capabilities) SetState(ctx context.Context, key string, value []byte) (sdk.Entry, error) {
	e, err := c.core.SetState(ctx, key, value)
	return sdk.Entry(e), err
}

func (c capabilities) WatchState(ctx context.Context, prefix string, each func(sdk.Entry) error) error {
	return c.core.WatchState(ctx, prefix, func(e core.Entry) error { return each(sdk.Entry(e)) })
}

func (c capabilities) Publish(ctx context.Context, e sdk.Event) error {
	return c.core.Publish(ctx, eventToCore(e))
}

func (c capabilities) Subscribe(ctx context.Context, f sdk.EventFilter, each func(sdk.Event) error) error {
	filter := core.EventFilter{Kinds: f.Kinds, Since: f.Since}
	for _, s := range f.Severities {
		filter.Severities = append(filter.Severities, core.Severity(s))
	}
	return c.core.Subscribe(ctx, filter, func(e core.Event) error { return each(eventToSDK(e)) })
}

func (c capabilities) Notify(ctx context.Context, e sdk.Event) error {
	return c.core.Notify(ctx, eventToCore(e))
}

func (c capabilities) Secret(ctx context.Context, name string) (string, error) {
	return c.core.Secret(ctx, name)
}
