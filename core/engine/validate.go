package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// Validate finds what is wrong with a pipeline that its manifest alone cannot tell: missing plugins, what the
// plugins say about their blocks, and outputs that nobody gives. It touches nothing.
func (e *Engine) Validate(ctx context.Context, p *core.Pipeline) core.Diagnostics {
	procs := &processes{plugins: e.Plugins, idle: map[string][]core.Plugin{}}
	defer procs.close()
	return e.check(ctx, p, procs, nil)
}

// runs tells of a stage in which environment it works in a run, and whether it is going to.
type runs func(s core.Stage) (env string, runs bool)

// check looks at every stage, one goroutine per plugin, and leaves the plugins idle in procs. Before a run, it also
// tells whether the stages that are going to run can.
func (e *Engine) check(ctx context.Context, p *core.Pipeline, procs *processes, in runs) core.Diagnostics {
	byType := map[string][]core.Stage{}
	for _, s := range p.Stages {
		byType[s.Type] = append(byType[s.Type], s)
	}
	var (
		wg           sync.WaitGroup
		mu           sync.Mutex
		diags        core.Diagnostics
		descriptions = map[string]core.Description{}
	)
	for typ, stages := range byType {
		wg.Go(func() {
			plugin, err := procs.take(ctx, typ)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				diags = append(diags, openDiagnostic(stages[0], err))
				return
			}
			found := checkStages(ctx, plugin, stages, in)
			procs.give(typ, plugin)
			mu.Lock()
			defer mu.Unlock()
			diags = append(diags, found...)
			descriptions[typ] = plugin.Description()
		})
	}
	wg.Wait()
	diags = append(diags, checkReferences(p, descriptions)...)
	slices.SortStableFunc(diags, func(a, b core.Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Range.File, b.Range.File),
			cmp.Compare(a.Range.Start.Line, b.Range.Start.Line),
			cmp.Compare(a.Range.Start.Column, b.Range.Start.Column),
		)
	})
	mask := mask.New(p.Secrets...)
	for i := range diags { // plugins like to quote what they refuse
		diags[i].Summary, diags[i].Detail = mask.String(diags[i].Summary), mask.String(diags[i].Detail)
	}
	return slices.CompactFunc(diags, func(a, b core.Diagnostic) bool { return a == b })
}

func openDiagnostic(s core.Stage, err error) core.Diagnostic {
	if missing := (*core.NotFoundError)(nil); errors.As(err, &missing) {
		return core.Diagnostic{
			Summary: fmt.Sprintf("No plugin for stage %q", s.Type),
			Detail:  cmp.Or(missing.Remedy, missing.Error()),
			Range:   s.Range,
		}
	}
	return core.Diagnostic{Summary: fmt.Sprintf("Plugin %q cannot be used", s.Type), Detail: err.Error(), Range: s.Range}
}

func checkStages(ctx context.Context, plugin core.Plugin, stages []core.Stage, in runs) core.Diagnostics {
	var diags core.Diagnostics
	desc := plugin.Description()
	for _, s := range stages {
		if !desc.Stage {
			diags = append(diags, core.Diagnostic{
				Summary: fmt.Sprintf("Plugin %q is not a stage", s.Type),
				Detail:  "it has an agent or actions only; take the block out",
				Range:   s.Range,
			})
			continue
		}
		env := s.Environment
		if in != nil {
			var willRun bool
			env, willRun = in(s)
			if env == "" && willRun {
				diags = append(diags, needsEnvironment(s, desc)...)
			}
		}
		diags = append(diags, needsGrants(s, desc)...)
		found, err := checkStage(ctx, plugin, s, env)
		diags = append(diags, found...)
		if err != nil {
			diags = append(diags, core.Diagnostic{
				Summary: fmt.Sprintf("Stage %s cannot be checked", s.ID()), Detail: err.Error(), Range: s.Range,
			})
		}
	}
	return diags
}

// needsEnvironment reports a stage that cannot run without one.
func needsEnvironment(s core.Stage, d core.Description) core.Diagnostics {
	found := core.Diagnostic{
		Summary: fmt.Sprintf("Stage %s needs an environment", s.ID()),
		Detail:  `It works on hosts: choose with --env NAME, or write environment = "NAME" in the stage.`,
		Range:   s.Range,
	}
	switch {
	case needsHosts(d):
	case s.EnvironmentName != core.Range{}:
		found.Detail = `It uses environment.name: choose with --env NAME, or write environment = "NAME" in the stage.`
		found.Range = s.EnvironmentName
	default:
		return nil
	}
	return core.Diagnostics{found}
}

// needsGrants reports a plugin that asks for what the manifest does not grant.
func needsGrants(s core.Stage, d core.Description) core.Diagnostics {
	var diags core.Diagnostics
	for _, c := range d.Capabilities {
		if c.NeedsGrant() && !slices.Contains(s.Grants, c) {
			diags = append(diags, core.Diagnostic{
				Summary: fmt.Sprintf("Stage %s asks for %q", s.ID(), c),
				Detail:  fmt.Sprintf("Its plugin wants to %s. If you trust it with that, write grants = [%q] in the stage.", c.Allows(), c),
				Range:   s.Range,
			})
		}
	}
	return diags
}

func checkStage(ctx context.Context, plugin core.Plugin, s core.Stage, env string) (core.Diagnostics, error) {
	scope, err := s.Scope(env, nil)
	if diags := core.Diagnostics(nil); errors.As(err, &diags) {
		return diags, nil
	}
	if err != nil {
		return nil, err
	}
	return plugin.Check(ctx, core.Config{Name: s.Name, Block: s.Block, Scope: scope})
}

// checkReferences looks for outputs that no plugin gives. A plugin that could not be described is not judged.
func checkReferences(p *core.Pipeline, descriptions map[string]core.Description) core.Diagnostics {
	types := map[core.StageID]string{}
	for _, s := range p.Stages {
		types[s.ID()] = s.Type
	}
	var diags core.Diagnostics
	for _, s := range p.Stages {
		for _, ref := range s.References {
			desc, ok := descriptions[types[ref.Stage]]
			if !ok {
				continue
			}
			var names []string
			for _, o := range desc.Outputs {
				names = append(names, o.Name)
			}
			if slices.Contains(names, ref.Output) {
				continue
			}
			diags = append(diags, core.Diagnostic{
				Summary: fmt.Sprintf("Stage %s has no output %q", ref.Stage, ref.Output),
				Detail:  core.Suggest(ref.Output, names),
				Range:   ref.Range,
			})
		}
	}
	return diags
}

// needsHosts tells whether a plugin asks for something that only a prepared environment can give.
func needsHosts(d core.Description) bool {
	return slices.ContainsFunc(d.Capabilities, core.Capability.NeedsEnvironment)
}
