package core

import "context"

// Store keeps what happens in runs. One process writes a run, from several goroutines; any other reads it at any
// time. What a method has recorded survives the death of the process, and the end of a run also that of the machine.
type Store interface {
	// PutRun records a run as a whole: first when it starts, and last when it has ended.
	PutRun(ctx context.Context, r Run) error
	// PutStage records what has become of one stage since. Its cost does not depend on the number of stages.
	PutStage(ctx context.Context, run RunID, r StageResult) error
	// Append adds an event to the journal of its run.
	Append(ctx context.Context, e Event) error
	// History opens the results of earlier runs of a pipeline. The engine calls it once in a run. An earlier run that is
	// not as it was recorded is reported to damaged, once, and not used.
	History(ctx context.Context, pipeline string, damaged func(error)) (History, error)
	// Runs returns the runs that a filter takes, the newest first.
	Runs(ctx context.Context, f RunFilter) ([]Run, error)
}

// RunFilter chooses runs; the zero value takes all.
type RunFilter struct {
	Pipeline            string
	Statuses            []Status
	Branch, Environment string
	Limit               int // 0: none
}

// History finds results that can be reused, among the newest runs; the store says how many. It is for one goroutine.
// Its results are shared: the caller must not change them.
type History interface {
	// Same returns the newest result of a stage that passed with some inputs and whose artifacts are all there, or
	// nil. Reused names the run in which the stage ran. Empty inputs are equal to none.
	Same(ctx context.Context, stage StageID, inputs Digest) (*StageResult, error)
	// Passed returns when a stage last passed on the branch and in the environment of o for another commit, or nil.
	Passed(ctx context.Context, stage StageID, o RunOptions) (*Pass, error)
}

// Pass is a run in which a stage passed.
type Pass struct {
	Run     RunID
	Commit  string
	Outputs map[string]any // of the stage
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
	// Changed lists the files below the source path that differ between two commits.
	Changed(ctx context.Context, from, to string) ([]string, error)
}

// Environments makes hosts ready and serves what stages and actions ask of them.
type Environments interface {
	// Prepare makes an environment ready: hosts exist and are configured. The engine calls it once per run
	// and environment, before the first stage that needs hosts, with the context of the run. Source, Kind and
	// Summary of the events are the callee's; the engine fills in the rest.
	Prepare(ctx context.Context, p *Pipeline, run RunID, env string, emit func(Event)) error
	// Secrets returns what must be masked wherever an environment is worked on: its passwords and keys. The
	// engine asks before anything else is done there.
	Secrets(p *Pipeline, env string) ([]string, error)
	// Capabilities serves one job; its environment is job.Info.Environment, and may be none. The engine
	// itself reports the tasks of Playbook and InstallAgent, and masks what Secret returns. An action is served
	// without Prepare: its hosts are those of the last apply.
	Capabilities(p *Pipeline, job Job) Capabilities
}

// RunOptions say what to run.
type RunOptions struct {
	Commit, Branch, Subject string
	// Environment is that of the stages that name none. Until is a stage, or a type of stages: the run goes up to it,
	// with what it needs. Empty: as the trigger of the branch says; without one there is no environment, and all
	// stages run.
	Environment string
	Until       StageID
	Force       bool // runs also stages that need not run again
}

// CallOptions say which action of which stage to call.
type CallOptions struct {
	Type, Name  string // of the stage; no name: the only one of its type
	Action      string
	Args        map[string]string
	Environment string // empty: the stage's own, or the only one of the pipeline
}
