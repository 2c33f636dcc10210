package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestSplitWithHostsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.mustDeploy(artifact1)
	s.stop("web-1-" + s.desired().Seats[seat("web-1")].Slot)
	s.expectSplit(300, 200, 100) // from the first request on: requests for web-1 go to web-2
	s.stop("canary-1-" + s.desired().Seats[seat("canary-1")].Slot)
	s.expectSplit(300, 300, 0) // the first reaches production through the rescue server
}

// TestLateHealthCheckKeepsServerUp has hosts that are busy but serve: a check that answers late is no failure.
func TestLateHealthCheckKeepsServerUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(late)
	s.expectSplit(300, 200, 100)
	if log := string(s.routerLog()); strings.Contains(log, " is DOWN") {
		t.Errorf("the router found a server down: %s", log)
	}
}

// TestHealthIsTheReleases deploys under load a release whose health checks differ from those of the one before in path,
// host and status, and goes back. No check asks a release for what another one answers.
func TestHealthIsTheReleases(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	before := len(s.fake.Playbooks())
	s.inService("health {\n path = \"/up\"\n host = \"shop.example.com\"\n status = 204\n}")
	stop := s.load()
	s.mustDeploy(artifact2)
	if p := s.fake.Playbooks()[before]; p.Name != "router.yml" {
		t.Errorf("the first playbook was %s, want the router's before anything else", p.Name)
	}
	s.reload() // the new worker knows what to ask
	s.mustDeploy(artifact2)
	if r := s.call("rollback", map[string]string{"yes": "true"}); r.Err != nil {
		t.Errorf("rollback: %v", r.Err)
	}
	if a := stop(); len(a.failed) > 0 {
		t.Errorf("failed: %q", a.failed)
	}
	expect(t, "web-1", s.serving("web-1"), artifact1)
	s.expectSplit(30, 20, 10)
	if log := string(s.routerLog()); strings.Contains(log, " is DOWN") {
		t.Errorf("the router found a server down: %s", log)
	}
}

func TestReloadKeepsSlotsAndWeights(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	s.mustDeploy(artifact2) // slots b serve, not those that a new configuration starts with
	s.eventually("the state is saved", func() bool { return s.actual().Settled })
	s.stopAgent()
	stop := s.load()
	s.reload()
	a := stop()
	s.expectSplit(30, 20, 10)
	if len(a.failed) > 0 {
		t.Errorf("the reload lost requests: %q", a.failed)
	}
	if a.release[artifact2] != a.pool[state.PoolProduction]+a.pool[state.PoolCanary] {
		t.Errorf("answers by release: %v", a.release)
	}
}

// TestConfigurationMoves changes what the configuration says of the hosts. HAProxy must not keep what it knew of them.
func TestConfigurationMoves(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *site){
		"the application's port": func(s *site) {
			s.port += 100
			s.vars["router_app_port"] = s.port
		},
		"a host's address": func(s *site) { s.at("web-1", state.PoolProduction, 200) },
		"one host more":    func(s *site) { s.at("a-1", state.PoolProduction, 201) }, // before the others, which keep their state
		"one host less": func(s *site) {
			s.vars["groups"].(map[string][]string)[state.PoolProduction] = []string{"web-1"}
			s.fake.Hosts = slices.DeleteFunc(s.fake.Hosts, func(h sdk.Host) bool { return h.Name == "web-2" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, twoProduction)
			s.mustDeploy(artifact1)
			s.mustDeploy(artifact2) // slots b serve, not those that a new configuration starts with
			change(s)
			s.configure()
			if strings.HasPrefix(name, "one host") {
				s.expectSplit(30, 20, 10) // the servers that did not move go on
			}
			s.mustDeploy(artifact2)
			s.expectSplit(30, 20, 10)
			s.mustDeploy(artifact1)
			s.expectSplit(30, 20, 10)
			for _, h := range s.fake.Hosts {
				if h.Role == state.PoolProduction {
					expect(t, string(h.Name), s.serving(string(h.Name)), artifact1)
				}
			}
		})
	}
}

// at gives a host an address, and makes the host if there is none.
func (s *site) at(name, role string, last int) {
	address := fmt.Sprintf("%s.%d", s.ip["web-2"][:strings.LastIndex(s.ip["web-2"], ".")], last)
	s.ip[name] = address
	s.hostvars[name] = map[string]string{"troop_private_address": address}
	host := sdk.Host{Name: sdk.HostName(name), Role: role, Address: address, PrivateAddress: address}
	if i := slices.IndexFunc(s.fake.Hosts, func(h sdk.Host) bool { return h.Name == host.Name }); i >= 0 {
		s.fake.Hosts[i] = host
		return
	}
	s.fake.Hosts = append(s.fake.Hosts, host)
	groups := s.vars["groups"].(map[string][]string)
	groups[role] = append([]string{name}, groups[role]...)
}

func TestRestartIsReconciled(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	s.stopRouter()
	s.write("weights.map", "canary 0\ntotal 1\n") // HAProxy lost all of its state
	s.write("servers.state", "1\n")
	s.startRouter()
	s.eventually("both pools serve again", func() bool {
		a := s.ask(3)
		return a.pool[state.PoolProduction] == 2 && a.pool[state.PoolCanary] == 1 && len(a.failed) == 0
	})
	s.expectSplit(30, 20, 10)
}

// TestLostStateChangesNothing gives the agent an empty shared state, as after the loss of Redis's disk: what it was told last
// holds. troop-agent gives the desired state back (core/bus), and the agent goes on from there.
func TestLostStateChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	told := s.fake.State(state.KeyDesired).Value
	s.stopAgent()
	s.fake = &sdktest.Fake{Hosts: s.fake.Hosts, OnPlaybook: s.fake.OnPlaybook}
	s.startAgent()
	s.expectSplit(30, 20, 10)
	s.fake.SetState(state.KeyDesired, told)
	s.expectSplit(30, 20, 10)
	s.mustDeploy(artifact2)
	s.expectSplit(30, 20, 10)
}

func TestAlertClosesTheCanary(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	s.fake.Publish(sdk.Event{Host: "web-1", Role: state.PoolProduction, Severity: sdk.Alert, Kind: "host.cpu", Summary: "busy"})
	s.fake.Publish(sdk.Event{Host: "canary-1", Role: state.PoolCanary, Severity: sdk.Warning, Kind: "host.cpu", Summary: "warm"})
	for _, kind := range []string{"storage", "storage.full", "journal", "provider.steal", "agent.failed", "doctor.budget", "backlog"} { // not the release's
		s.fake.Publish(sdk.Event{Host: "canary-1", Role: state.PoolCanary, Severity: sdk.Alert, Kind: kind, Summary: kind})
	}
	s.fake.Publish(sdk.Event{Host: "canary-1", Role: state.PoolCanary, Severity: sdk.Alert, Kind: "host.cpu", Summary: "CPU above 60 %"})
	s.eventually("the canary is closed", func() bool { return s.actual().Closed != nil })
	// The reason is the first alert that counts, so the earlier ones did not count.
	expect(t, "reason", s.actual().Closed.Reason, "alert from canary-1: CPU above 60 %")
	s.expectSplit(30, 30, 0)
	var closed sdk.Event
	s.eventually("the closing is published", func() bool {
		i := slices.IndexFunc(s.fake.Published(), func(e sdk.Event) bool { return e.Kind == "canary.closed" && e.Severity == sdk.Alert })
		if i >= 0 {
			closed = s.fake.Published()[i]
		}
		return i >= 0
	})
	// Production serves the same release, which is not stopped.
	if delays, _ := closed.Data[sdk.Delays].(map[string]any); closed.Data[sdk.StoppedRelease] != nil || delays["canary"] == nil {
		t.Errorf("the closing says %v", closed.Data)
	}

	s.stopAgent() // a restarted agent remembers that the canary is closed
	s.startAgent()
	s.reload()
	s.expectSplit(30, 30, 0)
	if r := s.call("weights", map[string]string{"weights": "2:1"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.expectSplit(30, 20, 10)
}

func TestAlertKindsAreChosen(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.stopAgent()
	s.manifest = strings.Replace(s.manifest, "canary {", "canary {\n  alerts = [\"storage.\"]", 1)
	s.startAgent()
	s.mustDeploy(artifact1)
	s.fake.Publish(sdk.Event{Host: "canary-1", Role: state.PoolCanary, Severity: sdk.Alert, Kind: "host.cpu", Summary: "CPU above 60 %"})
	s.fake.Publish(sdk.Event{Host: "canary-1", Role: state.PoolCanary, Severity: sdk.Alert, Kind: "storage.away", Summary: "storage-1 is away"})
	s.eventually("the canary is closed", func() bool { return s.actual().Closed != nil })
	// The reason is the first alert that counts, so the earlier one did not count.
	expect(t, "reason", s.actual().Closed.Reason, "alert from canary-1: storage-1 is away")
}

func TestGuardClosesFaultyCanary(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	if err := s.start("canary-1", s.desired().Seats[seat("canary-1")].Slot, faulty); err != nil {
		t.Fatal(err)
	}
	defer s.load()()
	s.eventually("the canary is closed", func() bool { return s.actual().Closed != nil })
	var seen verdict.Seen
	if err := json.Unmarshal(s.actual().Closed.Seen, &seen); err != nil || seen.Outcome != verdict.Fail || seen.Failed == 0 || len(seen.Figures) == 0 {
		t.Errorf("closed by %+v, %v", seen, err)
	}
}

func TestUnhealthySlotGetsNoTraffic(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	d := s.desired()
	p := d.Seats[seat("web-1")]
	d.Seats[seat("web-1")] = state.Placement{Slot: seat("web-1").Idle(p), Release: p.Release} // nothing runs there
	s.fake.SetState(state.KeyDesired, state.Encode(d))
	s.eventually("the problem is reported", func() bool { return s.actual().Seats[seat("web-1")].Problem != "" })
	s.expectSplit(30, 20, 10)
}

// BenchmarkAlertToLastRequest measures the time from an alert's publication to the moment from which no request is
// answered by the canary any more.
func BenchmarkAlertToLastRequest(b *testing.B) {
	s := newSite(b, oneEach)
	s.mustDeploy(artifact1)
	var took []time.Duration
	for b.Loop() {
		if r := s.call("weights", map[string]string{"weights": "1:1000"}); r.Err != nil {
			b.Fatal(r.Err)
		}
		began := time.Now()
		s.fake.Publish(sdk.Event{Host: "canary-1", Role: state.PoolCanary, Severity: sdk.Alert, Kind: "host.cpu", Summary: "busy"})
		last := began
		for misses := 0; misses < 5; {
			pool, _, err := s.get(http.DefaultClient)
			switch {
			case err != nil:
				b.Fatal(err)
			case pool == state.PoolCanary:
				last, misses = time.Now(), 0
			default:
				misses++
			}
		}
		took = append(took, last.Sub(began))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
}
