//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// edit adapts the example's manifest for a test: two production hosts, a short watch, a small log.
func edit(manifest string) string {
	for old, replacement := range map[string]string{
		`terraform { module = "lab" }`: `terraform {
    module = "lab"
    variables = { hosts = {
      web-1     = { role = "production" }
      web-2     = { role = "production" }
      canary-1  = { role = "canary" }
      router-1  = { role = "router" }
      storage-1 = { role = "storage" }
    } }
  }`,
		`watch         = "30s"`: `watch         = "10s"`, // time for seven errors of a release that fails a tenth
		`min_requests  = 50`:    `min_requests  = 5`,     // a busy machine sends few
	} {
		manifest = strings.Replace(manifest, old, replacement, 1)
	}
	return manifest
}

// TestPipeline tests the life cycle of an application in one lab, step by step. If a step fails that later ones depend
// on, the test ends.
func TestPipeline(t *testing.T) {
	w := newWorld(t, edit)
	for _, s := range []struct {
		name  string
		vital bool
		run   func(*testing.T, *world)
	}{
		{"the first run brings a commit to production", true, firstRun},
		{"every host is a machine of its own", true, realHosts},
		{"people reach into the release and read its logs", false, reach},
		{"two of three requests go to production", false, split},
		{"a second run changes nothing", false, secondRun},
		{"a dead host is drift, and apply heals it", false, drift},
		{"a flag changes what is served within a second", false, flag},
		{"bad commits stop at their gate", false, gates},
		{"bad releases are taken back in the canary", false, badReleases},
		{"a good release and a rollback lose no request", false, goodRelease},
		{"people work on the pages of a server", false, pages},
		{"the doctor treats hogs and spares the protected", false, doctor},
		{"maintenance moves logs and loses none", false, maintenance},
		{"rules cannot name what must stay", false, forbiddenRules},
		{"a killed run leaves nothing and the next one works", false, killedRun},
		{"destroy leaves nothing", false, func(t *testing.T, w *world) {
			for _, kind := range []string{"link", "loop", "cgroup", "folder", "machine"} { // mounts and networks belong to the machines
				if len(w.traces(t)[kind]) == 0 {
					t.Errorf("the lab stands, and has no %s", kind)
				}
			}
			w.must(t, "destroy", w.manifest, "--env", "lab", "--yes")
			if left := w.traces(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if left := processes(t, w.dir); len(left) > 0 {
				t.Errorf("processes are left:\n%s", strings.Join(left, "\n"))
			}
		}},
	} {
		if !t.Run(s.name, func(t *testing.T) { s.run(t, w) }) && s.vital {
			t.FailNow()
		}
	}
}

func firstRun(t *testing.T, w *world) {
	contains(t, w.must(t, "validate", w.manifest), "is valid")
	out, code := w.run(t)
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 80))
	}
	w.learn(t)
	for host := range w.hosts {
		if strings.HasPrefix(host, "web-") || strings.HasPrefix(host, "canary-") {
			w.on(t, host, "systemctl is-active troop-agent@doctor-hosts troop-agent@maintenance-logs")
		}
	}
}

func realHosts(t *testing.T, w *world) {
	if len(w.hosts) != 5 {
		t.Fatalf("hosts: %v", w.hosts)
	}
	for name, h := range w.hosts {
		if got := w.on(t, name, "ps -o comm= -p 1; hostname"); got != "systemd\n"+name {
			t.Errorf("%s (%s): PID 1 and name are %q", name, h.Role, got)
		}
	}
	seen := map[string]bool{}
	for name := range w.hosts {
		units := w.on(t, name, "systemctl list-units --plain --no-legend --type service haproxy.service redis-server.service 'storefront@*' 'troop-*' | cut -d ' ' -f 1")
		for unit := range strings.Lines(units) {
			unit = strings.TrimSpace(unit)
			kind, _, _ := strings.Cut(unit, ".")
			if app, _, ok := strings.Cut(unit, "@"); ok && app == "storefront" {
				kind = app
			}
			seen[kind] = true
			out := w.on(t, name, "systemd-analyze security --no-pager "+unit+" | tail -1")
			m := regexp.MustCompile(`([0-9.]+) [A-Z]+`).FindStringSubmatch(out)
			if m == nil {
				t.Errorf("%s on %s: no score in %q", unit, name, out)
				continue
			}
			if score, err := strconv.ParseFloat(m[1], 64); err != nil || score > 4.0 {
				t.Errorf("%s on %s: systemd-analyze security says %s, want at most 4.0", unit, name, m[1])
			}
		}
	}
	for _, kind := range []string{
		"haproxy", "redis-server", "storefront", "troop-mailbox",
		"troop-agent@deploy-storefront", "troop-agent@doctor-hosts", "troop-agent@maintenance-logs", "troop-agent@troop-relay",
	} {
		if !seen[kind] {
			t.Errorf("no unit %s on any host: %v", kind, seen)
		}
	}
}

// reach runs programs in the sandbox of a release, and reads what the hosts have logged.
func reach(t *testing.T, w *world) {
	command := []string{"exec", w.manifest, "storefront", "--env", "lab", "--host", "canary-1", "--"}
	out, code := w.output(t, append(command, "sh", "-c", `echo "$(id -un) in $PWD with $RELEASE" && touch /etc/x 2>/dev/null || exit 42`)...)
	if code != 42 || !regexp.MustCompile(`^storefront in /opt/storefront/releases/[0-9a-f-]+/app with [0-9a-f-]+\n$`).MatchString(out) {
		t.Errorf("exit status %d and %q", code, out)
	}
	if out, code = w.troop(t, "exec", w.manifest, "shop", "--env", "lab", "--", "true"); code != 1 || !strings.Contains(out, "web-1 has no service shop; it has: storefront") {
		t.Errorf("exit status %d and %q", code, out)
	}
	logs := []string{"tail", w.manifest, "storefront", "--env", "lab", "--since", "1h", "--follow=false", "--grep", "listening", "--json"}
	out, code = w.output(t, logs...)
	var last time.Time
	hosts := map[core.HostName]bool{}
	for text := range strings.Lines(out) {
		var l struct {
			Time time.Time
			Host core.HostName
			Text string
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Time.Before(last) || !strings.Contains(l.Text, "listening") {
			t.Errorf("%v in %q", err, text)
		}
		last, hosts[l.Host] = l.Time, true
	}
	if code != 0 || !hosts["canary-1"] || !hosts["web-1"] || hosts["router-1"] {
		t.Errorf("exit status %d, lines of %v:\n%s", code, hosts, out)
	}
}

// expectPools allows one request more or less: turns are exact in blocks, and the first request may stand within one.
func expectPools(t *testing.T, got map[string]int, production, canary int) {
	t.Helper()
	off := got["canary"] - canary
	if len(got) > 2 || got["production"]+got["canary"] != production+canary || off < -1 || off > 1 || canary == 0 && off != 0 {
		t.Errorf("got %v, want production %d and canary %d", got, production, canary)
	}
}

func split(t *testing.T, w *world) {
	expectPools(t, w.pools(300), 200, 100)
	for _, c := range []struct {
		host               string
		production, canary int
	}{{"web-2", 200, 100}, {"canary-1", 300, 0}} {
		unit := "storefront@" + w.status(t)[c.host]["slot"]
		w.on(t, c.host, "systemctl stop "+unit)
		eventually(t, 20*time.Second, c.host+" is seen as down", func() bool { return w.status(t)[c.host]["state"] != "up" })
		expectPools(t, w.pools(300), c.production, c.canary)
		w.on(t, c.host, "systemctl start "+unit)
		eventually(t, 30*time.Second, c.host+" is up again", func() bool { return w.status(t)[c.host]["state"] == "up" })
	}
}

// status is the output of `troop deploy status` per host.
func (w *world) status(t *testing.T) map[string]map[string]string {
	t.Helper()
	out := w.results(t, "deploy", "status", w.manifest, "--env", "lab", "--json")
	var rows []map[string]string
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatalf("deploy status --json: %v\n%s", err, out)
	}
	hosts := map[string]map[string]string{}
	for _, r := range rows {
		hosts[r["host"]] = r
	}
	return hosts
}

func secondRun(t *testing.T, w *world) {
	start := time.Now()
	out, code := w.run(t)
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 40))
	}
	t.Logf("a run of the same commit: %.1f s", time.Since(start).Seconds())
	contains(t, out, `site\.yml: skipped`, `build\.app .*unchanged since it passed in run`, `test\.unit .*unchanged`)
	out, code = w.run(t, "--force")
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 40))
	}
	contains(t, out, `site\.yml: 5 hosts, 0 changed`)
	if m := regexp.MustCompile(`\d+ hosts, [1-9]\d* changed`).FindString(out); m != "" {
		t.Errorf("configuring again changed something: %s", m)
	}
}

func drift(t *testing.T, w *world) {
	w.kill(t, "storage-1")
	out, code := w.troop(t, "plan", w.manifest, "--env", "lab")
	if code != 2 {
		t.Errorf("plan: exit status %d, want 2", code)
	}
	contains(t, out, "storage-1")
	w.must(t, "apply", w.manifest, "--env", "lab", "--yes")
	if out, code := w.troop(t, "plan", w.manifest, "--env", "lab"); code != 0 {
		t.Errorf("plan after the apply: exit status %d\n%s", code, out)
	}
	w.learn(t)
	w.on(t, "storage-1", "systemctl is-active ssh")
}

func flag(t *testing.T, w *world) {
	page := func() bool {
		out := sh(t, "/", "curl -s -o /dev/null -w '%{http_code}' "+w.url("/feature"))
		return out == "200"
	}
	if page() {
		t.Fatal("the feature is there before its flag is set")
	}
	units := func() string {
		return w.on(t, "web-1", "systemctl show 'storefront@*' -p MainPID")
	}
	pids := units()
	w.must(t, "flag", "set", w.manifest, "new-feature", "true", "--env", "lab")
	took := eventually(t, time.Second, "the feature is served", page)
	for range 6 { // every host has the new value
		if !page() {
			t.Error("a host does not serve the feature yet")
		}
	}
	t.Logf("served after %s", took)
	if now := units(); now != pids {
		t.Errorf("the application was restarted: %s, then %s", pids, now)
	}
	contains(t, w.must(t, "flag", "get", w.manifest, "new-feature", "--env", "lab"), "true")
	contains(t, w.must(t, "flag", "audit", w.manifest, "--env", "lab"), "new-feature")
}

func gates(t *testing.T, w *world) {
	served := sh(t, "/", "curl -s "+w.url("/version"))
	// The key is generated: one in the tree would fail every other scan.
	key := sh(t, w.dir, "ssh-keygen -q -t ed25519 -N '' -f key && cat key && rm -f key key.pub")
	aws := "export const id = '" + "AKIA" + "QWERTYUIOPASDFGH" + "';\n"
	cases := []struct {
		name, stage string
		change      func(t *testing.T)
		want        []string
	}{
		{"a failing test", "test.unit", func(t *testing.T) {
			w.write(t, "test/broken.test.js", "// A promise that is not kept.\nimport { expect } from 'chai';\n\nit('adds', () => {\n  expect(1 + 1).to.equal(3);\n});\n")
		}, []string{`test/broken\.test\.js:5`, "expected 2 to equal 3"}},
		{"coverage under its threshold", "test.unit", func(t *testing.T) {
			w.replace(t, "pipeline.hcl", "statements = 70", "statements = 100")
			w.write(t, "lib/unused.js", "// Nobody calls this.\nexport function unused(a) {\n  if (a) {\n    return 1;\n  }\n  return 2;\n}\n")
		}, []string{"coverage of statements", "100"}},
		{"a JSHint error", "analysis.quality", func(t *testing.T) {
			w.replace(t, "lib/goods.js", "export", "if (1 == '1') { console.log(undefinedName) }\nexport")
		}, []string{`lib/goods\.js:\d+`}},
		{"a private key", "analysis.quality", func(t *testing.T) { w.write(t, "deploy-key.txt", key) }, []string{`deploy-key\.txt:1`, "(?i)private.key"}},
		{"an AWS secret", "analysis.quality", func(t *testing.T) { w.write(t, "lib/aws.js", "// Access to the store.\n"+aws) }, []string{`lib/aws\.js:2`, "(?i)aws"}},
		{"too few comments", "analysis.quality", func(t *testing.T) {
			w.replace(t, "pipeline.hcl", "min = 0.10", "min = 0.39")
		}, []string{"(?i)comment", `0\.39`}},
	}
	commits := make([]string, len(cases))
	for i, c := range cases {
		c.change(t)
		w.commit(t, c.name)
		commits[i] = strings.TrimSpace(sh(t, w.dir, "git rev-parse HEAD"))
		// Thresholds come from the manifest on disk, not from the commit.
		sh(t, w.dir, "cp pipeline.hcl case-"+strconv.Itoa(i)+".hcl")
		w.revert(t)
	}
	t.Run("at once", func(t *testing.T) {
		slots := make(chan struct{}, 2)
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				m := filepath.Join(w.dir, fmt.Sprintf("case-%d.hcl", i))
				out, code := w.troop(t, "run", m, "--env", "lab", "--commit", commits[i])
				if code != 1 {
					t.Errorf("exit status %d, want 1", code)
				}
				last := tail(out, 20)
				contains(t, last, append([]string{"✗ " + regexp.QuoteMeta(c.stage)}, c.want...)...)
				if strings.Contains(out, "AKIA"+"QWERTY") || strings.Contains(out, strings.Split(key, "\n")[1]) {
					t.Error("the secret itself is printed")
				}
				runs := w.must(t, "runs", m)
				contains(t, runs, c.name)
				id := regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{8,}`).FindString(out)
				contains(t, w.must(t, "show", m, id), c.want...)
				if logs := w.must(t, "logs", m, id, c.stage); logs == "" {
					t.Error("logs are empty")
				}
			})
		}
	})
	if now := sh(t, "/", "curl -s "+w.url("/version")); now != served {
		t.Errorf("served before: %s, now: %s", served, now)
	}
}

// badReleases fail only at run time, so that they pass the test stage.
func badReleases(t *testing.T, w *world) {
	served := sh(t, "/", "curl -s "+w.url("/version"))
	for _, c := range []struct {
		name, old, code string
		want            []string
	}{
		{
			"no health", "  app.use(accessLog(log));",
			"  app.use(accessLog(log));",
			[]string{"(?i)health"},
		},
		{
			"errors in a tenth", "  app.use(headers);",
			"  app.use(headers);\n  let turn = 0;\n  app.use((req, res, next) => (process.env.RELEASE && ++turn % 10 === 0 ? res.status(500).end() : next()));",
			[]string{"(?i)error", "%"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "no health" {
				w.replace(t, "lib/app.js", "status(state.ready ? 200 : 503)", "status(process.env.RELEASE ? 500 : state.ready ? 200 : 503)")
			} else {
				w.replace(t, "lib/app.js", c.old, c.code)
			}
			w.commit(t, "A release with "+c.name)
			defer w.revert(t)
			commit := strings.TrimSpace(sh(t, w.dir, "git rev-parse HEAD"))
			stop := w.load()
			out, code := w.run(t)
			count := stop()
			if code != 1 {
				t.Errorf("exit status %d, want 1", code)
			}
			contains(t, tail(out, 15), append([]string{`✗ deploy\.storefront`}, c.want...)...)
			for answer, n := range count {
				if answer != "production" && answer != "canary" && answer != "status 500 from canary" {
					t.Errorf("%d requests: %s", n, answer)
				}
			}
			if c.name == "no health" && count["status 500 from canary"] > 0 {
				t.Errorf("a release without health got traffic: %v", count)
			}
			t.Logf("answers: %v", count)
			for range 9 {
				if now := sh(t, "/", "curl -s "+w.url("/version")); now != served || strings.Contains(now, commit) {
					t.Fatalf("served before: %s, now: %s", served, now)
				}
			}
		})
	}
}

func goodRelease(t *testing.T, w *world) {
	served := sh(t, "/", "curl -s "+w.url("/version"))
	w.replace(t, "lib/pages.js", "</title>", " today</title>")
	w.commit(t, "A better title")
	stop := w.load()
	out, code := w.run(t)
	count := stop()
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 40))
	}
	noneLost(t, count)
	now := sh(t, "/", "curl -s "+w.url("/version"))
	if now == served {
		t.Errorf("still serves %s", now)
	}
	expectPools(t, w.pools(300), 200, 100)
	contains(t, w.must(t, "why", w.manifest), `canary requests .*pass: `, `canary failures .*95 % interval`, `canary restarts +0 +0`)

	stop = w.load()
	first := make(chan time.Duration, 1)
	go func() {
		defer close(first)
		for began := time.Now(); t.Context().Err() == nil; time.Sleep(50 * time.Millisecond) {
			res, err := client.Get(w.url("/version"))
			if err != nil {
				continue
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err == nil && string(body) == served {
				first <- time.Since(began)
				return
			}
		}
	}()
	// The slots still have the release, so that nothing is written.
	contains(t, w.must(t, "deploy", "rollback", w.manifest, "--env", "lab", "--yes", "-v"), "web-1: release : Write the files of the release: skipped", "web-2: release : Write the files of the release: skipped")
	t.Logf("the first answer of the former release after %.1f s", (<-first).Seconds())
	noneLost(t, stop())
	if back := sh(t, "/", "curl -s "+w.url("/version")); back != served {
		t.Errorf("after the rollback: %s, want %s", back, served)
	}
	contains(t, w.must(t, "deploy", "status", w.manifest, "--env", "lab"), "web-1", "web-2", "canary-1")
}

func noneLost(t *testing.T, count map[string]int) {
	t.Helper()
	t.Logf("answers: %v", count)
	if count["production"] < 50 {
		t.Errorf("hardly any load: %v", count)
	}
	for answer, n := range count {
		if answer != "production" && answer != "canary" {
			t.Errorf("%d requests lost: %s", n, answer)
		}
	}
}

// hog starts a busy loop on a host as a user. It must get 90 % of a core despite other load.
func (w *world) hog(t *testing.T, host, user, name string) (pid string) {
	t.Helper()
	w.on(t, host, "systemd-run --quiet --unit="+name+" --uid="+user+" /bin/sh -c 'while :; do :; done'")
	t.Cleanup(func() { _, _ = w.try(t, host, "systemctl stop "+name) })
	return w.on(t, host, "systemctl show -p MainPID --value "+name)
}

func (w *world) alive(t *testing.T, host, pid string) bool {
	t.Helper()
	_, err := w.try(t, host, "kill -0 "+pid)
	return err == nil
}

func doctor(t *testing.T, w *world) {
	start := time.Now()
	w.on(t, "web-1", "useradd -m guest")
	w.on(t, "web-2", "useradd -m boss && usermod -aG sudo boss")
	w.on(t, "canary-1", "useradd -m guest")

	guest := w.hog(t, "web-1", "guest", "loop-guest")
	took := eventually(t, 20*time.Second, "the loop of a normal user is ended", func() bool { return !w.alive(t, "web-1", guest) })
	t.Logf("ended after %s", took.Round(time.Second))
	find := func(kind string, e core.Event) bool { return e.Kind == kind && fmt.Sprint(e.Data["pid"]) == guest }
	var seen core.Event
	eventually(t, 10*time.Second, "an event tells of it", func() bool {
		for _, e := range w.events(t, start, "process") {
			if find("process.terminated", e) || find("process.killed", e) {
				seen = e
			}
		}
		return seen.Kind != ""
	})
	if text := fmt.Sprint(seen.Summary, seen.Data); !strings.Contains(text, "while :") || !strings.Contains(text, "guest") || !regexp.MustCompile(`cpu`).MatchString(text) {
		t.Errorf("the event lacks the command line, the user or the share of the CPU: %s", text)
	}
	eventually(t, 20*time.Second, "an e-mail tells of it", func() bool {
		out, _ := w.try(t, "storage-1", "grep -rl 'Subject: .*ALERT.*web-1' /var/mail/troop")
		return strings.TrimSpace(out) != ""
	})

	root := w.hog(t, "web-1", "root", "loop-root")
	boss := w.hog(t, "web-2", "boss", "loop-boss")
	for host, pid := range map[string]string{"web-1": root, "web-2": boss} {
		eventually(t, 40*time.Second, "the loop on "+host+" is reported", func() bool {
			for _, e := range w.events(t, start, "process") {
				if string(e.Host) == host && e.Kind == "process.spared" && fmt.Sprint(e.Data["pid"]) == pid {
					return true
				}
			}
			return false
		})
		if !w.alive(t, host, pid) {
			t.Errorf("the protected loop on %s was ended", host)
		}
	}

	// On the canary, the alert removes the traffic.
	expectPools(t, w.pools(30), 20, 10)
	w.hog(t, "canary-1", "guest", "loop-canary")
	var alert, closed core.Event
	eventually(t, 60*time.Second, "the canary is closed", func() bool {
		for _, e := range w.events(t, start, "") {
			if e.Host == "canary-1" && e.Severity == core.Alert && alert.ID == "" {
				alert = e
			}
			if e.Kind == "canary.closed" {
				closed = e
			}
		}
		return closed.ID != ""
	})
	if late := closed.Time.Sub(alert.Time); late > time.Second {
		t.Errorf("closed %s after the alert", late)
	} else {
		t.Logf("closed %s after the alert", late)
	}
	expectPools(t, w.pools(60), 60, 0)
	w.must(t, "deploy", "weights", w.manifest, "2:1", "--env", "lab")
	eventually(t, 20*time.Second, "the canary is open again", func() bool { return w.pools(6)["canary"] > 0 })
}

func maintenance(t *testing.T, w *world) {
	start := time.Now()
	const file = "/var/log/storefront/extra.log"
	fill := func() string {
		w.on(t, "web-1", "head -c 6000000 /dev/urandom | base64 > /tmp/extra && chown storefront: /tmp/extra && mv /tmp/extra "+file)
		return strings.Fields(w.on(t, "web-1", "sha256sum "+file+" 2>/dev/null || cat /dev/null; true"))[0]
	}
	gone := func() bool { _, err := w.try(t, "web-1", "test ! -e "+file); return err == nil }
	stored := func(hash string) bool {
		out, _ := w.try(t, "storage-1", "find /srv/backups -name '*.zst' -exec sh -c 'zstd -dcq \"$1\" | sha256sum' _ {} \\;")
		return strings.Contains(out, hash)
	}

	hash := fill()
	eventually(t, time.Minute, "the log left the host", gone)
	eventually(t, 10*time.Second, "the storage host has it, byte for byte", func() bool { return stored(hash) })
	var moved bool
	eventually(t, 10*time.Second, "an event tells of it", func() bool {
		for _, e := range w.events(t, start, "file.moved") {
			moved = moved || strings.Contains(e.Summary, "extra.log")
		}
		return moved
	})

	// The application continues logging to a new file after the move.
	w.on(t, "web-1", "head -c 6000000 /dev/urandom | base64 >> /var/log/storefront/app.log")
	eventually(t, time.Minute, "the application logs to a new file", func() bool {
		_ = get(w.url("/"))
		size, err := strconv.Atoi(strings.TrimSpace(w.on(t, "web-1", "stat -c %s /var/log/storefront/app.log 2>/dev/null || echo 0")))
		return err == nil && size > 0 && size < 5<<20
	})

	// Without the storage host nothing is removed.
	w.on(t, "storage-1", "systemd-run --quiet --timer-property=AccuracySec=1s --on-active=45 systemctl start ssh && systemctl stop ssh")
	hash = fill()
	since := time.Now()
	eventually(t, 40*time.Second, "an alert says that the storage host is away", func() bool {
		for _, e := range w.events(t, since, "") {
			if e.Severity == core.Alert && e.Host == "web-1" && strings.Contains(e.Summary, "storage") {
				return true
			}
		}
		return false
	})
	here := w.on(t, "web-1", "find /var/log/storefront /var/lib/troop -type f -size +7M -exec sha256sum {} + 2>/dev/null")
	if !strings.Contains(here, hash) {
		t.Errorf("the log is not on the host any more:\n%s", here)
	}
	eventually(t, 2*time.Minute, "the backlog goes when the storage host is back", func() bool {
		out, err := w.try(t, "storage-1", "true")
		return err == nil && out == "" && stored(hash)
	})
	contains(t, w.must(t, "maintenance", "status", w.manifest, "--env", "lab"), "web-1")
}

func forbiddenRules(t *testing.T, w *world) {
	for _, path := range []string{
		"/opt/storefront/releases/*.log", "/var/lib/redis/dump.rdb", "/var/lib/postgresql/15/main/base/*",
		"/var/log/storefront/shop.sqlite", "/etc/*.log", "/var/log/storefront/../../lib/redis/*",
	} {
		m := filepath.Join(w.dir, "case-forbidden.hcl")
		text := strings.Replace(w.read(t, "pipeline.hcl"), "/var/log/storefront/*.log", path, 1)
		if err := os.WriteFile(m, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, code := w.troop(t, "validate", m)
		if code != 2 {
			t.Errorf("%s: exit status %d, want 2\n%s", path, code, out)
		}
		contains(t, out, `case-forbidden\.hcl:\d+,\d+`)
	}
}

func killedRun(t *testing.T, w *world) {
	w.replace(t, "lib/pages.js", "</title>", " again</title>")
	w.commit(t, "Another title")
	kill := func(stage string, args ...string) {
		t.Run(stage, func(t *testing.T) {
			t.Helper()
			log := filepath.Join(w.dir, ".troop", "killed.log")
			f, err := os.Create(log)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c := exec.Command(filepath.Join(w.bin, "troop"), append([]string{"run", w.manifest, "--env", "lab"}, args...)...)
			c.Dir, c.Env, c.Stdout, c.Stderr = w.dir, environ(), f, f
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			started := regexp.MustCompile(regexp.QuoteMeta(stage) + ` .*(started|preparing)`)
			eventually(t, 3*time.Minute, stage+" has started", func() bool {
				text, _ := os.ReadFile(log)
				return started.Match(text)
			})
			time.Sleep(1500 * time.Millisecond) // let it start working
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait()
			eventually(t, 5*time.Second, "no process of the run is left", func() bool { return len(processes(t, w.dir)) == 0 })
		})
	}
	next := func() {
		out, code := w.run(t)
		if code != 0 {
			t.Fatalf("the next run: exit status %d\n%s", code, tail(out, 40))
		}
	}
	for _, stage := range []string{"build.app", "test.unit", "deploy.storefront"} {
		kill(stage)
	}
	next()
	// A stage with nothing to do would end before the kill. Doctor and maintenance install their agents at the same time.
	for _, stage := range []string{"analysis.quality", "environment.lab", "doctor.hosts"} {
		kill(stage, "--force")
	}
	next()
	contains(t, w.must(t, "runs", w.manifest), "cancelled|interrupted")
}
