package core

import (
	"context"
	"maps"
	"math"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Plugins opens plugins by stage type. Safe for concurrent use.
type Plugins interface {
	// Open starts a plugin. The caller closes it. An unknown plugin is a *NotFoundError.
	Open(ctx context.Context, typ string) (Plugin, error)
}

// Plugin is a started plugin. Its methods may be called from several goroutines. If the plugin dies, running calls
// fail with an error that names it, its exit status and its last lines of output.
type Plugin interface {
	Description() Description
	Digest() Digest // of the executed binary
	Check(ctx context.Context, c Config) (Diagnostics, error)
	// Run, Watch and Call deliver a job's messages in order, from one goroutine at a time, before they return. A
	// stage's own verdict is a *Failure or a *SkipError. The core never repeats a call by itself, except as the
	// manifest's retry block says.
	Run(ctx context.Context, j Job, emit func(Message)) error
	Watch(ctx context.Context, j Job, emit func(Message)) error
	Call(ctx context.Context, j Job, action string, args map[string]string, emit func(Message)) error
	Close() error
}

// Types of the plugin contract; see package contract.
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
	LateKind      = contract.LateKind
	Job           = contract.Job
	Log           = contract.Log
	Message       = contract.Message
	Metric        = contract.Metric
	NestedBlock   = contract.NestedBlock
	NotFoundError = contract.NotFoundError
	Output        = contract.Output
	OutputDoc     = contract.OutputDoc
	PlaybookRun   = contract.PlaybookRun
	PluginHost    = contract.Host // the part of Host that plugins see
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

	// NoCapabilities refuses every call. Embed it in an implementation that serves only some of them.
	NoCapabilities = contract.NoCapabilities
)

// NotGranted returns the error for a capability that the manifest does not grant to the stage.
func NotGranted(c Capability) error { return contract.NotGranted(c) }

// Keys of an event's data; see package contract.
const (
	StoppedRelease = contract.StoppedRelease
	Delays         = contract.Delays
)

// Delayed are an event's delays, with that of a part that is done now.
func Delayed(e Event, part string) map[string]any {
	delays := map[string]any{}
	if known, ok := e.Data[Delays].(map[string]any); ok {
		maps.Copy(delays, known)
	}
	delays[part] = math.Round(float64(time.Since(e.Time))/float64(100*time.Microsecond)) / 10
	return delays
}

// Refused returns an error of the kind that says: the caller may not do this.
func Refused(text string) error { return &contract.Error{Kind: contract.ErrRefused, Text: text} }

// HostKey is the key of an entry of the shared state that only the agent on a host may set.
func HostKey(host HostName, key string) string { return contract.HostKey(host, key) }

// CutHostKey is the opposite of HostKey; ok is false for a key of the stages and actions.
func CutHostKey(s string) (host HostName, key string, ok bool) { return contract.CutHostKey(s) }

// AllCapabilities returns every capability.
func AllCapabilities() []Capability { return contract.AllCapabilities() }

// Capabilities that the core handles by name.
const (
	Workspace = contract.Workspace // a plugin without it does not get the path of the checked-out commit
	Storage   = contract.Storage   // the key with which all hosts send files to the storage host
)

// The kinds of values that only a stage's plugin knows.
const (
	LatePort     = contract.LatePort
	LateFileHash = contract.LateFileHash
)

// Late returns the text that stands for such a value in an expression.
func Late(kind LateKind, names ...string) string { return contract.Late(kind, names...) }

// The severities of an event.
const (
	Info     = contract.Info
	Warning  = contract.Warning
	Alert    = contract.Alert
	Resolved = contract.Resolved
)

// PluginHosts strips from hosts what plugins must not see: keys and variables.
func PluginHosts(hosts []Host) []PluginHost {
	out := make([]PluginHost, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, PluginHost{
			Name: h.Name, Role: h.Role, Roles: h.Roles, Address: h.Address, PrivateAddress: h.PrivateAddress, User: h.User, Port: h.Port,
		})
	}
	return out
}
