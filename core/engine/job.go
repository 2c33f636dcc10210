package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

const (
	// cancelGrace is how long a plugin has to clean up once its context has ended; it is closed then. It is longer
	// than the plugin's own grace, whose error is clearer.
	cancelGrace = 25 * time.Second
	// logMost is how much a plugin may log in one call, in bytes.
	logMost = 64 << 20
	// progressPause is the least time between two reports of a job's progress.
	progressPause = 100 * time.Millisecond
)

// job makes the job of a stage, given the outputs of other stages, and masks the secrets that are read for it. Its
// capabilities are left out.
func (e *Engine) job(p *core.Pipeline, s core.Stage, outputs map[core.StageID]map[string]any, info core.RunInfo, m *mask.Mask) (core.Job, error) {
	scope, err := s.Scope(info.Environment, outputs)
	if p.Hidden != nil {
		for _, secret := range p.Hidden() {
			m.Add(secret)
		}
	}
	if err != nil {
		return core.Job{}, fmt.Errorf("evaluate block: %w", err)
	}
	info.Stage = s.ID()
	for _, other := range p.Stages {
		if other.Type == s.Type {
			info.Stages = append(info.Stages, other.ID())
		}
	}
	if info.StateDir, err = e.Folders.StageState(info.Pipeline, s.ID()); err != nil {
		return core.Job{}, fmt.Errorf("make folder of stage: %w", err)
	}
	return core.Job{Config: core.Config{Name: s.Name, Block: s.Block, Scope: scope}, Info: info}, nil
}

// serve gives a job the capabilities that its face of the plugin declares.
func (e *Engine) serve(p *core.Pipeline, declared []core.Capability, job *core.Job, from *origin) {
	if len(declared) > 0 {
		job.Capabilities = &observed{Capabilities: e.Environments.Capabilities(p, *job), from: from}
	}
}

// hideSecrets masks what an environment keeps secret.
func (e *Engine) hideSecrets(p *core.Pipeline, env string, m *mask.Mask) error {
	secrets, err := e.Environments.Secrets(p, env)
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	for _, s := range secrets {
		m.Add(s)
	}
	return nil
}

// work calls a plugin and turns its messages into events. It returns the outputs, unmasked.
func work(ctx context.Context, plugin core.Plugin, from *origin, call func(context.Context, func(core.Message)) error) (map[string]any, error) {
	ctx, flooded := context.WithCancelCause(ctx)
	defer flooded(nil)
	// A plugin that does not end is ended: nothing may hang because a plugin does.
	finished := make(chan struct{})
	defer close(finished)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-finished:
		case <-time.After(cancelGrace):
			_ = plugin.Close() // fails the call in flight, whose error is replaced below
		}
	})()

	m := newMessages(from, func() {
		flooded(fmt.Errorf("flooded its log: more than %d MiB", logMost>>20))
	})
	quiet := watchSilence(plugin, from)
	err := call(ctx, func(msg core.Message) {
		quiet.spoke()
		m.take(msg)
	})
	waits := quiet.stop()
	m.flush()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if late := (*timeoutError)(nil); errors.As(err, &late) {
		err = &timeoutError{late.after, waits}
	}
	return m.outputs, from.report(err)
}

// report makes findings of the diagnostics in an error, and returns the error.
func (o *origin) report(err error) error {
	var diags core.Diagnostics
	failure := (*core.Failure)(nil)
	switch {
	case errors.As(err, &failure):
		diags = failure.Diagnostics
	case !errors.As(err, &diags):
		return err
	}
	for _, d := range diags {
		severity, text := "error", d.Summary
		if d.Warning {
			severity = "warning"
		}
		if d.Detail != "" {
			text += "; " + d.Detail
		}
		o.emit(findingEvent(core.Finding{
			Path: d.Range.File, Line: d.Range.Start.Line, Column: d.Range.Start.Column, Severity: severity, Message: text,
		}))
	}
	return err
}

func findingEvent(f core.Finding) core.Event {
	return core.Event{
		Kind: core.KindFinding, Summary: f.Message,
		Data: map[string]any{"path": f.Path, "line": f.Line, "column": f.Column, "severity": f.Severity, "rule": f.Rule},
	}
}
