package engine

import (
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
	x.emit(ctx, core.Event{
		Source: "run", Kind: core.KindRunStarted,
		Summary: fmt.Sprintf("run %s of %s", x.run.ID, x.run.Pipeline),
		Data: map[string]any{
			"pipeline": x.run.Pipeline, "commit": x.run.Commit, "subject": x.run.Subject, "branch": x.run.Branch, "stages": stages,
		},
	})
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
		Source: "run", Kind: core.KindRunPassed, Summary: "passed",
		Data: map[string]any{"seconds": seconds(r.Started, r.Ended), "stages": stages},
	}
	switch r.Status {
	case core.Failed:
		e.Kind, e.Severity, e.Summary = core.KindRunFailed, core.Warning, r.Reason
	case core.Cancelled:
		e.Kind, e.Severity, e.Summary = core.KindRunCancelled, core.Warning, r.Reason
	}
	x.emit(ctx, e)
}

func seconds(from, to time.Time) float64 {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return to.Sub(from).Seconds()
}
