package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keys of the shared state. The stage and the actions write desired, its driver and order; the agent writes actual
// and traffic, and reads what begins with desired.
const (
	keyDesired = "desired"
	keyDriver  = "desired.driver"
	keyOrder   = "order"
	keyActual  = "actual"
	keyTraffic = "traffic"
	keyVerdict = "verdict"
)

// The pools; a host's role is its pool.
const (
	poolProduction = "production"
	poolCanary     = "canary"
	roleRouter     = "router"
)

// weights are the shares of the two pools, as whole numbers.
type weights struct {
	Production int `json:"production"`
	Canary     int `json:"canary"`
}

// maxWeight keeps the product of counter and weight far from an overflow in HAProxy.
const maxWeight = 1000

func (w weights) String() string { return fmt.Sprintf("%d:%d", w.Production, w.Canary) }

func (w weights) check() error {
	if w.Production < 1 || w.Production > maxWeight || w.Canary < 0 || w.Canary > maxWeight {
		return fmt.Errorf("want whole numbers, production from 1 and canary from 0 to %d, got %s", maxWeight, w)
	}
	return nil
}

// parseWeights reads PRODUCTION:CANARY.
func parseWeights(s string) (weights, error) {
	p, c, ok := strings.Cut(s, ":")
	production, err1 := strconv.Atoi(p)
	canary, err2 := strconv.Atoi(c)
	if !ok || err1 != nil || err2 != nil {
		return weights{}, fmt.Errorf("want PRODUCTION:CANARY such as 2:1, got %q", s)
	}
	w := weights{Production: production, Canary: canary}
	return w, w.check()
}

// placement says which slot of a host serves, and what is in it. Slot is empty when none does.
type placement struct {
	Pool    string `json:"pool"`
	Slot    string `json:"slot,omitempty"`
	Release string `json:"release,omitempty"`
}

// idle is the slot that does not serve.
func (p placement) idle() string {
	if p.Slot == "a" {
		return "b"
	}
	return "a"
}

// phase is how far a deploy has come. Whatever it is, the state is one that can serve, and from which the next
// deploy, an abort or a rollback can start.
type phase string

const (
	phaseRest      phase = "rest"
	phaseCanary    phase = "canary"    // the candidate is being judged, by a driver that must be alive
	phaseHeld      phase = "held"      // the candidate waits for an operator
	phasePromoting phase = "promoting" // the candidate passed and goes to production
	phaseAborting  phase = "aborting"
)

// desired is what the router is to do, and what a deploy must know to go on or back.
type desired struct {
	Service    string               `json:"service"`
	Phase      phase                `json:"phase"`
	Weights    weights              `json:"weights"`
	Open       bool                 `json:"open"`       // the canary takes its share; false: nothing
	Generation int64                `json:"generation"` // counts openings; the agent closes one generation for good
	Opened     time.Time            `json:"opened,omitzero"`
	Hosts      map[string]placement `json:"hosts"`
	Good       string               `json:"good,omitempty"`    // the release that was promoted last
	History    []string             `json:"history,omitempty"` // those before it, youngest first
	Candidate  string               `json:"candidate,omitempty"`
	Releases   map[string]release   `json:"releases"` // all that are named above
}

// maxHistory is how many releases one can roll back to.
const maxHistory = 4

// open gives the canary its share, whatever closed it before.
func (d *desired) open(now time.Time) {
	d.Open = true
	d.Generation++
	d.Opened = now
}

// promoted makes the candidate the good release.
func (d *desired) promoted(id string) {
	if d.Good != "" && d.Good != id {
		d.History = slices.Insert(slices.DeleteFunc(d.History, func(s string) bool { return s == d.Good || s == id }), 0, d.Good)
		d.History = d.History[:min(len(d.History), maxHistory)]
	}
	d.Good, d.Candidate, d.Phase = id, "", phaseRest
	d.forget()
}

// rolledBack makes id, which is in the history, the good release, and forgets those after it.
func (d *desired) rolledBack(id string) {
	if i := slices.Index(d.History, id); i >= 0 {
		d.History = d.History[i+1:]
	}
	d.Good, d.Candidate, d.Phase = id, "", phaseRest
	d.forget()
}

// forget drops the releases that nothing names.
func (d *desired) forget() {
	named := append([]string{d.Good, d.Candidate}, d.History...)
	for _, p := range d.Hosts {
		named = append(named, p.Release)
	}
	for id := range d.Releases {
		if !slices.Contains(named, id) {
			delete(d.Releases, id)
		}
	}
}

// closing is the agent's decision that one generation of the canary gets no more traffic.
type closing struct {
	Generation int64     `json:"generation"`
	Reason     string    `json:"reason"`
	Time       time.Time `json:"time"`
}

// effective are the weights that the router must have.
func (d *desired) effective(c *closing) weights {
	w := d.Weights
	if !d.Open || (c != nil && c.Generation == d.Generation) {
		w.Canary = 0
	}
	w.Production = max(w.Production, 1)
	return w
}

// hostActual is what the router does with one host.
type hostActual struct {
	Pool     string `json:"pool"`
	Slot     string `json:"slot,omitempty"` // that gets new requests
	Up       bool   `json:"up"`
	Sessions int    `json:"sessions,omitempty"` // that the other slot still finishes
	Problem  string `json:"problem,omitempty"`
}

// actual is what the router does.
type actual struct {
	Desired int64                 `json:"desired"` // version of the desired state that it answers
	Settled bool                  `json:"settled"` // nothing is left to do for that version
	Weights weights               `json:"weights"`
	Closed  *closing              `json:"closed,omitempty"` // of the present generation
	Hosts   map[string]hostActual `json:"hosts"`
	Problem string                `json:"problem,omitempty"`
}

// driver is the sign of life of the deploy that is under way.
type driver struct {
	Run  string    `json:"run,omitempty"` // empty: nobody drives
	Time time.Time `json:"time"`
}

// A driver says every beat that it lives; after silence it is taken for dead.
const (
	beat    = 3 * time.Second
	silence = 15 * time.Second
)

// order is what an operator tells the deploy that is under way.
type order struct {
	Action string    `json:"action"` // promote or abort
	Time   time.Time `json:"time"`
}

// encode is JSON of a value that JSON can always hold.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
