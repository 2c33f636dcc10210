//go:build lab && soak

package e2e

import (
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSoak does to an environment under load what happens to it in years, at random: deploys that pass and that fail,
// orders in the midst of them, and faults of everything. TROOP_SOAK says for how long, TROOP_SOAK_RATE how many requests a
// second, TROOP_SOAK_SEED repeats a run.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(orElse(os.Getenv("TROOP_SOAK"), "1h"))
	if err != nil {
		t.Fatalf("TROOP_SOAK: %v", err)
	}
	rate, err := strconv.Atoi(orElse(os.Getenv("TROOP_SOAK_RATE"), "200"))
	if err != nil {
		t.Fatalf("TROOP_SOAK_RATE: %v", err)
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TROOP_SOAK_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("TROOP_SOAK_SEED: %v", err)
		}
	}
	t.Logf("seed %d, %s, %d requests/s", seed, length, rate)
	s := &soak{shop: newShop(t), t: t, rnd: rand.New(rand.NewPCG(seed, 0)), did: map[string]int{}}
	s.load = s.stream(rate)
	defer func() { // also when a step has failed
		s.load.expectNoneLost(t)
		t.Logf("seed %d: %v", seed, s.did)
	}()
	steps := []struct {
		name string
		do   func()
	}{
		{"deploy", s.deploy},
		{"deploy", s.deploy},
		{"bad deploy", s.badDeploy},
		{"bad deploy", s.badDeploy},
		{"abort", s.abort},
		{"promote", s.promote},
		{"rollback", s.rollback},
		{"host killed", s.hostKilled},
		{"canary cut off", s.canaryCutOff},
		{"fault at rest", s.fault},
	}
	for began := time.Now(); time.Since(began) < length && !t.Failed(); {
		step := steps[s.rnd.IntN(len(steps))]
		t.Logf("%s: %s", time.Since(began).Round(time.Second), step.name)
		s.did[step.name]++
		step.do()
		s.standing(t)
	}
}

type soak struct {
	*shop
	t    *testing.T
	rnd  *rand.Rand
	load *stream
	did  map[string]int
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// fault kills one of the programs on the router.
func (s *soak) fault() {
	s.t.Helper()
	unit := []string{"troop-agent@deploy-shop", "redis-server", "haproxy"}[s.rnd.IntN(3)]
	s.t.Logf("  %s killed", unit)
	s.did["killed "+unit]++
	from := time.Now()
	s.on(s.t, "router-1", "systemctl kill --signal KILL "+unit)
	if unit == "redis-server" {
		s.statusWithoutRedis()
	}
	if unit != "haproxy" {
		return
	}
	eventually(s.t, time.Minute, "the router answers again", func() bool {
		c := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := c.Get(s.url("/healthz"))
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	})
	s.t.Logf("  no answer for at most %s", time.Since(from).Round(time.Millisecond))
	s.load.mu.Lock()
	s.load.outages = append(s.load.outages, outage{from, time.Now()})
	s.load.mu.Unlock()
}

// statusWithoutRedis asks for the status as soon as Redis was killed: it answers, or says why it cannot.
func (s *soak) statusWithoutRedis() {
	s.t.Helper()
	from := time.Now()
	out, code := s.troop(s.t, "deploy", "status", s.manifest, "--env", "lab")
	if took := time.Since(from); took > 2*time.Second {
		s.t.Errorf("the status took %s", took.Round(time.Millisecond))
	}
	if code != 0 && !strings.Contains(out, "shared state does not answer") {
		s.t.Errorf("the status without Redis: exit status %d\n%s", code, out)
	}
	eventually(s.t, time.Minute, "the status is known again", func() bool {
		_, code := s.troop(s.t, "deploy", "status", s.manifest, "--env", "lab")
		return code == 0
	})
}

// during runs the pipeline, calls each when the canary is watched, and returns the output and the exit status. Without
// something to do then, a fault happens in one of two runs, at some time.
func (s *soak) during(each func()) (string, int) {
	s.t.Helper()
	log := filepath.Join(s.dir, ".troop", "soak.log")
	f, err := os.Create(log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	c := exec.Command(filepath.Join(s.bin, "troop"), "run", s.manifest, "--env", "lab")
	c.Dir, c.Env, c.Stdout, c.Stderr = s.dir, environ(), f, f
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // the exit status says it
		close(ended)
	}()
	text := func() string {
		out, _ := os.ReadFile(log)
		return string(out)
	}
	at := "watching release"
	if each == nil {
		each = s.fault
		if s.rnd.IntN(2) == 0 {
			each = func() {}
		}
		at = []string{"installing release", "watching release", "now on release"}[s.rnd.IntN(3)]
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended:
			return text(), c.ProcessState.ExitCode()
		default:
		}
		if each != nil && strings.Contains(text(), at) {
			each()
			each = nil
		}
		if time.Since(began) > 10*time.Minute {
			_ = c.Process.Kill()
			s.t.Fatalf("a run does not end:\n%s", tail(text(), 40))
		}
	}
}

func (s *soak) passed(out string, code int, version string) {
	s.t.Helper()
	if code != 0 {
		s.t.Fatalf("a good release did not pass: exit status %d\n%s", code, tail(out, 40))
	}
	s.good(version)
}

func (s *soak) refused(out string, code int, why string) {
	s.t.Helper()
	if code == 0 || !strings.Contains(out, why) {
		s.t.Fatalf("exit status %d, want a failure with %q\n%s", code, why, tail(out, 40))
	}
	s.revert(s.t)
}

func (s *soak) deploy() {
	version := s.next(s.t, 0)
	out, code := s.during(nil)
	s.passed(out, code, version)
}

func (s *soak) badDeploy() {
	s.next(s.t, 0.1+0.9*s.rnd.Float64())
	out, code := s.during(nil)
	s.refused(out, code, "the canary failed") // as the deploy saw it, or before it the router
}

func (s *soak) abort() {
	s.next(s.t, 0)
	out, code := s.during(func() { s.must(s.t, "deploy", "abort", s.manifest, "--env", "lab") })
	s.refused(out, code, "an operator ordered the abort")
}

func (s *soak) promote() {
	version := s.next(s.t, 0)
	out, code := s.during(func() { s.must(s.t, "deploy", "promote", s.manifest, "--env", "lab") })
	s.passed(out, code, version)
}

func (s *soak) rollback() {
	if len(s.history) == 0 {
		return
	}
	s.must(s.t, "deploy", "rollback", s.manifest, "--env", "lab", "--yes")
	last := len(s.history) - 1
	s.serves, s.history = s.history[last], s.history[:last]
}

// hostKilled has Terraform make a host again.
func (s *soak) hostKilled() {
	host := []string{"web-1", "web-2", "canary-1"}[s.rnd.IntN(3)]
	s.t.Logf("  %s killed", host)
	s.kill(s.t, host)
	version := s.next(s.t, 0)
	out, code := s.run(s.t)
	s.passed(out, code, version)
}

// canaryCutOff deploys past the canary, and brings it back.
func (s *soak) canaryCutOff() {
	s.cut(s.t, "canary-1", "down")
	defer s.cut(s.t, "canary-1", "up")
	eventually(s.t, time.Minute, "the router sees that canary-1 is down", func() bool { return s.status(s.t)["canary-1"]["state"] != "up" })
	version := s.next(s.t, 0)
	out, code := s.run(s.t)
	s.passed(out, code, version)
	s.standing(s.t, "canary-1")
	s.cut(s.t, "canary-1", "up")
	if out, code := s.run(s.t); code != 0 {
		s.t.Fatalf("exit status %d\n%s", code, tail(out, 40))
	}
}
