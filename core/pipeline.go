package core

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Pipeline is what a manifest describes.
type Pipeline struct {
	Name         string
	File         string // the manifest, absolute
	Dir          string // its folder: relative paths in it start here
	Source       Source
	Environments []Environment
	Triggers     []Trigger
	Stages       []Stage // in the order of the manifest
	Notifiers    []Notifier
	Secrets      []string // values that must be masked wherever they appear
	// Hidden returns Secrets together with those that were read since, for a stage whose scope was made. Nil: there
	// are no others.
	Hidden func() []string `json:"-"`
}

// Environment returns the environment of a name; no name means the only one. Else it is a *NotFoundError, or an error
// that says how to choose.
func (p *Pipeline) Environment(name string) (Environment, error) {
	names := make([]string, 0, len(p.Environments))
	for _, e := range p.Environments {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	switch {
	case name != "":
		return Environment{}, &NotFoundError{What: "environment", Name: name, Remedy: Suggest(name, names)}
	case len(names) == 0:
		return Environment{}, fmt.Errorf("%s has no environment block", p.File)
	case len(names) == 1:
		return p.Environments[0], nil
	}
	return Environment{}, fmt.Errorf("%s has several environments; choose one with --env: %s", p.File, strings.Join(names, ", "))
}

// Granted reports whether the manifest grants a capability to a stage.
func (p *Pipeline) Granted(id StageID, c Capability) bool {
	i := slices.IndexFunc(p.Stages, func(s Stage) bool { return s.ID() == id })
	return i >= 0 && slices.Contains(p.Stages[i].Grants, c)
}

// Source is where commits come from.
type Source struct {
	Path string // absolute folder inside a git work tree or a bare repository
}

// Stage is one step of a pipeline.
type Stage struct {
	Type, Name  string
	Needs       []StageID // written and referred to, sorted, without duplicates
	When        When
	Timeout     time.Duration // 0: none
	Retries     int
	OnFailure   OnFailure
	Environment string       // empty: that of the run
	Grants      []Capability `json:",omitempty"` // those that a plugin does not have unless the manifest says so
	Block       Block
	Range       Range       // of the block's header
	References  []Reference // to outputs of other stages, in the order in which they are written

	EnvironmentName Range // where the block first depends on environment.name; zero: nowhere

	// Scope returns what the stage's own block refers to, and nothing else, so that a plugin and its agents
	// never hold another stage's secrets. It takes the outputs of the stages that ran; those of the others
	// are unknown values. A mistake that shows itself only now is Diagnostics.
	Scope func(env string, outputs map[StageID]map[string]any) (Scope, error) `json:"-"`
}

// ID returns TYPE.NAME.
func (s Stage) ID() StageID { return StageID(s.Type + "." + s.Name) }

// Reference is an expression stage.TYPE.NAME.OUTPUT in a block.
type Reference struct {
	Stage  StageID
	Output string
	Range  Range
}

// OnFailure says what a failed stage means for the run.
type OnFailure string

// What a failed stage means.
const (
	Stop     OnFailure = "stop"
	Continue OnFailure = "continue"
)

// When holds the conditions under which a stage runs. Empty lists hold always.
type When struct {
	Branches     []string // patterns
	Environments []string
	Paths        Paths // of files that changed since the stage last passed
}

// Environment is a named set of hosts.
type Environment struct {
	Name      string
	Terraform *TerraformConfig // nil: no hosts are made
	Ansible   *AnsibleConfig   // nil: hosts are not configured
	Range     Range
}

// TerraformConfig is an environment's root module.
type TerraformConfig struct {
	Module    string         // a bare word ships with troop; else a folder, absolute
	Variables map[string]any // beyond those that troop gives every module
	Backend   *Backend       `json:",omitempty"` // nil: what the module says, or this machine
	Review    Review
	Range     Range
	Places    map[string]Range // of the names of Variables
}

// Backend is where Terraform keeps a state.
type Backend struct {
	Type      string // s3
	Arguments map[string]any
}

// Review says what may be applied without asking.
type Review struct {
	Approve    bool     // apply waits for an approval
	Forbid     []string // create, update, replace, destroy
	MaxDestroy int      // -1: no limit
	Rules      []string // files in Rego, absolute
	Drift      OnDrift
}

// OnDrift says what a run does about changes made outside troop, before it makes its own.
type OnDrift string

// What can be done about drift. Without one, a run does not look for it: that takes as long as a configuration.
const (
	ReportDrift OnDrift = "report"
	StopAtDrift OnDrift = "stop"
)

// AnsibleConfig is an environment's configuration.
type AnsibleConfig struct {
	Playbook  string // a bare name ships with troop; else a file, absolute
	Variables map[string]any
	Range     Range
}

// Trigger chooses an environment for a commit of a branch.
type Trigger struct {
	Name        string // push
	Branches    []string
	Environment string
	Until       StageID // empty: to the end
}

// SecretSource says where the value of a secret is kept: one of File, Command, Parameter and SecretID is set.
type SecretSource struct {
	Name      string   // secret.NAME
	File      string   // absolute; the value is its text
	Command   []string // the value is what it prints; it runs in Dir
	Dir       string   // absolute
	Parameter string   // in AWS Systems Manager's Parameter Store
	SecretID  string   // in AWS Secrets Manager, a name or an ARN
	Region    string   // of AWS; empty: the one that the process environment or the AWS profile names
	Key       string   // the value is this member of a JSON object; empty: all of it
}

// Notifier is a place where alerts and results are sent.
type Notifier struct {
	Type, Name string // email, sms, webhook, chat
	URL        string // may hold a secret
	On         []string
	Cooldown   time.Duration
	Range      Range
}
