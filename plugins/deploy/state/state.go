// Package state holds the values by which the deploy stage, its actions and its agent on the router talk to each other:
// the desired state, the actual state, and the releases that both name. They are kept as JSON in the environment's
// shared state. Imported by the stage and the agent; it reads and writes nothing itself.
package state

import (
	"encoding/json"
	"slices"
	"time"
)

// Keys of the shared state. The stage and the actions write desired, driver, order and verdict; the agent writes actual and
// traffic, as entries of its host, and watches every key that begins with desired.
const (
	KeyDesired = "desired"
	KeyDriver  = "desired.driver"
	KeyOrder   = "order"
	KeyActual  = "actual"
	KeyTraffic = "traffic"
	KeyVerdict = "verdict"
)

// The pools; the pools of a host are among its roles.
const (
	PoolProduction = "production"
	PoolCanary     = "canary"
)

// Placement says which slot of a seat serves, and which release is in it. An empty slot: nothing serves there.
type Placement struct {
	Slot    string `json:"slot,omitempty"`
	Release string `json:"release,omitempty"`
}

// Phase is how far a deploy has come. In every phase the hosts can serve, and the next deploy, an abort or a rollback
// can start.
type Phase string

// The phases.
const (
	PhaseRest      Phase = "rest"
	PhaseCanary    Phase = "canary"    // the candidate is being judged by a driver, which must be alive
	PhaseHeld      Phase = "held"      // the candidate waits for an operator
	PhasePromoting Phase = "promoting" // the candidate passed and goes to production
	PhaseAborting  Phase = "aborting"
)

// Desired is what the router has to do, and what a deploy needs to go on or back.
type Desired struct {
	Service    string             `json:"service"`
	Phase      Phase              `json:"phase"`
	Weights    Weights            `json:"weights"`
	Open       bool               `json:"open"`       // the canary takes its share; false: no traffic
	Generation int64              `json:"generation"` // counts openings; the agent closes one generation for good
	Opened     time.Time          `json:"opened,omitzero"`
	Seats      map[Seat]Placement `json:"seats"`
	Good       string             `json:"good,omitempty"`    // the release that was promoted last
	History    []string           `json:"history,omitempty"` // good releases before it, newest first
	Candidate  string             `json:"candidate,omitempty"`
	Releases   map[string]Release `json:"releases"` // all that are named above
}

// UnmarshalJSON also takes hosts with one pool each, which is what there was before.
func (d *Desired) UnmarshalJSON(b []byte) error {
	type plain Desired
	before := struct {
		*plain
		Hosts map[string]struct {
			Pool string `json:"pool"`
			Placement
		} `json:"hosts"`
	}{plain: (*plain)(d)}
	if err := json.Unmarshal(b, &before); err != nil {
		return err
	}
	for host, p := range before.Hosts {
		if d.Seats == nil {
			d.Seats = map[Seat]Placement{}
		}
		d.Seats[Seat{Host: host, Pool: p.Pool}] = p.Placement
	}
	return nil
}

// Vacate takes every seat out of service.
func (d *Desired) Vacate() {
	for s := range d.Seats {
		d.Seats[s] = Placement{}
	}
	d.Phase, d.Open, d.Candidate = PhaseRest, false, ""
	d.Forget()
}

// maxHistory is how many releases can be rolled back to.
const maxHistory = 4

// OpenCanary gives the canary its share, whatever closed it before.
func (d *Desired) OpenCanary(now time.Time) {
	d.Open = true
	d.Generation++
	d.Opened = now
}

// Promoted makes the candidate the good release.
func (d *Desired) Promoted(id string) {
	if d.Good != "" && d.Good != id {
		d.History = slices.Insert(slices.DeleteFunc(d.History, func(s string) bool { return s == d.Good || s == id }), 0, d.Good)
		d.History = d.History[:min(len(d.History), maxHistory)]
	}
	d.Good, d.Candidate, d.Phase = id, "", PhaseRest
	d.Forget()
}

// RolledBack makes id, which is in the history, the good release, and drops those that came after it.
func (d *Desired) RolledBack(id string) {
	if i := slices.Index(d.History, id); i >= 0 {
		d.History = d.History[i+1:]
	}
	d.Good, d.Candidate, d.Phase = id, "", PhaseRest
	d.Forget()
}

// Forget drops the releases that nothing names.
func (d *Desired) Forget() {
	named := append([]string{d.Good, d.Candidate}, d.History...)
	for _, p := range d.Seats {
		named = append(named, p.Release)
	}
	for id := range d.Releases {
		if !slices.Contains(named, id) {
			delete(d.Releases, id)
		}
	}
}

// Closing is the agent's decision that one generation of the canary gets no more traffic.
type Closing struct {
	Generation int64     `json:"generation"`
	Reason     string    `json:"reason"`
	Time       time.Time `json:"time"`
	// Seen is the verdict.Seen of the canary that was closed for what it answered.
	Seen json.RawMessage `json:"seen,omitempty"`
}

// Effective are the weights that the router must have, after a closing or without one.
func (d *Desired) Effective(c *Closing) Weights {
	w := d.Weights
	if !d.Open || (c != nil && c.Generation == d.Generation) {
		w.Canary = 0
	}
	w.Production = max(w.Production, 1)
	return w
}

// SeatActual is what the router does with one seat.
type SeatActual struct {
	Slot     string `json:"slot,omitempty"` // the one that gets new requests
	Up       bool   `json:"up"`
	Settled  bool   `json:"settled"`            // nothing is left to do for this seat
	Sessions int    `json:"sessions,omitempty"` // requests that the other slot still finishes
	Problem  string `json:"problem,omitempty"`
}

// Actual is what the router does.
type Actual struct {
	Desired int64               `json:"desired"` // version of the desired state that this answers
	Settled bool                `json:"settled"` // nothing is left to do for that version
	Weights Weights             `json:"weights"`
	Closed  *Closing            `json:"closed,omitempty"` // of the present generation
	Seats   map[Seat]SeatActual `json:"seats"`
	Problem string              `json:"problem,omitempty"`
	// Settings of its configuration; nil as long as no service has asked for any.
	Settings *Settings `json:"settings,omitempty"`
	// Certificate by ACME; nil without one.
	Certificate *Certificate `json:"certificate,omitempty"`
}

// Certificate is how the router's certificate by ACME stands.
type Certificate struct {
	Domains []string  `json:"domains"`           // that it shall have
	Ends    time.Time `json:"ends,omitzero"`     // zero as long as no authority has given one
	Problem string    `json:"problem,omitempty"` // why there is no new one, though it is time
}

// Driver is the sign of life of the deploy that is under way.
type Driver struct {
	Run  string    `json:"run,omitempty"` // empty: no deploy is under way
	Time time.Time `json:"time"`
}

// A driver gives a sign of life every Beat; after Silence it is taken for dead.
const (
	Beat    = 3 * time.Second
	Silence = 15 * time.Second
)

// Order is what an operator tells the deploy that is under way.
type Order struct {
	Action string    `json:"action"` // OrderPromote or OrderAbort
	Time   time.Time `json:"time"`
}

// The orders.
const (
	OrderPromote = "promote"
	OrderAbort   = "abort"
)

// Encode is the JSON of a value that JSON can always hold.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
