//go:build lab

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// servicesLab has two services: shop has a domain, quoter another one and a path on the shop's. A pipeline has the stages of one
// of them or of both.
const servicesLab = `pipeline "%s" {
  source { path = "." }
}

` + fourHosts + `
stage "build" "app" {
  command = ["true"]
  package { exclude = ["*.hcl"] }
}
`

const servicesShop = `
stage "deploy" "shop" {
  artifact = stage.build.app.artifact
  service {
    command = ["node", "server.js", "shop"]
    domains = ["shop.example.com"]
  }
` + servicesCanary

const servicesQuoter = `
stage "deploy" "quoter" {
  artifact = stage.build.app.artifact
  service {
    command = ["node", "server.js", "quoter"]
    domains = ["shop.example.com", "quoter.example.com"]
    path    = "/quotes"
    data    = ["notes"]
  }
  task "index" { command = ["node", "note.js"] }
  process "feeder" { command = ["sleep", "infinity"] }
  schedule "tidy" {
    command  = ["true"]
    calendar = "daily"
  }
` + servicesCanary

const servicesCanary = `  canary {
    watch         = "4s"
    min_requests  = 10
    no_traffic    = "promote"
    latency_slack = "5s" # the hosts of the lab share processors, so their times say little
  }
  production { drain = "5s" }
}
`

var servicesFiles = map[string]string{
	"server.js": `const name = process.argv[2] + ' ' + require('./version')
require('http').createServer((q, r) => r.end(name)).listen(process.env.PORT)
`,
	"note.js":    "require('fs').appendFileSync('notes/versions', require('./version') + '\\n')\n",
	"version.js": "module.exports = 'v1'\n",
}

// services is a world with two services in one environment.
type services struct {
	*world
	client *http.Client // sends every request to the router
}

// requests are of the two services.
var requests = map[string]string{
	"http://shop.example.com/":            "shop",
	"http://shop.example.com/quotes/1":    "quoter",
	"http://quoter.example.com/quotes":    "quoter",
	"http://shop.example.com/quotes-page": "shop",
}

func newServices(t *testing.T) *services {
	t.Helper()
	s := &services{}
	s.world = makeWorld(t, "v1", func(w *world) {
		// The pipelines' names, which all agents of the hosts know, are not those of the services.
		w.write(t, "pipeline.hcl", fmt.Sprintf(servicesLab, "both")+servicesShop+servicesQuoter)
		w.write(t, "shop.pipeline.hcl", fmt.Sprintf(servicesLab, "first")+servicesShop)
		w.write(t, "quoter.pipeline.hcl", fmt.Sprintf(servicesLab, "second")+servicesQuoter)
		for name, text := range servicesFiles {
			w.write(t, name, text)
		}
	})
	s.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: 50, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(s.hosts["router-1"].Address, "80"))
		},
	}}
	return s
}

// only is the pipeline of one service.
func (s *services) only(name string) string { return filepath.Join(s.dir, name+".pipeline.hcl") }

func (s *services) next(t *testing.T, version string) {
	t.Helper()
	s.write(t, "version.js", "module.exports = '"+version+"'\n")
	s.commit(t, version)
}

// answer is the service and the version of one answer, or what went wrong.
func (s *services) answer(url string) string {
	res, err := s.client.Get(url)
	if err != nil {
		return "lost: " + err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Sprintf("lost: %s: %v from %s", res.Status, err, res.Header.Get("X-Troop-Pool"))
	}
	return string(body)
}

// under has the services of a load asked until the returned function is called, which expects no lost request, and each answer
// to be of the service that was asked.
func (s *services) under(t *testing.T, names ...string) (stop func()) {
	t.Helper()
	stops := map[string]func() map[string]int{}
	for url, name := range requests {
		if strings.Contains(strings.Join(names, " "), name) {
			stops[url] = load(25, func() string { return s.answer(url) })
		}
	}
	return func() {
		t.Helper()
		for url, stop := range stops {
			count := stop()
			t.Logf("%s: %v", url, count)
			for answer, n := range count {
				if name, _, _ := strings.Cut(answer, " "); name != requests[url] {
					t.Errorf("%s: %d answers %q", url, n, answer)
				}
			}
		}
	}
}

// serving expects a version of each service, from both pools.
func (s *services) serving(t *testing.T, versions map[string]string) {
	t.Helper()
	for url, name := range requests {
		for range 12 {
			if got := s.answer(url); versions[name] != "" && got != name+" "+versions[name] {
				t.Errorf("%s answers %q, want version %s of %s", url, got, versions[name], name)
			}
		}
	}
}

// TestServices has two services in one environment. They are deployed by one run and by two pipelines at once, and rolled back one by
// one, without a lost request; then one is taken out, and nothing of it is left.
func TestServices(t *testing.T) {
	s := newServices(t)
	s.must(t, "run", s.manifest, "--env", "lab")
	s.learn(t)
	s.serving(t, map[string]string{"shop": "v1", "quoter": "v1"})

	stop := s.under(t, "shop", "quoter")
	s.next(t, "v2")
	s.must(t, "run", s.manifest, "--env", "lab")
	s.serving(t, map[string]string{"shop": "v2", "quoter": "v2"})

	s.next(t, "v3")
	var both sync.WaitGroup
	for _, name := range []string{"shop", "quoter"} {
		both.Go(func() {
			if out, code := s.troop(t, "run", s.only(name), "--env", "lab"); code != 0 {
				t.Errorf("run %s: exit status %d\n%s", name, code, tail(out, 40))
			}
		})
	}
	both.Wait()
	s.serving(t, map[string]string{"shop": "v3", "quoter": "v3"})

	placed := func(name string) string {
		return s.results(t, "deploy", "status", s.only(name), "--env", "lab", "--json")
	}
	quoter := placed("quoter")
	s.must(t, "deploy", "rollback", s.only("shop"), "--env", "lab", "--yes")
	s.serving(t, map[string]string{"shop": "v2", "quoter": "v3"})
	if now := placed("quoter"); now != quoter {
		t.Errorf("the shop's rollback has moved quoter: %s, was %s", now, quoter)
	}
	shop := placed("shop")
	s.must(t, "deploy", "rollback", s.manifest, "--stage", "quoter", "--env", "lab", "--yes")
	s.serving(t, map[string]string{"shop": "v2", "quoter": "v2"})
	if now := placed("shop"); now != shop {
		t.Errorf("quoter's rollback has moved the shop: %s, was %s", now, shop)
	}
	stop()

	stop = s.under(t, "shop")
	defer stop()
	s.takenOut(t)
	if now := placed("shop"); now != shop {
		t.Errorf("to take quoter out has moved the shop: %s, was %s", now, shop)
	}
}

// takenOut takes quoter out: first with its data kept, which its next release finds again, then with all.
func (s *services) takenOut(t *testing.T) {
	t.Helper()
	remove := []string{"deploy", "remove", s.only("shop"), "quoter", "--env", "lab"}
	if out, code := s.troop(t, remove...); code != 2 || !strings.Contains(out, "requests for shop.example.com/quotes, quoter.example.com/quotes") || !strings.Contains(out, "pass --yes") {
		t.Errorf("without --yes: exit status %d\n%s", code, out)
	}
	s.serving(t, map[string]string{"shop": "v2", "quoter": "v2"})
	contains(t, s.must(t, append(remove, "--yes", "--json")...), `"removed":"quoter"`)
	if got := s.on(t, "canary-1", "find / -xdev -name '*quoter*' -not -path '/proc/*'; stat -c '%U %n' /var/lib/quoter/notes/versions"); got != "/var/lib/quoter\nroot /var/lib/quoter/notes/versions" {
		t.Errorf("left on canary-1: %q", got)
	}
	if got := s.answer("http://shop.example.com/quotes/1"); got != "shop v2" {
		t.Errorf("the shop has the path now, and answers %q", got)
	}
	if out, code := s.troop(t, "deploy", "status", s.only("quoter"), "--env", "lab"); code != 1 || !strings.Contains(out, "nothing is deployed") {
		t.Errorf("its status: exit status %d\n%s", code, out)
	}

	s.must(t, "run", s.only("quoter"), "--env", "lab")
	s.serving(t, map[string]string{"shop": "v2", "quoter": "v3"})
	if got := s.on(t, "canary-1", "stat -c %U /var/lib/quoter/notes/versions; cat /var/lib/quoter/notes/versions"); got != "quoter\nv1\nv2\nv3\nv3" {
		t.Errorf("its data: %q", got)
	}
	s.must(t, "deploy", "remove", s.only("quoter"), "quoter", "--env", "lab", "--yes", "--data")
	for host := range s.hosts {
		left := s.on(t, host, `find / /run/haproxy -xdev -name '*quoter*' -not -path '/proc/*'
			grep -rls quoter /etc /opt /var/lib/troop-router | grep -v '^/etc/[a-z]*-$' || true # those of useradd's backups
			getent passwd quoter; getent group quoter
			systemctl list-units --all --plain --no-legend '*quoter*'; systemctl list-unit-files --plain --no-legend '*quoter*'
			ps -eo args | grep '^node server.js quoter' || true`)
		if left != "" {
			t.Errorf("left on %s:\n%s", host, left)
		}
	}
	if out := s.must(t, "drift", s.only("shop"), "--env", "lab"); !strings.Contains(out, "no drift") {
		t.Errorf("drift afterwards:\n%s", out)
	}
}
