package engine

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// emit completes, masks, records and shows an event, also when ctx has ended. It is safe for all goroutines.
func (x *execution) emit(ctx context.Context, e core.Event) {
	x.emitting.Lock()
	defer x.emitting.Unlock()
	if e.Environment == "" {
		e.Environment = x.info.Environment
	}
	e.Run = x.info.ID
	e = complete(e, x.mask)
	if e.Kind != core.KindProgress {
		if err := x.engine.Store.Append(context.WithoutCancel(ctx), e); err != nil {
			x.abort(&recordError{err})
		}
	}
	if x.engine.Emit != nil {
		x.engine.Emit(e)
	}
}

func (x *execution) started(ctx context.Context) {
	var stages []string
	for _, s := range x.run.Stages {
		if s.Status == core.Pending {
			stages = append(stages, string(s.ID))
		}
	}
	e := core.Event{
		Source: "run", Kind: core.KindRunStarted,
		Summary: fmt.Sprintf("run %s of %s", x.run.ID, x.run.Pipeline),
		Data: map[string]any{
			"pipeline": x.run.Pipeline, "commit": x.run.Commit, "subject": x.run.Subject, "branch": x.run.Branch, "stages": stages,
		},
	}
	if x.run.Tag != "" {
		e.Data["tag"] = x.run.Tag
	}
	if x.run.Dirty {
		e.Data["dirty"] = true
	}
	x.emit(ctx, e)
}

func (x *execution) ended(ctx context.Context, s core.Stage, r core.StageResult) {
	e := core.Event{
		Source: string(r.ID), Environment: x.environment(s), Summary: r.Reason,
		Data: map[string]any{"seconds": seconds(r.Started, r.Ended), "attempts": r.Attempts},
	}
	switch r.Status {
	case core.Passed:
		e.Kind, e.Summary = core.KindStagePassed, "passed"
	case core.Skipped:
		e.Kind = core.KindStageSkipped
	case core.Cancelled:
		e.Kind, e.Severity = core.KindStageCancelled, core.Warning
	default:
		e.Kind, e.Severity = core.KindStageFailed, core.Warning
		if s.OnFailure == core.Continue {
			e.Data["on_failure"] = string(core.Continue)
		}
	}
	x.emit(ctx, e)
}

func (x *execution) finished(ctx context.Context) {
	r := x.run
	var stages []map[string]any
	for _, s := range r.Stages {
		stages = append(stages, map[string]any{
			"id": string(s.ID), "status": string(s.Status), "reason": s.Reason, "seconds": seconds(s.Started, s.Ended),
		})
	}
	e := core.Event{
		Source: "run", Kind: core.RunEnded(r.Status), Summary: cmp.Or(r.Reason, string(r.Status)),
		Data: map[string]any{"seconds": seconds(r.Started, r.Ended), "stages": stages},
	}
	if r.Status != core.Passed {
		e.Severity = core.Warning
	}
	if r.Status == core.PassedWithFailures {
		e.Data["failed"] = r.Failed()
	}
	x.emit(ctx, e)
}

func seconds(from, to time.Time) float64 {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return to.Sub(from).Seconds()
}
