package agent

import (
	"context"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/mask"
)

// services are the capabilities that a plugin has on a host: those of a run, less what only the core's machine
// can do.
type services struct {
	core.NoCapabilities
	config Config
	bus    *bus.Bus
	flags  *flags.Flags
	spool  *bus.Spool
	mask   *mask.Mask
}

var _ core.Capabilities = (*services)(nil)

func (s *services) Hosts(context.Context) ([]core.PluginHost, error) {
	return core.PluginHosts(s.config.Hosts), nil
}

func (s *services) Flag(ctx context.Context, name string) (any, error) {
	f, _, err := s.flags.Get(ctx, name)
	return f.Value, err
}

// SetFlag is refused: a host that could set a flag could set it for all others.
func (s *services) SetFlag(context.Context, string, any) error {
	return core.Refused("a host may read flags, and not set them")
}

func (s *services) state() *bus.State { return s.bus.State(s.config.Type) }

func (s *services) State(ctx context.Context, key string) (core.Entry, error) {
	return s.state().Get(ctx, key)
}

func (s *services) SetState(ctx context.Context, key string, value []byte) (core.Entry, error) {
	return s.state().Set(ctx, key, value)
}

func (s *services) WatchState(ctx context.Context, prefix string, each func(core.Entry) error) error {
	return s.state().Watch(ctx, prefix, each)
}

// Publish returns when the event is safe on this host's disk.
func (s *services) Publish(_ context.Context, e core.Event) error {
	e = core.Complete(e)
	e.Environment = s.config.Environment
	e.Host, e.Role = s.config.Host, s.config.Role
	if e.Source == "" {
		e.Source = s.config.Type + "." + s.config.Name
	}
	e.Summary, e.Key, e.Data = s.mask.String(e.Summary), s.mask.String(e.Key), s.mask.Map(e.Data)
	return s.spool.Put(e)
}

// Notify is Publish: the relay hears of it from the stream.
func (s *services) Notify(ctx context.Context, e core.Event) error { return s.Publish(ctx, e) }

func (s *services) Subscribe(ctx context.Context, f core.EventFilter, each func(core.Event) error) error {
	return s.bus.Follow(ctx, f, each)
}

func (s *services) Secret(_ context.Context, name string) (string, error) {
	return s.config.Scope.Secret(name)
}

func (s *services) StorageKey(context.Context) (core.StorageKey, error) {
	if s.config.Storage == nil {
		return core.StorageKey{}, core.NotGranted(core.Storage)
	}
	return *s.config.Storage, nil
}
