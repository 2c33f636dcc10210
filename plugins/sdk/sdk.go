// Package sdk is everything that a plugin author imports. A plugin is one Stage value. Its optional fields Run, Agent and
// Actions make it a stage of a pipeline, an agent on hosts, and commands. Serve turns the value into a program that troop
// starts.
package sdk

import (
	"context"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Stage is a plugin: its name, the configuration struct C of its manifest block, and its functions.
type Stage[C any] struct {
	Name         string       // TYPE in `stage "TYPE" "NAME"`
	Version      string       // semantic version
	Summary      string       // one line for lists
	Capabilities []Capability // of Run, and the default of Agent and Actions
	Outputs      []Output
	// Cacheable says that Run's result depends only on the commit, the configuration and the plugin, and consists only
	// of outputs, artifacts and files in the workspace. Identical inputs skip it.
	Cacheable bool

	// Check validates a decoded configuration beyond its types. Values that are not known before the run are zero. It
	// must have no side effects and depend only on c, since its result may be cached. Optional.
	Check func(c *C) error
	// Run does the stage's work in one run. Optional.
	Run func(ctx context.Context, c *C, job *Job) error
	// Agent is the plugin's long-running process on hosts. Optional.
	Agent *Agent[C]
	// Actions are commands: `troop NAME ACTION`. Optional.
	Actions []Action[C]
}

// Agent runs on a host, started by troop-agent with the configuration of the stage that installed it.
type Agent[C any] struct {
	Watch func(ctx context.Context, c *C, job *Job) error // runs until ctx ends; after an error it is restarted with back-off

	Capabilities []Capability // nil: those of the stage; empty: none

	User              string   // empty: the system user "troop"; avoid "root"
	LinuxCapabilities []string // such as CAP_KILL
	Groups            []string // supplementary groups
	WritablePaths     []string // in addition to the state folder; when a missing one appears, the agent is started again
}

// Action is a command for operators: `troop TYPE NAME`.
type Action[C any] struct {
	Name    string
	Summary string
	Args    []Arg
	Run     func(ctx context.Context, c *C, args Args, job *Job) error

	Capabilities []Capability // nil: those of the stage; empty: none
	ReadOnly     bool         // it changes nothing: who may only look may call it, and a page does so to show what it says
	// Whole: it is about the environment, which it has alone while it works, and not about one stage: the block of any of
	// the plugin's stages does.
	Whole bool
}

// Args holds the arguments of one call, by name.
type Args map[string]string

// Types of the plugin contract; see package contract.
type (
	Arg          = contract.Arg
	Artifact     = contract.Artifact
	Capabilities = contract.Capabilities
	Capability   = contract.Capability
	Digest       = contract.Digest
	Entry        = contract.Entry
	Event        = contract.Event
	EventFilter  = contract.EventFilter
	Finding      = contract.Finding
	Host         = contract.Host
	HostName     = contract.HostName
	Metric       = contract.Metric
	Output       = contract.OutputDoc
	PlaybookRun  = contract.PlaybookRun
	RunID        = contract.RunID
	RunInfo      = contract.RunInfo
	Severity     = contract.Severity
	StageID      = contract.StageID
	StorageKey   = contract.StorageKey
	Table        = contract.Table
	TaskResult   = contract.TaskResult
)

// Keys of an event's data; see package contract.
const (
	StoppedRelease = contract.StoppedRelease
	Delays         = contract.Delays
)

// HostKey is the key of an entry of the shared state that only the agent on a host may set; stages and actions read it.
func HostKey(host HostName, key string) string { return contract.HostKey(host, key) }

// CutHostKey is the opposite of HostKey; ok is false for a key of the stages and actions.
func CutHostKey(s string) (host HostName, key string, ok bool) { return contract.CutHostKey(s) }

// HostNames returns the names of hosts.
func HostNames(names ...string) []HostName {
	var list []HostName
	for _, name := range names {
		list = append(list, HostName(name))
	}
	return list
}

// The capabilities. A call fails with ErrRefused if its capability is not declared.
const (
	Workspace = contract.Workspace
	Inventory = contract.Inventory
	Playbook  = contract.Playbook
	Agents    = contract.Agents
	Artifacts = contract.Artifacts
	Flags     = contract.Flags
	State     = contract.State
	Events    = contract.Events
	Notify    = contract.Notify
	Secrets   = contract.Secrets
	Storage   = contract.Storage
)

// The severities of an event.
const (
	Info     = contract.Info
	Warning  = contract.Warning
	Alert    = contract.Alert
	Resolved = contract.Resolved
)
