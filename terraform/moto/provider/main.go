//go:build aws

// Command provider is started by Terraform in place of hashicorp/aws in the tests against moto. It starts the real provider
// with the first call that needs it, and passes calls and answers on as they are. Only the schema is kept in a file and cut
// down to the resource types that the module uses: decoding all of it takes most of the CPU time of a Terraform command.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	realVariable  = "TROOP_TEST_AWS_PROVIDER" // the real provider's program
	typesVariable = "TROOP_TEST_AWS_TYPES"    // what stays in the schema, separated by spaces
	keptVariable  = "TROOP_TEST_AWS_KEPT"     // the file with the schema
)

// protocol is that of hashicorp/aws.
const protocol = 5

const cookie = "TF_PLUGIN_MAGIC_COOKIE"

func main() {
	p := &proxy{}
	p.real = sync.OnceValues(p.start)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake(),
		VersionedPlugins: plugins,
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}), grpc.UnknownServiceHandler(p.handle), grpc.MaxRecvMsgSize(1<<28))...)
		},
	})
	if p.client != nil {
		p.client.Kill()
	}
}

func handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{ProtocolVersion: protocol, MagicCookieKey: cookie, MagicCookieValue: os.Getenv(cookie)}
}

var plugins = map[int]plugin.PluginSet{protocol: {"provider": none{}}}

// none registers no service, so that every call is one of an unknown service.
type none struct{ plugin.NetRPCUnsupportedPlugin }

func (none) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (none) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return struct{}{}, nil
}

type proxy struct {
	real   func() (*grpc.ClientConn, error)
	client *plugin.Client
}

// start starts the real provider, which ends with this process.
func (p *proxy) start() (*grpc.ClientConn, error) {
	cmd := exec.Command(os.Getenv(realVariable)) //nolint:noctx // lives as long as this process
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: handshake(), VersionedPlugins: plugins, AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd: cmd, AutoMTLS: true, Stderr: os.Stderr, Logger: hclog.NewNullLogger(),
	})
	client, err := p.client.Client()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return client.(*plugin.GRPCClient).Conn, nil
}

// handle answers one call of Terraform.
func (p *proxy) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var in, out message
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	call := p.call
	if path.Base(method) == "GetSchema" {
		call = p.schema
	}
	out, err := call(stream.Context(), method, in)
	if err != nil {
		return err
	}
	return stream.SendMsg(&out)
}

func (p *proxy) call(ctx context.Context, method string, in message) (out message, err error) {
	conn, err := p.real()
	if err != nil {
		return nil, err
	}
	return out, conn.Invoke(ctx, method, &in, &out, grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(1<<28))
}

// schema answers from the file. Several processes may make it at once.
func (p *proxy) schema(ctx context.Context, method string, in message) (message, error) {
	file := os.Getenv(keptVariable)
	if kept, err := os.ReadFile(file); err == nil {
		return kept, nil
	}
	whole, err := p.call(ctx, method, in)
	if err != nil {
		return nil, err
	}
	cut, err := reduced(whole, strings.Fields(os.Getenv(typesVariable)))
	if err != nil {
		return nil, err
	}
	return cut, renameio.WriteFile(file, cut, 0o600)
}

// Fields of tfplugin5.GetProviderSchema.Response that are maps from a type's name to its schema.
var maps = map[protowire.Number]bool{2: true, 3: true, 8: true}

// reduced is an answer to GetSchema with the schemas of some types.
func reduced(whole message, types []string) (kept message, err error) {
	keep := map[string]bool{}
	for _, t := range types {
		keep[t] = true
	}
	for len(whole) > 0 {
		number, kind, head := protowire.ConsumeTag(whole)
		if head < 0 {
			return nil, protowire.ParseError(head)
		}
		size := protowire.ConsumeFieldValue(number, kind, whole[head:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := whole[:head+size]
		whole = whole[head+size:]
		if maps[number] {
			entry, _ := protowire.ConsumeBytes(field[head:])
			_, _, n := protowire.ConsumeTag(entry) // the key comes first
			if name, _ := protowire.ConsumeString(entry[n:]); !keep[name] {
				continue
			}
		}
		kept = append(kept, field...)
	}
	return kept, nil
}

// message is one of gRPC as its bytes.
type message []byte

// codec leaves messages as they are; others, those of go-plugin's own services, it gives to another codec.
type codec struct{ encoding.CodecV2 }

func (c codec) Name() string { return proto.Name }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*message); ok {
		return mem.BufferSlice{mem.SliceBuffer(*m)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*message); ok {
		*m = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
