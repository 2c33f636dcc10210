package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// retryFirst and retryMost bound the pause before another attempt; it doubles in between.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

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
