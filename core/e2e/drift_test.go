//go:build lab

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const driftManifest = `pipeline "guarded" {
  source { path = "." }
}

environment "lab" {
  terraform {
    module = "lab"
    variables = { hosts = {
      web-1    = { role = "production" }
      web-2    = { role = "production" }
      router-1 = { role = "router" }
    } }
    review { drift = "stop" }
  }
  ansible { playbook = "site.yml" }
}

stage "doctor" "hosts" {
  cpu {
    above = 80
    for   = "10s"
  }
}
`

// kept are the files of an environment that a drift check must not change.
var kept = []string{
	"hosts.json", "known_hosts", "secrets.json", "ssh_key", "fingerprints/site", "fingerprints/agent-doctor-hosts",
	"terraform/terraform.tfstate", "terraform/.troop/plan", "terraform/.troop/plan.json",
}

// TestDrift changes hosts outside troop.
func TestDrift(t *testing.T) {
	w := makeWorld(t, "Guarded hosts", func(w *world) { w.write(t, "pipeline.hcl", driftManifest) })
	if out, code := w.run(t); code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 40))
	}
	w.learn(t)
	look := func(wantCode int, want ...string) {
		t.Helper()
		out, code := w.troop(t, "drift", w.manifest, "--env", "lab")
		if code != wantCode {
			t.Errorf("drift: exit status %d, want %d", code, wantCode)
		}
		contains(t, out, want...)
	}
	look(0, "environment lab: no drift on 3 hosts")
	// Another plan is saved.
	w.write(t, "case-more.hcl", strings.Replace(driftManifest, `web-2    =`, "web-3    = { role = \"production\" }\n      web-2    =", 1))
	for _, trust := range []string{"--untrusted=true", "--untrusted=false"} { // the module is one that comes with troop
		if out, code := w.troop(t, "plan", filepath.Join(w.dir, "case-more.hcl"), "--env", "lab", trust); code != 2 {
			t.Errorf("plan %s: exit status %d, want 2\n%s", trust, code, out)
		}
	}
	before := map[string]string{}
	for _, name := range kept {
		before[name] = w.read(t, filepath.Join(".troop/lab", name))
	}

	w.on(t, "router-1", "sed -i 's/^tls-port .*/tls-port 6380/' /etc/redis/redis.conf && echo 203.0.113.9 elsewhere >> /etc/hosts && sed -i '/web-1/d' /etc/hosts")
	w.on(t, "web-1", "echo ' ' >> /etc/troop/agents/doctor-hosts.json && systemctl stop troop-agent@doctor-hosts && touch /run/before")
	w.kill(t, "web-2")
	look(2,
		`(?m)^router-1 \(router\): drifted$`, `(?m)^  ansible +base : Name the environment's hosts: /etc/hosts \(playbooks/roles/base/tasks/main\.yml:\d+\)$`,
		`(?m)^  ansible +redis : Configure Redis: `,
		`(?m)^web-1 \(production\): drifted$`, `(?m)^  installed +/etc/troop/agents/doctor-hosts\.json is not what was installed$`,
		`(?m)^  installed +troop-agent@doctor-hosts\.service is inactive$`,
		`(?m)^web-2 \(production\): `, `(?m)^! web-2: lab_host\.this\["web-2"\]: it no longer exists$`,
		"environment lab has drifted: router-1 is drifted, web-1 is drifted, web-2 is (gone|drifted)",
	)

	// The host answers, but cannot be checked.
	w.on(t, "router-1", "systemd-run --quiet --timer-property=AccuracySec=1s --on-active=25s systemctl start ssh && systemctl stop ssh")
	out, code := w.output(t, "drift", w.manifest, "--env", "lab", "--json")
	var report struct {
		Hosts []struct {
			Host, Status, Reason string
			Differences          []struct{ Layer, What string }
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 2 || len(report.Hosts) != 3 {
		t.Fatalf("drift --json: exit status %d, %v\n%s", code, err, out)
	}
	for _, h := range report.Hosts {
		if h.Host == "router-1" && (h.Status != "unreachable" || !strings.Contains(h.Reason, "refused")) {
			t.Errorf("a host without sshd: %+v", h)
		}
		if h.Host == "web-1" && (h.Status != "drifted" || len(h.Differences) != 2) {
			t.Errorf("web-1: %+v", h)
		}
	}
	for _, name := range kept {
		if now, err := os.ReadFile(filepath.Join(w.dir, ".troop/lab", name)); err != nil || string(now) != before[name] {
			t.Errorf("%s has changed, %v", name, err)
		}
	}
	if touched := w.on(t, "web-1", "find /etc /opt /usr /srv /var/lib/troop -newer /run/before"); touched != "" {
		t.Errorf("looking has changed %s", touched)
	}

	eventually(t, time.Minute, "sshd is back", func() bool { _, err := w.try(t, "router-1", "true"); return err == nil })
	out, code = w.run(t)
	if code != 1 {
		t.Errorf("a run on hosts that have drifted: exit status %d, want 1", code)
	}
	contains(t, out, "web-1 is drifted", "see troop drift --env lab", "troop run --env lab --force")
	if out, code := w.run(t, "--force"); code != 0 {
		t.Errorf("a forced run: exit status %d\n%s", code, tail(out, 40))
	}
	look(0, "environment lab: no drift on 3 hosts")
}
