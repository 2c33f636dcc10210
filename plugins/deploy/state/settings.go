package state

import (
	"reflect"
	"slices"
	"time"
)

// Settings are what a service needs of HAProxy's configuration: what cannot be changed while HAProxy runs. The stage has
// the role router write them, and the agent reports them. Times are in milliseconds.
type Settings struct {
	Service  string   `json:"service,omitempty"` // its label; empty: the first service
	Number   int      `json:"number,omitempty"`
	Domains  []string `json:"domains,omitempty"` // of the requests that are the service's
	Path     string   `json:"path,omitempty"`
	Rank     int      `json:"rank,omitempty"`
	Statuses []int    `json:"statuses"` // of healthy answers; those of all releases that may serve
	Check    int64    `json:"check"`    // how long a health check may take
	Request  int64    `json:"request"`  // how long the service may be silent before and in the middle of an answer
	Idle     int64    `json:"idle"`     // how long a client may be silent in the middle of a request or of an answer
	Tunnel   int64    `json:"tunnel"`   // how long both may be silent in a WebSocket or a stream of events
	Body     int64    `json:"body"`     // bytes of a request's body; 0: any number
	TLS      string   `json:"tls"`      // digest of certificate and key; empty: only HTTP
	HSTS     int64    `json:"hsts"`     // seconds for which browsers remember that there is HTTPS
	ACME     *ACME    `json:"acme,omitempty"`
}

// ACME is who gives the router's certificate, and for which names.
type ACME struct {
	Directory string   `json:"directory"` // its address
	CA        string   `json:"ca,omitempty"`
	Email     string   `json:"email,omitempty"`
	Domains   []string `json:"domains"`
}

// ByACME is what Settings.TLS says of a certificate by ACME, which the agent replaces without a new configuration.
const ByACME = "acme"

// DefaultSettings are those of a configuration that no service has asked for anything.
func DefaultSettings() Settings {
	return Settings{
		Statuses: []int{DefaultHealth.Status}, Check: DefaultHealth.Timeout.Milliseconds(),
		Request: 30_000, Idle: 30_000, Tunnel: 3_600_000,
	}
}

// For adds what a release needs.
func (s *Settings) For(h Health) {
	if !h.HTTP() {
		return
	}
	if !slices.Contains(s.Statuses, h.Status) {
		s.Statuses = append(s.Statuses, h.Status)
		slices.Sort(s.Statuses)
	}
	s.Check = max(s.Check, h.Timeout.Round(time.Millisecond).Milliseconds())
}

// Cover reports whether a configuration with s does for a service that needs other. More statuses than needed and more
// patience are no reason for a change: they go with the next one.
func (s Settings) Cover(other Settings) bool {
	for _, status := range other.Statuses {
		if !slices.Contains(s.Statuses, status) {
			return false
		}
	}
	enough := s.Check >= other.Check
	s.Statuses, s.Check = nil, 0
	other.Statuses, other.Check = nil, 0
	return enough && reflect.DeepEqual(s, other)
}
