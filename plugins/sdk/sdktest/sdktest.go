// Package sdktest tests plugins: a stage in the test's own process, over the real protocol, with a Fake of the core; and,
// with Conformance, the built binary. Only tests import it.
package sdktest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// File is the file name in positions. A body's first byte is at line 1, column 1.
const File = "pipeline.hcl"

// Options are the environment of a call. The zero value is a run with defaults.
type Options struct {
	Info  sdk.RunInfo
	Fake  *Fake                // nil: a new one
	Scope map[string]cty.Value // values that expressions refer to; may be unknown
}

// Result is everything that a call reported. Err is nil, a *Failure, a *Skip, or another error.
type Result struct {
	Err      error
	Logs     []string // including Warnf's lines
	Warnings []string
	Findings []sdk.Finding
	Metrics  []sdk.Metric
	Outputs  map[string]any // as decoded from JSON
	Tables   []sdk.Table
	Events   []sdk.Event // published and notified, in order
	Progress []contract.Progress
}

// Failure is a negative verdict of a gate; Skip means that there was nothing to do.
type (
	Failure = contract.Failure
	Skip    = contract.SkipError
)

// Diagnostics are the mistakes in a body, as an error whose lines begin with FILE:LINE,COLUMN-COLUMN.
type Diagnostics = contract.Diagnostics

// Check checks a body: nil, or Diagnostics.
func Check[C any](t testing.TB, stage sdk.Stage[C], body string, opts ...Options) error {
	t.Helper()
	o := one(opts)
	diags, err := start(t.Context(), t, stage).Check(t.Context(), config(t, body, o))
	if err != nil {
		return err
	}
	if len(diags) == 0 {
		return nil
	}
	return diags
}

// Run runs a stage once.
func Run[C any](t testing.TB, stage sdk.Stage[C], body string, opts ...Options) Result {
	t.Helper()
	return RunContext(t.Context(), t, stage, body, opts...)
}

// RunContext runs a stage once, until ctx ends.
func RunContext[C any](ctx context.Context, t testing.TB, stage sdk.Stage[C], body string, opts ...Options) Result {
	t.Helper()
	return collect(t, body, one(opts), func(j contract.Job, emit func(contract.Message)) error {
		return start(context.WithoutCancel(ctx), t, stage).Run(ctx, j, emit)
	})
}

// Watch runs a stage's agent until ctx ends.
func Watch[C any](ctx context.Context, t testing.TB, stage sdk.Stage[C], body string, opts ...Options) Result {
	t.Helper()
	return collect(t, body, one(opts), func(j contract.Job, emit func(contract.Message)) error {
		return start(context.WithoutCancel(ctx), t, stage).Watch(ctx, j, emit)
	})
}

// Call executes an action.
func Call[C any](t testing.TB, stage sdk.Stage[C], body, action string, args map[string]string, opts ...Options) Result {
	t.Helper()
	return collect(t, body, one(opts), func(j contract.Job, emit func(contract.Message)) error {
		return start(t.Context(), t, stage).Call(t.Context(), j, action, args, emit)
	})
}

// Describe returns a stage's description.
func Describe[C any](t testing.TB, stage sdk.Stage[C]) contract.Description {
	t.Helper()
	return start(t.Context(), t, stage).Description()
}

func one(opts []Options) Options {
	if len(opts) > 0 {
		return opts[0]
	}
	return Options{}
}

func collect(t testing.TB, body string, o Options, call func(contract.Job, func(contract.Message)) error) Result {
	t.Helper()
	if o.Fake == nil {
		o.Fake = &Fake{}
	}
	r := Result{Outputs: map[string]any{}}
	job := contract.Job{Config: config(t, body, o), Info: o.Info, Capabilities: core{o.Fake, o.Info.Host}}
	before := len(o.Fake.Published())
	r.Err = call(job, r.add)
	r.Events = o.Fake.Published()[before:]
	return r
}

func (r *Result) add(m contract.Message) {
	switch {
	case m.Log != nil:
		r.Logs = append(r.Logs, m.Log.Line)
		if m.Log.Error {
			r.Warnings = append(r.Warnings, m.Log.Line)
		}
	case m.Finding != nil:
		r.Findings = append(r.Findings, *m.Finding)
	case m.Metric != nil:
		r.Metrics = append(r.Metrics, *m.Metric)
	case m.Output != nil:
		r.Outputs[m.Output.Name] = m.Output.Value
	case m.Table != nil:
		r.Tables = append(r.Tables, *m.Table)
	case m.Progress != nil:
		r.Progress = append(r.Progress, *m.Progress)
	}
}

func config(t testing.TB, body string, o Options) contract.Config {
	t.Helper()
	c := contract.Config{Name: "test", Block: contract.Block{File: File, Source: []byte(body), Start: contract.Pos{Line: 1, Column: 1}}}
	if o.Scope == nil {
		return c
	}
	var err error
	scope := cty.ObjectVal(o.Scope)
	if c.Scope.Type, err = ctyjson.MarshalType(scope.Type()); err != nil {
		t.Fatalf("encode type of scope: %v", err)
	}
	if c.Scope.Value, err = msgpack.Marshal(scope, scope.Type()); err != nil {
		t.Fatalf("encode scope: %v", err)
	}
	return c
}

// start serves a stage in this process and connects to it like the core to a binary.
func start[C any](ctx context.Context, t testing.TB, stage sdk.Stage[C]) *client.Plugin {
	t.Helper()
	hub := &hub{listeners: map[uint32]*bufconn.Listener{}}
	srv, err := sdk.Server(stage, func(id uint32) (sdk.Conn, error) { return hub.dial(id) })
	if err != nil {
		t.Fatalf("stage %s: %v", stage.Name, err)
	}
	id, stop, err := hub.serve(func(r grpc.ServiceRegistrar) { wire.RegisterPluginServer(r, srv) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	conn, err := hub.dial(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p, err := client.Attach(ctx, wire.Link{Conn: conn, Serve: hub.serve})
	if err != nil {
		t.Fatalf("stage %s: %v", stage.Name, err)
	}
	return p
}

// hub is an in-process broker of numbered servers.
type hub struct {
	mu        sync.Mutex
	next      uint32
	listeners map[uint32]*bufconn.Listener
}

func (h *hub) serve(register func(grpc.ServiceRegistrar)) (uint32, func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	id, l, s := h.next, bufconn.Listen(1<<20), grpc.NewServer(grpc.MaxRecvMsgSize(wire.MaxMessage))
	h.listeners[id] = l
	register(s)
	go func() { _ = s.Serve(l) }()
	return id, s.Stop, nil
}

func (h *hub) dial(id uint32) (*grpc.ClientConn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.listeners[id]
	if l == nil {
		return nil, fmt.Errorf("nothing is served under number %d", id)
	}
	return grpc.NewClient("passthrough:plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
}
