//go:build lab

package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

const accessoryPipeline = `pipeline "shop" {}
environment "one" {
  host "web-1" {
    address = "192.0.2.1"
    roles   = ["router", "production", "canary", "storage", "data"]
    user    = "deploy"
    key     = "./key"
  }
  accessory "postgres" { service = "shop" }
  accessory "redis" {
    service = "shop"
    env     = "QUEUE_URL"
  }
  ansible { playbook = "site.yml" }
}
stage "build" "app" {
  package {}
}
stage "deploy" "shop" {
  artifact = stage.build.app.artifact
  service { command = ["node", "start.js"] }
  task "migrate" { command = ["sh", "migrate.sh"] }
  canary { no_traffic = "promote" }
}
stage "maintenance" "dumps" {
  needs    = [stage.deploy.shop]
  grants   = ["storage"]
  interval = "1s"
  rule "dumps" {
    paths      = ["/var/dumps/accessories/*.dump"]
    older_than = "1s"
  }
}
`

// accessoryFiles are a service that counts its requests in both databases.
var accessoryFiles = map[string]string{
	"start.js": `const run = (program, ...args) => require('child_process').execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' }).trim()
const { DATABASE_URL, QUEUE_URL, QUEUE_URL_CA } = process.env
require('http').createServer((q, r) => {
  if (q.url === '/healthz') return r.end('ok')
  try {
    r.end(run('psql', '-XAtq', DATABASE_URL, '-c', 'INSERT INTO visits DEFAULT VALUES', '-c', 'SELECT count(*) FROM visits') + ' ' +
      run('redis-cli', '-u', QUEUE_URL, '--cacert', QUEUE_URL_CA, '--no-auth-warning', 'incr', 'visits') + '\n')
  } catch (e) {
    r.statusCode = 500
    r.end(String(e) + e.stderr + '\n')
  }
}).listen(process.env.PORT, '0.0.0.0')
`,
	"migrate.sh": `psql -X "$DATABASE_URL" -c 'CREATE TABLE IF NOT EXISTS visits (id serial PRIMARY KEY, at timestamptz DEFAULT now())'` + "\n",
}

// TestAccessory gives a service a PostgreSQL and a Redis on a server that has never had one, and all roles. Nobody else reads them;
// their dumps are moved to the storage host, and restored by drills; damaged ones are found. The data comes back from a dump, and a
// release of the host leaves nothing.
func TestAccessory(t *testing.T) {
	s := newServer(t, accessoryPipeline, accessoryFiles, "postgresql")
	s.must(t, "hosts", "accept", s.pipeline, "web-1", "--env", "one", "--yes")
	out, _ := s.one(t, "preflight")
	contains(t, out, `web-1 postgres +15[^ ]* will be installed`, `15432, 16379`)
	s.mustOne(t, "run")

	visit := func() string { return s.on(t, "box", "curl -s http://127.0.0.1/") }
	if first, second := visit(), visit(); first != "1 1" || second != "2 2" {
		t.Fatalf("the service answers %q and %q, want counts of its requests", first, second)
	}
	if out := s.mustOne(t, "apply", "--yes", "--force"); !strings.Contains(out, "site.yml: 1 hosts, 0 changed") {
		t.Errorf("a second configuration changes something:\n%s", tail(out, 20))
	}
	private := s.hosts["box"].Address
	for what, c := range map[string][2]string{
		"a user of the host, by its socket":  {"runuser -u nobody -- psql -X -h /run/postgresql -p 15432 -U shop -c 'SELECT 1' shop", "Peer authentication failed"},
		"a user without the password":        {"runuser -u nobody -- psql -X -w 'postgres://shop@" + private + ":15432/shop?sslmode=require' -c 'SELECT 1'", "no password supplied"},
		"who does not encrypt":               {"runuser -u nobody -- psql -X -w 'postgres://shop@" + private + ":15432/shop?sslmode=disable' -c 'SELECT 1'", "no pg_hba.conf entry"},
		"a user of the host, the variables":  {"runuser -u deploy -- cat /opt/shop/slot-a.env", "Permission denied"},
		"a user of the host, in Redis":       {"runuser -u nobody -- redis-cli -h " + private + " -p 16379 --tls --cacert /etc/troop/accessories.pem get visits", "NOAUTH"},
		"a user of the host, data of Redis":  {"runuser -u nobody -- ls /var/lib/troop-data/redis/shop", "Permission denied"},
		"a user of the host, dumps":          {"runuser -u nobody -- ls /var/dumps/accessories", "Permission denied"},
		"who restores dumps, in a service's": {"runuser -u troop-data -- psql -X -h /run/postgresql -p 15432 -U troop_drill -c 'SELECT 1' shop", "no pg_hba.conf entry"},
	} {
		if out, _ := s.try(t, "box", c[0]+" 2>&1"); !strings.Contains(out, c[1]) {
			t.Errorf("%s: %q, want %q", what, out, c[1])
		}
	}

	// Redis saves itself at most a minute after a change: maybe between the two visits.
	eventually(t, 2*time.Minute, "Redis is saved", func() bool {
		persistence := s.on(t, "box", `redis-cli -u "$(sed -n 's/^QUEUE_URL=//p' /opt/shop/slot-a.env | tr -d '"')" --cacert /etc/troop/accessories.pem info persistence`)
		return strings.Contains(persistence, "rdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0")
	})
	s.on(t, "box", "systemctl start troop-data-dump")
	moved := func(n int) {
		t.Helper()
		eventually(t, time.Minute, "dumps are moved", func() bool {
			// The agent learns of a receipt after the storage host has it.
			return s.on(t, "box", "ls -A /var/dumps/accessories | wc -l") == "0" && strings.Count(s.mustOne(t, "maintenance", "restore"), "/var/dumps/accessories/") == n
		})
	}
	moved(2)
	contains(t, s.mustOne(t, "maintenance", "drill", "--count", "10"), `postgres\.shop\.\S+dump .* restored: 1 tables`, `redis\.shop\.\S+dump .* restored: 1 keys`)
	if got := s.on(t, "box", "cd / && runuser -u postgres -- psql -XAtq -h /run/postgresql -p 15432 -c 'SELECT datname FROM pg_database ORDER BY 1' | tr '\\n' ' '"); got != "postgres shop template0 template1" {
		t.Errorf("databases after the drill: %s", got)
	}

	// One that was cut before it was moved, and one that is damaged on the storage host.
	s.on(t, "box", `cd /var/dumps/accessories && runuser -u troop-data -- sh -c 'pg_dump -Fc -h /run/postgresql -p 15432 -U shop shop | head -c -100 >cut.part && mv cut.part postgres.shop.cut.dump'`)
	moved(3)
	s.on(t, "box", "cd /srv/backups/backup-web-1/files && for f in redis.shop.*.zst; do printf damaged >$f; done")
	out, code := s.one(t, "maintenance", "drill", "--count", "10")
	if code != 1 {
		t.Errorf("a drill of damaged dumps: exit status %d", code)
	}
	contains(t, out, `postgres\.shop\.cut\.dump .*cannot be restored`, `redis\.shop\.\S+dump .*differs from what was sent`, `postgres\.shop\.2\S+dump .* restored: 1 tables`, `2 of 3 backups cannot be read back or restored`)
	if out := s.results(t, "events", s.pipeline, "--env", "one", "--kind", "drill.failed", "--since", "10m", "--json"); !strings.Contains(out, "postgres.shop.cut.dump on web-1 cannot be restored") {
		t.Errorf("alerts: %s", out)
	}

	// What docs/service.md says of getting data back, with the dumps that were made after two visits.
	s.on(t, "box", "systemctl start troop-data-dump; cd /var/dumps/accessories && cp postgres.* /root/postgres.dump && cp redis.* /root/redis.dump")
	if got := visit(); got != "3 3" {
		t.Errorf("the service answers %q", got)
	}
	s.on(t, "box", "runuser -u postgres -- psql -q -p 15432 -d shop -c 'DROP TABLE visits'")
	doc, err := os.ReadFile("../../docs/service.md")
	if err != nil {
		t.Fatal(err)
	}
	recover := regexp.MustCompile("(?s)There, as root:\n\n```sh\n(.*?)```").FindStringSubmatch(string(doc))[1]
	recover = strings.Replace(strings.Replace(recover, "<FILE", "</root/postgres.dump", 1), "zcat FILE", "zcat /root/redis.dump", 1)
	s.on(t, "box", "set -e\n"+recover)
	if got := visit(); got != "3 3" {
		t.Errorf("with the data of the dumps the service answers %q", got)
	}
	s.on(t, "box", "rm /root/*.dump")

	s.must(t, "release-host", s.pipeline, "web-1", "--env", "one", "--yes")
	if after := s.script(t, "snapshot.sh", ""); after != s.before {
		t.Errorf("after its release, the server differs:\n%s", difference(t, s.before, after))
	}
}
