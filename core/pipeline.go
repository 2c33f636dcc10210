package core

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Pipeline is what a manifest describes.
type Pipeline struct {
	Name         string
	File         string // absolute path of the manifest
	Dir          string // its folder; relative paths start here
	Source       Source
	Environments []Environment
	Triggers     []Trigger
	Schedules    []Schedule `json:",omitempty"`
	Stages       []Stage    // in manifest order
	Notifiers    []Notifier
	Secrets      []string     // values to mask in all output
	Store        *StoreConfig `json:",omitempty"` // nil: a folder beside the manifest
	Team         []Member     `json:",omitempty"` // who may open what is private in the store
	RunsOn       []string     `json:",omitempty"` // labels that a worker needs for its runs

	ExitWithFailures int `json:",omitempty"` // exit status of a run that passed with failures

	// Hidden returns Secrets and those read since by stages whose scope was made. Nil: there are no others.
	Hidden func() []string `json:"-"`
}

var label = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// IsLabel reports whether a text can be a label of workers.
func IsLabel(text string) bool { return label.MatchString(text) }

// Environment returns the named environment, or the only one if name is empty. An unknown name is a *NotFoundError; an
// ambiguous empty name is an error that lists the choices.
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

// StoreConfig is where runs and environments are kept for several machines.
type StoreConfig struct {
	Type                      string // s3
	Bucket, Prefix            string // no bucket: the block has mistakes, and nobody knows where the store is
	Region, Endpoint, Profile string // empty: those of the AWS configuration
	PathStyle                 bool
	Redis                     string // URL; empty: none
	Range                     Range
}

// ID tells a store from others, however it is reached.
func (c StoreConfig) ID() string {
	return strings.Join([]string{c.Type, c.Endpoint, c.Bucket, c.Prefix}, "\n")
}

// Member is somebody of the team, or something such as a CI system.
type Member struct {
	Name  string
	Keys  []string // SSH public keys and age recipients
	Range Range
}

// Source is where commits come from.
type Source struct {
	Path    string   // absolute folder inside a git work tree or a bare repository
	Filters []string `json:",omitempty"` // git filters of the repository's own configuration that may run
}

// Stage is one step of a pipeline.
type Stage struct {
	Type, Name  string
	Needs       []StageID // explicit and by reference, sorted, without duplicates
	When        When
	Timeout     time.Duration // 0: DefaultTimeout
	Retries     int
	OnFailure   OnFailure
	Environment string       // empty: that of the run
	Grants      []Capability `json:",omitempty"` // capabilities that need the manifest's consent
	Block       Block
	Range       Range       // of the block's header
	References  []Reference // to outputs of other stages, in source order

	EnvironmentName Range // first use of environment.name; zero: none

	// Scope returns the values that the stage's own block refers to and nothing else, so that a plugin and its
	// agents never hold another stage's secrets. outputs are those of finished stages; all others are unknown
	// values. Mistakes found only during evaluation are Diagnostics.
	Scope func(env string, outputs map[StageID]map[string]any) (Scope, error) `json:"-"`
}

// DefaultTimeout is the most time for one attempt of a stage whose block does not say it.
const DefaultTimeout = time.Hour

// ID returns TYPE.NAME.
func (s Stage) ID() StageID { return StageID(s.Type + "." + s.Name) }

// Reference is an expression stage.TYPE.NAME.OUTPUT in a block.
type Reference struct {
	Stage  StageID
	Output string
	Range  Range
}

// OnFailure is the effect of a failed stage on the run.
type OnFailure string

// The values of OnFailure.
const (
	Stop     OnFailure = "stop"
	Continue OnFailure = "continue"
)

// When holds the conditions under which a stage runs. An empty list is always true.
type When struct {
	Branches     []string // patterns
	Environments []string
	Paths        Paths // of files that changed since the stage last passed
}

// Environment is a named set of hosts.
type Environment struct {
	Name      string
	Terraform *TerraformConfig // nil: no hosts are made
	Hosts     []Host           `json:",omitempty"` // that exist already, by name; beside those that are made
	Ansible   *AnsibleConfig   // nil: hosts are not configured
	// In the order of the manifest; all are on the host of the role data.
	Accessories []Accessory `json:",omitempty"`
	// BucketKeys are the credentials of each host for a bucket that its backups go to. A host gets its own only.
	BucketKeys map[HostName]BucketKey `json:"-"`
	Range      Range
}

// Accessory is a database of one service.
type Accessory struct {
	Type    string // postgres or redis
	Service string
	Env     string // variable with the URL
	Port    int
}

// DataHost returns the host that has the accessories of an environment.
func DataHost(hosts []Host) (Host, error) {
	with := slices.DeleteFunc(slices.Clone(hosts), func(h Host) bool { return !h.Has("data") })
	switch len(with) {
	case 0:
		return Host{}, errors.New("no host has the role data, on which accessories are")
	case 1:
		return with[0], nil
	}
	return Host{}, fmt.Errorf("%s and %s both have the role data, and accessories are on one host", with[0].Name, with[1].Name)
}

// BucketKey are credentials for S3.
type BucketKey struct{ ID, Secret string }

// TerraformConfig is an environment's root module.
type TerraformConfig struct {
	Module    string         // a bare word: a module that ships with troop; else an absolute folder
	Program   string         `json:",omitempty"` // terraform or tofu; empty: the one that is installed
	Variables map[string]any // in addition to those that troop sets for every module
	Backend   *Backend       `json:",omitempty"` // nil: the module's own, or local
	Review    Review
	Range     Range
	Places    map[string]Range // where each name of Variables is written
}

// Backend is where Terraform keeps its state.
type Backend struct {
	Type      string // s3
	Arguments map[string]any
}

// Review restricts what may be applied.
type Review struct {
	Approve    bool     // apply waits for an approval
	Forbid     []string // create, update, replace, destroy
	MaxDestroy int      // -1: no limit
	MaxMonthly int      // US dollars; a plan that makes the environment cost more waits for an approval; 0: no limit
	Rules      []string // absolute paths of Rego files
	Drift      OnDrift
}

// OnDrift says what a run does about changes made outside troop before it applies its own.
type OnDrift string

// The values of OnDrift. When empty, a run does not check for drift: a check takes as long as configuring the hosts.
const (
	ReportDrift OnDrift = "report"
	StopAtDrift OnDrift = "stop"
)

// AnsibleConfig is an environment's configuration.
type AnsibleConfig struct {
	Playbook      string // a bare name: a playbook that ships with troop; else an absolute path
	Variables     map[string]any
	VaultPassword []string // command that prints the password of the team's vaults
	Requirements  string   // absolute path of a requirements.yml of Ansible Galaxy; empty: none
	Range         Range
}

// Trigger chooses an environment for a commit of a branch, or for a tag.
type Trigger struct {
	Name        string // push
	Branches    []string
	Tags        []string `json:",omitempty"`
	Environment string
	Until       StageID // empty: all stages
}

// Schedule is what a server does at certain times: a run of the newest commit of Branch, or, in Environment, a check for drift
// or a drill of restoring backups.
type Schedule struct {
	Name        string
	Cron        string // five fields, UTC; or with CRON_TZ=ZONE before them
	Does        ScheduleKind
	Branch      string `json:",omitempty"`
	Environment string `json:",omitempty"`
}

// ScheduleKind is what a schedule does.
type ScheduleKind string

// The kinds of schedules.
const (
	ScheduleRun   ScheduleKind = "run"
	ScheduleDrift ScheduleKind = "drift"
	ScheduleDrill ScheduleKind = "drill"
)

// SecretSource is where a secret's value is kept. Exactly one of File, Command, Parameter and SecretID is set.
type SecretSource struct {
	Name      string   // secret.NAME
	File      string   // absolute path; the value is its content
	Command   []string // the value is its standard output; runs in Dir
	Dir       string   // absolute
	Parameter string   // name in AWS Systems Manager Parameter Store
	SecretID  string   // name or ARN in AWS Secrets Manager
	Region    string   // AWS region; empty: that of the process environment or the AWS profile
	Key       string   // member of a JSON object to use as value; empty: the whole text
}

// Notifier is a receiver of alerts and results.
type Notifier struct {
	Type, Name string // email, sms, webhook, chat, slack, teams, discord, pagerduty, opsgenie
	URL        string // may hold a secret
	On         []string
	Cooldown   time.Duration
	After      time.Duration // alerts are told when nobody has acknowledged them for so long; 0: at once
	Limit      int           // messages in a minute, to each receiver
	Page       string        // where runs and environments are shown
	Range      Range
}
