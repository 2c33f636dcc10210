// Package router brings HAProxy to a desired state: which slot of each seat gets requests, and with which weights. It
// runs inside the deploy agent on the router, which is the only writer of HAProxy's run-time state.
package router

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// Paths are what the role router and the agent agree on.
type Paths struct {
	Dir    string // of the weights, the servers' state and the log socket
	Socket string // HAProxy's admin socket
}

// Of are the paths of a service: those of the first one, and folders in these.
func (p Paths) Of(s state.Service) Paths {
	p.Dir = filepath.Join(p.Dir, s.Label())
	return p
}

// Log is the socket that HAProxy logs to.
func (p Paths) Log() string     { return filepath.Join(p.Dir, "log.sock") }
func (p Paths) weights() string { return filepath.Join(p.Dir, "weights.map") }
func (p Paths) health() string  { return filepath.Join(p.Dir, "health.map") }
func (p Paths) servers() string { return filepath.Join(p.Dir, "servers.state") } // of all services

// Challenges is the socket that HAProxy passes the authority's questions to.
func (p Paths) Challenges() string  { return filepath.Join(p.Dir, "acme.sock") }
func (p Paths) certificate() string { return filepath.Join(p.Dir, "acme.pem") }
func (p Paths) settings() string    { return filepath.Join(p.Dir, "settings.json") }

// Router changes HAProxy's run-time state. Place and SetWeights look at HAProxy, do what can be done now, and return:
// the caller repeats them, so that they also repair what something else changed. SetWeights and HaveWeights may run
// beside Place; Place may not run beside itself.
type Router struct {
	paths  Paths
	api    haproxy.Client
	prober *http.Client
	drain  time.Duration // how long a slot may finish its requests
	seen   func(map[string]haproxy.Server)
	since  map[string]time.Time // when a server began to drain
	saved  string               // servers' state on disk, without times
	all    Paths
}

// New returns the router of a service with some paths. It touches nothing yet. Place calls seen with the service's servers, by
// "POOL/SERVER".
func New(p Paths, s state.Service, drain time.Duration, seen func(map[string]haproxy.Server)) *Router {
	return &Router{paths: p.Of(s), all: p, api: haproxy.New(p.Socket, s.Prefix()), prober: newProber(), drain: drain, seen: seen, since: map[string]time.Time{}}
}

// SetWeights makes w the weights of all requests that begin from now on. The file comes first: a reload in between must
// not bring the old weights back.
func (r *Router) SetWeights(ctx context.Context, w state.Weights) error {
	total := w.Production + w.Canary
	file := r.paths.weights()
	if err := overwriteFile(file, fmt.Sprintf("canary %5d\ntotal  %5d\n", w.Canary, total)); err != nil {
		return fmt.Errorf("write weights: %w", err)
	}
	canary := haproxy.Entry{Key: "canary", Value: strconv.Itoa(w.Canary)}
	all := haproxy.Entry{Key: "total", Value: strconv.Itoa(total)}
	if w.Canary == 0 {
		return r.api.SetMap(ctx, file, canary, all)
	}
	return r.api.SetMap(ctx, file, all, canary)
}

// Pool is the pool that a backend of HAProxy is; ok is false for one of another service.
func (r *Router) Pool(backend string) (pool string, ok bool) { return r.api.Pool(backend) }

// HaveWeights reports whether w are the weights in force.
func (r *Router) HaveWeights(ctx context.Context, w state.Weights) (bool, error) {
	m, err := r.api.Map(ctx, r.paths.weights())
	return m["canary"] == strconv.Itoa(w.Canary) && m["total"] == strconv.Itoa(w.Production+w.Canary), err
}

// Place moves every seat one step towards its placement, and returns how each stands and whether all have arrived. By
// then, the servers' state is on disk. HAProxy loads a copy of it after a reload.
func (r *Router) Place(ctx context.Context, d *state.Desired) (map[state.Seat]state.SeatActual, bool, error) {
	servers, text, err := r.api.Servers(ctx)
	if err != nil {
		return nil, false, err
	}
	r.seen(servers)
	if err := r.save(text); err != nil {
		return nil, false, err
	}
	if err := r.tellHealth(ctx, d); err != nil {
		return nil, false, err
	}
	settled := true
	result := map[state.Seat]state.SeatActual{}
	for seat, want := range d.Seats {
		h, done := r.placeSeat(ctx, servers, seat, want, d.Releases[want.Release].Health)
		h.Settled = done
		result[seat] = h
		settled = settled && done
	}
	return result, settled, nil
}

// placeSeat gives the wanted slot requests first; the other slot loses them only after HAProxy found the wanted one
// healthy. So the seat serves at every moment, and a release that is not healthy never does.
func (r *Router) placeSeat(ctx context.Context, servers map[string]haproxy.Server, seat state.Seat, want state.Placement, health state.Health) (state.SeatActual, bool) {
	h := state.SeatActual{Slot: want.Slot, Up: want.Slot != "" && !health.HTTP()}
	if want.Slot == "" || !health.HTTP() {
		settled := true
		for _, slot := range seat.Slots() {
			settled = r.retire(ctx, servers, seat.Pool+"/"+seat.Server(slot), &h) && settled
		}
		return h, settled
	}
	name, other := seat.Pool+"/"+seat.Server(want.Slot), seat.Pool+"/"+seat.Server(seat.Idle(want))
	s, ok := servers[name]
	if !ok {
		h.Problem = "the router does not know " + name + "; configure it again"
		return h, false
	}
	if s.Admin != haproxy.Ready {
		// HAProxy takes a server for healthy from the end of its maintenance until the first check.
		if err := r.probe(ctx, s.Address, health); err != nil {
			h.Problem = fmt.Sprintf("%s is not healthy: %v", name, err)
			return h, false
		}
		if err := r.api.SetState(ctx, name, haproxy.Ready); err != nil {
			h.Problem = err.Error()
		}
		return h, false
	}
	if !s.Up {
		if s.Down {
			h.Problem = fmt.Sprintf("%s fails the router's health check of %s: %s", name, health.Path, s.Check)
		}
		return h, false
	}
	h.Up = true
	return h, r.retire(ctx, servers, other, &h)
}

// retire takes new requests away from a slot, lets it finish those it has, and then puts it into maintenance. It reports
// whether the slot is there.
func (r *Router) retire(ctx context.Context, servers map[string]haproxy.Server, name string, h *state.SeatActual) bool {
	s, ok := servers[name]
	if !ok || s.Admin == haproxy.Maintenance {
		delete(r.since, name)
		return true
	}
	next := haproxy.Drain
	if s.Admin == haproxy.Drain {
		began, known := r.since[name]
		switch {
		case !known:
			r.since[name] = time.Now()
		case s.Sessions == 0 || time.Since(began) > r.drain:
			next = haproxy.Maintenance
		}
		if next == haproxy.Drain {
			h.Sessions = s.Sessions
			return false
		}
	}
	if err := r.api.SetState(ctx, name, next); err != nil {
		h.Problem = err.Error()
	}
	if next == haproxy.Drain {
		r.since[name] = time.Now()
	}
	h.Sessions = s.Sessions
	return false
}

// save writes the servers' state when something other than a time changed.
func (r *Router) save(s haproxy.State) error {
	timeless := s.Timeless()
	if timeless == r.saved {
		return nil
	}
	if err := ReplaceFile(r.all.servers(), string(s)); err != nil {
		return fmt.Errorf("save the servers' state: %w", err)
	}
	r.saved = timeless
	return nil
}
