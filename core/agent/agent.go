// Package agent is troop's face on a host: it keeps one plugin's agent alive there, gives it the services that
// a host can give, and keeps what it reports in a spool until the environment's Redis has it. cmd/troop-agent and
// core/relay, which is an agent without a plugin, import it.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/flags"
	"github.com/seed-b96de936/troop/core/mask"
)

// Config is the file that the core writes for each agent of a host.
type Config struct {
	Type        string           `json:"type"`
	Name        string           `json:"name"`
	Plugin      string           `json:"plugin,omitempty"` // the binary on the host; empty for the relay
	Digest      core.Digest      `json:"digest,omitempty"` // of the binary
	Pipeline    string           `json:"pipeline"`
	Environment string           `json:"environment"`
	Host        core.HostName    `json:"host"` // filled in per host, with Role
	Role        string           `json:"role"`
	Block       core.Block       `json:"block"`
	Scope       core.Scope       `json:"scope"`
	Hosts       []core.Host      `json:"hosts"`
	Redis       Redis            `json:"redis"`
	Trust       []byte           `json:"trust"`               // ed25519 public key of who gives orders
	Storage     *core.StorageKey `json:"storage,omitempty"`   // of a plugin to which the manifest grants it
	Notifiers   []core.Notifier  `json:"notifiers,omitempty"` // of the relay
	Writable    []string         `json:"writable,omitempty"`  // folders that the plugin may write to
}

// Redis is where the environment's Redis answers. A host logs in as a user of its own.
type Redis struct {
	Address      string `json:"address,omitempty"`      // host:port
	Certificates string `json:"certificates,omitempty"` // that it may show, as PEM
	Password     string `json:"password,omitempty"`
}

// Own is the part of a Config that differs from host to host and is secret. The role agent merges it with the rest.
type Own struct {
	Redis   Redis            `json:"redis"`
	Storage *core.StorageKey `json:"storage,omitempty"` // of a plugin to which the manifest grants it
}

// Open connects to the environment's Redis as this host. Its orders are remembered in the folder. refused hears of orders
// that are not obeyed; it may be nil.
func (c Config) Open(stateDir string, refused func(error)) *bus.Bus {
	hosts := c.Hosts
	if c.Role != "router" { // the router tells people, and closes canaries; others read what they published
		hosts = slices.DeleteFunc(slices.Clone(hosts), func(h core.Host) bool { return h.Name != c.Host })
	}
	return bus.Open(bus.Options{
		Address: c.Redis.Address, Certificates: c.Redis.Certificates, User: bus.UserOf(c.Host), Password: c.Redis.Password,
		Environment: c.Environment, Self: c.Host, Hosts: hosts,
		Trust: c.Trust, Ledger: filepath.Join(stateDir, "orders.json"), Refused: refused,
	})
}

// Load reads the file of an agent.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read agent configuration: %w", err)
	}
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fmt.Errorf("read agent configuration %s: %w", path, err)
	}
	return c, nil
}

// Agent runs what one Config says.
type Agent struct {
	Config   Config
	StateDir string // survives restarts
	Log      *slog.Logger
	// Open starts the plugin.
	Open func(ctx context.Context, path string, digest core.Digest) (core.Plugin, error)
	// Builtin is what an agent without a plugin does, until ctx ends.
	Builtin func(ctx context.Context, b *bus.Bus, publish func(context.Context, core.Event) error) error

	readOnly func(folder string) bool // nil: isReadOnly
}

const (
	restartFirst = time.Second // pause after an agent ended; doubles
	restartMost  = time.Minute
	steady       = 5 * time.Minute // an agent that lived so long is not in a loop of failures
)

// Run lasts until ctx ends. A plugin that dies is reported and started again, at growing pauses. An error means that the
// agent itself must be started again.
func (a *Agent) Run(ctx context.Context) error {
	stopped := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a.watchFolders(ctx, stop)
	ended := func() error {
		select {
		case <-stopped.Done():
			return nil
		default:
			return context.Cause(ctx)
		}
	}
	refused := refusals{host: a.Config.Host, log: a.Log}
	b := a.Config.Open(a.StateDir, func(err error) { refused.tell(ctx, err) })
	defer b.Close()
	known := flags.Open(b)
	spool, err := bus.OpenSpool(filepath.Join(a.StateDir, "spool"), func(ctx context.Context, e core.Event) (err error) {
		if a.Config.Role == "router" { // a host of the application stops no release
			if e, err = known.Heed(ctx, e); err != nil {
				return err
			}
		}
		return b.Publish(ctx, e)
	})
	if err != nil {
		return err
	}
	h := &services{config: a.Config, bus: b, flags: known, spool: spool, mask: a.mask()}
	refused.publish = h.Publish
	spooling := make(chan struct{})
	go func() {
		defer close(spooling)
		spool.Run(ctx)
	}()
	defer func() { <-spooling }()

	pause := restartFirst
	for {
		start := time.Now()
		err := a.once(ctx, h)
		if ctx.Err() != nil {
			return ended()
		}
		if time.Since(start) > steady {
			pause = restartFirst
		}
		if err == nil {
			err = errors.New("ended without being told to")
		}
		a.Log.Error("agent failed", "error", err, "again_in", pause)
		_ = h.Publish(ctx, core.Event{
			Kind: "agent.failed", Severity: core.Warning, Key: "agent." + a.Config.Type + "." + a.Config.Name,
			Summary: fmt.Sprintf("agent %s.%s: %v", a.Config.Type, a.Config.Name, err),
		})
		select {
		case <-ctx.Done():
			return ended()
		case <-time.After(pause):
		}
		pause = min(2*pause, restartMost)
	}
}

func (a *Agent) once(ctx context.Context, h *services) error {
	if a.Config.Plugin == "" {
		return a.Builtin(ctx, h.bus, h.Publish)
	}
	p, err := a.Open(ctx, a.Config.Plugin, a.Config.Digest)
	if err != nil {
		return err
	}
	defer p.Close()
	a.Log.Info("agent started", "type", a.Config.Type, "name", a.Config.Name, "version", p.Description().Version)
	return p.Watch(ctx, core.Job{
		Config: core.Config{Name: a.Config.Name, Block: a.Config.Block, Scope: a.Config.Scope},
		Info: core.RunInfo{
			Pipeline: a.Config.Pipeline, Stage: core.StageID(a.Config.Type + "." + a.Config.Name),
			Environment: a.Config.Environment, Host: a.Config.Host, Role: a.Config.Role,
			StateDir: filepath.Join(a.StateDir, "plugin"),
		},
		Capabilities: h,
	}, func(m core.Message) { a.log(h.mask, m) })
}

// mask hides all that the plugin is given and nobody else may read.
func (a *Agent) mask() *mask.Mask {
	m := mask.New(slices.Collect(maps.Values(a.Config.Scope.Secrets))...)
	if a.Config.Storage != nil {
		m.Add(a.Config.Storage.PrivateKey)
		m.Add(a.Config.Storage.SecretAccessKey)
	}
	return m
}

// log writes what a plugin logs to the journal of the host.
func (a *Agent) log(hide *mask.Mask, m core.Message) {
	switch {
	case m.Log != nil && m.Log.Error:
		a.Log.Warn("plugin", "line", hide.String(m.Log.Line))
	case m.Log != nil:
		a.Log.Info("plugin", "line", hide.String(m.Log.Line))
	case m.Progress != nil && m.Progress.Text != "":
		a.Log.Info("plugin", "progress", hide.String(m.Progress.Text))
	}
}
