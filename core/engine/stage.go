package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
)

const (
	// retryFirst and retryMost bound the pause before another attempt; it doubles in between.
	retryFirst = time.Second
	retryMost  = 30 * time.Second
	// cancelGrace is how long a stage has to clean up once its context has ended. Its plugin is closed then. It
	// is more than a plugin's own patience with its process, whose message is the better one.
	cancelGrace = 25 * time.Second
	// logMost is how much a stage may log in one attempt, in bytes.
	logMost = 64 << 20
	// progressPause is the least time between two reports of a stage's progress.
	progressPause = 100 * time.Millisecond
)

// stage runs one stage, in a goroutine of its own, and returns its result and its outputs, unmasked.
func (x *execution) stage(ctx context.Context, s core.Stage, inputs map[core.StageID]map[string]any) (core.StageResult, map[string]any) {
	r := core.StageResult{ID: s.ID(), Started: time.Now()}
	outputs, err := x.attempts(ctx, s, inputs, &r)
	r.Ended = time.Now()
	r.Outputs = x.mask.Map(outputs)
	if !reflect.DeepEqual(r.Outputs, outputs) {
		r.Inputs = "" // a secret was masked, so that nobody can go on with this
	}
	r.Status, r.Reason = x.verdict(ctx, err)
	if r.Status == core.Failed && r.Attempts > 1 {
		r.Reason += fmt.Sprintf(" (%d attempts)", r.Attempts)
	}
	return r, outputs
}

// attempts tries a stage until it passes, its retries are used up, or another attempt cannot help.
func (x *execution) attempts(ctx context.Context, s core.Stage, inputs map[core.StageID]map[string]any, r *core.StageResult) (map[string]any, error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		outputs, err := x.attempt(ctx, s, inputs, r)
		if err == nil || r.Attempts > s.Retries || ctx.Err() != nil || !mayHelp(err) {
			return outputs, err
		}
		_, reason := x.verdict(ctx, err)
		x.emit(ctx, core.Event{
			Source: string(s.ID()), Kind: core.KindStageRetrying, Severity: core.Warning, Environment: x.environment(s),
			Summary: fmt.Sprintf("attempt %d of %d: %s; again in %s", r.Attempts, s.Retries+1, reason, pause),
			Data:    map[string]any{"attempt": r.Attempts, "of": s.Retries + 1, "wait": pause.Seconds()},
		})
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// mayHelp reports whether another attempt can end differently.
func mayHelp(err error) bool {
	if failure := (*core.Failure)(nil); errors.As(err, &failure) {
		return len(failure.Diagnostics) == 0
	}
	var (
		skip    *core.SkipError
		diags   core.Diagnostics
		prepare *prepareError
	)
	return !errors.As(err, &skip) && !errors.As(err, &diags) && !errors.As(err, &prepare)
}

// verdict turns what came of a stage into a status and, masked, its reason. ctx is the run's.
func (x *execution) verdict(ctx context.Context, err error) (core.Status, string) {
	skip := (*core.SkipError)(nil)
	switch {
	case err == nil:
		return core.Passed, ""
	case errors.As(err, &skip):
		return core.Skipped, x.mask.String(skip.Reason)
	case ctx.Err() != nil:
		return core.Cancelled, x.mask.String(cancelReason(ctx))
	}
	return core.Failed, x.mask.String(strings.TrimSpace(err.Error()))
}

// attempt runs a stage once, in a plugin process of its own.
func (x *execution) attempt(ctx context.Context, s core.Stage, inputs map[core.StageID]map[string]any, r *core.StageResult) (map[string]any, error) {
	plugin, err := x.procs.take(ctx, s.Type)
	if err != nil {
		r.Attempts++
		return nil, err
	}
	defer x.procs.end(plugin)
	desc := plugin.Description()
	if needsHosts(desc) {
		if err := x.prepare(ctx, x.environment(s)); err != nil {
			return nil, err
		}
	}
	r.Attempts++
	r.Plugin = plugin.Digest()
	if r.Attempts == 1 {
		r.Started = time.Now() // without the time that the environment took
	}
	x.emit(ctx, core.Event{
		Source: string(s.ID()), Kind: core.KindStageStarted, Environment: x.environment(s),
		Summary: "started", Data: map[string]any{"attempt": r.Attempts},
	})
	job, err := x.job(s, inputs)
	if err != nil {
		return nil, x.report(ctx, s, err)
	}
	if desc.Cacheable {
		r.Inputs = x.inputs(s, r.Plugin, job.Config.Scope)
	}
	if len(desc.Capabilities) > 0 {
		job.Capabilities = &observed{
			Capabilities: x.engine.Environments.Capabilities(x.pipeline, job), x: x, stage: s,
			emit: func(e core.Event) { x.emit(ctx, e) },
		}
	}
	outputs, err := x.work(ctx, s, plugin, job)
	return outputs, x.report(ctx, s, err)
}

func (x *execution) job(s core.Stage, inputs map[core.StageID]map[string]any) (core.Job, error) {
	env := x.environment(s)
	scope, err := s.Scope(env, inputs)
	if err != nil {
		return core.Job{}, fmt.Errorf("evaluate block: %w", err)
	}
	state, err := x.engine.Folders.StageState(x.pipeline.Name, s.ID())
	if err != nil {
		return core.Job{}, fmt.Errorf("make folder of stage: %w", err)
	}
	return core.Job{
		Config: core.Config{Name: s.Name, Block: s.Block, Scope: scope},
		Info: core.RunInfo{
			Run: x.info.ID, Pipeline: x.info.Pipeline, Stage: s.ID(), Commit: x.info.Commit, Branch: x.info.Branch,
			Environment: env, Workspace: x.workspace, StateDir: state,
		},
	}, nil
}

// work gives the job to the plugin and turns its messages into events.
func (x *execution) work(ctx context.Context, s core.Stage, plugin core.Plugin, job core.Job) (map[string]any, error) {
	ctx, flooded := context.WithCancelCause(ctx)
	defer flooded(nil)
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("timed out after %s", brief(s.Timeout)))
		defer cancel()
	}
	// A plugin that does not end is ended: nothing may hang because a stage does.
	finished := make(chan struct{})
	defer close(finished)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-finished:
		case <-time.After(cancelGrace):
			_ = plugin.Close() // fails the call in flight, whose error is replaced below
		}
	})()

	m := newMessages(ctx, x, s, func() {
		flooded(fmt.Errorf("flooded its log: more than %d MiB", logMost>>20))
	})
	err := plugin.Run(ctx, job, m.take)
	m.flush()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return m.outputs, nil
}

// brief writes a duration without units that are zero at its end.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// report makes findings of the diagnostics in an error, and returns the error that the verdict shows.
func (x *execution) report(ctx context.Context, s core.Stage, err error) error {
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
		e := findingEvent(core.Finding{
			Path: d.Range.File, Line: d.Range.Start.Line, Column: d.Range.Start.Column, Severity: severity, Message: text,
		})
		e.Source, e.Environment = string(s.ID()), x.environment(s)
		x.emit(ctx, e)
	}
	return err
}

func findingEvent(f core.Finding) core.Event {
	return core.Event{
		Kind: core.KindFinding, Summary: f.Message,
		Data: map[string]any{"path": f.Path, "line": f.Line, "column": f.Column, "severity": f.Severity, "rule": f.Rule},
	}
}

// prepareError is why an environment could not be made ready; trying again at once does not help.
type prepareError struct {
	env string
	err error
}

func (e *prepareError) Error() string { return "prepare environment " + e.env + ": " + e.err.Error() }
func (e *prepareError) Unwrap() error { return e.err }

// prepare makes an environment ready, once in a run; everyone who asks waits for the same answer. ctx is the
// run's, not that of a stage.
func (x *execution) prepare(ctx context.Context, env string) error {
	x.preparing.Lock()
	once, ok := x.prepared[env]
	if !ok {
		once = sync.OnceValue(func() error { return x.prepareNow(ctx, env) })
		x.prepared[env] = once
	}
	x.preparing.Unlock()
	return once()
}

func (x *execution) prepareNow(ctx context.Context, env string) error {
	source := "environment." + env
	begun := time.Now()
	x.emit(ctx, core.Event{Source: source, Environment: env, Kind: core.KindEnvironmentPreparing, Summary: "preparing"})
	err := x.engine.Environments.Prepare(ctx, x.pipeline, x.info.ID, env, func(e core.Event) {
		if e.Source == "" {
			e.Source = source
		}
		e.Environment = env
		x.emit(ctx, e)
	})
	data := map[string]any{"seconds": time.Since(begun).Seconds()}
	if err != nil {
		x.emit(ctx, core.Event{
			Source: source, Environment: env, Kind: core.KindEnvironmentFailed, Severity: core.Warning, Summary: err.Error(), Data: data,
		})
		return &prepareError{env, err}
	}
	x.emit(ctx, core.Event{Source: source, Environment: env, Kind: core.KindEnvironmentReady, Summary: "ready", Data: data})
	return nil
}
