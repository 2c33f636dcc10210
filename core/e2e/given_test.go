//go:build lab

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk/tooltest"
)

// givenLab makes the server.
const givenLab = `pipeline "provider" {
  source { path = "." }
}

environment "lab" {
  terraform {
    module    = "lab"
    variables = { hosts = { box = { role = "storage", memory = "1536MiB", cpus = 2 } } }
  }
}

stage "build" "nothing" {
  command = ["true"]
}
`

// givenPipeline has 30 lines, and two that only this lab needs: its hosts share processors, so that their times say little.
const givenPipeline = `pipeline "shop" {}
environment "one" {
  host "web-1" {
    address = "192.0.2.1"
    roles   = ["router", "production", "canary"]
    user    = "deploy"
    key     = "./key"
  }
  ansible { playbook = "site.yml" }
}
stage "build" "app" {
  package {}
}
stage "deploy" "shop" {
  artifact = stage.build.app.artifact
  service { command = ["node", "start.js"] }
  tls {
    domains   = ["shop.example.com"]
    directory = "https://127.0.0.1:14000/dir"
    ca        = file("pebble.pem")
  }
  task "migrate" { command = ["node", "migrate.js"] }
  process "worker" { command = ["node", "worker.js"] }
  schedule "report" {
    command  = ["node", "report.js"]
    calendar = "daily"
  }
  canary {
    no_traffic    = "hold"
    latency_slack = "1s"
  }
}
`

const givenDoctor = `
stage "doctor" "hosts" {
  needs = [stage.deploy.shop]
  cpu {
    above = 20
    for   = "4s"
  }
}
`

// given are the files of the application: each answer says the version, the worker burns CPU when it is asked to.
var given = map[string]string{
	"start.js": `const version = require('./version')
require('http').createServer((q, r) => r.end(version)).listen(process.env.PORT, '0.0.0.0')
`,
	"version.js": "module.exports = 'v1'\n",
	"migrate.js": "require('fs').appendFileSync(process.env.STATE_DIR + '/migrated', require('./version') + '\\n')\n",
	"report.js":  "console.log('report of ' + require('./version'))\n",
	"worker.js": `setInterval(() => {}, 1000)
process.on('SIGUSR2', () => { for (const end = Date.now() + 60000; Date.now() < end;) {} })
`,
}

// server is a machine that its owner has, with nginx on port 8080, a user with sudo, and an ACME authority that knows every name as
// this machine.
type server struct {
	*world
	pipeline string
	roots    *x509.CertPool
	before   string
}

// newServer makes one for a pipeline and the files of its application. Its repository of packages has more, too.
func newServer(t *testing.T, pipeline string, files map[string]string, more string) *server {
	t.Helper()
	s := &server{roots: x509.NewCertPool()}
	s.world = makeWorld(t, "A shop", func(w *world) {
		s.pipeline = w.manifest
		w.manifest = filepath.Join(w.dir, "lab.hcl")
		w.write(t, "lab.hcl", givenLab)
		w.write(t, "pipeline.hcl", pipeline)
		for name, text := range files {
			w.write(t, name, text)
		}
	})
	sh(t, s.dir, "ssh-keygen -q -t ed25519 -N '' -f key && echo 'key*' >> .git/info/exclude")
	s.must(t, "apply", s.manifest, "--env", "lab", "--yes")
	s.learn(t)
	s.replace(t, "pipeline.hcl", "192.0.2.1", s.hosts["box"].Address)

	// The repository of packages that the server installs from. Node is the distribution's.
	debs := t.TempDir()
	sh(t, debs, `node=$(apt-cache madison nodejs | awk '$3 ~ /dfsg/ {print $3; exit}')
		apt-get -qq download nginx nginx-common haproxy redis-server redis-tools zstd node-acorn "nodejs=$node" "libnode108=$node" 2>&1 && dpkg-scanpackages -m . > Packages 2>/dev/null
		cp `+tooltest.Path(t, "pebble")+` `+tooltest.Path(t, "pebble-challtestsrv")+` .
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=pebble -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out pebble.pem 2>&1`)
	if more != "" { // with what it needs and the server lacks
		sh(t, debs, s.ssh()+`cat /var/lib/dpkg/status >status && mkdir -p cache/partial && apt-get -qq -y -o Dir::State::status=$PWD/status -o Dir::Cache::archives=$PWD/cache \
			-o APT::Sandbox::User=root --download-only --no-install-recommends install `+more+` 2>&1 && mv cache/*.deb . && rm -r status cache && dpkg-scanpackages -m . > Packages 2>/dev/null`)
	}
	sh(t, debs, "cp pebble.pem "+s.dir+" && tar -c . | "+s.ssh()+"'mkdir -p /srv/debs && tar -C /srv/debs -x'")
	s.commit(t, "Its address, and whom it trusts")
	public, err := os.ReadFile(filepath.Join(s.dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.script(t, "setup.sh", "'"+strings.TrimSpace(string(public))+"'")
	s.before = s.script(t, "snapshot.sh", "")
	if !s.roots.AppendCertsFromPEM([]byte(s.on(t, "box", "curl -sk https://127.0.0.1:15000/roots/0"))) {
		t.Fatal("the authority shows no root")
	}
	return s
}

func (s *server) ssh() string {
	return filepath.Join(s.bin, "troop") + " ssh " + s.manifest + " --env lab box -- "
}

// script runs one of testdata/given as root.
func (s *server) script(t *testing.T, name, args string) string {
	t.Helper()
	file, err := filepath.Abs("testdata/given/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return sh(t, s.dir, s.ssh()+`"sh -s -- `+args+`" < `+file)
}

// one runs a command for the pipeline of 30 lines.
func (s *server) one(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return s.troop(t, append(args, s.pipeline, "--env", "one")...)
}

// mustOne is one; the command must succeed.
func (s *server) mustOne(t *testing.T, args ...string) string {
	t.Helper()
	return s.must(t, append(args, s.pipeline, "--env", "one")...)
}

// next commits a version.
func (s *server) next(t *testing.T, version string) {
	t.Helper()
	s.write(t, "version.js", "module.exports = '"+version+"'\n")
	s.commit(t, version)
}

// client asks for shop.example.com at the server, by HTTP/2, and trusts the authority alone.
func (s *server) client() *http.Client {
	address := s.hosts["box"].Address
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(address, "443"))
		},
	}}
}

// answer is the pool and the version of one answer, or what went wrong.
func (s *server) answer(client *http.Client) string {
	res, err := client.Get("https://shop.example.com/")
	if err != nil {
		return "lost: " + err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
		return fmt.Sprintf("lost: %s %s: %v %.100s", res.Proto, res.Status, err, body)
	}
	return res.Header.Get("X-Troop-Pool") + " " + string(body)
}

// load sends requests at a rate until stopped, and counts the answers.
func (s *server) load(rate int) (stop func() map[string]int) {
	client := s.client()
	return load(rate, func() string { return s.answer(client) })
}

// standing expects one release in both pools, each in a unit of its own with its worker, with a third of the traffic to the canary.
func (s *server) standing(t *testing.T, version string) {
	t.Helper()
	client, count := s.client(), map[string]int{}
	for range 300 {
		count[s.answer(client)]++
	}
	got := map[string]int{}
	for answer, n := range count {
		pool, v, _ := strings.Cut(answer, " ")
		if got[pool] += n; v != version {
			t.Errorf("%d answers %q, want version %s", n, answer, version)
		}
	}
	expectPools(t, got, 200, 100)
	units := s.on(t, "box", "systemctl list-units --plain --no-legend 'shop*@*.service' | awk '{print $1, $4}' | tr '\\n' ' '")
	if want := regexp.MustCompile(`^shop-worker@[ab]\.service running shop-worker@[cd]\.service running shop@[ab]\.service running shop@[cd]\.service running ?$`); !want.MatchString(units) {
		t.Errorf("units: %s", units)
	}
	if got := s.on(t, "box", "curl -s -o /dev/null -w '%{http_code}' localhost:8080"); got != "200" {
		t.Errorf("nginx answers %q", got)
	}
}

// TestGiven deploys to a server that exists, with both pools, HTTPS, a migration, a worker and a schedule, under load and without a
// lost request. It then takes off all that was put there: what differs afterwards is a failure.
func TestGiven(t *testing.T) {
	if n := strings.Count(givenPipeline, "\n"); n > 32 {
		t.Errorf("the pipeline has %d lines", n)
	}
	s := newServer(t, givenPipeline, given, "")
	if out, code := s.one(t, "preflight"); code != 1 || !strings.Contains(out, "is not known yet: ssh-ed25519 SHA256:") {
		t.Errorf("preflight with a host key that nobody knows: exit status %d\n%s", code, out)
	}
	s.must(t, "hosts", "accept", s.pipeline, "web-1", "--env", "one", "--yes")
	out, code := s.one(t, "preflight") // the name is known to the authority alone
	for _, want := range []string{"✓ web-1 sudo", "✓ web-1 system    debian 12", "8080 by nginx", "will be installed", "shop.example.com"} {
		if !strings.Contains(out, want) {
			t.Errorf("preflight lacks %q, exit status %d:\n%s", want, code, out)
		}
	}
	if now := s.script(t, "snapshot.sh", ""); now != s.before {
		t.Errorf("preflight has changed\n%s", difference(t, s.before, now))
	}

	s.mustOne(t, "run")
	s.standing(t, "v1")
	if out := s.mustOne(t, "apply", "--yes", "--force"); !strings.Contains(out, "site.yml: 1 hosts, 0 changed") {
		t.Errorf("a second configuration changes something:\n%s", tail(out, 20))
	}

	const rate = 200
	began, stop := time.Now(), s.load(rate)
	s.next(t, "v2")
	s.mustOne(t, "run")
	s.next(t, "v3")
	s.mustOne(t, "run")
	s.must(t, "deploy", "rollback", s.pipeline, "--env", "one", "--yes")
	count := stop()
	asked, versions := 0, map[string]bool{}
	for answer, n := range count {
		asked += n
		if strings.HasPrefix(answer, "lost") {
			t.Errorf("%d requests %s", n, answer)
		}
		versions[answer[strings.LastIndex(answer, " ")+1:]] = true
	}
	t.Logf("%d requests in %.0f s: %v", asked, time.Since(began).Seconds(), count)
	if !versions["v2"] || !versions["v3"] {
		t.Errorf("answers: %v, want of both versions", count)
	}
	s.standing(t, "v2")
	if got := s.on(t, "box", "cat /var/lib/shop/migrated | tr '\\n' ' '"); got != "v1 v2 v3" {
		t.Errorf("migrations: %q", got)
	}
	if got := s.on(t, "box", "systemctl start shop-report@$(readlink /opt/shop/current | tail -c 2).service; journalctl -q -o cat TROOP_PROGRAM=report | tail -n 1; systemctl is-active shop-report.timer"); got != "report of v2\nactive" {
		t.Errorf("the schedule: %q", got)
	}
	burning(t, s)

	s.must(t, "release-host", s.pipeline, "web-1", "--env", "one", "--yes")
	if after := s.script(t, "snapshot.sh", ""); after != s.before {
		t.Errorf("after its release, the server differs:\n%s", difference(t, s.before, after))
	}
	if got := s.on(t, "box", "curl -s -o /dev/null -w '%{http_code}' localhost:8080"); got != "200" {
		t.Errorf("nginx answers %q", got)
	}
}

// burning has a worker of each pool burn CPU: that of production closes nothing, that of the canary closes the canary, and neither
// ends anything.
func burning(t *testing.T, s *server) {
	s.write(t, "pipeline.hcl", s.read(t, "pipeline.hcl")+givenDoctor)
	s.next(t, "v4")
	stop := s.load(20)
	s.mustOne(t, "run")
	_ = stop()
	closed := func() bool {
		out, _ := s.one(t, "deploy", "status")
		return strings.Contains(out, "was closed")
	}
	alerts := func(slots string) bool {
		out := s.results(t, "events", s.pipeline, "--env", "one", "--kind", "process.hog", "--since", "10m", "--json")
		return regexp.MustCompile(`shop-worker@[` + slots + `]`).MatchString(out)
	}
	s.on(t, "box", "systemctl kill --signal USR2 'shop-worker@[ab].service'")
	eventually(t, time.Minute, "production's worker is reported", func() bool { return alerts("ab") })
	if closed() {
		t.Error("production's worker has closed the canary")
	}
	s.on(t, "box", "systemctl kill --signal USR2 'shop-worker@[cd].service'")
	eventually(t, time.Minute, "the canary is closed", closed)
	if got := s.on(t, "box", "systemctl show -P NRestarts 'shop*@*.service' | sort -u | tr '\\n' ' '"); strings.TrimSpace(got) != "0" {
		t.Errorf("restarts: %s", got)
	}
}

// difference are the lines that differ.
func difference(t *testing.T, before, after string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"before": before, "after": after} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sh(t, dir, "diff before after || true")
}
