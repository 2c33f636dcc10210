package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/flags/ofrep"
	"github.com/seed-b96de936/troop/core/mask"
)

// refusals tells of what this host does not obey, each once. There is a limit: root on the router can write any number.
type refusals struct {
	host    core.HostName
	log     *slog.Logger
	publish func(context.Context, core.Event) error

	mu   sync.Mutex
	told map[string]bool
}

const mostRefusals = 50

func (r *refusals) tell(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[err.Error()] || len(r.told) == mostRefusals {
		return
	}
	if r.told == nil {
		r.told = map[string]bool{}
	}
	r.told[err.Error()] = true
	r.log.Error("refused", "error", err)
	_ = r.publish(ctx, core.Event{
		Kind: "agent.refused", Severity: core.Alert, Key: "agent.refused", Summary: fmt.Sprintf("host %s does not obey: %v", r.host, err),
	})
}

// ServeFlags answers the applications of this host for their flags until ctx ends.
func ServeFlags(ctx context.Context, c Config, stateDir, address string, log *slog.Logger) error {
	b := c.Open(stateDir, nil)
	defer b.Close()
	spool, err := bus.OpenSpool(filepath.Join(stateDir, "spool"), b.Publish)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	spooling := make(chan struct{})
	go func() {
		defer close(spooling)
		spool.Run(ctx)
	}()
	defer func() { stop(); <-spooling }()
	r := refusals{host: c.Host, log: log, publish: (&services{config: c, spool: spool, mask: mask.New()}).Publish}
	return ofrep.Serve(ctx, address, stateDir, flags.Open(b), log, func(err error) { r.tell(ctx, err) })
}
