package core

import "context"

// Store keeps the records and journals of runs.
//
// Concurrency: one process writes a run, from several goroutines; any process may read it at any time. Events of one
// goroutine are kept in the order of its calls.
//
// Durability: when a method has returned, its record survives a crash of the process. The final PutRun of a run also
// survives a crash of the machine.
//
// Errors are plain. Writing the same run or stage result again is harmless; appending an event again stores it twice.
type Store interface {
	// PutRun records a whole run: once when it starts and once when it has ended.
	PutRun(ctx context.Context, r Run) error
	// PutStage records the current result of one stage, after the first PutRun of its run. Its cost does not depend
	// on the number of stages.
	PutStage(ctx context.Context, run RunID, r StageResult) error
	// Append adds an event to the journal of its run.
	Append(ctx context.Context, e Event) error
	// History opens the results of a pipeline's earlier runs. The engine calls it once per run. A run whose record
	// fails verification is reported to damaged once and not used.
	History(ctx context.Context, pipeline string, damaged func(error)) (History, error)
	// Runs returns the runs that match the filter, newest first.
	Runs(ctx context.Context, f RunFilter) ([]Run, error)
}

// RunFilter selects runs; the zero value matches all.
type RunFilter struct {
	Pipeline            string
	Statuses            []Status
	Branch, Environment string
	Before              RunID // only runs older than this one
	Limit               int   // 0: no limit
}

// History finds reusable results among the newest runs; the store decides how many. Not safe for concurrent use.
// Its results are shared: the caller must not change them.
type History interface {
	// Same returns the newest result of a stage that passed with these inputs and whose artifacts all exist, or nil.
	// Reused names the run in which the stage ran. Empty inputs match nothing.
	Same(ctx context.Context, stage StageID, inputs Digest) (*StageResult, error)
	// Passed returns the last run in which the stage passed for another commit, on the branch and in the environment
	// of o, or nil.
	Passed(ctx context.Context, stage StageID, o RunOptions) (*Pass, error)
}

// Pass is a run in which a stage passed.
type Pass struct {
	Run     RunID
	Commit  string
	Outputs map[string]any // of the stage
}

// Folders gives runs their local folders. Safe for concurrent use; repeating a call returns the same path.
type Folders interface {
	// Workspace returns the path for a run's checked-out commit. It does not exist yet; its parent does.
	Workspace(id RunID) (string, error)
	// StageState returns a folder that one stage of a pipeline keeps between runs, and makes it if needed.
	StageState(pipeline string, id StageID) (string, error)
}

// Checkout gives a run its commit. The engine calls Checkout once per run, before any stage.
type Checkout interface {
	// Checkout writes the files of a commit to dir, which it creates, and returns the pipeline's source path in it.
	Checkout(ctx context.Context, commit, dir string) (workspace string, err error)
	// Changed lists the files below the source path that differ between two commits.
	Changed(ctx context.Context, from, to string) ([]string, error)
}

// Environments makes hosts ready and serves the capabilities of stages and actions. Its methods may be called from
// several goroutines.
type Environments interface {
	// Admit fails if this user may not open an environment. The engine asks before a run begins, for each environment
	// that a stage of it needs.
	Admit(ctx context.Context, p *Pipeline, env string) error
	// Prepare makes an environment ready: hosts exist and are configured. The engine calls it once per run
	// and environment, before the first stage that needs hosts, with the context of the run. It may be called again
	// in a later run: what is ready already stays as it is. Prepare sets Source, Kind and Summary of the events it
	// emits; the engine fills in the rest. When another command holds the environment, the error is a *LockedError.
	Prepare(ctx context.Context, p *Pipeline, run RunID, env string, emit func(Event)) error
	// Hold keeps an environment for an action alone, until the process has ended its work there. When another command
	// holds it, the error is a *LockedError.
	Hold(ctx context.Context, p *Pipeline, env string) error
	// Secrets returns the environment's passwords and keys, which must be masked in all output. The engine calls it
	// before anything else in that environment.
	Secrets(p *Pipeline, env string) ([]string, error)
	// Capabilities serves one job in the environment job.Info.Environment, which may be empty. The engine itself
	// reports the tasks of Playbook and InstallAgent and masks what Secret returns. An action is served without
	// Prepare: its hosts are those of the last apply. Connections are made on first use; errors come from the calls.
	Capabilities(p *Pipeline, job Job) Capabilities
}

// RunOptions selects what to run.
type RunOptions struct {
	ID      RunID  `json:"id,omitempty"` // empty: a new one
	Commit  string `json:"commit,omitempty"`
	Branch  string `json:"branch,omitempty"`
	Subject string `json:"subject,omitempty"`
	Tag     string `json:"tag,omitempty"`   // that started the run, instead of a branch
	Dirty   bool   `json:"dirty,omitempty"` // the commit is of a work tree with uncommitted changes
	By      string `json:"by,omitempty"`    // who starts it, and on which machine
	// Environment is used by stages that name none. Until is a stage or a stage type: only it and the stages it needs
	// run. When empty, both come from the branch's trigger; without a trigger there is no environment and all stages
	// run.
	Environment string  `json:"environment,omitempty"`
	Until       StageID `json:"until,omitempty"`
	From        StageID `json:"from,omitempty"`  // a stage or a stage type that runs, with what needs it, also when its result could be reused
	Force       bool    `json:"force,omitempty"` // also runs stages whose result could be reused
}

// CallOptions selects an action of a stage.
type CallOptions struct {
	Type, Name  string // of the stage; empty Name: the only one of its type
	Action      string
	Args        map[string]string
	Environment string // empty: the stage's own, or the only one of the pipeline
}

// UsageError is a mistake in what a user asked for, such as an argument that does not fit. Nothing was changed.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }
