package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// release is an archive together with the way to run it. It holds no value of an environment variable: those stay
// on the hosts.
type release struct {
	ID       string    `json:"id"`
	Artifact string    `json:"artifact"` // sha256:HEX
	Commit   string    `json:"commit,omitempty"`
	Run      string    `json:"run,omitempty"`
	Service  string    `json:"service"`
	User     string    `json:"user"`
	Command  []string  `json:"command"`
	Health   string    `json:"health"`
	Made     time.Time `json:"made"`
}

// newRelease names the archive as the manifest wants it run.
func newRelease(s *service, name, artifact string) release {
	r := release{Artifact: artifact, Service: name, User: s.User, Command: s.Command, Health: s.Health}
	if r.User == "" {
		r.User = name
	}
	r.ID = r.identity(s.Environment)
	return r
}

// identity is the same for the same archive run in the same way, and so names a folder whose content never changes.
func (r release) identity(environment map[string]string) string {
	sum := sha256.Sum256(encode([]any{r.Artifact, r.Service, r.User, r.Command, r.Health, environment}))
	hex16 := hex.EncodeToString(sum[:])[:16]
	archive := strings.TrimPrefix(r.Artifact, "sha256:")
	return archive[:min(len(archive), 12)] + "-" + hex16
}

// String is how people read it: the commit when there is one, and the archive.
func (r release) String() string {
	archive, _, _ := strings.Cut(r.ID, "-")
	if r.Commit == "" {
		return archive
	}
	return r.Commit[:min(len(r.Commit), 8)] + " (" + archive + ")"
}
