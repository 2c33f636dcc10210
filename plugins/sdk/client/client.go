// Package client is the core's half of the plugin protocol: it starts a plugin binary, calls its faces, serves
// it the capabilities that it declares, and tells in plain words how one died. Only core/loader and sdktest
// import it. Neither go-plugin nor gRPC shows in its surface.
package client

import (
	"context"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// Protocol is the version of the protocol that the core speaks.
const Protocol = wire.Version

// Config is a block of a manifest as it was written.
type Config struct {
	Name               string // the block's second label
	File               string
	Source             []byte // the text between the braces
	Line, Column, Byte int    // of the first byte of Source
	ScopeType          []byte // cty type, JSON
	ScopeValue         []byte // cty value, msgpack; may hold unknown values
}

// Job is one call.
type Job struct {
	Config       Config
	Info         sdk.RunInfo
	Capabilities Capabilities // nil: none
}

// Message is what a plugin says while it works: exactly one field is set.
type Message struct {
	Log      *Log
	Progress *Progress
	Finding  *sdk.Finding
	Metric   *sdk.Metric
	Output   *Output
	Event    *sdk.Event
	Table    *sdk.Table
}

// Log is one line.
type Log struct {
	Line  string
	Error bool // said with Warnf, or written to standard error
}

// Progress is how far a job has come; Total 0 is unknown.
type Progress struct {
	Done, Total float64
	Text        string
}

// Output is a value that a stage hands on, decoded from JSON.
type Output struct {
	Name  string
	Value any
}

// Range is a part of a file. A zero Range is no place.
type Range struct {
	File       string
	Start, End Pos
}

// Pos counts lines and columns from 1, bytes from 0.
type Pos struct{ Line, Column, Byte int }

// Diagnostic is a mistake in a manifest.
type Diagnostic struct {
	Warning         bool
	Summary, Detail string
	Range           Range
}

// Failure is a stage's own verdict: it ran, and says no.
type Failure struct {
	Reason      string
	Diagnostics []Diagnostic
}

func (f *Failure) Error() string { return f.Reason }

// SkipError is a stage's own verdict that there was nothing to do.
type SkipError struct{ Reason string }

func (s *SkipError) Error() string { return s.Reason }

// Description is what a plugin says of itself.
type Description struct {
	Name, Version, Summary string
	Stage, Cacheable       bool
	Agent                  *Agent // nil: has no Watch
	Config                 Block
	Outputs                []sdk.Output
	Actions                []Action
	Capabilities           []sdk.Capability
}

// Agent is what a plugin's agent needs of the service manager of its host.
type Agent struct {
	User                                     string
	LinuxCapabilities, Groups, WritablePaths []string
}

// Block describes the arguments and nested blocks of a block.
type Block struct {
	Attributes []Attribute
	Blocks     []NestedBlock
}

// Attribute is one argument. Default is HCL source.
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
	Block          Block
}

// Action is a command that a plugin offers.
type Action struct {
	Name, Summary string
	Args          []sdk.Arg
}

// Capabilities are the services that a plugin may call. Those that it does not declare are refused before
// they are called.
type Capabilities interface {
	Hosts(ctx context.Context) ([]sdk.Host, error)
	Playbook(ctx context.Context, p sdk.PlaybookRun, each func(sdk.TaskResult)) error
	InstallAgent(ctx context.Context, hosts []string, each func(sdk.TaskResult)) error
	PutArtifact(ctx context.Context, path string) (sdk.Artifact, error)
	Artifact(ctx context.Context, digest string) (sdk.Artifact, error)
	Flag(ctx context.Context, name string) (any, error)
	SetFlag(ctx context.Context, name string, value any) error
	State(ctx context.Context, key string) (sdk.Entry, error)
	SetState(ctx context.Context, key string, value []byte) (sdk.Entry, error)
	WatchState(ctx context.Context, prefix string, each func(sdk.Entry) error) error
	Publish(ctx context.Context, e sdk.Event) error
	Subscribe(ctx context.Context, f sdk.EventFilter, each func(sdk.Event) error) error
	Notify(ctx context.Context, e sdk.Event) error
	Secret(ctx context.Context, name string) (string, error)
}
