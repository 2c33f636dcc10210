package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Validate finds what is wrong with a pipeline that its manifest alone cannot tell: missing plugins, what the
// plugins say about their blocks, and outputs that nobody gives. It touches nothing.
func (e *Engine) Validate(ctx context.Context, p *Pipeline) Diagnostics {
	procs := &processes{plugins: e.Plugins, idle: map[string][]Plugin{}}
	defer procs.close()
	return e.check(ctx, p, procs, nil)
}

// check looks at every stage, one goroutine per plugin, and leaves the plugins idle in procs. With options,
// it also tells whether the stages can run under them.
func (e *Engine) check(ctx context.Context, p *Pipeline, procs *processes, o *RunOptions) Diagnostics {
	byType := map[string][]Stage{}
	for _, s := range p.Stages {
		byType[s.Type] = append(byType[s.Type], s)
	}
	var (
		wg           sync.WaitGroup
		mu           sync.Mutex
		diags        Diagnostics
		descriptions = map[string]Description{}
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
			found := checkStages(ctx, plugin, stages, o)
			procs.give(typ, plugin)
			mu.Lock()
			defer mu.Unlock()
			diags = append(diags, found...)
			descriptions[typ] = plugin.Description()
		})
	}
	wg.Wait()
	diags = append(diags, checkReferences(p, descriptions)...)
	slices.SortStableFunc(diags, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Range.File, b.Range.File),
			cmp.Compare(a.Range.Start.Line, b.Range.Start.Line),
			cmp.Compare(a.Range.Start.Column, b.Range.Start.Column),
		)
	})
	mask := NewMask(p.Secrets...)
	for i := range diags { // plugins like to quote what they refuse
		diags[i].Summary, diags[i].Detail = mask.String(diags[i].Summary), mask.String(diags[i].Detail)
	}
	return slices.CompactFunc(diags, func(a, b Diagnostic) bool { return a == b })
}

func openDiagnostic(s Stage, err error) Diagnostic {
	if missing := (*NotFoundError)(nil); errors.As(err, &missing) {
		return Diagnostic{
			Summary: fmt.Sprintf("No plugin for stage %q", s.Type),
			Detail:  cmp.Or(missing.Remedy, missing.Error()),
			Range:   s.Range,
		}
	}
	return Diagnostic{Summary: fmt.Sprintf("Plugin %q cannot be used", s.Type), Detail: err.Error(), Range: s.Range}
}

func checkStages(ctx context.Context, plugin Plugin, stages []Stage, o *RunOptions) Diagnostics {
	var diags Diagnostics
	desc := plugin.Description()
	for _, s := range stages {
		if !desc.Stage {
			diags = append(diags, Diagnostic{
				Summary: fmt.Sprintf("Plugin %q is not a stage", s.Type),
				Detail:  "it has an agent or actions only; take the block out",
				Range:   s.Range,
			})
			continue
		}
		env := s.Environment
		if o != nil {
			env = cmp.Or(env, o.Environment)
			if env == "" && needsHosts(desc) {
				diags = append(diags, Diagnostic{
					Summary: fmt.Sprintf("Stage %s needs an environment", s.ID()),
					Detail:  `it works on hosts: choose with --env NAME, or write environment = "NAME" in the stage`,
					Range:   s.Range,
				})
			}
		}
		found, err := checkStage(ctx, plugin, s, env)
		diags = append(diags, found...)
		if err != nil {
			diags = append(diags, Diagnostic{
				Summary: fmt.Sprintf("Stage %s cannot be checked", s.ID()), Detail: err.Error(), Range: s.Range,
			})
		}
	}
	return diags
}

func checkStage(ctx context.Context, plugin Plugin, s Stage, env string) (Diagnostics, error) {
	scope, err := s.Scope(env, nil)
	if diags := Diagnostics(nil); errors.As(err, &diags) {
		return diags, nil
	}
	if err != nil {
		return nil, err
	}
	return plugin.Check(ctx, Config{Name: s.Name, Block: s.Block, Scope: scope})
}

// checkReferences looks for outputs that no plugin gives. A plugin that could not be described is not judged.
func checkReferences(p *Pipeline, descriptions map[string]Description) Diagnostics {
	types := map[StageID]string{}
	for _, s := range p.Stages {
		types[s.ID()] = s.Type
	}
	var diags Diagnostics
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
			diags = append(diags, Diagnostic{
				Summary: fmt.Sprintf("Stage %s has no output %q", ref.Stage, ref.Output),
				Detail:  suggest(ref.Output, names),
				Range:   ref.Range,
			})
		}
	}
	return diags
}

// needsHosts tells whether a plugin asks for something that only a prepared environment can give.
func needsHosts(d Description) bool {
	return slices.ContainsFunc(d.Capabilities, func(c string) bool {
		switch c {
		case "inventory", "playbook", "agents", "flags", "state", "events":
			return true
		}
		return false
	})
}
