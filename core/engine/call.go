package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// Call has the plugin of a stage do one of its actions, for an operator. The action sees the stage's block with the
// outputs of the last run that passed in the environment: what stands there now. What it says goes to Emit, masked;
// nothing is recorded. Its outputs are returned, masked, also beside an error.
//
// What an action refuses is a *core.Failure; that it has nothing to do is a *core.SkipError. An action works on the
// hosts as they are: no environment is prepared for it.
func (e *Engine) Call(ctx context.Context, p *core.Pipeline, o core.CallOptions) (map[string]any, error) {
	found, err := findStages(p, o.Type, o.Name)
	if err != nil {
		return nil, err
	}
	plugin, err := e.Plugins.Open(ctx, o.Type)
	if err != nil {
		return nil, fmt.Errorf("start plugin %s: %w", o.Type, err)
	}
	defer func() { _ = plugin.Close() }() // its work is done and judged
	action, err := plugin.Description().Action(o.Action)
	if err != nil {
		return nil, err
	}
	s, err := choose(found, action, o)
	if err != nil {
		return nil, err
	}
	env, err := callEnvironment(p, s, o.Environment)
	if err != nil {
		return nil, err
	}
	m := mask.New(p.Secrets...)
	if action.Whole {
		if err := e.Environments.Hold(ctx, p, env); err != nil {
			return nil, err
		}
	}
	outputs, err := e.call(ctx, p, plugin, action, s, env, o.Args, m)
	return m.Map(outputs), maskError(err, m)
}

func (e *Engine) call(ctx context.Context, p *core.Pipeline, plugin core.Plugin, action core.Action, s core.Stage, env string, args map[string]string, m *mask.Mask) (map[string]any, error) {
	given, err := e.lastOutputs(ctx, p.Name, env)
	if err != nil {
		return nil, err
	}
	job, err := e.job(p, s, given, core.RunInfo{Pipeline: p.Name, Environment: env, Workspace: p.Source.Path}, m)
	if err != nil {
		return nil, err
	}
	if env != "" && needsHosts(action.Capabilities) {
		if err := e.hideSecrets(p, env, m); err != nil {
			return nil, err
		}
	}
	var emitting sync.Mutex
	from := &origin{stage: s.ID(), env: env, mask: m, send: func(event core.Event) {
		emitting.Lock()
		defer emitting.Unlock()
		if e.Emit != nil {
			e.Emit(complete(event, m))
		}
	}}
	e.serve(p, action.Capabilities, &job, from)
	return work(ctx, plugin, from, func(ctx context.Context, emit func(core.Message)) error {
		return plugin.Call(ctx, job, action.Name, args, emit)
	})
}

// choose returns the stage that an action is about. For one about the environment, any that works there does.
func choose(found []core.Stage, action core.Action, o core.CallOptions) (core.Stage, error) {
	if action.Whole {
		there := slices.IndexFunc(found, func(s core.Stage) bool {
			return o.Environment == "" || s.Environment == "" || s.Environment == o.Environment
		})
		return found[max(there, 0)], nil
	}
	if len(found) == 1 {
		return found[0], nil
	}
	several := &AmbiguousError{Type: o.Type}
	for _, s := range found {
		several.Names = append(several.Names, s.Name)
	}
	return core.Stage{}, several
}

// findStages returns the stages of a type, or the one of a name.
func findStages(p *core.Pipeline, typ, name string) ([]core.Stage, error) {
	var names []string
	var found []core.Stage
	for _, s := range p.Stages {
		if s.Type == typ {
			names = append(names, s.Name)
			if name == "" || s.Name == name {
				found = append(found, s)
			}
		}
	}
	switch {
	case len(names) == 0:
		return nil, &core.NotFoundError{What: "stage of type", Name: typ, Remedy: p.File + " has none; the action needs the arguments of one"}
	case len(found) == 0:
		return nil, &core.NotFoundError{What: "stage " + typ, Name: name, Remedy: core.Suggest(name, names)}
	}
	return found, nil
}

// AmbiguousError says that a pipeline has several stages of the type that an action is called of.
type AmbiguousError struct {
	Type  string
	Names []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("there are several stages of type %s; choose one with --stage: %s", e.Type, strings.Join(e.Names, ", "))
}

// callEnvironment is where an action works: as asked for, else where its stage does, else in the only environment
// of the pipeline, or in none.
func callEnvironment(p *core.Pipeline, s core.Stage, name string) (string, error) {
	if name = cmp.Or(name, s.Environment); name == "" && len(p.Environments) != 1 {
		return "", nil
	}
	env, err := p.Environment(name)
	return env.Name, err
}

// lastOutputs are the outputs of the last run that passed in an environment.
func (e *Engine) lastOutputs(ctx context.Context, pipeline, env string) (map[core.StageID]map[string]any, error) {
	runs, err := e.Store.Runs(ctx, core.RunFilter{Pipeline: pipeline, Statuses: []core.Status{core.Passed, core.PassedWithFailures}, Environment: env, Limit: 1})
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	outputs := map[core.StageID]map[string]any{}
	for _, s := range runs[0].Stages {
		if s.Outputs != nil {
			outputs[s.ID] = s.Outputs
		}
	}
	return outputs, nil
}

// maskError hides secrets in an error. A verdict stays a verdict.
func maskError(err error, m *mask.Mask) error {
	if err == nil || m.String(err.Error()) == err.Error() {
		return err
	}
	text := m.String(err.Error())
	if _, ok := errors.AsType[*core.Failure](err); ok {
		return &core.Failure{Reason: text}
	}
	if _, ok := errors.AsType[*core.SkipError](err); ok {
		return &core.SkipError{Reason: text}
	}
	return errors.New(text)
}
