package main

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

var oneEach = map[string]string{"router-1": roleRouter, "web-1": state.PoolProduction, "canary-1": state.PoolCanary}

// twoProduction has a second production host, of which one may fail.
var twoProduction = map[string]string{"router-1": roleRouter, "web-1": state.PoolProduction, "web-2": state.PoolProduction, "canary-1": state.PoolCanary}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// align sends requests until the next one begins a block of turns, and returns how many.
func (s *site) align(total int64) int64 {
	s.t.Helper()
	out, err := haproxy.New(s.setting.paths.Socket, "").Ask(s.t.Context(), "show table turn")
	if err != nil {
		s.t.Fatal(err)
	}
	var n int64
	if _, after, any := strings.Cut(out, "gpc0="); any { // there was a request
		if n, err = strconv.ParseInt(strings.TrimSpace(after), 10, 64); err != nil {
			s.t.Fatalf("read the counter of turns: %v in %q", err, out)
		}
	}
	more := total - 1 - n%total
	s.ask(int(more))
	return more
}

// expectSplit sends n requests and expects exact numbers of answers from each pool, in whole blocks of turns.
func (s *site) expectSplit(n, production, canary int) {
	s.t.Helper()
	var w state.Weights
	s.eventually("the router reports its weights", func() bool { w = s.actual().Weights; return w != state.Weights{} })
	s.align(int64(w.Production + w.Canary))
	a := s.ask(n)
	if a.pool[state.PoolProduction] != production || a.pool[state.PoolCanary] != canary || len(a.failed) > 0 {
		s.t.Errorf("%d requests: %v, failed %q; want %d:%d; %+v\n%s", n, a.pool, a.failed, production, canary, s.actual(), s.routerLog())
	}
}

func TestDeployUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.mustDeploy(artifact1)
	s.expectSplit(300, 200, 100)

	stop := s.load()
	s.mustDeploy(artifact2)
	r := s.call("rollback", map[string]string{"yes": "true"})
	if r.Err != nil {
		t.Errorf("rollback: %v", r.Err)
	}
	a := stop()
	if len(a.failed) > 0 {
		t.Errorf("%d of %d requests failed: %q", len(a.failed), a.pool[state.PoolProduction]+a.pool[state.PoolCanary], a.failed)
	}
	if a.release[artifact1] == 0 || a.release[artifact2] == 0 {
		t.Errorf("answers by release: %v, want both", a.release)
	}
	for _, h := range []string{"web-1", "web-2", "canary-1"} {
		expect(t, h, s.serving(h), artifact1)
	}
	s.expectSplit(300, 200, 100)
}

func TestFirstDeployIsJudged(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	stop := s.load()
	r := s.deployBody(t.Context(), faulty, s.longWatch(faulty))
	stop()
	var failure *sdktest.Failure
	if !errors.As(r.Err, &failure) || !strings.Contains(failure.Reason, "there is no earlier good release") {
		t.Errorf("got %v, want an abort with nothing to go back to", r.Err)
	}
	expect(t, "web-1", s.serving("web-1"), "")
	expect(t, "canary-1", s.serving("canary-1"), "")
	s.mustDeploy(artifact1)
	s.expectSplit(30, 20, 10)
}

func TestBadReleaseIsAborted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		commit   string
		reason   string
		slack    string        // instead of one that lets every time pass
		patience time.Duration // of the clients
	}{
		"unhealthy":     {unhealthy, "aborted: canary-1: /healthz: 500; every host still serves", "1m", 10 * time.Second},
		"faulty":        {faulty, "the canary failed", "1m", 10 * time.Second},
		"slow":          {slow, "to the first byte of 50 % of its answers", "250ms", 10 * time.Second},
		"late body":     {trickling, "to the last byte of 50 % of its answers", "250ms", 10 * time.Second},
		"hangs":         {hanging, " unanswered", "1m", 500 * time.Millisecond},
		"ends at times": {crashing, "the canary failed", "1m", 10 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, oneEach)
			s.mustDeploy(artifact1)
			stop := s.loadOf(tt.patience)
			long := strings.Replace(s.longWatch(tt.commit), `"1m"`, strconv.Quote(tt.slack), 1)
			r := s.deployBody(t.Context(), tt.commit, long)
			a := stop()
			var failure *sdktest.Failure
			if !errors.As(r.Err, &failure) || !strings.Contains(failure.Reason, tt.reason) {
				t.Errorf("got %v, want a failure with %q", r.Err, tt.reason)
			}
			for _, f := range a.failed {
				if tt.commit != hanging && !strings.Contains(f, "500 Internal Server Error from canary ("+faulty) {
					t.Errorf("a request failed that the release did not fail itself: %s", f)
				}
			}
			expect(t, "web-1", s.serving("web-1"), artifact1)
			expect(t, "canary-1", s.serving("canary-1"), artifact1)
			s.expectSplit(30, 20, 10)
			if tt.commit != unhealthy {
				s.expectFailed(tt.reason)
			}
			for _, p := range s.fake.Playbooks() {
				if p.Vars["release_commit"] == tt.commit && slices.Contains(p.Hosts, "web-1") {
					t.Error("the release reached production")
				}
			}
		})
	}
}

// expectFailed expects a complete card of a failed verdict in the shared state.
func (s *site) expectFailed(reason string) {
	s.t.Helper()
	var c card
	if err := json.Unmarshal(s.fake.State(state.KeyVerdict).Value, &c); err != nil {
		s.t.Fatal(err)
	}
	if c.Outcome != verdict.Fail || !strings.Contains(c.Reason, reason) || len(c.Figures) == 0 {
		s.t.Errorf("judgement: %+v", c.Judgement)
	}
	if _, ok := s.desired().Releases[c.Release]; ok || c.Release == "" || c.Seconds <= 0 || c.Production == 0 || c.Canary == 0 {
		s.t.Errorf("the card is not complete: %+v", c)
	}
}

func TestSameReleaseAgainChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	playbooks, desired := len(s.fake.Playbooks()), s.desired()
	r := s.deploy(artifact1)
	if r.Err != nil || !strings.Contains(strings.Join(r.Logs, "\n"), "nothing to do") {
		t.Errorf("got %v and %q", r.Err, r.Logs)
	}
	expect(t, "playbooks", len(s.fake.Playbooks()), playbooks)
	if now := s.desired(); !reflect.DeepEqual(now, desired) {
		t.Errorf("desired is %+v, was %+v", now, desired)
	}
}

func TestHostWithoutItsReleaseIsRepaired(t *testing.T) {
	t.Parallel()
	s := newSite(t, twoProduction)
	s.mustDeploy(artifact1)
	s.stop("web-2-" + s.desired().Seats[seat("web-2")].Slot)
	s.eventually("the router finds web-2 down", func() bool { return !s.actual().Seats[seat("web-2")].Up })
	s.mustDeploy(artifact1)
	expect(t, "web-2", s.serving("web-2"), artifact1)
	last := s.fake.Playbooks()
	install := last[len(last)-2]
	if !slices.Equal(install.Hosts, sdk.HostNames("web-2")) {
		t.Errorf("installed on %v, want web-2 alone", install.Hosts)
	}
}

// TestInterruptedDeploy cancels a deploy between its steps; the next one continues from there.
func TestInterruptedDeploy(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	before := s.fake.OnPlaybook
	interrupt := func(host string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		s.fake.OnPlaybook = func(p sdk.PlaybookRun) ([]sdk.TaskResult, error) {
			if slices.Contains(p.Hosts, sdk.HostName(host)) && p.Vars["release_step"] == "install" {
				cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return before(p)
		}
		if r := s.deployBody(ctx, artifact2, s.body(artifact2)); r.Err == nil {
			t.Fatalf("the deploy was not interrupted on its way to %s", host)
		}
		s.fake.OnPlaybook = before
		expect(t, "web-1", s.serving("web-1"), artifact1)
	}
	interrupt("canary-1") // nothing has changed yet
	expect(t, "canary-1", s.serving("canary-1"), artifact1)
	s.expectSplit(30, 20, 10)
	interrupt("web-1") // the canary was judged good
	expect(t, "canary-1", s.serving("canary-1"), artifact2)
	s.expectSplit(30, 20, 10)
	s.mustDeploy(artifact2)
	expect(t, "web-1", s.serving("web-1"), artifact2)
	expect(t, "canary-1", s.serving("canary-1"), artifact2)
	s.expectSplit(30, 20, 10)
}

// TestCancelledPlaybookIsNoVerdict cancels a playbook of the canary before the stage's own context ends, as the end of
// a run may do. No host and no weight changes.
func TestCancelledPlaybookIsNoVerdict(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	before := s.fake.State(state.KeyDesired)
	s.fake.OnPlaybook = func(sdk.PlaybookRun) ([]sdk.TaskResult, error) {
		return []sdk.TaskResult{{Host: "canary-1", Task: "Unpack", Status: "failed"}}, context.Canceled
	}
	if r := s.deploy(artifact2); r.Err == nil || strings.Contains(r.Err.Error(), "aborted") {
		t.Errorf("got %v, want that the playbook was cancelled", r.Err)
	}
	if after := s.fake.State(state.KeyDesired); after.Version != before.Version {
		t.Errorf("the desired state changed: %s", after.Value)
	}
	s.expectSplit(30, 20, 10)
}

// TestUnjudgedCanaryIsClosed leaves a candidate on the canary without a deploy that judges it: once by a deploy that is
// cancelled, once as if the deploy was killed.
func TestUnjudgedCanaryIsClosed(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan sdktest.Result)
	long := s.longWatch(artifact2)
	go func() { done <- s.deployBody(ctx, artifact2, long) }()
	s.watching()
	cancel()
	if r := <-done; r.Err == nil {
		t.Fatal("the watch was not interrupted")
	}
	s.eventually("the canary has no traffic", func() bool { return s.actual().Settled && s.actual().Weights.Canary == 0 })
	s.expectSplit(30, 30, 0)

	s.stopAgent()
	d := s.desired()
	d.OpenCanary(time.Now())
	s.fake.SetState(state.KeyDesired, state.Encode(d))
	s.setting.silence = 500 * time.Millisecond
	s.startAgent()
	s.eventually("the agent closes it", func() bool { return s.actual().Closed != nil })
	s.eventually("and tells that the release is stopped", func() bool { return len(s.stopped()) == 1 })
	expect(t, "stopped", s.stopped()[0], s.desired().Releases[s.desired().Candidate].Artifact)
	s.expectSplit(30, 30, 0)
}

func TestStatusAndWeights(t *testing.T) {
	t.Parallel()
	s := newSite(t, oneEach)
	s.mustDeploy(artifact1)
	if r := s.call("weights", map[string]string{"weights": "1:1"}); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.expectSplit(30, 15, 15)
	if r := s.call("weights", map[string]string{"weights": "66"}); r.Err == nil {
		t.Error("weights 66 were taken")
	}
	r := s.call("status", nil)
	if r.Err != nil || len(r.Tables) != 1 {
		t.Fatalf("got %v and %v", r.Err, r.Tables)
	}
	for _, row := range r.Tables[0].Rows {
		expect(t, row[0], row[len(row)-1], "up")
	}
}
