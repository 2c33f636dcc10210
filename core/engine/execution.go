package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// execution is one run on its way. Its fields belong to the goroutine of execute, except where said.
type execution struct {
	engine   *Engine
	pipeline *core.Pipeline
	options  core.RunOptions
	graph    *graph
	info     core.Run   // as it was at the start; read by all
	procs    *processes // safe for all
	mask     *mask.Mask // safe for all
	abort    context.CancelCauseFunc

	run       core.Run
	states    []stageState
	outputs   map[core.StageID]map[string]any // unmasked
	running   int
	limit     int
	stopped   core.StageID // the first stage whose failure stopped the run
	workspace string       // written before the first stage starts
	done      chan outcome
	past      func() ([]core.Run, error) // earlier runs of the pipeline, the newest first; read at the first call

	emitting sync.Mutex // orders the journal and Emit

	preparing sync.Mutex
	prepared  map[string]func() error
}

// stageState is what the walk knows of a stage beyond its result.
type stageState struct {
	settled bool              // nothing more happens to it in this run
	passes  bool              // stages that need it may start
	known   *core.StageResult // of an earlier run with the same inputs; nil: it has to run
}

// outcome is a stage's end.
type outcome struct {
	index   int
	result  core.StageResult
	outputs map[string]any // unmasked
}

// execute takes the run from its first event to its last.
func (x *execution) execute(ctx context.Context, warnings core.Diagnostics) (core.Run, error) {
	x.save(ctx)
	x.started(ctx)
	for _, d := range warnings {
		x.emit(ctx, core.Event{
			Source: "manifest", Kind: core.KindLog, Severity: core.Warning, Summary: core.Diagnostics{d}.Error(),
			Data: map[string]any{"error": true},
		})
	}
	if err := x.checkout(ctx); err != nil {
		x.run.Status, x.run.Reason = core.Failed, x.mask.String(err.Error())
	} else {
		x.walk(ctx)
	}
	return x.finish(ctx)
}

func (x *execution) checkout(ctx context.Context) error {
	dir, err := x.engine.Folders.Workspace(x.run.ID)
	if err != nil {
		return fmt.Errorf("make workspace: %w", err)
	}
	x.workspace, err = x.engine.Source.Checkout(ctx, x.options.Commit, dir)
	if err != nil {
		return fmt.Errorf("check out commit %s: %w", x.options.Commit, err)
	}
	return nil
}

// walk starts every stage as soon as what it needs has passed, and returns when nothing runs and nothing can
// start.
func (x *execution) walk(ctx context.Context) {
	for i, r := range x.run.Stages {
		x.states[i].settled = r.Status == core.Skipped // not asked for
	}
	if !x.options.Force {
		x.reuse(ctx)
	}
	for {
		for x.advance(ctx) {
		}
		if x.running == 0 {
			return
		}
		x.settle(ctx, <-x.done)
	}
}

// advance moves the first stage that can be moved.
func (x *execution) advance(ctx context.Context) bool {
	for i := range x.states {
		if x.states[i].settled || x.run.Stages[i].Status != core.Pending {
			continue
		}
		blocker, ready := x.ready(i)
		switch {
		case blocker >= 0:
			b := x.run.Stages[blocker]
			x.states[i].settled = true
			if b.Status == core.Skipped {
				x.skip(ctx, i, fmt.Sprintf("needs %s, which was skipped", b.ID))
			} else {
				x.run.Stages[i].Reason = fmt.Sprintf("needs %s", b.ID)
			}
			return true
		case !ready || x.stopped != "" || ctx.Err() != nil:
			continue
		}
		if x.running == x.limit {
			continue
		}
		if reason := x.unwanted(i); reason != "" {
			x.states[i].settled = true
			x.skip(ctx, i, reason)
			return true
		}
		if r := x.states[i].known; r != nil {
			x.settleKnown(ctx, i, *r)
			return true
		}
		if last := x.untouched(ctx, i); last != nil {
			s := x.pipeline.Stages[i]
			reason := fmt.Sprintf("nothing in %s changed since run %s", strings.Join(s.When.Paths, ", "), last.run)
			x.settleKnown(ctx, i, core.StageResult{ID: s.ID(), Reason: reason, Outputs: last.outputs})
			return true
		}
		x.start(ctx, i)
		return true
	}
	return false
}

// ready tells whether all that a stage needs has passed; blocker is a stage that never will, or -1.
func (x *execution) ready(i int) (blocker int, ready bool) {
	ready = true
	for _, n := range x.graph.needs[i] {
		if s := x.states[n]; s.settled && !s.passes {
			return n, false
		} else if !s.settled {
			ready = false
		}
	}
	return -1, ready
}

// unwanted is why a stage's conditions do not hold, or empty.
func (x *execution) unwanted(i int) string {
	s := x.pipeline.Stages[i]
	if reason := unwanted(s, x.options.Branch, x.environment(s)); reason != "" {
		return reason
	}
	for _, ref := range s.References {
		_, given := x.outputs[ref.Stage][ref.Output]
		if from := x.run.Stages[x.graph.index[ref.Stage]]; !given && from.Status != core.Passed {
			return fmt.Sprintf("needs output %s of %s, which %s", ref.Output, ref.Stage, was(from.Status))
		}
	}
	return ""
}

// unwanted is why a stage does not run on a branch and in an environment, or empty.
func unwanted(s core.Stage, branch, env string) string {
	if w := s.When.Branches; len(w) > 0 && !slices.ContainsFunc(w, func(p string) bool { return matches(p, branch) }) {
		return fmt.Sprintf("branch %s is not %s", cmp.Or(branch, "(none)"), strings.Join(w, " or "))
	}
	if w := s.When.Environments; len(w) > 0 && !slices.Contains(w, env) {
		return fmt.Sprintf("environment %s is not %s", cmp.Or(env, "(none)"), strings.Join(w, " or "))
	}
	return ""
}

// was is a status as the end of a sentence.
func was(s core.Status) string {
	if s == core.Skipped {
		return "was skipped"
	}
	return string(s)
}

func (x *execution) environment(s core.Stage) string {
	return cmp.Or(s.Environment, x.options.Environment)
}

func (x *execution) skip(ctx context.Context, i int, reason string) {
	r := &x.run.Stages[i]
	r.Status, r.Reason = core.Skipped, reason
	x.save(ctx)
	x.emit(ctx, core.Event{Source: string(r.ID), Kind: core.KindStageSkipped, Summary: reason, Environment: x.environment(x.pipeline.Stages[i])})
}

func (x *execution) start(ctx context.Context, i int) {
	x.running++
	r := &x.run.Stages[i]
	r.Status, r.Started = core.Running, time.Now()
	x.save(ctx)
	outputs := maps.Clone(x.outputs)
	s := x.pipeline.Stages[i]
	go func() {
		out := outcome{index: i}
		out.result, out.outputs = x.stage(ctx, s, outputs)
		x.done <- out
	}()
}

// settle records a stage's end.
func (x *execution) settle(ctx context.Context, o outcome) {
	x.running--
	s := x.pipeline.Stages[o.index]
	x.run.Stages[o.index] = o.result
	if len(o.outputs) > 0 {
		x.outputs[s.ID()] = o.outputs
	}
	st := &x.states[o.index]
	st.settled = true
	switch o.result.Status {
	case core.Passed, core.Skipped:
		st.passes = true
	case core.Failed:
		st.passes = s.OnFailure == core.Continue
		if !st.passes && x.stopped == "" {
			x.stopped = s.ID()
		}
	}
	x.save(ctx)
	x.ended(ctx, s, o.result)
}

// finish gives the run its status and records it.
func (x *execution) finish(ctx context.Context) (core.Run, error) {
	r := &x.run
	r.Ended = time.Now()
	switch {
	case x.stopped != "":
		r.Status = core.Failed
		r.Reason = fmt.Sprintf("%s: %s", x.stopped, r.Stages[x.graph.index[x.stopped]].Reason)
	case ctx.Err() != nil:
		r.Status, r.Reason = core.Cancelled, x.mask.String(cancelReason(ctx))
	case r.Status == core.Running: // and not failed at once
		r.Status = core.Passed
	}
	for i := range r.Stages {
		if s := &r.Stages[i]; s.Status == core.Pending && s.Reason == "" {
			s.Reason = "not reached"
			if x.stopped != "" {
				s.Reason = fmt.Sprintf("not started, because %s failed", x.stopped)
			}
		}
	}
	x.finished(ctx)
	x.save(ctx)
	if broken := (*recordError)(nil); errors.As(context.Cause(ctx), &broken) {
		return x.run, broken
	}
	return x.run, nil
}

func cancelReason(ctx context.Context) string {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		return "interrupted"
	}
	return cause.Error()
}

// recordError ends a run: what cannot be recorded must not happen.
type recordError struct{ err error }

func (e *recordError) Error() string { return "record run: " + e.err.Error() }
func (e *recordError) Unwrap() error { return e.err }

// save records the run as it stands, also when ctx has ended.
func (x *execution) save(ctx context.Context) {
	r := x.run
	r.Stages = slices.Clone(r.Stages)
	if err := x.engine.Store.PutRun(context.WithoutCancel(ctx), r); err != nil {
		x.abort(&recordError{err})
	}
}
