package loader

import (
	"context"
	"errors"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
)

// plugin is a started plugin in the core's types.
type plugin struct {
	client *client.Plugin
	digest core.Digest
	desc   core.Description
}

func (p *plugin) Description() core.Description { return p.desc }
func (p *plugin) Digest() core.Digest           { return p.digest }
func (p *plugin) Close() error                  { return p.client.Close() }

func (p *plugin) Check(ctx context.Context, c core.Config) (core.Diagnostics, error) {
	d, err := p.client.Check(ctx, configToClient(c))
	return diagnosticsToCore(d), err
}

func (p *plugin) Run(ctx context.Context, j core.Job, emit func(core.Message)) error {
	return verdict(p.client.Run(ctx, jobToClient(j), heard(emit)))
}

func (p *plugin) Watch(ctx context.Context, j core.Job, emit func(core.Message)) error {
	return verdict(p.client.Watch(ctx, jobToClient(j), heard(emit)))
}

func (p *plugin) Call(ctx context.Context, j core.Job, action string, args map[string]string, emit func(core.Message)) error {
	return verdict(p.client.Call(ctx, jobToClient(j), action, args, heard(emit)))
}

func heard(emit func(core.Message)) func(client.Message) {
	return func(m client.Message) { emit(messageToCore(m)) }
}

// verdict gives a stage's own verdict the core's type.
func verdict(err error) error {
	if f := (*client.Failure)(nil); errors.As(err, &f) {
		return &core.Failure{Reason: f.Reason, Diagnostics: diagnosticsToCore(f.Diagnostics)}
	}
	if s := (*client.SkipError)(nil); errors.As(err, &s) {
		return &core.SkipError{Reason: s.Reason}
	}
	return err
}
