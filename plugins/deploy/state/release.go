package state

import (
	"crypto/sha256"
	"encoding/hex"
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
	Health   string    `json:"health"`
	Made     time.Time `json:"made"`
	// Irreversible: no earlier release can run once this one has.
	Irreversible bool `json:"irreversible,omitempty"`
}

// Identity is the same for the same archive run in the same way. It names a folder on the hosts whose content never
// changes.
func (r Release) Identity(environment map[string]string) string {
	sum := sha256.Sum256(Encode([]any{r.Artifact, r.Service, r.User, r.Command, r.Health, environment}))
	hex16 := hex.EncodeToString(sum[:])[:16]
	archive := strings.TrimPrefix(r.Artifact, "sha256:")
	return archive[:min(len(archive), 12)] + "-" + hex16
}

// String is the release as people read it: the commit when there is one, and the archive.
func (r Release) String() string {
	archive, _, _ := strings.Cut(r.ID, "-")
	if r.Commit == "" {
		return archive
	}
	return r.Commit[:min(len(r.Commit), 8)] + " (" + archive + ")"
}
