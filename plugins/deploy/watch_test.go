package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// TestHangingReleaseOfPatientClients has a release that hangs, and clients that wait longer than the canary is watched:
// at the end, none of its requests has been answered, and none has failed.
func TestHangingReleaseOfPatientClients(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	stop := s.loadOf(20 * time.Second)
	r := s.deployBody(t.Context(), hanging, strings.Replace(s.body(hanging), `watch        = "500ms"`, `watch = "3s"`, 1))
	stop()
	if r.Err == nil || !strings.Contains(r.Err.Error(), "not answered yet") {
		t.Errorf("got %v, want that requests are not answered yet", r.Err)
	}
	expect(t, "web-1", s.serving("web-1"), artifact1)
}

// TestRestartsFailTheCanary has a release that ends by itself and is back before a request notices.
func TestRestartsFailTheCanary(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	r := s.deployBody(t.Context(), brief, strings.Replace(s.body(brief), `watch        = "500ms"`, `watch = "2s"`, 1))
	if r.Err == nil || !strings.Contains(r.Err.Error(), "the release ended and was started again") {
		t.Errorf("got %v, want the restarts as the reason", r.Err)
	}
	expect(t, "web-1", s.serving("web-1"), artifact1)
}

// TestPagesWithAssets deploys a good release to a site whose slow pages always load two assets. If turns had a pattern, all
// pages would be the canary's, or none.
func TestPagesWithAssets(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	stop := s.browse()
	long := strings.NewReplacer(`watch        = "500ms"`, `watch = "12s"`, `"1m"`, `"20ms"`).Replace(s.body(artifact2))
	r := s.deployBody(t.Context(), artifact2, long)
	pages := stop()
	if r.Err != nil {
		t.Errorf("a release as good as the one before: %v", r.Err)
	}
	if pages.pool[state.PoolCanary] < 10 || pages.pool[state.PoolProduction] < 2*10 || len(pages.failed) > 0 {
		t.Errorf("pages by pool: %v, failed %q; want both pools", pages.pool, pages.failed)
	}
}

// TestTurnsAreExactInEachBlock counts the canary's turns in blocks of the sum of the weights, and looks where they are.
func TestTurnsAreExactInEachBlock(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	if r := s.call("weights", map[string]string{"weights": "4:2"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.align(6)
	places := map[string]int{}
	for block := range 60 {
		place, canary := "", 0
		for range 6 {
			a := s.ask(1)
			canary += a.pool[state.PoolCanary]
			place += string("pc"[a.pool[state.PoolCanary]])
		}
		expect(t, "turns of the canary in block "+place, canary, 2)
		places[place]++
		if block == 59 && len(places) < 2 {
			t.Errorf("the places have a pattern: %v", places)
		}
	}
}

func TestFailOn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ failOn, want string }{
		"not found is a failure": {`["5xx", "404", "unanswered"]`, "the canary failed"},
		"not found may be right": {`["5xx", "unanswered"]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, oneEach)
			s.stopAgent()
			s.manifest = strings.Replace(s.manifest, "canary {", "canary {\n  fail_on = "+tt.failOn, 1)
			s.startAgent()
			s.mustDeploy(artifact1)
			stop := s.load()
			watch := `"6s"`
			if tt.want != "" {
				watch = `"5m"`
			}
			r := s.deployBody(t.Context(), refusing, strings.Replace(s.body(refusing), `"500ms"`, watch, 1))
			stop()
			if tt.want != "" {
				if r.Err == nil || !strings.Contains(r.Err.Error(), tt.want) {
					t.Errorf("got %v, want %q", r.Err, tt.want)
				}
				return
			}
			warned := slices.ContainsFunc(r.Logs, func(l string) bool { return strings.Contains(l, "with a status from 400 to 499") })
			if r.Err != nil || !warned {
				t.Errorf("got %v and the log\n%s\nwant a pass with a warning", r.Err, strings.Join(r.Logs, "\n"))
			}
		})
	}
}

// TestCard expects every figure of a verdict, with its limit, its interval, its sample and what did not count, where
// `troop why` and the page find it.
func TestCard(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	stop := s.load()
	r := s.deployBody(t.Context(), artifact2, strings.Replace(s.body(artifact2), `"500ms"`, `"4s"`, 1))
	stop()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	details := map[string]string{}
	for _, m := range r.Metrics {
		details[m.Name] = m.Detail
		if limited := m.Name != "canary requests" && m.Name != "canary left out"; limited == (m.Limit == nil) {
			t.Errorf("%s: limit %v", m.Name, m.Limit)
		}
	}
	for name, want := range map[string]string{
		"canary requests": "pass: the canary answered", "canary left out": "the release was warming up", "canary restarts": "production 0",
		"canary found down": "production 0", "canary failures": "95 % interval", "canary first byte p50": "95 % interval",
		"canary first byte p99": "requests, chance", "canary last byte p95": "production ",
	} {
		if d, ok := details[name]; !ok || !strings.Contains(d, want) {
			t.Errorf("%s: detail %q, want %q", name, d, want)
		}
	}
	var c card
	if err := json.Unmarshal(s.fake.State(state.KeyVerdict).Value, &c); err != nil {
		t.Fatal(err)
	}
	if c.Canary == 0 || len(c.Figures) < 9 || len(c.LeftOut) == 0 {
		t.Errorf("the card is not whole: %+v", c)
	}
}

// TestNotIdle tells an idle service from a canary that does not answer.
func TestNotIdle(t *testing.T) {
	t.Parallel()
	c := canary{MinRequests: 50}
	for name, tt := range map[string]struct {
		card card
		want string
	}{
		"nobody came":              {card{}, ""},
		"few came to both":         {card{Seen: verdict.Seen{Production: 40, Canary: 20, Failed: 1}}, ""},
		"production had its share": {card{Seen: verdict.Seen{Production: 50, Canary: 3}}, "production was given 50"},
		"the canary answers few":   {card{Seen: verdict.Seen{Production: 4, Canary: 2, Failed: 2}}, "it did not serve 2 of them"},
	} {
		if got := c.notIdle(tt.card); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

var errAway = errors.New("1 host unreachable")

// cutOff makes playbooks reach a host no more.
func (s *site) cutOff(host sdk.HostName) {
	s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
		if !slices.Contains(p.Hosts, host) {
			return s.playbook(p)
		}
		rest := p
		rest.Hosts = slices.DeleteFunc(slices.Clone(p.Hosts), func(h sdk.HostName) bool { return h == host })
		results, err := s.playbook(rest)
		if err == nil {
			err = errAway
		}
		return append(results, sdk.TaskResult{Host: host, Task: "Connect", Status: "unreachable", Message: "no route to host"}), err
	}
}

// TestHotfixPastADeadCanary deploys while the only canary host cannot be reached, under load. What the lack of a verdict
// means is what no_traffic says.
func TestHotfixPastADeadCanary(t *testing.T) {
	t.Parallel()
	for noTraffic, want := range map[string]struct{ serves, says string }{
		"promote": {artifact2, ""},
		"hold":    {artifact1, "nothing judged release"},
		"abort":   {artifact1, "aborted: no canary host can be reached"},
	} {
		t.Run(noTraffic, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, twoProduction)
			s.mustDeploy(artifact1)
			s.stop("canary-1-" + s.desired().Seats[seat("canary-1")].Slot)
			s.eventually("the router finds canary-1 down", func() bool { return !s.actual().Seats[seat("canary-1")].Up })
			// The host's death has closed the canary, which says nothing of the hotfix.
			s.fake.Publish(sdk.Event{Host: "canary-1", Role: state.PoolCanary, Severity: sdk.Alert, Kind: "host.gone", Summary: "it died"})
			s.eventually("the agent closes the canary", func() bool { return s.actual().Closed != nil })
			s.cutOff("canary-1")
			stop := s.load()
			r := s.deployBody(t.Context(), artifact2, strings.Replace(s.body(artifact2), `"promote"`, strconv.Quote(noTraffic), 1))
			if a := stop(); len(a.failed) > 0 {
				t.Errorf("%d requests failed: %q", len(a.failed), a.failed[0])
			}
			log := strings.Join(r.Logs, "\n")
			if (r.Err == nil) != (want.says == "") || r.Err != nil && !strings.Contains(r.Err.Error(), want.says) || !strings.Contains(log, "canary-1 cannot be reached and is left out") {
				t.Fatalf("got %v and\n%s", r.Err, log)
			}
			if !slices.ContainsFunc(r.Metrics, func(m sdk.Metric) bool {
				return m.Name == "hosts left out" && m.Detail == "canary-1: no route to host"
			}) {
				t.Errorf("metrics: %+v", r.Metrics)
			}
			if noTraffic == "hold" {
				if r := s.call("promote", nil); r.Err != nil {
					t.Fatal(r.Err)
				}
				want.serves = artifact2
			}
			expect(t, "web-1", s.serving("web-1"), want.serves)
			expect(t, "web-2", s.serving("web-2"), want.serves)
			// The host returns as it was. The router keeps it out, until a run brings it back.
			if err := s.start("canary-1", "c", artifact1); err != nil {
				t.Fatal(err)
			}
			expect(t, "canary-1", s.serving("canary-1"), "")
			if a := s.ask(30); a.release[want.serves] != 30 {
				t.Errorf("answers by release: %v", a.release)
			}
			s.fake.OnPlaybook = s.playbook
			s.mustDeploy(want.serves)
			expect(t, "canary-1", s.serving("canary-1"), want.serves)
			s.expectSplit(30, 20, 10)
		})
	}
}

// TestHostsAwayAreLeftOut deploys while a production host cannot be reached, and again when it is back.
func TestHostsAwayAreLeftOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.mustDeploy(artifact1)
	s.stop("web-2-" + s.desired().Seats[seat("web-2")].Slot)
	s.eventually("the router finds web-2 down", func() bool { return !s.actual().Seats[seat("web-2")].Up })
	s.cutOff("web-2")
	r := s.deploy(artifact2)
	if log := strings.Join(r.Logs, "\n"); r.Err != nil || !strings.Contains(log, "web-2 cannot be reached and is left out") {
		t.Fatalf("got %v and\n%s", r.Err, log)
	}
	expect(t, "web-1", s.serving("web-1"), artifact2)
	expect(t, "canary-1", s.serving("canary-1"), artifact2)
	// The host returns as it was. The router keeps it out.
	if err := s.start("web-2", "a", artifact1); err != nil {
		t.Fatal(err)
	}
	if a := s.ask(60); a.release[artifact2] != 60 {
		t.Errorf("answers by release: %v", a.release)
	}
	s.fake.OnPlaybook = s.playbook
	s.mustDeploy(artifact2)
	expect(t, "web-2", s.serving("web-2"), artifact2)
	s.expectSplit(30, 20, 10)
}

// TestStatusWithoutState asks for the status while the shared state hangs, while it refuses, and while it restarts.
func TestStatusWithoutState(t *testing.T) {
	t.Parallel()
	refusal := errors.New("dial tcp: connection refused")
	var asked atomic.Int64
	for name, tt := range map[string]struct {
		away func(context.Context, string) error
		want string
	}{
		"hangs":   {func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, "shared state does not answer"},
		"refuses": {func(context.Context, string) error { return refusal }, "shared state does not answer, so what the hosts serve is not known; the router goes on as it is: read state services: dial tcp: connection refused"},
		"comes back": {func(context.Context, string) error {
			if asked.Add(1) < 2 {
				return refusal
			}
			return nil
		}, "nothing is deployed in this environment yet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &sdktest.Fake{OnState: tt.away, Hosts: []sdk.Host{{Name: "router-1", Role: roleRouter}, {Name: "web-1", Role: state.PoolProduction}}}
			began := time.Now()
			r := sdktest.Call(t, stage(onRouter()), body, "status", nil, sdktest.Options{Fake: fake, Info: sdk.RunInfo{Stage: "deploy.shop"}})
			if r.Err == nil || !strings.Contains(r.Err.Error(), tt.want) {
				t.Errorf("got %v", r.Err)
			}
			if took := time.Since(began); took > patience/2 { // far more than statusTime, for a busy machine
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestHeldAfterItsVerdict has releases that pass and must wait: for a person, or for another day.
func TestHeldAfterItsVerdict(t *testing.T) {
	t.Parallel()
	other := time.Now().UTC().AddDate(0, 0, 3).Format("Mon")
	for argument, why := range map[string]string{
		"hold = true": "hold = true", fmt.Sprintf("windows = [%q]", other+" 00:00-24:00"): "none of its windows, which are " + other,
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, oneEach)
			s.mustDeploy(artifact1)
			stop := s.load()
			defer stop()
			s.manifest = strings.Replace(s.manifest, "canary {", "canary {\n  "+argument, 1)
			r := s.deploy(artifact2)
			if r.Err == nil || !strings.Contains(r.Err.Error(), "the canary answered") || !strings.Contains(r.Err.Error(), why) {
				t.Fatalf("got %v, want a release that passed and is held: %s", r.Err, why)
			}
			expect(t, "web-1", s.serving("web-1"), artifact1)
			expect(t, "canary-1", s.serving("canary-1"), artifact2)
			if r := s.call("promote", nil); r.Err != nil {
				t.Fatal(r.Err)
			}
			expect(t, "web-1", s.serving("web-1"), artifact2)
		})
	}
}

// TestSteps gives the canary more traffic step by step.
func TestSteps(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	first := s.manifest
	s.manifest = strings.Replace(s.manifest, "canary {", "canary {\n  steps = [10, 60]", 1)
	stop := s.load()
	r := s.deploy(artifact2)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	log := strings.Join(r.Logs, "\n")
	one, two := strings.Index(log, "for 500ms, weights 90:10"), strings.Index(log, "for 500ms, weights 40:60")
	if one < 0 || two < one {
		t.Errorf("want the steps 90:10 and 40:60, got\n%s", log)
	}
	s.manifest = first
	bad := strings.Replace(s.longWatch(faulty), "canary {", "canary {\n  steps = [50, 60]", 1)
	if r := s.deployBody(t.Context(), faulty, bad); r.Err == nil || !strings.Contains(r.Err.Error(), "the canary failed") {
		t.Errorf("a release that fails a tenth: %v", r.Err)
	} else if strings.Contains(strings.Join(r.Logs, "\n"), "weights 40:60") {
		t.Error("it failed in the first step, and got to the second")
	}
	stop()
	s.expectSplit(30, 20, 10)
}

// TestGuardAfterPromotion has a release that fails only when it serves everywhere: the deploy goes back by itself, without
// an installation, since the former release still runs.
func TestGuardAfterPromotion(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.mustDeploy(artifact1)
	s.manifest += "production { guard = \"5m\" }\n"
	defer s.load()()
	body, done := s.body(aging), make(chan sdktest.Result)
	go func() { done <- s.deployBody(t.Context(), aging, body) }()
	s.eventually("the release is promoted", func() bool {
		d := s.desired()
		return d.Phase == state.PhaseRest && d.Releases[d.Good].Commit == aging
	})
	installed := len(s.fake.Playbooks())
	s.aged.Store(true)
	r := <-done
	if r.Err == nil || !strings.Contains(r.Err.Error(), "after the promotion the release failed") {
		t.Errorf("got %v, want that the guard went back", r.Err)
	}
	for _, h := range []string{"web-1", "web-2", "canary-1"} {
		expect(t, h, s.serving(h), artifact1)
	}
	if d := s.desired(); d.Releases[d.Good].Commit != artifact1 || d.Candidate != "" {
		t.Errorf("desired state: %+v", d)
	}
	for _, p := range s.fake.Playbooks()[installed:] {
		if p.Vars["release_step"] == "install" {
			t.Errorf("installed again: %v", p.Vars)
		}
	}

	s.aged.Store(false)
	short := strings.Replace(s.body(artifact2), `"5m"`, `"1s"`, 1)
	if r := s.deployBody(t.Context(), artifact2, short); r.Err != nil || !strings.Contains(strings.Join(r.Logs, "\n"), "guarded release") {
		t.Errorf("a good release: %v", r.Err)
	}
	expect(t, "web-2", s.serving("web-2"), artifact2)
}
