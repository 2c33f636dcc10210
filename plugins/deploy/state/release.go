package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Release is an archive together with the way to run it. It holds no values of environment variables: those stay on the
// hosts.
type Release struct {
	ID       string    `json:"id"`
	Artifact string    `json:"artifact"` // sha256:HEX
	Commit   string    `json:"commit,omitempty"`
	Run      string    `json:"run,omitempty"`
	Service  string    `json:"service"`
	User     string    `json:"user"`
	Command  []string  `json:"command"`
	Health   Health    `json:"health"`
	Sandbox  Sandbox   `json:"sandbox,omitzero"`
	Programs []Program `json:"programs,omitempty"`
	Done     []string  `json:"done,omitempty"` // tasks that have run
	Made     time.Time `json:"made"`
	// Irreversible: no earlier release can run once this one has.
	Irreversible bool `json:"irreversible,omitempty"`
}

// Health is what a healthy release does. Every check follows it: the playbook's after a start, the agent's before a slot
// gets requests, and HAProxy's from then on.
type Health struct {
	Path    string        `json:"path"`
	Host    string        `json:"host"`    // that the checks ask for
	Status  int           `json:"status"`  // of its answer
	Timeout time.Duration `json:"timeout"` // of its answer
	Grace   time.Duration `json:"grace"`   // how long it may take to become healthy after a start

	// One of these in place of HTTP; the router then knows nothing of the service.
	Command []string      `json:"command,omitempty"`  // it ends with 0
	StaysUp time.Duration `json:"stays_up,omitempty"` // after its start
}

// HTTP reports whether the release answers requests.
func (h Health) HTTP() bool { return len(h.Command) == 0 && h.StaysUp == 0 }

// Sandbox is how a release's sandbox differs from the one that all have.
type Sandbox struct {
	Allow  map[string]string `json:"allow,omitempty"`  // what is opened, and why
	Data   []string          `json:"data,omitempty"`   // folders of the release that are writable and outlive it
	Memory string            `json:"memory,omitempty"` // at most, in systemd's notation
	CPU    int               `json:"cpu,omitempty"`    // at most, in per cent of one core
	Files  int               `json:"files,omitempty"`  // that may be open
}

// DefaultHealth holds where a manifest says nothing.
var DefaultHealth = Health{Path: "/healthz", Host: "localhost", Status: 200, Timeout: 3 * time.Second, Grace: 20 * time.Second}

// UnmarshalJSON also takes a path alone, which is what releases had before.
func (h *Health) UnmarshalJSON(b []byte) error {
	type plain Health
	*h = DefaultHealth
	if err := json.Unmarshal(b, &h.Path); err == nil {
		return nil
	}
	return json.Unmarshal(b, (*plain)(h))
}

// Identity is the same for the same archive run in the same way. It names a folder on the hosts whose content never
// changes.
func (r Release) Identity(environment map[string]string) string {
	sum := sha256.Sum256(Encode([]any{r.Artifact, r.Service, r.User, r.Command, r.Health, r.Sandbox, r.Programs, environment}))
	hex16 := hex.EncodeToString(sum[:])[:16]
	archive := strings.TrimPrefix(r.Artifact, "sha256:")
	return archive[:min(len(archive), 12)] + "-" + hex16
}

// Runs reports whether a unit is one of the release in a slot.
func (r Release) Runs(unit, slot string) bool {
	name, in := strings.CutSuffix(unit, "@"+slot+".service")
	if name, other := strings.CutPrefix(name, r.Service+"-"); in && other {
		return slices.ContainsFunc(r.Programs, func(p Program) bool { return slices.Contains(p.Names(), name) })
	}
	return in && name == r.Service
}

// String is the release as people read it: the commit when there is one, and the archive.
func (r Release) String() string {
	archive, _, _ := strings.Cut(r.ID, "-")
	if r.Commit == "" {
		return archive
	}
	return r.Commit[:min(len(r.Commit), 8)] + " (" + archive + ")"
}
