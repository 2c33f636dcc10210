package core

import "context"

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
