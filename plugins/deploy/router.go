package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// routerGroup may use the admin socket and write the router's folder.
const routerGroup = "troop-router"

// setting is what the role router and the agent agree on.
type setting struct {
	dir     string        // of weights.map, servers.state and log.sock
	socket  string        // HAProxy's admin socket
	silence time.Duration // after which a driver is taken for dead
}

var onRouter = setting{dir: "/var/lib/troop-router", socket: "/run/haproxy/admin.sock", silence: silence}

func (p setting) weights() string { return filepath.Join(p.dir, "weights.map") }
func (p setting) servers() string { return filepath.Join(p.dir, "servers.state") }
func (p setting) log() string     { return filepath.Join(p.dir, "log.sock") }

// router brings HAProxy to what is desired. Each of its methods looks, does what can be done now, and returns: the
// agent calls them again and again, so that they heal whatever happened in between.
type router struct {
	setting
	api   haproxy
	drain time.Duration // how long a slot may finish its requests
	since map[string]time.Time
	saved string // servers.state, as far as it matters
}

func newRouter(p setting, drain time.Duration) *router {
	return &router{setting: p, api: haproxy{socket: p.socket}, drain: drain, since: map[string]time.Time{}}
}

// setWeights makes w the weights of all requests that begin from now on. The file comes first: a reload in between
// must not bring back what stood before.
func (r *router) setWeights(ctx context.Context, w weights) error {
	total := w.Production + w.Canary
	if err := overwriteFile(r.weights(), fmt.Sprintf("canary %5d\ntotal  %5d\n", w.Canary, total)); err != nil {
		return fmt.Errorf("write weights: %w", err)
	}
	file := r.weights()
	canary := fmt.Sprintf("set map %s canary %d", file, w.Canary)
	all := fmt.Sprintf("set map %s total %d", file, total)
	if w.Canary == 0 {
		return r.api.tell(ctx, canary, all)
	}
	return r.api.tell(ctx, all, canary)
}

// haveWeights reports whether w are the weights in force.
func (r *router) haveWeights(ctx context.Context, w weights) (bool, error) {
	m, err := r.api.mapValues(ctx, r.weights())
	return m["canary"] == fmt.Sprint(w.Canary) && m["total"] == fmt.Sprint(w.Production+w.Canary), err
}

// place moves every host one step towards its placement, and returns where each stands and whether all have arrived.
// What HAProxy must not lose in a reload is on disk by then.
func (r *router) place(ctx context.Context, d *desired) (map[string]hostActual, bool, error) {
	servers, state, err := r.api.servers(ctx)
	if err != nil {
		return nil, false, err
	}
	if err := r.save(state); err != nil {
		return nil, false, err
	}
	settled := true
	result := map[string]hostActual{}
	for name, want := range d.Hosts {
		h, done := r.placeHost(ctx, servers, name, want, d.Releases[want.Release].Health)
		h.Pool = want.Pool
		result[name] = h
		settled = settled && done
	}
	return result, settled, nil
}

// placeHost: the wanted slot gets requests first, and only when HAProxy found it healthy does the other stop
// getting them. So the host serves at every moment, and a release that is not healthy never does.
func (r *router) placeHost(ctx context.Context, servers map[string]server, host string, want placement, health string) (hostActual, bool) {
	h := hostActual{Slot: want.Slot}
	if want.Slot == "" {
		a, b := r.retire(ctx, servers, want.Pool+"/"+host+"-a", &h), r.retire(ctx, servers, want.Pool+"/"+host+"-b", &h)
		return h, a && b
	}
	name, other := want.Pool+"/"+host+"-"+want.Slot, want.Pool+"/"+host+"-"+want.idle()
	s, ok := servers[name]
	if !ok {
		h.Problem = "the router does not know " + name + "; configure it again"
		return h, false
	}
	if s.Admin != ready {
		// HAProxy believes a server healthy from the moment it leaves maintenance until the first check.
		if err := probe(ctx, "http://"+s.Address+health); err != nil {
			h.Problem = fmt.Sprintf("%s is not healthy: %v", name, err)
			return h, false
		}
		if err := r.api.setState(ctx, name, ready); err != nil {
			h.Problem = err.Error()
		}
		return h, false
	}
	if !s.Up {
		if s.Down {
			h.Problem = name + " fails the router's health check"
		}
		return h, false
	}
	h.Up = true
	return h, r.retire(ctx, servers, other, &h)
}

// retire takes new requests away from a slot, lets it finish those it has, and then takes it out of service. It
// reports whether that is done.
func (r *router) retire(ctx context.Context, servers map[string]server, name string, h *hostActual) bool {
	s, ok := servers[name]
	if !ok || s.Admin == maintenance {
		delete(r.since, name)
		return true
	}
	next := draining
	if s.Admin == draining {
		began, known := r.since[name]
		switch {
		case !known:
			r.since[name] = time.Now()
		case s.Sessions == 0 || time.Since(began) > r.drain:
			next = maintenance
		}
		if next == draining {
			h.Sessions = s.Sessions
			return false
		}
	}
	if err := r.api.setState(ctx, name, next); err != nil {
		h.Problem = err.Error()
	}
	if next == draining {
		r.since[name] = time.Now()
	}
	h.Sessions = s.Sessions
	return false
}

// save writes only when something other than a time changed.
func (r *router) save(state string) error {
	timeless := withoutTimes(state)
	if timeless == r.saved {
		return nil
	}
	if err := replaceFile(r.servers(), state); err != nil {
		return fmt.Errorf("save the servers' state: %w", err)
	}
	r.saved = timeless
	return nil
}

// withoutTimes drops the column that counts seconds.
func withoutTimes(state string) string {
	const sinceLastChange = 9
	var b strings.Builder
	for line := range strings.Lines(state) {
		if f := strings.Fields(line); len(f) > sinceLastChange && f[0] != "#" {
			f[sinceLastChange] = "-"
			line = strings.Join(f, " ") + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// overwriteFile writes content over a file of the same length. To replace the file may wait for the disk, 100 ms and
// more; traffic must not wait for that.
func overwriteFile(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if info, serr := f.Stat(); err == nil && serr == nil && info.Size() != int64(len(content)) {
		err = f.Truncate(int64(len(content)))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// replaceFile puts content in a file's place, so that a reader sees the old or the new whole. It does not wait for
// the disk: what counts is that HAProxy reads it after a reload, and after a crash the agent writes it again.
func replaceFile(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Chmod(0o640) // HAProxy reads it through the folder's group
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error tells more
	}
	return err
}

// probeTime is how long a healthy slot takes at most to say so.
const probeTime = 2 * time.Second

// prober follows no redirect and shares no connection: it asks like HAProxy.
var prober = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := prober.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
