package core

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Engine checks and executes pipelines. Its fields are set once, before its first use; its methods may be
// called from several goroutines.
type Engine struct {
	Plugins      Plugins
	Store        Store
	Folders      Folders
	Source       Checkout
	Environments Environments
	// Since compares the commit of o with that of the run in which a stage last passed. Nil, as when there is no
	// such run: the stage runs, whatever its when.paths say. Optional.
	Since func(ctx context.Context, s StageID, o RunOptions) (*Since, error)
	// Emit takes every event of a run, masked, in the order of the journal, from one goroutine at a time.
	// Progress comes here only and is not stored. Optional.
	Emit func(Event)
	// Parallel is how many stages run at once; 0 is one per processor, and two at least.
	Parallel int
}

// Store keeps what happens in runs.
type Store interface {
	// PutRun saves the state of a run. The last call of a run has an end time.
	PutRun(ctx context.Context, r Run) error
	// Append adds an event to the journal of its run.
	Append(ctx context.Context, e Event) error
	// Passed returns the newest result of a stage that passed with some inputs and whose artifacts are all
	// there, or nil. Reused names the run in which the stage ran.
	Passed(ctx context.Context, stage StageID, inputs Digest) (*StageResult, error)
}

// Folders are the places on this machine that runs work in.
type Folders interface {
	// Workspace is the folder for the checked-out commit of a run. It does not exist yet; its parent does.
	Workspace(id RunID) (string, error)
	// StageState is a folder that one stage of a pipeline keeps between runs.
	StageState(pipeline string, id StageID) (string, error)
}

// Checkout gives a run its commit.
type Checkout interface {
	// Checkout puts the files of a commit into the folder dir, which it makes, and returns where the
	// pipeline's source path is in it.
	Checkout(ctx context.Context, commit, dir string) (workspace string, err error)
}

// Environments makes hosts ready and serves what stages ask of them.
type Environments interface {
	// Prepare makes an environment ready: hosts exist and are configured. The engine calls it once per run
	// and environment, before the first stage that needs hosts, with the context of the run. Source, Kind and
	// Summary of the events are the callee's; the engine fills in the rest.
	Prepare(ctx context.Context, p *Pipeline, run RunID, env string, emit func(Event)) error
	// Capabilities serves one job; its environment is job.Info.Environment, and may be none. The engine
	// itself reports the tasks of Playbook and InstallAgent, and masks what Secret returns.
	Capabilities(p *Pipeline, job Job) Capabilities
}

// Since is what happened after the run in which a stage last passed.
type Since struct {
	Run     RunID
	Files   []string       // below the source folder, which differ now
	Outputs map[string]any // of the stage, then
}

// RunOptions say what to run.
type RunOptions struct {
	Commit, Branch, Subject string
	Environment             string  // of the stages that name none; may be empty
	Until                   StageID // this stage, or those of this type, and what they need; empty: all
	Force                   bool    // runs also stages that have passed with the same inputs
}

// Run executes a pipeline for one commit. It checks everything first: mistakes are returned as Diagnostics,
// and nothing has happened then. Any other error means that the run could not be recorded or was not begun;
// what the pipeline itself says is the run's status, never an error.
//
//   - Stages that do not need each other run at the same time.
//   - A stage that fails stops the run: those that run go on to their end, so that everything wrong is said at
//     once, and no other begins. With on_failure = "continue" the run goes on as if it had passed.
//   - A cacheable stage that passed before with the same inputs is skipped, unless forced, and those that need it
//     go on with what it gave then. So a run that stopped goes on where it stopped.
//   - A stage whose conditions do not hold is skipped, and so are those that need it. A stage that itself
//     finds nothing to do is skipped too, and those that need it go on; so do those that need a stage for which
//     no path has changed, with the outputs that it gave when it last passed.
//   - When ctx ends, the running stages are told, and they, and the run, are recorded as cancelled.
//
// Each stage has a plugin process of its own, so that one that dies takes nothing else down.
func (e *Engine) Run(ctx context.Context, p *Pipeline, o RunOptions) (Run, error) {
	g, err := newGraph(p.Stages)
	if err != nil {
		return Run{}, err
	}
	wanted, err := g.upTo(o.Until)
	if err != nil {
		return Run{}, err
	}
	if err := knownEnvironment(p, o.Environment); err != nil {
		return Run{}, err
	}
	procs := &processes{plugins: e.Plugins, idle: map[string][]Plugin{}}
	defer procs.close()
	diags := e.check(ctx, p, procs, &o)
	if ctx.Err() != nil {
		return Run{}, context.Cause(ctx)
	}
	if diags.HasErrors() {
		return Run{}, diags
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
		mask:     NewMask(p.Secrets...),
		prepared: map[string]func() error{},
		outputs:  map[StageID]map[string]any{},
		limit:    cmp.Or(e.Parallel, max(2, runtime.GOMAXPROCS(0))),
		done:     make(chan outcome),
		run: Run{
			ID: RunID(NewID(now)), Pipeline: p.Name, Manifest: p.File,
			Commit: o.Commit, Subject: o.Subject, Branch: o.Branch, Environment: o.Environment,
			Status: Running, Started: now, PID: os.Getpid(),
		},
	}
	for i, s := range p.Stages {
		r := StageResult{ID: s.ID(), Status: Pending}
		if !wanted[i] {
			r.Status, r.Reason = Skipped, "the run goes up to "+string(o.Until)
		}
		x.run.Stages = append(x.run.Stages, r)
	}
	x.states = make([]stageState, len(p.Stages))
	x.info = x.run // what goroutines may read
	return x.execute(ctx, diags)
}

func knownEnvironment(p *Pipeline, name string) error {
	if name == "" || slices.ContainsFunc(p.Environments, func(e Environment) bool { return e.Name == name }) {
		return nil
	}
	var names []string
	for _, e := range p.Environments {
		names = append(names, e.Name)
	}
	return &NotFoundError{What: "environment", Name: name, Remedy: suggest(name, names)}
}

// processes holds plugins that were started and have no work: the process in which a stage was checked is the
// one in which it runs.
type processes struct {
	plugins Plugins
	mu      sync.Mutex
	idle    map[string][]Plugin
	closing sync.WaitGroup
}

// take returns a process of its own for the caller, who gives it back or ends it.
func (p *processes) take(ctx context.Context, typ string) (Plugin, error) {
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

func (p *processes) give(typ string, plugin Plugin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[typ] = append(p.idle[typ], plugin)
}

// end stops a process without making the caller wait.
func (p *processes) end(plugin Plugin) {
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
