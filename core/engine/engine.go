package engine

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// Engine checks and executes pipelines. Its fields are set once, before its first use; its methods may be
// called from several goroutines.
type Engine struct {
	Plugins      core.Plugins
	Store        core.Store
	Folders      core.Folders
	Source       core.Checkout
	Environments core.Environments
	// Emit takes every event of a run or an action, masked, in the order of the journal, from one goroutine at a
	// time. Progress, and what an action says, comes here only and is not stored. Optional.
	Emit func(core.Event)
	// Parallel is how many stages run at once; 0 is one per processor, and two at least.
	Parallel int
}

// Run executes a pipeline for one commit, as the trigger of its branch says where o leaves that open. It checks everything first: mistakes are returned as Diagnostics,
// and nothing has happened then. Any other error means that the run could not be recorded or was not begun;
// what the pipeline itself says is the run's status, never an error.
//
//   - Stages that do not need each other run at the same time.
//   - A stage that fails stops the run: those that run go on to their end, so that everything wrong is said at
//     once, and no other begins. With on_failure = "continue" the run goes on as if it had passed, and its status is
//     that it passed with failures.
//   - A cacheable stage that passed before with the same inputs is skipped, unless forced, and those that need it
//     go on with what it gave then. So a run that stopped goes on where it stopped.
//   - A stage whose conditions do not hold is skipped, and so are those that need it. A stage that itself
//     finds nothing to do is skipped too, and those that need it go on; so do those that need a stage for which
//     no path has changed, with the outputs that it gave when it last passed.
//   - When ctx ends, the running stages are interrupted; they and the run are recorded as cancelled.
//
// Each stage has a plugin process of its own, so that one that dies takes nothing else down.
func (e *Engine) Run(ctx context.Context, p *core.Pipeline, o core.RunOptions) (core.Run, error) {
	o = triggered(p, o)
	g, err := newGraph(p.Stages)
	if err != nil {
		return core.Run{}, err
	}
	wanted, err := g.upTo(o.Until)
	if err != nil {
		return core.Run{}, err
	}
	if _, err := g.upTo(o.From); err != nil {
		return core.Run{}, err
	}
	if o.Environment != "" {
		if _, err := p.Environment(o.Environment); err != nil {
			return core.Run{}, err
		}
	}
	procs := &processes{plugins: e.Plugins, idle: map[string][]core.Plugin{}}
	defer procs.close()
	diags := e.check(ctx, p, procs, func(s core.Stage) (string, lack) {
		env := cmp.Or(s.Environment, o.Environment)
		if env == "" && wanted[g.index[s.ID()]] && unwanted(s, o.Branch, env) == "" {
			return env, impossible
		}
		return env, none
	})
	if ctx.Err() != nil {
		return core.Run{}, context.Cause(ctx)
	}
	if diags.HasErrors() {
		return core.Run{}, diags
	}

	err = e.admit(ctx, p, procs, func(i int, s core.Stage) bool {
		return wanted[i] && unwanted(s, o.Branch, cmp.Or(s.Environment, o.Environment)) == ""
	}, o.Environment)
	if err != nil {
		return core.Run{}, err
	}

	now := time.Now()
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	x := &execution{
		engine:   e,
		pipeline: p,
		options:  o,
		graph:    g,
		procs:    procs,
		abort:    abort,
		mask:     mask.New(p.Secrets...),
		prepared: map[string]func() error{},
		outputs:  map[core.StageID]map[string]any{},
		changed:  map[string][]string{},
		limit:    cmp.Or(e.Parallel, max(2, runtime.GOMAXPROCS(0))),
		done:     make(chan outcome),
		run: core.Run{
			ID: cmp.Or(o.ID, core.RunID(core.NewID(now))), Pipeline: p.Name, Manifest: p.File,
			Commit: o.Commit, Subject: o.Subject, Branch: o.Branch, Tag: o.Tag, Dirty: o.Dirty, Environment: o.Environment,
			Status: core.Running, Started: now, PID: os.Getpid(), By: o.By,
		},
	}
	for i, s := range p.Stages {
		r := core.StageResult{ID: s.ID(), Status: core.Pending}
		if !wanted[i] {
			r.Status, r.Reason = core.Skipped, "the run goes up to "+string(o.Until)
		}
		x.run.Stages = append(x.run.Stages, r)
	}
	x.states = make([]stageState, len(p.Stages))
	x.info = x.run // what goroutines may read
	return x.execute(ctx, diags)
}

// admit asks whether this user may open the environments in which stages that run need hosts: whoever may not is told before
// anything is built and tested. of is the run's environment.
func (e *Engine) admit(ctx context.Context, p *core.Pipeline, procs *processes, runs func(i int, s core.Stage) bool, of string) error {
	asked := map[string]bool{}
	for i, s := range p.Stages {
		env := cmp.Or(s.Environment, of)
		if env == "" || asked[env] || !runs(i, s) {
			continue
		}
		plugin, err := procs.take(ctx, s.Type)
		if err != nil {
			return err
		}
		hosts := needsHosts(plugin.Description().Capabilities)
		procs.give(s.Type, plugin)
		if !hosts {
			continue
		}
		asked[env] = true
		if err := e.Environments.Admit(ctx, p, env); err != nil {
			return err
		}
	}
	return nil
}

// processes holds plugins that were started and have no work: the process in which a stage was checked is the
// one in which it runs.
type processes struct {
	plugins core.Plugins
	mu      sync.Mutex
	idle    map[string][]core.Plugin
	closing sync.WaitGroup
}

// take returns a process of its own for the caller, who gives it back or ends it.
func (p *processes) take(ctx context.Context, typ string) (core.Plugin, error) {
	p.mu.Lock()
	if idle := p.idle[typ]; len(idle) > 0 {
		p.idle[typ] = idle[1:]
		p.mu.Unlock()
		return idle[0], nil
	}
	p.mu.Unlock()
	plugin, err := p.plugins.Open(ctx, typ)
	if err != nil {
		return nil, fmt.Errorf("start plugin %s: %w", typ, err)
	}
	return plugin, nil
}

func (p *processes) give(typ string, plugin core.Plugin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[typ] = append(p.idle[typ], plugin)
}

// end stops a process without making the caller wait.
func (p *processes) end(plugin core.Plugin) {
	p.closing.Go(func() {
		_ = plugin.Close() // its work is done and judged; how it dies changes nothing
	})
}

// close stops the idle processes and waits for all that were ended.
func (p *processes) close() {
	p.mu.Lock()
	for _, idle := range p.idle {
		for _, plugin := range idle {
			p.end(plugin)
		}
	}
	clear(p.idle)
	p.mu.Unlock()
	p.closing.Wait()
}
