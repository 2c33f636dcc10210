//go:build lab

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const givenPipeline = `pipeline "box" {
  source { path = "." }
}

environment "lab" {
  terraform {
    module    = "lab"
    variables = { hosts = { box = { role = "production", memory = "768MiB" } } }
  }
}

environment "one" {
  host "web-1" {
    address = "ADDRESS"
    roles   = ["router", "production", "storage"]
    user    = "deploy"
    key     = "./key"
  }
  ansible { playbook = "site.yml" }
}

stage "build" "app" {
  command = ["true"]
  package {}
}

stage "deploy" "shop" {
  needs    = [stage.build.app]
  artifact = stage.build.app.artifact
  service {
    command = ["node", "start.js"]
    health { path = "/" }
  }
  canary { no_traffic = "promote" }
}

stage "doctor" "hosts" {
  needs = [stage.deploy.shop]
  cpu {
    above = 80
    for   = "10s"
  }
}
`

// TestGiven deploys to a server that exists, with nginx on port 8080 and a user with sudo, and takes off it again all that was
// put there: what differs afterwards is a failure.
func TestGiven(t *testing.T) {
	w := makeWorld(t, "A box", func(w *world) {
		w.write(t, "pipeline.hcl", strings.Replace(givenPipeline, "ADDRESS", "192.0.2.1", 1))
		w.write(t, "start.js", "require('http').createServer((q, r) => r.end('ok\\n')).listen(process.env.PORT, '0.0.0.0')\n")
	})
	sh(t, w.dir, "ssh-keygen -q -t ed25519 -N '' -f key && echo 'key*' >> .git/info/exclude")
	w.must(t, "apply", w.manifest, "--env", "lab", "--yes")
	w.learn(t)
	w.replace(t, "pipeline.hcl", "192.0.2.1", w.hosts["box"].Address)
	w.commit(t, "Its address")

	// The repository of packages that the server installs from. Node is the distribution's.
	debs := t.TempDir()
	sh(t, debs, `node=$(apt-cache madison nodejs | awk '$3 ~ /dfsg/ {print $3; exit}')
		apt-get -qq download nginx nginx-common haproxy redis-server redis-tools zstd node-acorn "nodejs=$node" "libnode108=$node" 2>&1 && dpkg-scanpackages -m . > Packages 2>/dev/null`)
	ssh := filepath.Join(w.bin, "troop") + " ssh " + w.manifest + " --env lab box -- "
	sh(t, debs, "tar -c . | "+ssh+"'mkdir -p /srv/debs && tar -C /srv/debs -x'")
	script := func(name, args string) string {
		file, err := filepath.Abs("testdata/given/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return sh(t, w.dir, ssh+`"sh -s -- `+args+`" < `+file)
	}
	public, err := os.ReadFile(filepath.Join(w.dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	script("setup.sh", "'"+strings.TrimSpace(string(public))+"'")
	before := script("snapshot.sh", "")

	if out, code := w.troop(t, "preflight", w.manifest, "--env", "one"); code != 1 || !strings.Contains(out, "is not known yet: ssh-ed25519 SHA256:") {
		t.Errorf("preflight with a host key that nobody knows: exit status %d\n%s", code, out)
	}
	w.must(t, "hosts", "accept", w.manifest, "web-1", "--env", "one", "--yes")
	out := w.must(t, "preflight", w.manifest, "--env", "one")
	for _, want := range []string{"✓ web-1 sudo", "✓ web-1 system    debian 12", "8080 by nginx", "will be installed"} {
		if !strings.Contains(out, want) {
			t.Errorf("preflight lacks %q:\n%s", want, out)
		}
	}
	if now := script("snapshot.sh", ""); now != before {
		t.Errorf("preflight has changed\n%s", difference(t, before, now))
	}

	w.must(t, "run", w.manifest, "--env", "one")
	if out := w.must(t, "apply", w.manifest, "--env", "one", "--yes", "--force"); !strings.Contains(out, "site.yml: 1 hosts, 0 changed") {
		t.Errorf("a second configuration changes something:\n%s", tail(out, 20))
	}
	if got := w.on(t, "box", "curl -s localhost; curl -s -o /dev/null -w '%{http_code}' localhost:8080"); got != "ok\n200" {
		t.Errorf("the service and nginx answer %q", got)
	}
	w.must(t, "release-host", w.manifest, "web-1", "--env", "one", "--yes")
	if after := script("snapshot.sh", ""); after != before {
		t.Errorf("after its release, the server differs:\n%s", difference(t, before, after))
	}
	if got := w.on(t, "box", "curl -s -o /dev/null -w '%{http_code}' localhost:8080"); got != "200" {
		t.Errorf("nginx answers %q", got)
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
