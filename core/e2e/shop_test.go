//go:build lab

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fourHosts is the environment of small applications.
const fourHosts = `environment "lab" {
  terraform {
    module = "lab"
    variables = { hosts = {
      web-1    = { role = "production" }
      web-2    = { role = "production" }
      canary-1 = { role = "canary" }
      router-1 = { role = "router" }
    } }
  }
  ansible { playbook = "site.yml" }
}
`

// shopManifest deploys a small application: two production hosts, a canary, no other stages.
const shopManifest = `pipeline "shop" {
  source { path = "." }
}

` + fourHosts + `
stage "build" "app" {
  command = ["true"]
  package {}
}

stage "deploy" "shop" {
  needs    = [stage.build.app]
  artifact = stage.build.app.artifact
  service {
    command = ["node", "server.js"]
    timeouts { request = "2m" } # what hangs for less does so for another reason than the router's patience
  }
  canary {
    weights       = { production = 2, canary = 1 }
    watch         = "8s"
    min_requests  = 30
    no_traffic    = "promote"
    latency_slack = "5s" # the hosts of the lab share one processor, so their times say little
  }
  production { drain = "5s" }
}

stage "doctor" "hosts" {
  needs = [stage.deploy.shop]
  cpu {
    above = 80
    for   = "10s"
  }
  leash = true
}
`

// shopServer fails a share of its answers, and says so. It never answers requests that are for a host to hang on, and says
// how many it has of them.
const shopServer = `const http = require('http'), os = require('os');
const version = '%s', bad = %g;
let hanging = 0;
http.createServer((req, res) => {
  if (req.url === '/hang/' + os.hostname()) { hanging++; return; }
  if (req.url === '/hanging') { res.end(String(hanging)); return; }
  const fail = req.url !== '/healthz' && Math.random() < bad;
  res.writeHead(fail ? 500 : 200, { 'X-Version': version, 'X-Bad': fail ? 'yes' : 'no' });
  res.end('hello');
}).listen(process.env.PORT);
`

// shop is a world with the small application, and what it should serve.
type shop struct {
	*world
	number  int
	serves  string   // version
	history []string // good versions before it
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{serves: "v0"}
	s.world = makeWorld(t, "v0", func(w *world) {
		w.write(t, "pipeline.hcl", shopManifest)
		w.write(t, "server.js", fmt.Sprintf(shopServer, "v0", 0.0))
	})
	if out, code := s.run(t); code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 60))
	}
	s.learn(t)
	return s
}

// next commits another version, which fails a share of its answers.
func (s *shop) next(t *testing.T, bad float64) (version string) {
	t.Helper()
	s.number++
	version = fmt.Sprint("v", s.number)
	s.write(t, "server.js", fmt.Sprintf(shopServer, version, bad))
	s.commit(t, version)
	return version
}

// good records that a version serves everywhere now.
func (s *shop) good(version string) {
	s.history = append(s.history, s.serves)
	s.history = s.history[max(0, len(s.history)-4):] // as many are kept
	s.serves = version
}

// portOf is the port of a slot.
var portOf = map[string]string{"a": "3000", "b": "3001", "c": "3002", "d": "3003"}

// standing compares what the hosts serve with the record: of the deploy plugin, and of the test.
func (s *shop) standing(t *testing.T, without ...string) {
	t.Helper()
	var wrong []string
	ok := func() bool {
		wrong = nil
		for host, row := range s.status(t) {
			if slices.Contains(without, host) {
				continue
			}
			if row["state"] != "up" {
				wrong = append(wrong, host+": "+row["state"])
				continue
			}
			port := portOf[row["slot"]]
			out, err := s.try(t, host, "curl -sD - -o /dev/null http://127.0.0.1:"+port+"/healthz")
			if err != nil || !strings.Contains(out, "X-Version: "+s.serves+"\r\n") {
				wrong = append(wrong, fmt.Sprintf("%s, slot %s: %v %s, want %s", host, row["slot"], err, out, s.serves))
			}
		}
		return len(wrong) == 0
	}
	for began := time.Now(); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("hosts differ from the record: %s", strings.Join(wrong, "; "))
		}
	}
}

// stream sends requests at a rate and keeps those that failed. Failures in an outage that was announced do not count, nor
// those that a bad release on the canary made itself.
type stream struct {
	mu      sync.Mutex
	answers map[string]int
	lost    []failed
	outages []outage
	stop    func()
}

type failed struct {
	from, to time.Time
	why      string
}

type outage struct{ from, to time.Time }

// paths are of three classes of requests.
var paths = []string{"/", "/", "/users/17/orders", "/users/4711/orders", "/assets/app.3f2a1c.js"}

func (s *shop) stream(rate int) *stream {
	f := &stream{answers: map[string]int{}}
	done := make(chan struct{})
	var all sync.WaitGroup
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: rate}}
	all.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				all.Go(func() { f.ask(client, s.url(paths[rand.IntN(len(paths))])) })
			}
		}
	})
	f.stop = sync.OnceFunc(func() { close(done); all.Wait() })
	return f
}

func (f *stream) ask(client *http.Client, url string) {
	from := time.Now()
	res, err := client.Get(url)
	answer, why := "lost", ""
	switch {
	case err != nil:
		why = err.Error()
	case res.StatusCode == http.StatusOK:
		answer = res.Header.Get("X-Troop-Pool")
	case res.Header.Get("X-Bad") == "yes" && res.Header.Get("X-Troop-Pool") == "canary":
		answer = "failed by the canary's release"
	default:
		why = fmt.Sprintf("%s from %q, version %q", res.Status, res.Header.Get("X-Troop-Pool"), res.Header.Get("X-Version"))
	}
	if err == nil {
		_ = res.Body.Close()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[answer]++
	if why != "" {
		f.lost = append(f.lost, failed{from, time.Now(), why})
	}
}

// expectNoneLost ends the stream.
func (f *stream) expectNoneLost(t *testing.T) {
	t.Helper()
	f.stop()
	lost, excused := 0, 0
	for _, x := range f.lost {
		if slices.ContainsFunc(f.outages, func(o outage) bool { return x.to.After(o.from) && x.from.Before(o.to) }) {
			excused++
			continue
		}
		if lost++; lost <= 10 {
			t.Errorf("a request was lost after %s, at %s: %s", x.to.Sub(x.from).Round(time.Millisecond), x.from.Format(time.TimeOnly), x.why)
		}
	}
	t.Logf("answers: %v; lost %d, and %d in %d restarts of HAProxy", f.answers, lost, excused, len(f.outages))
	if lost > 10 {
		t.Errorf("%d requests were lost", lost)
	}
}

// TestHotfixPastADeadCanary cuts the canary's host off, and brings a hotfix to production.
func TestHotfixPastADeadCanary(t *testing.T) {
	s := newShop(t)
	s.cut(t, "canary-1", "down")
	eventually(t, time.Minute, "the router sees that canary-1 is down", func() bool { return s.status(t)["canary-1"]["state"] != "up" })
	hotfix := s.next(t, 0)
	load := s.stream(20)
	out, code := s.run(t)
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 60))
	}
	s.good(hotfix)
	contains(t, out, "canary-1 cannot be reached and is left out until a later run reaches it", "no canary host can be reached", "serves on every host but canary-1")
	contains(t, s.must(t, "why", s.manifest), `hosts left out +1 +canary-1: `, "nothing judged release")
	s.standing(t, "canary-1")
	contains(t, s.status(t)["canary-1"]["state"], "left out")

	// It returns with the former release. The router keeps it out until the next run, which brings the hotfix to it.
	s.cut(t, "canary-1", "up")
	s.on(t, "canary-1", "curl -sf http://127.0.0.1:3002/healthz || curl -sf http://127.0.0.1:3003/healthz")
	expectPools(t, s.pools(30), 30, 0)
	if out, code := s.run(t); code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 60))
	}
	s.standing(t)
	load.expectNoneLost(t)
	expectPools(t, s.pools(30), 20, 10)
}

// TestVanishedHost cuts hosts off the network while they have requests in flight, and idle connections for further ones.
func TestVanishedHost(t *testing.T) {
	s := newShop(t)
	load := s.stream(50)
	for _, host := range []string{"web-1", "canary-1"} {
		s.vanish(t, host)
	}
	load.expectNoneLost(t)
}

func (s *shop) vanish(t *testing.T, host string) {
	t.Helper()
	const each = 24 // of which the host gets about a third
	type answer struct {
		method string
		status int
	}
	answers := make(chan answer, 2*each)
	for range each {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			go func() {
				req, err := http.NewRequestWithContext(t.Context(), method, s.url("/hang/"+host), strings.NewReader(""))
				if err != nil {
					t.Error(err)
					return
				}
				status := 0
				if res, err := http.DefaultClient.Do(req); err == nil {
					status = res.StatusCode
					_ = res.Body.Close()
				}
				answers <- answer{method, status}
			}()
		}
	}
	port := portOf[s.status(t)[host]["slot"]]
	eventually(t, time.Minute, "all requests are answered, or in flight on "+host, func() bool {
		return s.on(t, host, "curl -s http://127.0.0.1:"+port+"/hanging") == fmt.Sprint(2*each-len(answers))
	})
	inFlight := map[string]int{http.MethodGet: each, http.MethodPost: each}
	for range len(answers) {
		a := <-answers
		if inFlight[a.method]--; a.status != http.StatusOK {
			t.Errorf("%s, while all hosts are there: status %d", a.method, a.status)
		}
	}
	if inFlight[http.MethodGet] == 0 || inFlight[http.MethodPost] == 0 {
		t.Fatalf("in flight on %s: %v", host, inFlight)
	}
	s.cut(t, host, "down")
	defer s.cut(t, host, "up")
	// A GET goes to another host. A POST may have had an effect, so its client must know.
	want := map[string]int{http.MethodGet: http.StatusOK, http.MethodPost: http.StatusBadGateway}
	for cut := time.Now(); inFlight[http.MethodGet]+inFlight[http.MethodPost] > 0; {
		a := <-answers
		inFlight[a.method]--
		after := time.Since(cut)
		t.Logf("%s, in flight on %s: status %d, %.1f s after the cut", a.method, host, a.status, after.Seconds())
		if a.status != want[a.method] {
			t.Errorf("%s, in flight on %s: status %d, want %d", a.method, host, a.status, want[a.method])
		}
		if after > time.Minute { // half of what the router waits for an answer
			t.Errorf("%s, in flight on %s: %s after the cut", a.method, host, after)
		}
	}
	s.cut(t, host, "up")
	eventually(t, time.Minute, host+" serves again", func() bool { return s.status(t)[host]["state"] == "up" })
}
