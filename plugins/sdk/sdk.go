// Package sdk is all that the author of a troop plugin imports. A plugin is one Stage value, whose optional
// faces are nil-able fields: Run makes it a stage of a pipeline, Agent keeps it alive on hosts, Actions give
// it commands. Serve turns the value into the program that troop starts.
package sdk

import (
	"context"
	"time"
)

// Stage is a plugin: what it is called, what its manifest block looks like (C), and what it does.
type Stage[C any] struct {
	Name         string // TYPE in `stage "TYPE" "NAME"`
	Version      string // semantic version
	Summary      string // one line for lists
	Capabilities []Capability
	Outputs      []Output
	// Cacheable says that what Run comes to depends on the commit, the configuration and the plugin alone, and
	// shows in outputs, artifacts and the workspace only: where it passed with the same, it does not run again.
	Cacheable bool

	// Check finds what is wrong with a decoded configuration beyond its types. Values that are not known
	// before the run are zero then. It must touch nothing. Optional.
	Check func(c *C) error
	// Run does the stage's work for one run. Optional.
	Run func(ctx context.Context, c *C, job *Job) error
	// Agent is the plugin's long-running face on a host. Optional.
	Agent *Agent[C]
	// Actions are commands: `troop NAME ACTION`. Optional.
	Actions []Action[C]
}

// Agent lives on a host, started there by `troop agent` with the configuration of the stage that installed it.
type Agent[C any] struct {
	Watch func(ctx context.Context, c *C, job *Job) error // until ctx ends; an error restarts it with back-off

	User              string   // empty: the system user "troop"; "root" only with a reason
	LinuxCapabilities []string // such as CAP_KILL
	Groups            []string // supplementary groups
	WritablePaths     []string // beyond the state folder
}

// Action is a command that an operator gives to a running environment.
type Action[C any] struct {
	Name    string
	Summary string
	Args    []Arg
	Run     func(ctx context.Context, c *C, args Args, job *Job) error
}

// Arg describes one argument of an action: a flag --NAME, or a positional argument in the order of the list.
type Arg struct {
	Name, Doc, Default string
	Flag, Required     bool
}

// Args holds the arguments of one call, by name.
type Args map[string]string

// Output describes a value that Run hands on with Job.Output; manifests read it as stage.TYPE.NAME.OUTPUT.
type Output struct{ Name, Doc string }

// Capability names a service of the core that a plugin may call. A capability that is not declared is refused.
type Capability string

// The capabilities.
const (
	Workspace Capability = "workspace" // RunInfo.Workspace
	Inventory Capability = "inventory" // Job.Hosts
	Playbook  Capability = "playbook"  // Job.Playbook
	Agents    Capability = "agents"    // Job.InstallAgent
	Artifacts Capability = "artifacts" // Job.PutArtifact, Job.Artifact
	Flags     Capability = "flags"     // Job.Flag, Job.SetFlag
	State     Capability = "state"     // Job.State, Job.SetState, Job.WatchState
	Events    Capability = "events"    // Job.Publish, Job.Subscribe
	Notify    Capability = "notify"    // Job.Notify
	Secrets   Capability = "secrets"   // Job.Secret
)

// RunInfo says for what a job runs.
type RunInfo struct {
	Run         string // ULID; empty for agents and actions
	Pipeline    string
	Stage       string // TYPE.NAME
	Commit      string
	Branch      string
	Environment string
	Workspace   string // with the capability: folder with the checked-out commit, shared by the stages of a run
	Host, Role  string // of the host an agent lives on
	StateDir    string // folder of this plugin's own that survives between runs, or an agent's restarts
}

// Host is a machine of the environment.
type Host struct {
	Name, Role              string // role: production, canary, router or storage
	Address, PrivateAddress string
	User                    string
	Port                    int
}

// Severity of an event.
type Severity string

// The severities. An alert is an event that someone must hear of; resolved is its recovery.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Alert    Severity = "alert"
	Resolved Severity = "resolved"
)

// Event is one fact with a time. ID, Time, Environment, Host, Role, Run and Source are filled in when empty.
type Event struct {
	ID          string
	Time        time.Time
	Environment string
	Host, Role  string
	Run         string
	Source      string // TYPE.NAME of the stage
	Kind        string // dotted, such as process.terminated
	Severity    Severity
	Summary     string // one sentence
	Key         string // what an alert is about; its recovery carries the same key
	Data        map[string]any
}

// Finding is a place in the source that someone should look at.
type Finding struct {
	Path         string // relative to the workspace
	Line, Column int    // 1-based; 0 is unknown
	Severity     string // error, warning or note
	Rule         string
	Message      string
}

// Metric is a measured figure, with the limit it was held against when there is one.
type Metric struct {
	Name  string
	Value float64
	Unit  string   // "%", "ms", …
	Limit *float64 // nil: no limit
}

// Artifact is a file in the content-addressed store.
type Artifact struct {
	Digest string // sha256:HEX
	Path   string // on this machine
	Size   int64  // bytes
}

// PlaybookRun asks for one playbook run on some hosts.
type PlaybookRun struct {
	Name  string   // "release.yml" ships with troop; "./x.yml" is the team's own, beside the manifest
	Hosts []string // names; empty: every host
	Vars  map[string]any
}

// TaskResult is what one task did on one host.
type TaskResult struct {
	Host, Task string
	Status     string // ok, changed, failed, skipped or unreachable
	Message    string
	Path       string         // file:line of the task
	Facts      map[string]any // the task's registered troop_result, when it has one
}

// Entry is one value of the state that a plugin shares with its agents in an environment.
type Entry struct {
	Key     string
	Value   []byte
	Version int64 // counts changes of the key; 0: not set
}

// Table is what an action shows: aligned on a terminal, objects with --json.
type Table struct {
	Columns []string
	Rows    [][]string
}

// EventFilter chooses events. Kinds are prefixes. The zero value takes every event from now on.
type EventFilter struct {
	Kinds      []string
	Severities []Severity
	Since      time.Time
}
