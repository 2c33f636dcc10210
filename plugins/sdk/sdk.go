// Package sdk is all that the author of a troop plugin imports. A plugin is one Stage value, whose optional
// faces are nil-able fields: Run makes it a stage of a pipeline, Agent keeps it alive on hosts, Actions give
// it commands. Serve turns the value into the program that troop starts.
package sdk

import (
	"context"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Stage is a plugin: what it is called, what its manifest block looks like (C), and what it does.
type Stage[C any] struct {
	Name         string       // TYPE in `stage "TYPE" "NAME"`
	Version      string       // semantic version
	Summary      string       // one line for lists
	Capabilities []Capability // of Run, and of the other faces where they do not say otherwise
	Outputs      []Output
	// Cacheable says that Run's result depends on the commit, the configuration and the plugin alone, and shows in
	// outputs, artifacts and the workspace only: identical inputs skip it.
	Cacheable bool

	// Check finds what is wrong with a decoded configuration beyond its types. Values that are not known
	// before the run are zero then. It must touch nothing and depend on c alone: a block that was good once is not
	// always asked about again. Optional.
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

	Capabilities []Capability // nil: those of the stage; empty: none

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

	Capabilities []Capability // nil: those of the stage; empty: none
}

// Args holds the arguments of one call, by name.
type Args map[string]string

// The types of the contract between troop and its plugins, as authors use them.
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

// HostNames makes a list of names.
func HostNames(names ...string) []HostName {
	var list []HostName
	for _, name := range names {
		list = append(list, HostName(name))
	}
	return list
}

// The capabilities. A call whose capability is not declared is refused.
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
