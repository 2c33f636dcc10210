package core

import (
	"context"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Plugins opens plugins by the type of a stage.
type Plugins interface {
	// Open starts the plugin. The caller closes it. A plugin that cannot be found is a *NotFoundError.
	Open(ctx context.Context, typ string) (Plugin, error)
}

// Plugin is a started plugin. Its methods may be called from several goroutines. A plugin that dies fails the
// calls in flight with an error that names it, its exit status and its last lines of output.
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

// The types of the contract with plugins. What they mean is written there.
type (
	Action        = contract.Action
	Agent         = contract.Agent
	Arg           = contract.Arg
	Artifact      = contract.Artifact
	Attribute     = contract.Attribute
	Block         = contract.Block
	BlockSchema   = contract.BlockSchema
	Capabilities  = contract.Capabilities
	Capability    = contract.Capability
	Config        = contract.Config
	Description   = contract.Description
	Diagnostic    = contract.Diagnostic
	Diagnostics   = contract.Diagnostics
	Digest        = contract.Digest
	Entry         = contract.Entry
	Event         = contract.Event
	EventFilter   = contract.EventFilter
	Failure       = contract.Failure
	Finding       = contract.Finding
	HostName      = contract.HostName
	Job           = contract.Job
	Log           = contract.Log
	Message       = contract.Message
	Metric        = contract.Metric
	NestedBlock   = contract.NestedBlock
	NotFoundError = contract.NotFoundError
	Output        = contract.Output
	OutputDoc     = contract.OutputDoc
	PlaybookRun   = contract.PlaybookRun
	PluginHost    = contract.Host // a Host as plugins see it
	Pos           = contract.Pos
	Progress      = contract.Progress
	Range         = contract.Range
	RunID         = contract.RunID
	RunInfo       = contract.RunInfo
	Scope         = contract.Scope
	Severity      = contract.Severity
	SkipError     = contract.SkipError
	StageID       = contract.StageID
	StorageKey    = contract.StorageKey
	Table         = contract.Table
	TaskResult    = contract.TaskResult

	// NoCapabilities refuses every call. Embedded, it leaves out what an implementation of Capabilities cannot do
	// where it runs.
	NoCapabilities = contract.NoCapabilities
)

// NotGranted is the refusal of a capability that the manifest does not grant to the stage.
func NotGranted(c Capability) error { return contract.NotGranted(c) }

// AllCapabilities returns every capability that there is.
func AllCapabilities() []Capability { return contract.AllCapabilities() }

// Capabilities that the core itself knows.
const (
	Workspace = contract.Workspace // a plugin without it is not told where the checked-out commit is
	Storage   = contract.Storage   // the key with which all hosts send files to the storage host
)

// The severities of an event.
const (
	Info     = contract.Info
	Warning  = contract.Warning
	Alert    = contract.Alert
	Resolved = contract.Resolved
)

// PluginHosts leaves out of hosts what plugins must not see: keys and variables.
func PluginHosts(hosts []Host) []PluginHost {
	out := make([]PluginHost, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, PluginHost{
			Name: h.Name, Role: h.Role, Address: h.Address, PrivateAddress: h.PrivateAddress, User: h.User, Port: h.Port,
		})
	}
	return out
}
