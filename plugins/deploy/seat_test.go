package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// oneServer is an environment of one host.
var oneServer = map[string]string{"router-1": "router production canary"}

// in is the commit that serves on the host of oneServer for a pool.
func (s *site) in(pool string) string {
	at := state.Seat{Host: "router-1", Pool: pool}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.slots[at.Server(s.desired().Seats[at].Slot)]; a != nil {
		return a.commit
	}
	return ""
}

func (s *site) both(t *testing.T, want string) {
	t.Helper()
	expect(t, "production", s.in(state.PoolProduction), want)
	expect(t, "the canary", s.in(state.PoolCanary), want)
}

// TestOneServer has both pools on one host: each has slots of its own, and a deploy, an abort, a promotion and a rollback of one
// leave the other alone.
func TestOneServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneServer)
	s.manifest += programs
	s.mustDeploy(artifact1)
	s.both(t, artifact1)
	s.expectSplit(300, 200, 100)
	want := []string{"install migrate", "install worker-1", "install worker-2", "install index", "install report", "settle worker-1", "settle worker-2", "settle report"}
	var got []string
	for _, p := range s.fake.Playbooks() {
		list, _ := p.Vars["release_programs"].([]any)
		for _, v := range list {
			if step := p.Vars["release_step"].(string); step != "restarts" {
				got = append(got, step+" "+v.(map[string]any)["name"].(string))
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("programs: %q, want %q", got, want)
	}

	stop := s.load()
	held := s.deployBody(t.Context(), artifact2, strings.Replace(s.body(artifact2), `"promote"`, `"promote"`+"\nhold = true", 1))
	if held.Err == nil || !strings.Contains(held.Err.Error(), "is held on the canary") {
		t.Fatalf("got %v, want a held release", held.Err)
	}
	expect(t, "production while the release is held", s.in(state.PoolProduction), artifact1)
	expect(t, "the canary while the release is held", s.in(state.PoolCanary), artifact2)
	if r := s.call("abort", nil); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.both(t, artifact1)
	if r := s.deployBody(t.Context(), faulty, s.longWatch(faulty)); r.Err == nil {
		t.Error("a faulty release was promoted")
	}
	s.both(t, artifact1)
	s.mustDeploy(artifact2)
	s.both(t, artifact2)
	if r := s.call("rollback", map[string]string{"yes": "true"}); r.Err != nil || !slices.ContainsFunc(r.Logs, func(l string) bool { return strings.Contains(l, "router-1 (canary): back on release") }) {
		t.Errorf("%v: %q", r.Err, r.Logs)
	}
	s.both(t, artifact1)
	a := stop()
	for _, why := range a.failed {
		if !strings.HasPrefix(why, "500 ") { // of the faulty release itself
			t.Errorf("a request failed: %s", why)
		}
	}
	if a.release[artifact1] == 0 || a.release[artifact2] == 0 {
		t.Errorf("answers by release: %v, want both", a.release)
	}
	s.expectSplit(300, 200, 100)
	r := s.call("status", nil)
	rows := map[string]string{}
	for _, row := range r.Tables[0].Rows {
		rows[row[1]] = row[0] + " " + row[4]
	}
	if rows["production"] != "router-1 up" || rows["canary"] != "router-1 up" {
		t.Errorf("status: %q", r.Tables[0].Rows)
	}
}

// TestAlertsOfOneServer closes the canary for what its release does, not for what else is on the host.
func TestAlertsOfOneServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneServer)
	s.manifest += programs
	s.mustDeploy(artifact1)
	d := s.desired()
	slot := map[string]string{}
	for at, p := range d.Seats {
		slot[at.Pool] = p.Slot
	}
	alert := func(kind string, data map[string]any) {
		s.fake.Publish(sdk.Event{Host: "router-1", Role: roleRouter, Severity: sdk.Alert, Kind: kind, Summary: kind + " too much", Data: data})
	}
	alert("host.cpu", nil)
	for _, unit := range []string{
		"shop@" + slot["production"] + ".service", "shop-worker-1@" + slot["production"] + ".service", "nginx.service",
		"workshop@" + slot["canary"] + ".service", "shop-other@" + slot["canary"] + ".service", "",
	} {
		alert("host.cpu", map[string]any{"unit": unit})
		alert("process.hog", map[string]any{"unit": unit})
	}
	alert("process.hog", map[string]any{"unit": "shop@" + slot["canary"] + ".service"})
	s.eventually("the canary is closed", func() bool { return s.actual().Closed != nil })
	expect(t, "the reason", s.actual().Closed.Reason, "alert from router-1: process.hog too much")
	s.expectSplit(30, 30, 0)
	if r := s.call("weights", map[string]string{"weights": "2:1"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.expectSplit(30, 20, 10)
	alert("host.memory", map[string]any{"unit": "shop-worker-2@" + slot["canary"] + ".service"})
	s.eventually("the canary is closed for its worker", func() bool { c := s.actual().Closed; return c != nil && strings.Contains(c.Reason, "host.memory") })
	s.both(t, artifact1)
}
