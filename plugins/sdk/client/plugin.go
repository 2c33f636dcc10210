package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// defaultGrace is how long a cancelled call may take to end before its plugin is killed.
const defaultGrace = 2 * time.Second

// Plugin is a running plugin. Its methods may be called from several goroutines.
type Plugin struct {
	link    wire.Link
	rpc     wire.PluginClient
	desc    contract.Description
	foreign *sdk.Foreign // decodes blocks for a plugin without HCL; else nil
	grace   time.Duration
	calls   atomic.Uint64
	output  *output           // direct output of the process
	why     func(error) error // explains a lost connection
	kill    func()
	tree    func() []string
	close   func() error
}

// Attach returns a Plugin for one that runs in this process, for sdktest.
func Attach(ctx context.Context, link wire.Link) (*Plugin, error) {
	p := &Plugin{
		link: link, rpc: wire.NewPluginClient(link.Conn), grace: defaultGrace, output: newOutput(),
		why: func(err error) error { return err }, kill: func() {}, tree: func() []string { return nil }, close: func() error { return nil },
	}
	return p, p.describe(ctx)
}

func (p *Plugin) describe(ctx context.Context) error {
	d, err := p.rpc.Describe(ctx, &wire.DescribeRequest{})
	if err != nil {
		return p.failed(ctx, err)
	}
	p.desc = wire.DecodeDescription(d)
	if d.GetValues() {
		p.foreign, err = sdk.NewForeign(p.desc)
	}
	return err
}

func (p *Plugin) name() string { return p.desc.Name }

// Description returns the plugin's description, read at its start.
func (p *Plugin) Description() contract.Description { return p.desc }

// Processes lists what the plugin has started and still runs, each with its command, children after their parent and
// indented below it.
func (p *Plugin) Processes() []string { return p.tree() }

// Check returns the mistakes in a block that can be found before the run.
func (p *Plugin) Check(ctx context.Context, c contract.Config) (contract.Diagnostics, error) {
	_, diags, err := p.check(ctx, c, true)
	return diags, err
}

// check also returns the block's values for a plugin without HCL.
func (p *Plugin) check(ctx context.Context, c contract.Config, partial bool) ([]byte, contract.Diagnostics, error) {
	ask := func(values []byte) ([]*wire.Diagnostic, error) {
		w := wire.EncodeConfig(c)
		w.Values = values
		r, err := p.rpc.Check(ctx, &wire.CheckRequest{Config: w})
		if err != nil {
			return nil, p.failed(ctx, err)
		}
		return r.GetDiagnostics(), nil
	}
	if p.foreign == nil {
		diags, err := ask(nil)
		return nil, wire.DecodeDiagnostics(diags), err
	}
	return p.foreign.Decode(c, partial, ask)
}

// prepare encodes the block of a call. For a plugin without HCL it decodes and checks the block first.
func (p *Plugin) prepare(ctx context.Context, c contract.Config) (*wire.Config, error) {
	w := wire.EncodeConfig(c)
	if p.foreign == nil {
		return w, nil
	}
	values, diags, err := p.check(ctx, c, false)
	if err == nil && diags.HasErrors() {
		err = &contract.Failure{Reason: "the configuration is not valid", Diagnostics: diags}
	}
	w.Values = values
	return w, err
}

// Run executes the stage once. Messages arrive in order, from one goroutine; a slow emit delays the plugin. A verdict is a
// *Failure or a *SkipError. When ctx ends, the call is cancelled; the plugin may still report while it cleans up, and is
// killed if it does not end within the grace period.
func (p *Plugin) Run(ctx context.Context, j contract.Job, emit func(contract.Message)) error {
	return p.call(ctx, j, face{p.desc.Capabilities, p.declaredOutput}, emit, p.rpc.Run)
}

// Watch runs the agent until ctx ends or the agent fails. Otherwise it is like Run.
func (p *Plugin) Watch(ctx context.Context, j contract.Job, emit func(contract.Message)) error {
	var agent face
	if p.desc.Agent != nil {
		agent.capabilities = p.desc.Agent.Capabilities
	}
	return p.call(ctx, j, agent, emit, p.rpc.Watch)
}

// Call executes an action. Otherwise it is like Run.
func (p *Plugin) Call(ctx context.Context, j contract.Job, action string, args map[string]string, emit func(contract.Message)) error {
	described, err := p.desc.Action(action)
	if err != nil {
		return err
	}
	return p.call(ctx, j, face{capabilities: described.Capabilities}, emit, func(ctx context.Context, r *wire.RunRequest, o ...grpc.CallOption) (messages, error) {
		return p.rpc.Call(ctx, &wire.CallRequest{Run: r, Action: action, Args: args}, o...)
	})
}

// Close stops the plugin and everything that it has started. It may be repeated.
func (p *Plugin) Close() error { return p.close() }

// face is the declaration of a plugin's stage, agent or action.
type face struct {
	capabilities []contract.Capability
	output       func(name string) error // rejects undeclared outputs; nil: accepts all
}

func (p *Plugin) declaredOutput(name string) error {
	var names []string
	for _, o := range p.desc.Outputs {
		names = append(names, o.Name)
	}
	if slices.Contains(names, name) {
		return nil
	}
	return fmt.Errorf("plugin %s gave an output %q, which it does not declare (declared: %s)", p.desc.Name, name, strings.Join(names, ", "))
}

// number rejects values that JSON, and so the journal, cannot hold.
func (p *Plugin) number(what string, values ...float64) error {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("plugin %s reported %s that is no number: %v", p.desc.Name, what, v)
		}
	}
	return nil
}

// judge rejects messages that a plugin must not send.
func (p *Plugin) judge(m contract.Message, f face) error {
	switch {
	case m.Output != nil && f.output != nil:
		return f.output(m.Output.Name)
	case m.Metric != nil && m.Metric.Limit != nil:
		return p.number(fmt.Sprintf("a metric %q", m.Metric.Name), m.Metric.Value, *m.Metric.Limit)
	case m.Metric != nil:
		return p.number(fmt.Sprintf("a metric %q", m.Metric.Name), m.Metric.Value)
	case m.Progress != nil:
		return p.number("a progress", m.Progress.Done, m.Progress.Total)
	}
	return nil
}

type messages = grpc.ServerStreamingClient[wire.Message]

func (p *Plugin) call(ctx context.Context, j contract.Job, f face, emit func(contract.Message), open func(context.Context, *wire.RunRequest, ...grpc.CallOption) (messages, error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.output.begin()
	defer p.output.end()
	// The stream outlives ctx, so that the plugin can report its clean-up.
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	config, err := p.prepare(ctx, j.Config)
	if err != nil {
		return err
	}
	if !slices.Contains(f.capabilities, contract.Workspace) {
		j.Info.Workspace = "" // only for plugins that declare the capability
	}
	r := &wire.RunRequest{Config: config, Info: wire.EncodeRunInfo(j.Info), Call: p.calls.Add(1)}
	if j.Capabilities != nil && slices.ContainsFunc(f.capabilities, contract.Capability.IsService) {
		id, stop, err := p.serve(j.Capabilities, f.capabilities)
		if err != nil {
			return p.failed(ctx, fmt.Errorf("serve capabilities: %w", err))
		}
		defer stop()
		r.CapabilitiesBroker = id
	}
	stream, err := open(streamCtx, r)
	if err != nil {
		return p.failed(ctx, err)
	}
	stop := p.cancelWith(ctx, streamCtx, cancel, r.GetCall())
	defer stop()
	return p.listen(ctx, streamCtx, stream, f, emit)
}

// cancelWith cancels the call when ctx ends, and kills the plugin after the grace period.
func (p *Plugin) cancelWith(ctx, streamCtx context.Context, cancel func(), call uint64) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		patience := time.AfterFunc(p.grace, func() {
			if streamCtx.Err() == nil {
				cancel()
				p.kill()
			}
		})
		context.AfterFunc(streamCtx, func() { patience.Stop() })
		_, err := p.rpc.Cancel(streamCtx, &wire.CancelRequest{
			Call: call, Cause: context.Cause(ctx).Error(), Deadline: errors.Is(ctx.Err(), context.DeadlineExceeded),
		})
		if err != nil {
			cancel()
		}
	})
}

// listen delivers the plugin's messages until its verdict.
func (p *Plugin) listen(ctx, streamCtx context.Context, stream messages, f face, emit func(contract.Message)) error {
	type received struct {
		m   *wire.Message
		err error
	}
	incoming := make(chan received)
	go func() {
		for {
			m, err := stream.Recv()
			select {
			case incoming <- received{m, err}:
			case <-streamCtx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var verdict *wire.Result
	for {
		select {
		case line := <-p.output.lines:
			emit(contract.Message{Log: &line})
		case r := <-incoming:
			switch {
			case errors.Is(r.err, io.EOF) && verdict != nil:
				p.drain(emit, 2*time.Millisecond)
				return p.verdict(verdict)
			case errors.Is(r.err, io.EOF):
				return fmt.Errorf("plugin %s ended the call without a result", p.desc.Name)
			case r.err != nil:
				return p.ended(ctx, r.err, emit)
			}
			if r.m.GetResult() != nil {
				verdict = r.m.GetResult()
				continue
			}
			m, err := wire.DecodeMessage(r.m)
			if err != nil {
				return fmt.Errorf("plugin %s sent garbage: %w", p.desc.Name, err)
			}
			if err := p.judge(m, f); err != nil {
				return err
			}
			if m != (contract.Message{}) { // zero: a kind of message of a later protocol
				emit(m)
			}
		case <-streamCtx.Done():
			return p.failed(ctx, streamCtx.Err())
		}
	}
}

// ended determines why a call broke, and delivers what the process still writes meanwhile.
func (p *Plugin) ended(ctx context.Context, err error, emit func(contract.Message)) error {
	why := make(chan error, 1)
	go func() { why <- p.failed(ctx, err) }()
	for {
		select {
		case line := <-p.output.lines:
			emit(contract.Message{Log: &line})
		case err := <-why:
			p.drain(emit, 100*time.Millisecond)
			return err
		}
	}
}

// drain delivers the lines that the process wrote before the end. They arrive on another channel and may be late: drain
// listens until nothing arrives for a while, with an upper limit.
func (p *Plugin) drain(emit func(contract.Message), quiet time.Duration) {
	enough := time.After(20 * quiet)
	for {
		select {
		case line := <-p.output.lines:
			emit(contract.Message{Log: &line})
		case <-time.After(quiet):
			return
		case <-enough:
			return
		}
	}
}

func (p *Plugin) verdict(r *wire.Result) error {
	if _, known := wire.Result_Status_name[int32(r.GetStatus())]; !known {
		return fmt.Errorf("plugin %s sent garbage: a result of status %d", p.desc.Name, r.GetStatus())
	}
	if r.GetReason() == "" {
		r.Reason = fmt.Sprintf("plugin %s gave no reason", p.desc.Name)
	}
	return wire.DecodeVerdict(r)
}

// failed translates a gRPC error: to the cause of a cancelled call, to the plugin's death, or to the author's own text.
func (p *Plugin) failed(ctx context.Context, err error) error {
	st, ok := status.FromError(err)
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		switch {
		case !ok, st.Message() == "", st.Code() == codes.Canceled, st.Code() == codes.DeadlineExceeded, st.Code() == codes.Unavailable:
			return cause
		}
		return fmt.Errorf("%w: %s", cause, st.Message())
	}
	switch {
	case !ok:
		return p.why(err)
	case wire.FromTransport(err):
		return p.why(errors.New(st.Message()))
	case st.Code() == codes.ResourceExhausted && strings.HasPrefix(st.Message(), "grpc: received message larger than max"):
		return fmt.Errorf("plugin %s sent garbage: a message of more than %d MiB", p.desc.Name, wire.MaxMessage>>20)
	}
	return wire.DecodeError(err)
}
