package core

import (
	"context"
	"time"
)

// Plugins opens plugins by the type of a stage.
type Plugins interface {
	// Open starts the plugin. The caller closes it. A plugin that cannot be found is a *NotFoundError.
	Open(ctx context.Context, typ string) (Plugin, error)
}

// Plugin is a started plugin. Its methods may be called from several goroutines. A plugin that dies fails the
// calls in flight with an error that names it, its exit status and its last words.
type Plugin interface {
	Description() Description
	Digest() Digest // of the binary that was executed
	Check(ctx context.Context, c Config) (Diagnostics, error)
	// Run, Watch and Call deliver messages in order, from one goroutine. What a stage refuses is a *Failure.
	Run(ctx context.Context, j Job, emit func(Message)) error
	Watch(ctx context.Context, j Job, emit func(Message)) error
	Call(ctx context.Context, j Job, action string, args map[string]string, emit func(Message)) error
	Close() error
}

// NotFoundError is the answer to a name that nothing has.
type NotFoundError struct {
	What, Name string
	Remedy     string
}

func (e *NotFoundError) Error() string {
	s := e.What + " " + e.Name + " not found"
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Failure is a stage's own verdict: it ran, and says no.
type Failure struct {
	Reason      string
	Diagnostics Diagnostics
}

func (f *Failure) Error() string { return f.Reason }

// SkipError is a stage's own verdict that there was nothing to do.
type SkipError struct{ Reason string }

func (s *SkipError) Error() string { return s.Reason }

// Config is a stage's block together with what it may refer to.
type Config struct {
	Name  string // the block's second label
	Block Block
	Scope Scope
}

// Job is one call of a plugin.
type Job struct {
	Config       Config
	Info         RunInfo
	Capabilities Capabilities // nil: none
}

// RunInfo says for what a job runs.
type RunInfo struct {
	Run         RunID
	Pipeline    string
	Stage       StageID
	Commit      string
	Branch      string
	Environment string
	Workspace   string   // folder with the checked-out commit, at the manifest's source path
	Host        HostName // agents
	Role        string   // agents
	StateDir    string   // kept between runs, per stage
}

// Message is what a plugin says while it works: exactly one field is set.
type Message struct {
	Log      *Log
	Progress *Progress
	Finding  *Finding
	Metric   *Metric
	Output   *Output
	Event    *Event
	Table    *Table
}

// Log is one line.
type Log struct {
	Line  string
	Error bool
}

// Progress is how far a job has come.
type Progress struct {
	Done, Total float64 // Total 0: unknown
	Text        string
}

// Finding is a place in the source that someone should look at.
type Finding struct {
	Path     string `json:"path"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Severity string `json:"severity"` // error, warning, note
	Rule     string `json:"rule,omitempty"`
	Message  string `json:"message"`
}

// Metric is a measured figure, with its limit when there is one.
type Metric struct {
	Name  string
	Value float64
	Unit  string
	Limit *float64
}

// Output is a value that a stage hands on.
type Output struct {
	Name  string
	Value any
}

// Table is what an action shows.
type Table struct {
	Columns []string
	Rows    [][]string
}

// Description is what a plugin says of itself.
type Description struct {
	Name, Version, Summary string
	Stage                  bool   // has Run
	Cacheable              bool   // what Run comes to depends on commit, configuration and plugin alone
	Agent                  *Agent // nil: has no Watch
	Config                 BlockSchema
	Outputs                []OutputDoc
	Actions                []Action
	Capabilities           []string
}

// BlockSchema describes the arguments and nested blocks of a block.
type BlockSchema struct {
	Attributes []Attribute
	Blocks     []NestedBlock
}

// Attribute is one argument.
type Attribute struct {
	Name, Type, Default, Doc string
	Required, Sensitive      bool
}

// NestedBlock is a block within a block.
type NestedBlock struct {
	Type           string
	Labels         []string
	Required, Many bool
	Doc            string
	Block          BlockSchema
}

// OutputDoc describes an output.
type OutputDoc struct{ Name, Doc string }

// Action is a command that a plugin offers.
type Action struct {
	Name, Summary string
	Args          []ActionArg
}

// ActionArg is one argument of an action.
type ActionArg struct {
	Name, Doc, Default string
	Flag, Required     bool
}

// Agent is what a plugin's agent needs of the service manager of its host.
type Agent struct {
	User              string
	LinuxCapabilities []string
	Groups            []string
	WritablePaths     []string
}

// Capabilities are the services that a plugin may call while it works. The loader serves only those that the
// plugin declares; the others may be left unimplemented by embedding NoCapabilities.
type Capabilities interface {
	Hosts(ctx context.Context) ([]Host, error)
	Playbook(ctx context.Context, p PlaybookRun, each func(TaskResult)) error
	InstallAgent(ctx context.Context, hosts []HostName, each func(TaskResult)) error
	PutArtifact(ctx context.Context, path string) (Artifact, error)
	Artifact(ctx context.Context, d Digest) (Artifact, error)
	Flag(ctx context.Context, name string) (value any, err error) // nil: not set
	SetFlag(ctx context.Context, name string, value any) error
	State(ctx context.Context, key string) (Entry, error)
	SetState(ctx context.Context, key string, value []byte) (Entry, error)
	WatchState(ctx context.Context, prefix string, each func(Entry) error) error // the present entries first, then every change
	Publish(ctx context.Context, e Event) error
	Subscribe(ctx context.Context, f EventFilter, each func(Event) error) error
	Notify(ctx context.Context, e Event) error
	Secret(ctx context.Context, name string) (string, error)
}

// PlaybookRun asks for one playbook run on some hosts.
type PlaybookRun struct {
	Name  string
	Hosts []HostName // empty: all
	Vars  map[string]any
}

// TaskResult is what one task did on one host.
type TaskResult struct {
	Host    HostName
	Task    string
	Status  string // ok, changed, failed, skipped, unreachable
	Message string
	Path    string // file:line
	Facts   map[string]any
	Elapsed time.Duration
}

// Artifact is a file in the content-addressed store.
type Artifact struct {
	Digest Digest
	Path   string
	Size   int64 // bytes
}

// Entry is one value of the state that a plugin shares with its agents.
type Entry struct {
	Key     string
	Value   []byte
	Version int64
}

// EventFilter chooses events; the zero value takes all from now on.
type EventFilter struct {
	Kinds      []string // prefixes
	Severities []Severity
	Since      time.Time
}
