package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// stage runs one stage, in a goroutine of its own, and returns its result and its outputs, unmasked.
func (x *execution) stage(ctx context.Context, s core.Stage, inputs map[core.StageID]map[string]any) (core.StageResult, map[string]any) {
	r := core.StageResult{ID: s.ID(), Started: time.Now()}
	outputs, err := x.attempts(ctx, s, inputs, &r)
	r.Ended = time.Now()
	r.Outputs = x.mask.Map(outputs)
	if !reflect.DeepEqual(r.Outputs, outputs) {
		r.Inputs = "" // a secret was masked, so the outputs cannot be reused
	}
	r.Status, r.Reason = x.verdict(ctx, err)
	if r.Status == core.Failed && r.Attempts > 1 {
		r.Reason += fmt.Sprintf(" (%d attempts)", r.Attempts)
	}
	return r, outputs
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
	if needsHosts(desc.Capabilities) {
		if err := x.prepare(ctx, x.environment(s)); err != nil {
			return nil, err
		}
	}
	r.Attempts++
	r.Plugin = plugin.Digest()
	if r.Attempts == 1 {
		r.Started = time.Now() // without the time that the environment took
	}
	from := &origin{
		stage: s.ID(), env: x.environment(s), run: x.info.ID, mask: x.mask,
		send: func(e core.Event) { x.emit(ctx, e) },
	}
	from.emit(core.Event{Kind: core.KindStageStarted, Summary: "started", Data: map[string]any{"attempt": r.Attempts}})
	job, err := x.engine.job(x.pipeline, s, inputs, core.RunInfo{
		Run: x.info.ID, Pipeline: x.info.Pipeline, Commit: x.info.Commit, Branch: x.info.Branch,
		Environment: x.environment(s), Workspace: x.workspace,
	}, x.mask)
	if err != nil {
		return nil, from.report(err)
	}
	if desc.Cacheable {
		r.Inputs = x.inputs(s, r.Plugin, job.Config.Scope)
	}
	x.engine.serve(x.pipeline, desc.Capabilities, &job, from)
	timeout := cmp.Or(s.Timeout, core.DefaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &timeoutError{after: timeout})
	defer cancel()
	outputs, err := work(ctx, plugin, from, func(ctx context.Context, emit func(core.Message)) error {
		return plugin.Run(ctx, job, emit)
	})
	if err != nil {
		return nil, err
	}
	return outputs, nil
}

// refuseDirty keeps what nobody can review, because it is in no commit of the repository, from hosts that wait for an
// approval.
func (x *execution) refuseDirty(env string) error {
	i := slices.IndexFunc(x.pipeline.Environments, func(e core.Environment) bool { return e.Name == env })
	if !x.info.Dirty || i < 0 {
		return nil
	}
	if t := x.pipeline.Environments[i].Terraform; t == nil || !t.Review.Approve {
		return nil
	}
	return errors.New("uncommitted changes never go where the review says approve = true; commit them and run without --dirty")
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
	if err := x.refuseDirty(env); err != nil {
		return &prepareError{env, err}
	}
	source := "environment." + env
	begun := time.Now()
	x.emit(ctx, core.Event{Source: source, Environment: env, Kind: core.KindEnvironmentPreparing, Summary: "preparing"})
	err := x.engine.hideSecrets(x.pipeline, env, x.mask)
	if err == nil {
		err = x.engine.Environments.Prepare(ctx, x.pipeline, x.info.ID, env, func(e core.Event) {
			if e.Source == "" {
				e.Source = source
			}
			e.Environment = env
			x.emit(ctx, e)
		})
	}
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
