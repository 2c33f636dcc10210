package client

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// hostile is a plugin that no SDK keeps in order: it says what a test tells it to.
type hostile struct {
	wire.UnimplementedPluginServer
	description *wire.Description
	messages    []*wire.Message
	err         error
}

func (h *hostile) Describe(context.Context, *wire.DescribeRequest) (*wire.Description, error) {
	return h.description, nil
}

func (h *hostile) Check(context.Context, *wire.CheckRequest) (*wire.CheckReply, error) {
	return &wire.CheckReply{Diagnostics: []*wire.Diagnostic{{Range: &wire.Range{StartLine: -7, EndByte: -1}}}}, nil
}

func (h *hostile) Run(_ *wire.RunRequest, stream grpc.ServerStreamingServer[wire.Message]) error {
	for _, m := range h.messages {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return h.err
}

func (h *hostile) attach(t *testing.T) (*Plugin, error) {
	t.Helper()
	return Attach(t.Context(), wire.Link{Conn: serve(t, func(s *grpc.Server) { wire.RegisterPluginServer(s, h) })})
}

// serve connects to services in this process.
func serve(t *testing.T, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	l, s := bufconn.Listen(1<<20), grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:here", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A plugin that answers garbage fails its call with a sentence about it.
func TestGarbage(t *testing.T) {
	t.Parallel()
	passed := &wire.Message{Kind: &wire.Message_Result{Result: &wire.Result{}}}
	for name, test := range map[string]struct {
		messages []*wire.Message
		err      error
		want     string
	}{
		"no result":      {want: "plugin x ended the call without a result"},
		"output":         {messages: []*wire.Message{{Kind: &wire.Message_Output{Output: &wire.OutputValue{Name: "a", Json: []byte("{")}}}, passed}, want: `plugin x sent garbage: decode output "a": `},
		"event":          {messages: []*wire.Message{{Kind: &wire.Message_Event{Event: &wire.Event{Kind: "a.b", DataJson: []byte("[]")}}}, passed}, want: `plugin x sent garbage: decode data of event "a.b": `},
		"unknown kind":   {messages: []*wire.Message{{}, passed}},
		"unknown status": {messages: []*wire.Message{{Kind: &wire.Message_Result{Result: &wire.Result{Status: 99}}}}, want: "plugin x sent garbage: a result of status 99"},
		"no reason":      {messages: []*wire.Message{{Kind: &wire.Message_Result{Result: &wire.Result{Status: wire.Result_FAILED}}}}, want: "plugin x gave no reason"},
		"unimplemented":  {err: status.Error(codes.Unimplemented, "no"), want: "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := (&hostile{description: &wire.Description{Name: "x"}, messages: test.messages, err: test.err}).attach(t)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Run(t.Context(), contract.Job{}, func(contract.Message) {})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if _, err := p.Check(t.Context(), contract.Config{}); err != nil {
				t.Error(err)
			}
		})
	}
	bad := &wire.Description{Name: "x", Values: true, Config: &wire.Block{Attributes: []*wire.Attribute{{Name: "a", Type: "text"}}}}
	if _, err := (&hostile{description: bad}).attach(t); err == nil || !strings.Contains(err.Error(), `argument "a": type "text"`) {
		t.Errorf("a description that makes no sense: %v", err)
	}
}
