package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/seed-b96de936/troop/core"
)

// remember opens the results of earlier runs. A warning names each damaged run; its results are not used.
func (x *execution) remember(ctx context.Context) {
	past, err := x.engine.Store.History(ctx, x.pipeline.Name, func(err error) {
		x.warn(ctx, "run", "", "an earlier run is damaged, so its results are not used: "+err.Error())
	})
	if err != nil {
		x.warn(ctx, "run", "", "cannot read earlier runs; running every stage: "+err.Error())
		return
	}
	x.past = past
}

// reuse finds the stages that need not run, because they passed in an earlier run with the same inputs. A stage is
// reused together with all that it needs, or not at all. If a stage that works in the workspace has to run, the stages
// that wrote those files rerun too. A plugin that cannot be asked, or an earlier result that cannot be read, leaves
// the stage to run.
func (x *execution) reuse(ctx context.Context) {
	if x.past == nil {
		return
	}
	descriptions := map[string]core.Description{}
	digests := map[string]core.Digest{}
	outputs := map[core.StageID]map[string]any{}
	for _, i := range x.graph.order() {
		s := x.pipeline.Stages[i]
		if x.states[i].settled {
			continue
		}
		if _, known := descriptions[s.Type]; !known {
			plugin, err := x.procs.take(ctx, s.Type)
			if err != nil {
				continue
			}
			descriptions[s.Type], digests[s.Type] = plugin.Description(), plugin.Digest()
			x.procs.give(s.Type, plugin)
		}
		first := slices.ContainsFunc(x.graph.needs[i], func(n int) bool { return x.states[n].known == nil })
		if !descriptions[s.Type].Cacheable || first || is(s, x.options.From) {
			continue
		}
		scope, err := s.Scope(x.environment(s), outputs)
		if err != nil {
			continue
		}
		r, err := x.past.Same(ctx, s.ID(), x.inputs(s, digests[s.Type], scope))
		if err != nil || r == nil {
			continue
		}
		r.Reason, r.Attempts = fmt.Sprintf("unchanged since it passed in run %.10s", r.Reused), 0
		x.states[i].known = r
		outputs[s.ID()] = r.Outputs
	}
	rerun := make([]bool, len(x.states))
	var run func(i int)
	run = func(i int) {
		if rerun[i] {
			return
		}
		rerun[i], x.states[i].known = true, nil
		for _, n := range x.graph.needs[i] {
			run(n)
		}
	}
	for i, s := range x.pipeline.Stages {
		if !x.states[i].settled && x.states[i].known == nil && slices.Contains(descriptions[s.Type].Capabilities, core.Workspace) {
			run(i)
		}
	}
}

// inputs is a digest of everything that the outcome of a cacheable stage depends on. It is empty if that includes a
// secret: the digest of a weak secret would give it away.
func (x *execution) inputs(s core.Stage, plugin core.Digest, scope core.Scope) core.Digest {
	if v := string(scope.Value); x.mask.String(v) != v {
		return ""
	}
	b, err := json.Marshal([]any{x.info.Pipeline, x.info.Commit, x.info.Branch, x.environment(s), s.ID(), plugin, s.Block.Source, scope})
	if err != nil {
		return ""
	}
	return core.DigestOf(b)
}

// settleKnown gives a stage the result of an earlier run.
func (x *execution) settleKnown(ctx context.Context, i int, r core.StageResult) {
	x.run.Stages[i] = r
	if len(r.Outputs) > 0 {
		x.outputs[r.ID] = r.Outputs
	}
	x.skip(ctx, i, r.Reason)
	x.release(ctx, i, true)
}
