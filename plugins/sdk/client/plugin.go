package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// defaultGrace is how long a cancelled call may take to wind up before its plugin is killed.
const defaultGrace = 2 * time.Second

// Plugin is a plugin that runs. Its methods may be called from several goroutines.
type Plugin struct {
	link    wire.Link
	rpc     wire.PluginClient
	desc    Description
	foreign *sdk.Foreign // decodes blocks for a plugin that has no HCL; nil: it has
	grace   time.Duration
	calls   atomic.Uint64
	voice   *voice            // what the process writes by itself
	why     func(error) error // puts a lost connection into words
	kill    func()
	close   func() error
}

// Attach makes a Plugin of one that runs in this process. Only sdktest can.
func Attach(ctx context.Context, link wire.Link) (*Plugin, error) {
	p := &Plugin{
		link: link, rpc: wire.NewPluginClient(link.Conn), grace: defaultGrace, voice: newVoice(),
		why: func(err error) error { return err }, kill: func() {}, close: func() error { return nil },
	}
	return p, p.describe(ctx)
}

func (p *Plugin) describe(ctx context.Context) error {
	d, err := p.rpc.Describe(ctx, &wire.DescribeRequest{})
	if err != nil {
		return p.failed(ctx, err)
	}
	p.desc = descriptionFromWire(d)
	if d.GetValues() {
		p.foreign, err = sdk.NewForeign(d)
	}
	return err
}

func (p *Plugin) name() string { return p.desc.Name }

// Description returns what the plugin said of itself when it started.
func (p *Plugin) Description() Description { return p.desc }

// Check returns what is wrong with a block, as far as it is known before the run.
func (p *Plugin) Check(ctx context.Context, c Config) ([]Diagnostic, error) {
	diags, err := p.check(ctx, configToWire(c), true)
	return diagnosticsFromWire(diags), err
}

func (p *Plugin) check(ctx context.Context, c *wire.Config, partial bool) ([]*wire.Diagnostic, error) {
	ask := func() ([]*wire.Diagnostic, error) {
		r, err := p.rpc.Check(ctx, &wire.CheckRequest{Config: c})
		if err != nil {
			return nil, p.failed(ctx, err)
		}
		return r.GetDiagnostics(), nil
	}
	if p.foreign == nil {
		return ask()
	}
	return p.foreign.Decode(c, partial, ask)
}

// prepare does before a call what the SDK of a plugin with HCL does at its beginning.
func (p *Plugin) prepare(ctx context.Context, c *wire.Config) error {
	if p.foreign == nil {
		return nil
	}
	diags, err := p.check(ctx, c, false)
	if err != nil || !slices.ContainsFunc(diags, func(d *wire.Diagnostic) bool { return !d.GetWarning() }) {
		return err
	}
	return &Failure{Reason: "the configuration is not valid", Diagnostics: diagnosticsFromWire(diags)}
}

// Run executes the stage once. Messages come in order, from one goroutine; while emit works, the plugin's
// next words wait. A verdict is a *Failure or a *SkipError. When ctx ends the plugin is told, and may still
// speak while it winds up; a plugin that does not end within the grace period is killed.
func (p *Plugin) Run(ctx context.Context, j Job, emit func(Message)) error {
	return p.call(ctx, j, emit, func(ctx context.Context, r *wire.RunRequest) (messages, error) { return p.rpc.Run(ctx, r) })
}

// Watch is the agent: it lasts until ctx ends or the agent gives up. Otherwise it is like Run.
func (p *Plugin) Watch(ctx context.Context, j Job, emit func(Message)) error {
	return p.call(ctx, j, emit, func(ctx context.Context, r *wire.RunRequest) (messages, error) { return p.rpc.Watch(ctx, r) })
}

// Call executes an action. Otherwise it is like Run.
func (p *Plugin) Call(ctx context.Context, j Job, action string, args map[string]string, emit func(Message)) error {
	return p.call(ctx, j, emit, func(ctx context.Context, r *wire.RunRequest) (messages, error) {
		return p.rpc.Call(ctx, &wire.CallRequest{Run: r, Action: action, Args: args})
	})
}

// Close ends the plugin and everything that it has started. It is safe to repeat.
func (p *Plugin) Close() error { return p.close() }

type messages = grpc.ServerStreamingClient[wire.Message]

func (p *Plugin) call(ctx context.Context, j Job, emit func(Message), open func(context.Context, *wire.RunRequest) (messages, error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.voice.begin()
	defer p.voice.end()
	// The stream outlives ctx, so that the plugin can say how it wound up.
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	r := &wire.RunRequest{Config: configToWire(j.Config), Info: infoToWire(j.Info, p.desc), Call: p.calls.Add(1)}
	if err := p.prepare(ctx, r.GetConfig()); err != nil {
		return err
	}
	if j.Capabilities != nil && slices.ContainsFunc(p.desc.Capabilities, isService) {
		id, stop, err := p.serve(j.Capabilities)
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
	return p.listen(ctx, streamCtx, stream, emit)
}

// isService tells whether a capability is called; that of the workspace is a folder.
func isService(c sdk.Capability) bool { return c != sdk.Workspace }

// cancelWith tells the plugin when ctx ends, and loses patience with it after the grace period.
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

// listen hands on what the plugin says until its verdict.
func (p *Plugin) listen(ctx, streamCtx context.Context, stream messages, emit func(Message)) error {
	type received struct {
		m   *wire.Message
		err error
	}
	said := make(chan received)
	go func() {
		for {
			m, err := stream.Recv()
			select {
			case said <- received{m, err}:
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
		case line := <-p.voice.lines:
			emit(Message{Log: &line})
		case r := <-said:
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
			m, err := messageFromWire(r.m)
			if err != nil {
				return fmt.Errorf("plugin %s sent garbage: %w", p.desc.Name, err)
			}
			if m != (Message{}) { // a kind of message that a later protocol has
				emit(m)
			}
		case <-streamCtx.Done():
			return p.failed(ctx, streamCtx.Err())
		}
	}
}

// ended finds out why a call broke, and hands on what the process still writes meanwhile.
func (p *Plugin) ended(ctx context.Context, err error, emit func(Message)) error {
	why := make(chan error, 1)
	go func() { why <- p.failed(ctx, err) }()
	for {
		select {
		case line := <-p.voice.lines:
			emit(Message{Log: &line})
		case err := <-why:
			p.drain(emit, 100*time.Millisecond)
			return err
		}
	}
}

// drain hands on the lines that the process wrote before the end. They come another way than the end does, and may be
// later: it listens until nothing comes for a while. A process that goes on and on is not waited for.
func (p *Plugin) drain(emit func(Message), quiet time.Duration) {
	enough := time.After(20 * quiet)
	for {
		select {
		case line := <-p.voice.lines:
			emit(Message{Log: &line})
		case <-time.After(quiet):
			return
		case <-enough:
			return
		}
	}
}

func (p *Plugin) verdict(r *wire.Result) error {
	reason := r.GetReason()
	if reason == "" {
		reason = fmt.Sprintf("plugin %s gave no reason", p.desc.Name)
	}
	switch r.GetStatus() {
	case wire.Result_PASSED:
		return nil
	case wire.Result_FAILED:
		return &Failure{Reason: reason, Diagnostics: diagnosticsFromWire(r.GetDiagnostics())}
	case wire.Result_SKIPPED:
		return &SkipError{Reason: reason}
	}
	return fmt.Errorf("plugin %s sent garbage: a result of status %d", p.desc.Name, r.GetStatus())
}

// failed gives an error of the wire the words of whoever caused it: the caller who cancelled, the plugin that
// died, or the author's own text without gRPC's.
func (p *Plugin) failed(ctx context.Context, err error) error {
	st, ok := status.FromError(err)
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		if ok && st.Code() == codes.Unknown && st.Message() != "" {
			return fmt.Errorf("%w: %s", cause, st.Message())
		}
		return cause
	}
	if !ok {
		return p.why(err)
	}
	switch {
	case st.Code() == codes.Unavailable, st.Code() == codes.Canceled:
		return p.why(errors.New(st.Message()))
	case st.Code() == codes.ResourceExhausted && strings.HasPrefix(st.Message(), "grpc: received message larger than max"):
		return fmt.Errorf("plugin %s sent garbage: a message of more than %d MiB", p.desc.Name, wire.MaxMessage>>20)
	}
	return errors.New(st.Message())
}
