package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// Options configure the start of a plugin.
type Options struct {
	Path         string        // the binary, verified by the caller
	Env          []string      // NAME=VALUE, in addition to the variables of every plugin
	StartTimeout time.Duration // until it has described itself; 0: 20 s
	Grace        time.Duration // for a cancelled call to end; 0: 2 s
}

// inherited are the core's environment variables that a plugin gets. All others may hold secrets.
var inherited = []string{
	"PATH", "HOME", "LANG", "TMPDIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
}

// Start starts a plugin binary and reads its description. The caller closes it. A binary that does not behave like a plugin
// is killed; the error starts with the binary's name and says what it did instead. Safe for concurrent use.
func Start(ctx context.Context, o Options) (*Plugin, error) {
	if o.StartTimeout == 0 {
		o.StartTimeout = 20 * time.Second
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.StartTimeout, fmt.Errorf("did not answer within %s", o.StartTimeout))
	defer cancel()

	secrets, err := newSecrets()
	if err != nil {
		return nil, fmt.Errorf("start plugin: %w", err)
	}
	out := newOutput()
	proc := newProcess(o, out)
	cfg := &plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: wire.Version, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{wire.Version: {wire.Name: &clientPlugin{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		TLSConfig:        secrets.config,
		GRPCDialOptions:  []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage))},
		SkipHostEnv:      true,
		StartTimeout:     o.StartTimeout + time.Second, // ours expires first
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			return proc, proc.prepare(append(cmd.Env, clientCertName+"="+string(secrets.core)), secrets.plugin)
		},
		// go-plugin panics on some lines that look like its own log, unless its logger is off.
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard}),
		Stderr:           out.writer(true),
		SyncStdout:       out.writer(false),
		SyncStderr:       out.writer(true),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: socketDir()},
	}
	c := plugin.NewClient(cfg)
	stop := context.AfterFunc(ctx, proc.kill) // go-plugin's start takes no context
	raw, err := dispense(c)
	stop()
	if err != nil {
		proc.kill()
		c.Kill()
		return nil, fmt.Errorf("%s %w", filepath.Base(o.Path), proc.startError(ctx, err))
	}
	p := &Plugin{
		rpc: wire.NewPluginClient(raw.conn), grace: o.Grace, output: out, kill: proc.kill, tree: proc.tree,
		link: wire.Link{Conn: raw.conn, Serve: func(register func(grpc.ServiceRegistrar)) (uint32, func(), error) {
			return raw.serve(cfg, register)
		}},
	}
	p.why = func(err error) error { return proc.explain(p.name(), err) }
	p.close = sync.OnceValue(func() error {
		proc.asked.Store(true)
		c.Kill()
		return nil
	})
	p.desc.Name = strings.TrimPrefix(filepath.Base(o.Path), "troop-plugin-")
	if err := p.describe(ctx); err != nil {
		proc.kill()
		_ = p.Close()
		return nil, fmt.Errorf("%s did not describe itself: %w", filepath.Base(o.Path), err)
	}
	return p, nil
}

// clientCertName is the variable in which go-plugin's AutoMTLS expects the certificate of the only client.
const clientCertName = "PLUGIN_CLIENT_CERT"

// socketDir is the parent of go-plugin's private socket folder. Socket paths must be shorter than 108 bytes.
func socketDir() string {
	if dir := os.TempDir(); len(dir) <= 40 {
		return dir
	}
	return "/tmp"
}

func dispense(c *plugin.Client) (*clientConn, error) {
	rpc, err := c.Client()
	if err != nil {
		return nil, err
	}
	raw, err := rpc.Dispense(wire.Name)
	if err != nil {
		return nil, err
	}
	return raw.(*clientConn), nil
}

// clientPlugin gets the connection from go-plugin.
type clientPlugin struct{ plugin.NetRPCUnsupportedPlugin }

type clientConn struct {
	conn   *grpc.ClientConn
	broker *plugin.GRPCBroker
}

func (*clientPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the core is no plugin")
}

func (*clientPlugin) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &clientConn{conn, broker}, nil
}

// serve offers services over the broker. Unlike AcceptAndServe, it can be stopped and logs nothing.
func (c *clientConn) serve(cfg *plugin.ClientConfig, register func(grpc.ServiceRegistrar)) (uint32, func(), error) {
	id := c.broker.NextId()
	l, err := c.broker.Accept(id)
	if err != nil {
		return 0, nil, err
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg.TLSConfig)), grpc.MaxRecvMsgSize(wire.MaxMessage))
	register(s)
	go func() { _ = s.Serve(l) }()
	return id, s.Stop, nil
}
