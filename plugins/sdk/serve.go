package sdk

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// Serve runs a stage as a plugin. main calls only Serve, which does not return.
func Serve[C any](stage Stage[C]) {
	os.Exit(serve(stage)) //nolint:forbidigo // Serve is the end of a plugin's main
}

func serve[C any](stage Stage[C]) int {
	if os.Getenv(wire.CookieKey) != wire.CookieValue {
		fmt.Fprintf(os.Stderr, "%s %s is a plugin of troop, which starts it: install it in troop's folder or in ~/.troop/plugins.\n", stage.Name, stage.Version)
		return 1
	}
	proc.Adopt()
	// A service manager signals the whole process group. The core gets the signal, too, and cancels this plugin's calls.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if pid, err := strconv.Atoi(os.Getenv(wire.ParentKey)); err == nil {
		go endWithParent(pid)
	}
	p := &servedPlugin{}
	srv, err := Server(stage, func(id uint32) (Conn, error) { return p.broker.Dial(id) })
	if err != nil {
		fmt.Fprintf(os.Stderr, "plugin %s: %v\n", stage.Name, err)
		return 1
	}
	p.server = srv
	if err := p.serve(); err != nil {
		fmt.Fprintf(os.Stderr, "plugin %s: %v\n", stage.Name, err)
		return 1
	}
	proc.EndAll(syscall.SIGTERM, windUp)
	return 0
}

// windUp is how long child processes may take to end with their plugin.
const windUp = time.Second

// endWithParent ends this process and its children when the core has died, and removes the folder of its sockets.
func endWithParent(pid int) {
	proc.WaitParent(pid)
	proc.EndAll(syscall.SIGTERM, windUp)
	if dir := os.Getenv(plugin.EnvUnixSocketDir); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(1) //nolint:forbidigo // the core has died
}

// servedPlugin registers the protocol's server with go-plugin.
type servedPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server wire.PluginServer
	broker *plugin.GRPCBroker
}

// serve lasts until the core has the plugin end. It does what go-plugin's Serve does for gRPC, without its net/rpc: reflection
// there keeps every exported method of every type in the binary, and that in the memory of each host with an agent.
func (p *servedPlugin) serve() error {
	secrets, err := inheritedTLS()
	if err != nil {
		return err
	}
	socket, err := new(net.ListenConfig).Listen(context.Background(), "unix", filepath.Join(os.Getenv(plugin.EnvUnixSocketDir), "plugin"))
	if err != nil {
		return err
	}
	stdout, toStdout, err := os.Pipe()
	if err != nil {
		return err
	}
	stderr, toStderr, err := os.Pipe()
	if err != nil {
		return err
	}
	s := &plugin.GRPCServer{
		Plugins: plugin.PluginSet{wire.Name: p}, TLS: secrets, DoneCh: make(chan struct{}), Stdout: stdout, Stderr: stderr,
		Server: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxRecvMsgSize(wire.MaxMessage))...)
		},
	}
	if err := s.Init(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(os.Stdout, "%d|%d|unix|%s|%s|\n", plugin.CoreProtocolVersion, wire.Version, socket.Addr(), plugin.ProtocolGRPC); err != nil {
		return err
	}
	os.Stdout, os.Stderr = toStdout, toStderr // the core's log
	s.Serve(socket)
	return nil
}

func (p *servedPlugin) GRPCServer(broker *plugin.GRPCBroker, s *grpc.Server) error {
	p.broker = broker
	wire.RegisterPluginServer(s, p.server)
	return nil
}

func (p *servedPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("a plugin is not a client")
}
