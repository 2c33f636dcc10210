package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestOperatorEndsHeldCanary(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]string{"promote": artifact2, "abort": artifact1, "rollback": artifact1} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, oneEach)
			s.mustDeploy(artifact1)
			held := strings.Replace(s.body(artifact2), `"promote"`, `"hold"`, 1)
			r := s.deployBody(t.Context(), artifact2, held)
			if r.Err == nil || !strings.Contains(r.Err.Error(), "is held on the canary") {
				t.Fatalf("got %v, want a held release", r.Err)
			}
			expect(t, "canary-1 while held", s.serving("canary-1"), artifact2)
			expect(t, "web-1 while held", s.serving("web-1"), artifact1)
			args := map[string]string{}
			if action == "rollback" {
				args["yes"] = "true"
			}
			if r := s.call(action, args); r.Err != nil {
				t.Fatal(r.Err)
			}
			expect(t, "web-1", s.serving("web-1"), want)
			expect(t, "canary-1", s.serving("canary-1"), want)
			s.expectSplit(30, 20, 10)
			if got := s.stopped(); (len(got) > 0) != (action != "promote") || len(got) > 0 && !strings.Contains(held, got[0]) {
				t.Errorf("stopped releases: %v", got)
			}
		})
	}
}

func TestOrderEndsTheWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	done := make(chan sdktest.Result)
	long := s.longWatch(artifact2)
	go func() { done <- s.deployBody(t.Context(), artifact2, long) }()
	s.watching()
	for action, args := range map[string]map[string]string{"weights": {"weights": "1:1"}, "rollback": {"yes": "true"}} {
		if r := s.call(action, args); r.Err == nil || !strings.Contains(r.Err.Error(), "a deploy is running") {
			t.Errorf("%s during a deploy: %v", action, r.Err)
		}
	}
	expect(t, "weights", s.desired().Weights, state.Weights{Production: 2, Canary: 1})
	if r := s.call("promote", nil); r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := <-done; r.Err != nil {
		t.Fatal(r.Err)
	}
	expect(t, "web-1", s.serving("web-1"), artifact2)
}

// TestAbortWorksInEveryPhase orders an abort while a deploy is at a certain step, and expects the former release
// everywhere, on production first.
func TestAbortWorksInEveryPhase(t *testing.T) {
	t.Parallel()
	steps := map[string]struct {
		host, step string // of the playbook during which the operator orders the abort
		reached    bool   // production served the release by then
	}{
		"canary is installed":     {"canary-1", "install", false},
		"production is installed": {"web-2", "install", false},
		"old slots are stopped":   {"web-2", "settle", true},
	}
	for name, tt := range steps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, twoProduction)
			s.mustDeploy(artifact1)
			var once sync.Once
			var playing sync.Mutex // one playbook at a time, as in the core: a cancelled one ends before the next begins
			s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
				playing.Lock()
				defer playing.Unlock()
				if slices.Contains(p.Hosts, sdk.HostName(tt.host)) && p.Vars["release_step"] == tt.step {
					once.Do(func() {
						if got := s.serving("web-1") == artifact2; got != tt.reached {
							t.Errorf("production serves the release: %v, want %v", got, tt.reached)
						}
						s.order(t, "abort")
					})
				}
				return s.playbook(p)
			}
			stop := s.load()
			r := s.deploy(artifact2)
			a := stop()
			if r.Err == nil || !strings.Contains(r.Err.Error(), "aborted: an operator ordered the abort") {
				t.Errorf("got %v", r.Err)
			}
			if len(a.failed) > 0 {
				t.Errorf("%d requests failed: %q", len(a.failed), a.failed[0])
			}
			for _, h := range []string{"web-1", "web-2", "canary-1"} {
				expect(t, h, s.serving(h), artifact1)
			}
			d := s.desired()
			if d.Phase != state.PhaseRest || d.Candidate != "" || d.Releases[d.Good].Commit != artifact1 || len(d.History) > 0 {
				t.Errorf("desired state after the abort: %+v", d)
			}
			s.expectSplit(300, 200, 100)
			if r := s.call("abort", nil); r.Err == nil || !strings.Contains(r.Err.Error(), "nothing to abort") {
				t.Errorf("a second abort gave %v", r.Err)
			}
		})
	}
}

// TestWayBackAfterAKilledDeploy ends a deploy in the midst of its promotion, and leaves its sign of life as a killed one does.
func TestWayBackAfterAKilledDeploy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		host, step, action string
	}{
		"production is installed, abort":    {"web-2", "install", "abort"},
		"production is installed, rollback": {"web-2", "install", "rollback"},
		"old slots are stopped, rollback":   {"web-2", "settle", "rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, twoProduction)
			s.mustDeploy(artifact1)
			before := s.fake.OnPlaybook
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
				if slices.Contains(p.Hosts, sdk.HostName(tt.host)) && p.Vars["release_step"] == tt.step {
					cancel()
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return before(p)
			}
			s.deployBody(ctx, artifact2, s.body(artifact2))
			s.fake.OnPlaybook = before
			s.fake.SetState(state.KeyDriver, state.Encode(state.Driver{Run: "killed", Time: time.Now().UTC().Add(-state.Silence)}))
			var args map[string]string
			if tt.action == "rollback" {
				args = map[string]string{"yes": "true"}
			}
			if r := s.call(tt.action, args); r.Err != nil {
				t.Fatal(r.Err)
			}
			for _, h := range []string{"web-1", "web-2", "canary-1"} {
				expect(t, h, s.serving(h), artifact1)
			}
			s.expectSplit(300, 200, 100)
		})
	}
}

// TestAbortDuringPromotionIsQuick aborts while production drains requests that hang: the former release still runs, so
// it answers again without an installation, and nothing waits for the requests that hang.
func TestAbortDuringPromotionIsQuick(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.mustDeploy(artifact1)
	release := func() {}
	s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
		if slices.Contains(p.Hosts, "web-1") && p.Vars["release_step"] == "install" {
			release = s.hang("web-1", "web-2")
		}
		return s.playbook(p)
	}
	done := make(chan sdktest.Result)
	body := s.body(artifact2)
	go func() { done <- s.deployBody(t.Context(), artifact2, body) }()
	s.eventually("web-1 serves the release and drains", func() bool { return s.actual().Seats[seat("web-1")].Sessions > 0 })
	installed := len(s.fake.Playbooks())
	s.order(t, "abort")
	s.eventually("production serves the former release", func() bool {
		a, d := s.actual(), s.desired()
		return d.Phase == state.PhaseAborting && s.serving("web-1") == artifact1 && a.Seats[seat("web-1")].Up && a.Seats[seat("web-1")].Slot == d.Seats[seat("web-1")].Slot
	})
	expect(t, "playbooks for the way back", len(s.fake.Playbooks()), installed)
	release()
	if r := <-done; r.Err == nil || !strings.Contains(r.Err.Error(), "an operator ordered the abort") {
		t.Errorf("got %v", r.Err)
	}
	for _, h := range []string{"web-1", "web-2", "canary-1"} {
		expect(t, h, s.serving(h), artifact1)
	}
}

// TestDeadCanaryDoesNotKeepProductionBack rolls back while no playbook reaches the canary host.
func TestDeadCanaryDoesNotKeepProductionBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.mustDeploy(artifact1)
	s.mustDeploy(artifact2)
	s.stop("canary-1-" + s.desired().Seats[seat("canary-1")].Slot)
	s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
		if slices.Contains(p.Hosts, "canary-1") {
			return []sdk.TaskResult{{Host: "canary-1", Task: "Connect", Status: "unreachable", Message: "no route to host"}}, errors.New("1 host unreachable")
		}
		return s.playbook(p)
	}
	r := s.call("rollback", map[string]string{"yes": "true"})
	if log := strings.Join(r.Logs, "\n"); r.Err != nil || !strings.Contains(log, "serves on every host but canary-1, which cannot be reached") {
		t.Errorf("got %v and\n%s", r.Err, log)
	}
	expect(t, "web-1", s.serving("web-1"), artifact1)
	expect(t, "web-2", s.serving("web-2"), artifact1)
	expect(t, "canary-1", s.serving("canary-1"), "")
	if d := s.desired(); d.Releases[d.Good].Commit != artifact1 {
		t.Errorf("the good release is %s", d.Good)
	}
	s.expectSplit(30, 30, 0)

	s.fake.OnPlaybook = s.playbook // the host is back: the next run repairs it
	s.mustDeploy(artifact1)
	expect(t, "canary-1", s.serving("canary-1"), artifact1)
	s.expectSplit(30, 20, 10)
}

func TestRollbackNeedsYes(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	if r := s.call("rollback", nil); r.Err == nil {
		t.Error("rolled back without a release")
	}
	s.mustDeploy(artifact1)
	s.mustDeploy(artifact2)
	r := s.call("rollback", nil)
	if text := strings.Join(r.Logs, "\n"); r.Err != nil || !strings.Contains(text, "web-1: "+artifact2) || !strings.Contains(text, "nothing was changed yet") {
		t.Errorf("got %v and %s", r.Err, text)
	}
	expect(t, "web-1", s.serving("web-1"), artifact2)
}

// TestRollbackToAKeptRelease goes back over more than one release, and not over an irreversible one.
func TestRollbackToAKeptRelease(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	s.mustDeploy(artifact2)
	s.mustDeploy(late)
	r := s.call("rollback", map[string]string{"to": artifact1})
	if text := strings.Join(r.Logs, "\n"); r.Err != nil || !strings.Contains(text, "web-1: "+late) || !strings.Contains(text, "kept, too: "+artifact2) {
		t.Errorf("got %v and %s", r.Err, text)
	}
	for name, want := range map[string]string{"good-": "more than one", "none": `no kept release is called "none"; there are: ` + artifact2} {
		if r := s.call("rollback", map[string]string{"to": name, "yes": "true"}); r.Err == nil || !strings.Contains(r.Err.Error(), want) {
			t.Errorf("to %s: %v, want %s", name, r.Err, want)
		}
	}
	if r := s.call("rollback", map[string]string{"to": artifact1, "yes": "true"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, h := range []string{"web-1", "canary-1"} {
		expect(t, h, s.serving(h), artifact1)
	}
	if d := s.desired(); d.Releases[d.Good].Commit != artifact1 || len(d.History) != 0 {
		t.Errorf("good is %s, after %v", d.Good, d.History)
	}

	plain := s.manifest
	s.manifest = strings.Replace(s.manifest, "service {", "irreversible = true\nservice {", 1)
	s.mustDeploy(artifact2)
	s.manifest = plain
	s.mustDeploy(late)
	if r := s.call("rollback", map[string]string{"to": artifact1, "yes": "true"}); r.Err == nil || !strings.Contains(r.Err.Error(), "is irreversible") {
		t.Errorf("back over an irreversible release: %v", r.Err)
	}
	if r := s.call("rollback", map[string]string{"to": artifact2, "yes": "true"}); r.Err != nil {
		t.Errorf("back to an irreversible release: %v", r.Err)
	}
}

// TestIrreversibleReleaseIsFrozen stops releases after which no earlier one can run: one that fails its verdict, one that an
// operator aborts, and one that serves everywhere.
func TestIrreversibleReleaseIsFrozen(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	s.manifest = strings.Replace(s.manifest, "service {", "irreversible = true\nservice {", 1)
	stop := s.load()
	r := s.deployBody(t.Context(), faulty, s.longWatch(faulty))
	stop()
	if r.Err == nil || !strings.Contains(r.Err.Error(), "the canary failed") || !strings.Contains(r.Err.Error(), "it is irreversible") {
		t.Errorf("got %v, want a release that is stopped", r.Err)
	}
	frozen := func(canary string) {
		t.Helper()
		expect(t, "canary-1", s.serving("canary-1"), canary)
		expect(t, "web-1", s.serving("web-1"), artifact1)
		s.expectSplit(30, 30, 0)
	}
	frozen(faulty)
	if r := s.call("abort", nil); r.Err == nil || !strings.Contains(r.Err.Error(), "it is irreversible") {
		t.Errorf("abort: %v", r.Err)
	}
	if r := s.call("rollback", map[string]string{"yes": "true"}); r.Err == nil || !strings.Contains(r.Err.Error(), "is irreversible") {
		t.Errorf("rollback: %v", r.Err)
	}
	frozen(faulty)

	s.mustDeploy(artifact2) // the repair
	s.expectSplit(30, 20, 10)
	if r := s.call("rollback", map[string]string{"yes": "true"}); r.Err == nil || !strings.Contains(r.Err.Error(), "is irreversible") {
		t.Errorf("rollback of the repair: %v", r.Err)
	}
	expect(t, "web-1", s.serving("web-1"), artifact2)
}
