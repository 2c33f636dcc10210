// Package contract defines the types shared by troop and its plugins: descriptions, jobs, messages, and the services of the
// core that a plugin may call. Packages sdk and core re-export them by alias; plugins/sdk/internal/wire converts them from
// and to the protocol. It imports only the standard library.
//
// # Adding a capability
//
// Four files are written by hand:
//
//  1. plugins/sdk/internal/wire/plugin.proto: the call and its messages; then go generate ./plugins/sdk/internal/wire
//     and UPDATE=1 go test ./plugins/sdk/internal/wire
//  2. plugins/sdk/contract/capabilities.go: the method with its contract, its capability if that is new, and its method
//     of guard
//  3. plugins/sdk/internal/wire/capabilities.go: both sides, Remote in the plugin and Serve in the core
//  4. core/environment: the implementation
//
// Nothing else must change: sdk.Job gets the method by embedding, troop-agent and sdktest.Fake refuse the call until they
// implement it, and the tests of the wire package cover every field of its types.
package contract

import (
	"slices"
	"strings"
	"time"
)

// RunID is a ULID.
type RunID string

// Short is the part of the ID that is enough to name the run, unless two began in the same second.
func (id RunID) Short() string { return string(id[:min(len(id), 10)]) }

// StageID is TYPE.NAME.
type StageID string

// HostName is the name of a host within its environment.
type HostName string

// Host is a machine of the environment as plugins see it, without the core's keys and variables.
type Host struct {
	Name                    HostName
	Role                    string   // production, canary, router or storage
	Roles                   []string // all, of a host with several; Role is router, or the first
	Address, PrivateAddress string
	User                    string
	Port                    int
}

// Has reports whether a host has a role.
func (h Host) Has(role string) bool { return h.Role == role || slices.Contains(h.Roles, role) }

// Config is a block of the manifest with the values that it may refer to.
type Config struct {
	Name  string // the block's second label
	Block Block
	Scope Scope
}

// Block is the source of a stage's body. The plugin decodes it.
type Block struct {
	Source []byte // the text between the braces
	Start  Pos    // of the first byte of Source
	File   string
}

// Scope is the object that a block's expressions refer to: a cty value in go-cty's two encodings.
type Scope struct {
	Type  []byte // JSON
	Value []byte // msgpack; unknown values allowed
	// Secrets are the known secrets and environment variables that the block refers to, by name. They stay in the core;
	// Capabilities.Secret returns them.
	Secrets map[string]string `json:",omitempty"`
}

// Secret returns a secret by name, or a *NotFoundError.
func (s Scope) Secret(name string) (string, error) {
	if v, ok := s.Secrets[name]; ok {
		return v, nil
	}
	return "", &NotFoundError{What: "secret", Name: name, Remedy: "the stage's block must refer to secret." + name + " or env." + name}
}

// Job is one call of a plugin.
type Job struct {
	Config       Config
	Info         RunInfo
	Capabilities Capabilities // nil: none
}

// RunInfo is the context of a job.
type RunInfo struct {
	Run         RunID // empty for agents and actions
	Pipeline    string
	Stage       StageID
	Commit      string
	Branch      string
	Environment string
	Workspace   string    // folder of the checked-out commit, shared by the stages of a run; empty without the capability
	Host        HostName  // of an agent
	Role        string    // of Host
	StateDir    string    // the plugin's own folder; kept between runs and between restarts of an agent
	Stages      []StageID // of the plugin's type in the pipeline; none for agents
}

// Message is one report of a plugin: exactly one field is set.
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
	Error bool // written with Warnf, or to standard error
}

// Progress is the progress of a job.
type Progress struct {
	Done, Total float64 // Total 0: unknown
	Text        string
}

// Finding is a problem at a position in the source.
type Finding struct {
	Path     string `json:"path"`             // relative to the workspace
	Line     int    `json:"line,omitempty"`   // from 1; 0: unknown
	Column   int    `json:"column,omitempty"` // from 1; 0: unknown
	Severity string `json:"severity"`         // error, warning or note
	Rule     string `json:"rule,omitempty"`
	Message  string `json:"message"`
}

// Metric is a measurement, with its limit if there is one.
type Metric struct {
	Name  string
	Value float64
	Unit  string   // "%", "ms", …
	Limit *float64 // nil: no limit
	// Detail says how the value came about: the sample, an interval, what was left out. May be empty.
	Detail string
}

// Output is an output of a stage. Value has a type that encoding/json decodes into an any.
type Output struct {
	Name  string
	Value any
}

// Table is the result of an action: aligned on a terminal, objects with --json.
type Table struct {
	Columns []string
	Rows    [][]string
}

// Severity of an event.
type Severity string

// The severities. An alert must reach a person; resolved is its recovery.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Alert    Severity = "alert"
	Resolved Severity = "resolved"
)

// Event is one fact with a time. The core fills in ID, Time, Environment, Host, Role, Run and Source if empty.
type Event struct {
	ID          string         `json:"id"` // ULID
	Time        time.Time      `json:"time"`
	Environment string         `json:"environment,omitempty"`
	Host        HostName       `json:"host,omitempty"`
	Role        string         `json:"role,omitempty"`
	Run         RunID          `json:"run,omitempty"`
	Source      string         `json:"source"` // TYPE.NAME of a stage, or a part of the core
	Kind        string         `json:"kind"`   // dotted, such as process.terminated
	Severity    Severity       `json:"severity"`
	Summary     string         `json:"summary"`       // one sentence
	Key         string         `json:"key,omitempty"` // identifies an alert; its recovery has the same key
	Data        map[string]any `json:"data,omitempty"`
}

// The keys of an event's data that troop gives a meaning.
const (
	// StoppedRelease is the artifact's digest of a release that was stopped: before the event is published, the feature
	// flags that came with it are switched off on all hosts. Only stages, actions and the router's agents stop releases.
	StoppedRelease = "stopped_release"
	// Delays is a map of milliseconds from the event's time to each part of what followed. Troop adds "flags" to that of a
	// stopped release, and "message" to the report of what people were told.
	Delays = "delays_ms"
)

// EventFilter selects events. The zero value selects every event from now on.
type EventFilter struct {
	Kinds      []string // prefixes; empty: every kind
	Severities []Severity
	Since      time.Time
}

// PlaybookRun asks for one playbook run on some hosts.
type PlaybookRun struct {
	Name  string     // "release.yml": ships with troop; "./x.yml": the team's own, relative to the manifest
	Hosts []HostName // empty: every host
	Vars  map[string]any
}

// TaskResult is what one task did on one host.
type TaskResult struct {
	Host    HostName
	Task    string
	Status  string // ok, changed, failed, skipped or unreachable
	Message string
	Path    string         // FILE:LINE of the task
	Facts   map[string]any // the task's registered troop_result, if any
	Elapsed time.Duration
}

// Artifact is a file in the content-addressed store.
type Artifact struct {
	Digest Digest
	Path   string // on this machine
	Size   int64  // bytes
}

// Entry is one entry of the state that a plugin shares with its agents in an environment. An entry belongs to one writer:
// one with a HostKey to the plugin's agent on that host, every other to the plugin's stages and actions.
type Entry struct {
	Key     string
	Value   []byte
	Version int64 // number of changes of the key; 0: not set
}

// HostKey is the key of an entry that only the agent on a host may set.
func HostKey(host HostName, key string) string { return "@" + string(host) + "/" + key }

// CutHostKey is the opposite of HostKey; ok is false for a key of the stages and actions.
func CutHostKey(s string) (host HostName, key string, ok bool) {
	s, at := strings.CutPrefix(s, "@")
	name, key, cut := strings.Cut(s, "/")
	if !at || !cut || name == "" {
		return "", "", false
	}
	return HostName(name), key, true
}

// StorageKey holds the credentials with which a host sends files to its environment's storage host, and those that the
// manifest gives it for a bucket.
type StorageKey struct {
	PrivateKey string `json:"private_key"` // PEM
	KnownHosts string `json:"known_hosts"` // known_hosts format

	AccessKeyID     string `json:"access_key_id,omitempty"` // empty: the manifest has no storage_key for this host
	SecretAccessKey string `json:"secret_access_key,omitempty"`
}
