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

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// Validate finds what is wrong with a pipeline that its manifest alone cannot tell: missing plugins, what the
// plugins say about their blocks, and outputs that nobody gives. It touches nothing.
//
// It finds in every stage what a run in env finds there. No env means the environment that triggers give to a run by
// its branch: a stage that needs one, and gets none on any branch where it runs, is a warning, because the command
// line can name one; in a pipeline without environments it is an error.
func (e *Engine) Validate(ctx context.Context, p *core.Pipeline, env string) core.Diagnostics {
	procs := &processes{plugins: e.Plugins, idle: map[string][]core.Plugin{}}
	defer procs.close()
	lacking := map[core.StageID]bool{}
	if env == "" {
		lacking = lackEverywhere(p)
	}
	return e.check(ctx, p, procs, func(s core.Stage) (string, lack) {
		switch {
		case !lacking[s.ID()]:
			return cmp.Or(s.Environment, env), none
		case len(p.Environments) > 0:
			return "", avoidable
		}
		return "", impossible
	})
}

// lackEverywhere finds the stages that are in no environment on any branch where they run.
func lackEverywhere(p *core.Pipeline) map[core.StageID]bool {
	g, err := newGraph(p.Stages)
	if err != nil {
		return nil // the manifest says what is wrong with its needs
	}
	lacking, placed := map[core.StageID]bool{}, map[core.StageID]bool{}
	for _, o := range examples(p) {
		o = triggered(p, o)
		wanted, err := g.upTo(o.Until)
		if err != nil {
			continue // said of the trigger
		}
		for i, s := range p.Stages {
			env := cmp.Or(s.Environment, o.Environment)
			if !wanted[i] || unwanted(s, o.Branch, env) != "" {
				continue
			}
			if env == "" {
				lacking[s.ID()] = true
			} else {
				placed[s.ID()] = true
			}
		}
	}
	maps.DeleteFunc(lacking, func(id core.StageID, _ bool) bool { return placed[id] })
	return lacking
}

// examples are a run for each pattern of the pipeline, and one of a branch that fits only the widest.
func examples(p *core.Pipeline) []core.RunOptions {
	branches, tags := []string{"x"}, []string(nil)
	for _, t := range p.Triggers {
		branches, tags = append(branches, t.Branches...), append(tags, t.Tags...)
	}
	for _, s := range p.Stages {
		branches = append(branches, s.When.Branches...)
	}
	var runs []core.RunOptions
	add := func(patterns []string, run func(name string) core.RunOptions) {
		for i, pattern := range patterns {
			patterns[i] = strings.NewReplacer("*", "x", "?", "x").Replace(pattern)
		}
		slices.Sort(patterns)
		for _, name := range slices.Compact(patterns) {
			runs = append(runs, run(name))
		}
	}
	add(branches, func(name string) core.RunOptions { return core.RunOptions{Branch: name} })
	add(tags, func(name string) core.RunOptions { return core.RunOptions{Tag: name} })
	return runs
}

// lack is what it means for a stage that it is in no environment, should it need one.
type lack int

const (
	none       lack = iota // it is in one, or does not run
	avoidable              // the command line can name one
	impossible             // it cannot run
)

// place tells in which environment a stage works.
type place func(s core.Stage) (env string, lacks lack)

// check looks at every stage, one goroutine per plugin, and leaves the plugins idle in procs.
func (e *Engine) check(ctx context.Context, p *core.Pipeline, procs *processes, at place) core.Diagnostics {
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
			found := checkStages(ctx, p, plugin, stages, at)
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

func checkStages(ctx context.Context, p *core.Pipeline, plugin core.Plugin, stages []core.Stage, at place) core.Diagnostics {
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
		env, lacks := at(s)
		if lacks != none {
			diags = append(diags, needsEnvironment(p, s, desc, lacks == avoidable)...)
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
func needsEnvironment(p *core.Pipeline, s core.Stage, d core.Description, warning bool) core.Diagnostics {
	found := core.Diagnostic{Warning: warning, Summary: fmt.Sprintf("Stage %s needs an environment", s.ID()), Range: s.Range}
	why := "It works on hosts"
	switch {
	case needsHosts(d.Capabilities):
	case s.EnvironmentName != core.Range{}:
		why, found.Range = "It uses environment.name", s.EnvironmentName
	default:
		return nil
	}
	remedy := `choose with --env NAME, or write environment = "NAME" in the stage.`
	if len(p.Environments) == 0 {
		remedy = `write a block environment "NAME", and environment = "NAME" in the stage.`
	}
	found.Detail = why + ": " + remedy
	return core.Diagnostics{found}
}

// needsGrants reports a plugin that asks for what the manifest does not grant.
func needsGrants(s core.Stage, d core.Description) core.Diagnostics {
	var diags core.Diagnostics
	for _, c := range d.AllCapabilities() {
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

// needsHosts tells whether a face of a plugin asks for something that only a prepared environment can give.
func needsHosts(declared []core.Capability) bool {
	return slices.ContainsFunc(declared, core.Capability.NeedsEnvironment)
}
