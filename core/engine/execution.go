package engine

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// execution is one run in progress. Its fields belong to the goroutine of execute, except where noted.
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
	ready     ready
	outputs   map[core.StageID]map[string]any // unmasked
	past      core.History                    // nil: every stage runs, whatever has happened before
	changed   map[string][]string             // files that differ from the run's commit, by the other commit
	running   int
	limit     int
	stopped   core.StageID // the first stage whose failure stopped the run
	workspace string       // written before the first stage starts
	done      chan outcome

	emitting sync.Mutex // orders the journal and Emit

	preparing sync.Mutex
	prepared  map[string]func() error
}

// stageState is what the walk knows of a stage beyond its result.
type stageState struct {
	settled bool              // nothing more happens to it in this run
	passes  bool              // stages that need it may start
	waits   int               // how many of its needs are not settled
	known   *core.StageResult // of an earlier run with the same inputs; nil: it has to run
}

// outcome is a stage's end.
type outcome struct {
	index   int
	result  core.StageResult
	outputs map[string]any // unmasked
}

// execute runs everything, from the run's first event to its last.
func (x *execution) execute(ctx context.Context, warnings core.Diagnostics) (core.Run, error) {
	x.putRun(ctx)
	x.started(ctx)
	for _, d := range warnings {
		x.warn(ctx, "manifest", "", core.Diagnostics{d}.Error())
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

// walk starts every stage as soon as what it needs has passed, in the manifest's order, and returns when nothing runs
// and nothing can start. Each stage and each need is looked at once.
func (x *execution) walk(ctx context.Context) {
	for i, r := range x.run.Stages {
		x.states[i].settled = r.Status == core.Skipped // not asked for
		x.states[i].waits = len(x.graph.needs[i])
	}
	if !x.options.Force {
		x.remember(ctx)
		x.reuse(ctx)
	}
	for i, s := range x.states {
		if !s.settled && s.waits == 0 {
			heap.Push(&x.ready, i)
		}
	}
	for {
		for len(x.ready) > 0 && x.running < x.limit && x.stopped == "" && ctx.Err() == nil {
			x.advance(ctx, heap.Pop(&x.ready).(int))
		}
		if x.running == 0 {
			return
		}
		x.settle(ctx, <-x.done)
	}
}

// ready is a heap of the stages whose needs have passed, the first of the manifest on top.
type ready []int

func (r ready) Len() int           { return len(r) }
func (r ready) Less(i, j int) bool { return r[i] < r[j] }
func (r ready) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ready) Push(i any)        { *r = append(*r, i.(int)) }
func (r *ready) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// advance starts a stage whose needs have passed, or settles one that does not have to run.
func (x *execution) advance(ctx context.Context, i int) {
	if reason := x.unwanted(i); reason != "" {
		x.skip(ctx, i, reason)
		x.release(ctx, i, false)
		return
	}
	if r := x.states[i].known; r != nil {
		x.settleKnown(ctx, i, *r)
		return
	}
	if pass := x.untouched(ctx, i); pass != nil {
		s := x.pipeline.Stages[i]
		x.settleKnown(ctx, i, core.StageResult{
			ID: s.ID(), Reused: pass.Run, Outputs: pass.Outputs,
			Reason: fmt.Sprintf("nothing in %s changed since run %s", strings.Join(s.When.Paths, ", "), pass.Run),
		})
		return
	}
	x.start(ctx, i)
}

// release settles a stage and tells those that need it: they are ready once all their needs have passed, and never
// run when one has not.
func (x *execution) release(ctx context.Context, i int, passes bool) {
	x.states[i].settled, x.states[i].passes = true, passes
	for _, d := range x.graph.neededBy[i] {
		s := &x.states[d]
		if s.settled {
			continue
		}
		if passes {
			if s.waits--; s.waits == 0 {
				heap.Push(&x.ready, d)
			}
			continue
		}
		if b := x.run.Stages[i]; b.Status == core.Skipped {
			x.skip(ctx, d, fmt.Sprintf("needs %s, which was skipped", b.ID))
		} else {
			x.run.Stages[d].Reason = fmt.Sprintf("needs %s", b.ID)
		}
		x.release(ctx, d, false)
	}
}

// unwanted returns why a stage's conditions do not hold, or nothing.
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

// unwanted returns why a stage does not run on a branch and in an environment, or nothing.
func unwanted(s core.Stage, branch, env string) string {
	if w := s.When.Branches; len(w) > 0 && !slices.ContainsFunc(w, func(p string) bool { return matches(p, branch) }) {
		return fmt.Sprintf("branch %s is not %s", cmp.Or(branch, "(none)"), strings.Join(w, " or "))
	}
	if w := s.When.Environments; len(w) > 0 && !slices.Contains(w, env) {
		return fmt.Sprintf("environment %s is not %s", cmp.Or(env, "(none)"), strings.Join(w, " or "))
	}
	return ""
}

// untouched returns the last pass of a stage if none of its files has changed since. If that cannot be told, the stage
// runs.
func (x *execution) untouched(ctx context.Context, i int) *core.Pass {
	s := x.pipeline.Stages[i]
	if len(s.When.Paths) == 0 || x.past == nil {
		return nil
	}
	pass, err := x.past.Passed(ctx, s.ID(), x.options)
	if err == nil && pass == nil {
		return nil
	}
	var changed []string
	if err == nil {
		changed, err = x.changedSince(ctx, pass.Commit)
	}
	if err != nil {
		x.warn(ctx, string(s.ID()), x.environment(s), "cannot tell what changed; running: "+err.Error())
		return nil
	}
	if slices.ContainsFunc(changed, s.When.Paths.Match) {
		return nil
	}
	return pass
}

// changedSince lists the files that differ from an earlier commit. Each commit is compared once in a run.
func (x *execution) changedSince(ctx context.Context, commit string) ([]string, error) {
	if files, known := x.changed[commit]; known {
		return files, nil
	}
	files, err := x.engine.Source.Changed(ctx, commit, x.options.Commit)
	if err == nil {
		x.changed[commit] = files
	}
	return files, err
}

// warn emits a warning. Without an environment it is that of the run.
func (x *execution) warn(ctx context.Context, source, env, text string) {
	x.emit(ctx, core.Event{
		Source: source, Environment: env, Kind: core.KindLog, Severity: core.Warning, Summary: text, Data: map[string]any{"error": true},
	})
}

// was is a status as the end of a sentence.
func was(s core.Status) string {
	if s == core.Skipped {
		return "was skipped"
	}
	return string(s)
}

// matches reports whether a branch fits a pattern of path.Match, in which * does not match a slash.
func matches(pattern, branch string) bool {
	ok, err := path.Match(pattern, branch)
	return ok && err == nil
}

func (x *execution) environment(s core.Stage) string {
	return cmp.Or(s.Environment, x.options.Environment)
}

func (x *execution) skip(ctx context.Context, i int, reason string) {
	r := &x.run.Stages[i]
	r.Status, r.Reason = core.Skipped, reason
	x.putStage(ctx, *r)
	x.emit(ctx, core.Event{Source: string(r.ID), Kind: core.KindStageSkipped, Summary: reason, Environment: x.environment(x.pipeline.Stages[i])})
}

func (x *execution) start(ctx context.Context, i int) {
	x.running++
	r := &x.run.Stages[i]
	r.Status, r.Started = core.Running, time.Now()
	x.putStage(ctx, *r)
	outputs := x.given(i)
	s := x.pipeline.Stages[i]
	go func() {
		out := outcome{index: i}
		out.result, out.outputs = x.stage(ctx, s, outputs)
		x.done <- out
	}()
}

// given returns the outputs that a stage's expressions may use: those of the stages that it needs.
func (x *execution) given(i int) map[core.StageID]map[string]any {
	given := map[core.StageID]map[string]any{}
	for _, n := range x.graph.needs[i] {
		id := x.run.Stages[n].ID
		if o, ok := x.outputs[id]; ok {
			given[id] = o
		}
	}
	return given
}

// settle records a stage's end.
func (x *execution) settle(ctx context.Context, o outcome) {
	x.running--
	s := x.pipeline.Stages[o.index]
	x.run.Stages[o.index] = o.result
	if len(o.outputs) > 0 {
		x.outputs[s.ID()] = o.outputs
	}
	passes := o.result.Status == core.Passed || o.result.Status == core.Skipped
	if o.result.Status == core.Failed {
		passes = s.OnFailure == core.Continue
		if !passes && x.stopped == "" {
			x.stopped = s.ID()
		}
	}
	x.putStage(ctx, o.result)
	x.ended(ctx, s, o.result)
	x.release(ctx, o.index, passes)
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
		if failed := r.Failed(); len(failed) > 0 {
			r.Status, r.Reason = core.PassedWithFailures, strings.Join(failed, ", ")+" failed, which does not stop the run"
		}
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
	x.putRun(ctx)
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

// recordError stops a run: what cannot be recorded must not happen.
type recordError struct{ err error }

func (e *recordError) Error() string { return "record run: " + e.err.Error() }
func (e *recordError) Unwrap() error { return e.err }

// putRun records the run as a whole, also when ctx has ended.
func (x *execution) putRun(ctx context.Context) {
	r := x.run
	r.Stages = slices.Clone(r.Stages)
	if err := x.engine.Store.PutRun(context.WithoutCancel(ctx), r); err != nil {
		x.abort(&recordError{err})
	}
}

// putStage records what has become of a stage, also when ctx has ended.
func (x *execution) putStage(ctx context.Context, r core.StageResult) {
	if err := x.engine.Store.PutStage(context.WithoutCancel(ctx), x.run.ID, r); err != nil {
		x.abort(&recordError{err})
	}
}
