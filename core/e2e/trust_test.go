//go:build lab

package e2e

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
)

// TestTakenHosts logs in as the application's user and as root on a host, tries what harms others, and compares the other
// hosts, what they were told, and the operator's own files before and after.
func TestTakenHosts(t *testing.T) {
	w := newWorld(t, func(manifest string) string {
		return strings.NewReplacer(
			`      web-2     = { role = "production" }`+"\n", "", `watch         = "10s"`, `watch         = "4s"`,
			`storage_mailbox  = true`, `storage_mailbox = true, storage_quota = "64M"`,
		).Replace(edit(manifest))
	})
	if out, code := w.run(t); code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 60))
	}
	w.learn(t)
	w.must(t, "flag", "set", w.manifest, "new-feature", "false", "--env", "lab", "--reason", "not yet")
	for _, h := range []string{"web-1", "canary-1"} {
		w.on(t, h, "head -c 6000000 /dev/urandom | base64 > /tmp/extra && chown storefront: /tmp/extra && mv /tmp/extra /var/log/storefront/extra.log")
		eventually(t, time.Minute, "the log of "+h+" is on the storage host", func() bool {
			out, _ := w.try(t, "storage-1", "ls /srv/backups/backup-"+h+"/files")
			return strings.Contains(out, ".json")
		})
	}
	before := w.everything(t)
	t.Run("the application's user", func(t *testing.T) { takenApplication(t, w) })
	t.Run("root on the canary", func(t *testing.T) { takenCanary(t, w) })
	t.Run("root on a production host", func(t *testing.T) { takenProduction(t, w) })
	w.unchanged(t, before)
	expectPools(t, w.pools(30), 20, 10)
	t.Run("what a host may do is heard of", func(t *testing.T) { heard(t, w) })
	t.Run("the storage host is not filled", func(t *testing.T) { fullStorage(t, w) })
	t.Run("a replaced host restores what the old one sent", func(t *testing.T) { replacedHost(t, w) })
	t.Run("root on the router", func(t *testing.T) { takenRouter(t, w) })
	t.Run("root on the router forges flags", func(t *testing.T) { forgedFlags(t, w) })
}

// everything is what must not change while a host is taken: by name, what it is.
func (w *world) everything(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, h := range []string{"web-1", "router-1", "storage-1"} {
		for line := range strings.Lines(w.on(t, h, `find /etc /opt /usr/local /srv /root -xdev -type f -exec sha256sum {} + | sort -k 2; systemctl list-units --plain --no-legend --type service --state running | cut -d ' ' -f 1 | sed 's/^/running /' | grep -v 'ssh@'; cat /var/lib/troop-router/weights.map 2>/dev/null | sed 's/^/weight /'; getent passwd | sed 's/^/user /'`)) {
			what, name, _ := strings.Cut(strings.TrimSpace(line), " ")
			all[h+" "+name] += what
		}
	}
	for _, args := range [][]string{{"flag", "list"}, {"flag", "audit"}, {"deploy", "status"}} {
		all["troop "+strings.Join(args, " ")] = w.results(t, append(args, w.manifest, "--env", "lab", "--json")...)
	}
	for name, line := range map[string]string{
		"orders": "for k in $($R --scan --pattern 'troop:order:deploy:desired'); do echo $k; $R HGETALL $k; done",
		"flags":  "for k in $($R --scan --pattern 'troop:flag*' | grep -v audit | sort); do echo $k; $R GET $k; done",
	} {
		all["redis "+name] = w.on(t, "router-1", w.redisAsOperator(t)+line)
	}
	for line := range strings.Lines(sh(t, w.dir, "find .troop/runs .troop/artifacts .troop/lab -type f -not -name '*.lock' -exec sha256sum {} +")) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		all["store "+name] = sum
	}
	return all
}

// redisAsOperator is a shell's variable R that talks to Redis as the operator's user.
func (w *world) redisAsOperator(t *testing.T) string {
	t.Helper()
	var secrets map[string]string
	if err := json.Unmarshal([]byte(w.read(t, ".troop/lab/secrets.json")), &secrets); err != nil {
		t.Fatal(err)
	}
	return "export REDISCLI_AUTH=" + secrets["redis_password"] + "; R='redis-cli -s /run/redis/redis-server.sock --user operator'; "
}

func (w *world) unchanged(t *testing.T, before map[string]string) {
	t.Helper()
	after := w.everything(t)
	if len(before) < 200 {
		t.Errorf("only %d things are compared", len(before))
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if after[name] != before[name] {
			t.Errorf("%s has changed: %.300s → %.300s", name, before[name], after[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			t.Errorf("%s is new", name)
		}
	}
}

// refusedAll runs commands on a host and expects that each fails, or prints a text that it names.
func (w *world) refusedAll(t *testing.T, host, setup string, attempts map[string]string) {
	t.Helper()
	var script strings.Builder
	script.WriteString(setup + "\n")
	names := slices.Sorted(maps.Keys(attempts))
	for _, name := range names {
		if strings.ContainsAny(name, "'\"") {
			t.Fatalf("the name %s needs quoting", name)
		}
		// A refusal by Redis is text, not an exit status.
		fmt.Fprintf(&script, "out=$( { %s; } 2>&1 </dev/null ); rc=$?; printf '%%s\\t%%s\\t%%s\\n' '%s' $rc \"$(printf %%s \"$out\" | tr '\\n\\t' '  ' | cut -c -150)\"\n", attempts[name], name)
	}
	file := filepath.Join(w.dir, ".troop", "attempts.sh")
	w.write(t, ".troop/attempts.sh", script.String())
	out := sh(t, w.dir, fmt.Sprintf("%s/troop ssh %s --env lab %s -- bash -s < %s", w.bin, w.manifest, host, file))
	refusal := regexp.MustCompile(`NOPERM|NOAUTH|WRONGPASS|DEBUG command not allowed`)
	var untried []string
	for _, name := range names {
		found := false
		for line := range strings.Lines(out) {
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
			if len(f) < 3 || f[0] != name {
				continue
			}
			found = true
			if f[1] == "0" && !refusal.MatchString(f[2]) {
				t.Errorf("%s on %s: it worked: %s", name, host, f[2])
			}
		}
		if !found {
			untried = append(untried, name)
		}
	}
	if len(untried) > 0 {
		t.Errorf("not tried on %s: %s\n%s", host, strings.Join(untried, ", "), tail(out, 20))
	}
}

func takenApplication(t *testing.T, w *world) {
	router, storage := w.hosts["router-1"].PrivateAddress, w.hosts["storage-1"].PrivateAddress
	as := "runuser -u storefront -- "
	unit := "storefront@" + w.status(t)["canary-1"]["slot"]
	environment := w.on(t, "canary-1", "tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value "+unit+")/environ")
	contains(t, environment, "OFREP_ENDPOINT=http://127.0.0.1:8016", `REDIS_URL=redis://:[A-Z0-9]+@`+regexp.QuoteMeta(router)+":6380")
	password := regexp.MustCompile(`REDIS_URL=redis://:([A-Z0-9]+)@`).FindStringSubmatch(environment)[1]
	own := w.on(t, "canary-1", as+"redis-cli -h "+router+" -p 6380 -a "+password+" --no-auth-warning CONFIG GET maxmemory")
	contains(t, own, `67108864`) // the application may do to its own Redis what it likes
	w.refusedAll(t, "canary-1", "export REDISCLI_AUTH="+password+"\nA='"+as+"'\nR=\"$A redis-cli -h "+router+"\"", map[string]string{
		"become root":                   "$A sudo -n true || $A su -c true root </dev/null",
		"read the passwords of agents":  "$A sh -c 'cat /etc/troop/agents/*'",
		"read the state of an agent":    "$A sh -c 'ls /var/lib/troop/doctor-hosts /var/lib/private'",
		"read the memory of agents":     "$A sh -c 'for p in $(pgrep troop-agent); do cat /proc/$p/environ && exit; done; exit 1'",
		"end an agent":                  "$A sh -c 'for p in $(pgrep troop-agent); do kill $p && exit; done; exit 1'",
		"change the release":            "$A sh -c 'echo x >> /opt/storefront/slot-c/app/start.js'",
		"change the unit":               "$A sh -c 'echo x >> /etc/systemd/system/storefront@.service'",
		"control Redis, no password":    "env -u REDISCLI_AUTH $R GET troop:flag:new-feature",
		"control Redis, its password":   "$R GET troop:flag:new-feature",
		"control Redis, by name":        "$R --user operator GET troop:flag:new-feature",
		"flip a flag by OFREP":          "$A curl -sSf -X PUT -d '{\"value\": true}' http://127.0.0.1:8016/ofrep/v1/evaluate/flags/new-feature",
		"the files of the storage host": "$A sh -c 'ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null backup-canary-1@" + storage + " ls'",
	})
}

// asHost is the set-up of a shell whose R talks to Redis and whose S to the storage host, with all that root finds there.
func (w *world) asHost(t *testing.T, host string) string {
	t.Helper()
	const private = `python3 -c 'import json; print(json.load(open("/etc/troop/agents/maintenance-logs.json"))["storage"]["private_key"])'`
	return `J() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]][sys.argv[3]], end="")' "$@"; }
export REDISCLI_AUTH=$(J /etc/troop/agents/doctor-hosts.json redis password)
J /etc/troop/agents/doctor-hosts.json redis certificates > /tmp/redis.crt
R="redis-cli -h ` + w.hosts["router-1"].PrivateAddress + ` --tls --cacert /tmp/redis.crt --user host:` + host + `"
cat > /tmp/key <<'END' && chmod 600 /tmp/key
` + openSSH(t, w.on(t, host, private)+"\n") + `END
S() { printf '%s\n' "$2" | sftp -i /tmp/key -b - -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null backup-$1@` + w.hosts["storage-1"].PrivateAddress + `; }
[ "$($R GET troop:flag:new-feature | head -c 1)" = "{" ] || { echo "the host's own password does not work"; exit 1; }
S ` + host + ` "ls /files" >/dev/null 2>&1 || { echo "the host's own key does not work"; exit 1; }
`
}

func takenCanary(t *testing.T, w *world) {
	event := func(host, kind string) string {
		return fmt.Sprintf(`'{"id":"01J00000000000000000000000","time":"2026-01-01T00:00:00Z","kind":"%s","severity":"alert","host":"%s","role":"production","summary":"forged"}'`, kind, host)
	}
	w.refusedAll(t, "canary-1", w.asHost(t, "canary-1"), map[string]string{
		"flip a flag":                    `$R SET troop:flag:new-feature '{"name":"new-feature","value":true}'`,
		"tell readers of a flag":         `$R PUBLISH troop:flags '{"name":"new-feature","value":true,"version":99}'`,
		"write the audit trail":          `$R XADD troop:flags:audit '*' flag '{}'`,
		"forge an alert of another host": `$R XADD troop:events:web-1 '*' event ` + event("web-1", "host.cpu"),
		"forge an event of the operator": `$R XADD troop:events '*' event ` + event("", "run.failed"),
		"read what other hosts say":      `$R XRANGE troop:events:web-1 - +`,
		"take the traffic of production": `$R HSET troop:order:deploy:desired value '{"weights":{"production":1,"canary":1000}}'`,
		"close the canary by an order":   `$R HSET troop:order:deploy:desired value '{"open":false}'`,
		"forge the history":              `$R HSET troop:order:deploy:desired value '{"history":["evil"],"releases":{"evil":{"command":["touch","/tmp/owned"]}}}'`,
		"forget the history":             `$R DEL troop:order:deploy:desired`,
		"order an abort":                 `$R HSET troop:order:deploy:order value '{"action":"abort"}'`,
		"have another host restore":      `$R HSET troop:order:maintenance:restore/maintenance.logs/web-1/01J value '{}'`,
		"report for the router":          `$R HSET troop:report:router-1:deploy:actual value '{}'`,
		"silence alerts":                 `$R HSET troop:relay:silence:x value '{}'`,
		"CONFIG SET":                     `$R CONFIG SET maxmemory 1mb`,
		"KEYS":                           `$R KEYS '*'`,
		"FLUSHALL":                       `$R FLUSHALL`,
		"SCRIPT":                         `$R SCRIPT FLUSH`,
		"EVAL":                           `$R EVAL 'while true do end' 0`,
		"ACL":                            `$R ACL SETUSER host:canary-1 +@all`,
		"DEBUG":                          `$R DEBUG SLEEP 60`,
		"SHUTDOWN":                       `$R SHUTDOWN NOSAVE`,
		"REPLICAOF":                      `$R REPLICAOF 127.0.0.1 1`,
		"MONITOR":                        `timeout 2 $R MONITOR`,
		"talk without TLS":               `redis-cli -h ` + w.hosts["router-1"].PrivateAddress + ` --user host:canary-1 PING`,
		"the password of another host":   `$R --user host:web-1 PING`,
		"the user of the operator":       `$R --user operator PING`,
		"list the backups of another":    `S web-1 "ls /files"`,
		"delete the backups of another":  `S web-1 "rm /files/*"`,
		"leave its own folder":           `S canary-1 "ls ../backup-web-1/files"`,
		"delete its own backups":         `S canary-1 "rm /files/extra*"`,
		"rename its own backups": `S canary-1 "cd /files
rename extra.log* lost"`,
		"change its own backups":            `f=$(S canary-1 "ls -1 /files" 2>/dev/null | grep -m 1 'zst$'); echo evil > /tmp/evil; S canary-1 "put /tmp/evil $f"`,
		"open its own backups to writing":   `S canary-1 "chmod 666 /files/extra*"`,
		"a shell on the storage host":       `ssh -i /tmp/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null backup-canary-1@` + w.hosts["storage-1"].PrivateAddress + ` id`,
		"a tunnel through the storage host": `ssh -i /tmp/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -W ` + w.hosts["router-1"].PrivateAddress + `:22 backup-canary-1@` + w.hosts["storage-1"].PrivateAddress + ` </dev/null`,
		"log in to another host":            `ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@` + w.hosts["web-1"].PrivateAddress + ` id`,
		"the SSH key of the operator":       `grep -rls 'OPENSSH PRIVATE KEY' /root /home /etc/troop /var/lib/troop`,
	})
}

// takenProduction says on its own stream that it is the canary, which takes traffic from nobody.
func takenProduction(t *testing.T, w *world) {
	start := time.Now()
	setup := w.asHost(t, "web-1")
	w.on(t, "web-1", setup+fmt.Sprintf(
		`$R XADD troop:events:web-1 '*' event '{"id":"01J00000000000000000000001","time":"%s","kind":"host.cpu","severity":"alert","host":"canary-1","role":"canary","run":"01R","summary":"forged"}'`,
		time.Now().UTC().Format(time.RFC3339)))
	seen := false
	for _, e := range w.events(t, start.Add(-time.Minute), "host.cpu") {
		if e.Summary == "forged" {
			seen = true
			if e.Host != "web-1" || e.Role != "production" || e.Run != "" {
				t.Errorf("the event is read as one of %s (%s), run %q", e.Host, e.Role, e.Run)
			}
		}
	}
	if !seen {
		t.Error("the event is not there")
	}
	// The router has heard of it before what is published after it.
	if got := w.pools(30); got["canary"] < 9 {
		t.Errorf("the canary was closed: %v", got)
	}
	w.on(t, "web-1", "rm -f /tmp/key")
}

// heard shows that the ways which are closed to a taken host are open to those that they are for.
func heard(t *testing.T, w *world) {
	w.must(t, "flag", "set", w.manifest, "new-feature", "true", "--env", "lab")
	eventually(t, 10*time.Second, "the flag is on", func() bool { return get(w.url("/feature")) == "production" || get(w.url("/feature")) == "canary" })
	w.on(t, "canary-1", w.asHost(t, "canary-1")+fmt.Sprintf(
		`$R XADD troop:events:canary-1 '*' event '{"id":"01J00000000000000000000002","time":"%s","kind":"host.cpu","severity":"alert","summary":"busy"}'; rm -f /tmp/key`,
		time.Now().UTC().Format(time.RFC3339Nano)))
	eventually(t, 10*time.Second, "the canary's own alert closes it", func() bool { return w.pools(6)["canary"] == 0 })
	w.must(t, "deploy", "weights", w.manifest, "2:1", "--env", "lab")
}

// fullStorage stores files as root on the canary until the storage host refuses them. The others' backups go on.
func fullStorage(t *testing.T, w *world) {
	start := time.Now()
	w.on(t, "canary-1", w.asHost(t, "canary-1")+`head -c 8M /dev/urandom > /tmp/fill
for i in $(seq 60); do S canary-1 "put /tmp/fill /files/fill$i" >/dev/null 2>&1 || break; done
[ $i -gt 4 ] && [ $i -lt 60 ] || { echo "refused at file $i"; exit 1; }
S canary-1 "get /files/fill1 /tmp/back" >/dev/null && cmp /tmp/fill /tmp/back
rm /tmp/key /tmp/fill /tmp/back`)
	w.log(t, "canary-1", "late.log")
	w.log(t, "web-1", "late.log")
	eventually(t, time.Minute, "the log of web-1 is stored", w.stored(t, "web-1", "late"))
	told := func(severity core.Severity, want string) func() bool {
		return func() bool {
			return slices.ContainsFunc(w.events(t, start, "storage.full"), func(e core.Event) bool {
				return e.Host == "canary-1" && e.Severity == severity && strings.Contains(e.Summary, want)
			})
		}
	}
	eventually(t, time.Minute, "the canary's alert says what to do", told(core.Alert, "quota of 64 MiB is used up"))
	if w.stored(t, "canary-1", "late")() {
		t.Error("the storage host took a file over the quota")
	}
	w.on(t, "storage-1", "rm /srv/backups/backup-canary-1/files/fill*")
	eventually(t, 2*time.Minute, "the log of the canary is stored", w.stored(t, "canary-1", "late"))
	eventually(t, time.Minute, "the alert is resolved", told(core.Resolved, "space again"))
}

// replacedHost gives the canary a new machine.
func replacedHost(t *testing.T, w *world) {
	w.kill(t, "canary-1")
	w.must(t, "apply", w.manifest, "--env", "lab", "--yes")
	if out, code := w.run(t); code != 0 {
		t.Fatalf("exit status %d\n%s", code, tail(out, 40))
	}
	w.learn(t)
	var list string
	eventually(t, time.Minute, "the new machine knows the backups of the old one", func() bool {
		list = w.must(t, "maintenance", "restore", w.manifest, "--env", "lab", "--host", "canary-1")
		return strings.Contains(list, "extra.log")
	})
	contains(t, w.must(t, "maintenance", "drill", w.manifest, "--env", "lab"), `canary-1 .*intact`, `web-1 .*intact`)
	id := regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`).FindString(list)
	w.must(t, "maintenance", "restore", w.manifest, id, "--env", "lab", "--to", "/var/log/storefront/restored.txt")
	if size := w.on(t, "canary-1", "stat -c %s /var/log/storefront/restored.txt"); len(size) != 7 {
		t.Errorf("restored %s bytes", size)
	}
}

// takenRouter writes a history of its own into the Redis that it owns. Nobody runs what is in it.
func takenRouter(t *testing.T, w *world) {
	desired := w.on(t, "router-1", `echo 'user root on nopass ~* &* +@all' >> /etc/redis/users.acl && systemctl restart redis-server && redis-cli -s /run/redis/redis-server.sock --user root --pass x --no-auth-warning HGET troop:order:deploy:desired value`)
	var d map[string]any
	if err := json.Unmarshal([]byte(desired), &d); err != nil {
		t.Fatalf("the desired state: %v: %s", err, desired)
	}
	good := d["releases"].(map[string]any)[d["good"].(string)].(map[string]any)
	evil := maps.Clone(good)
	evil["id"], evil["command"] = "evil", []string{"touch", "/tmp/owned"}
	d["releases"].(map[string]any)["evil"] = evil
	d["history"] = []string{"evil"}
	forged, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, ".troop/forged", string(forged))
	sh(t, w.dir, fmt.Sprintf("%s/troop ssh %s --env lab router-1 -- redis-cli -s /run/redis/redis-server.sock --user root --pass x --no-auth-warning -x HSET troop:order:deploy:desired value < .troop/forged", w.bin, w.manifest))
	out, code := w.troop(t, "deploy", "rollback", w.manifest, "--env", "lab", "--yes")
	if code == 0 {
		t.Errorf("the rollback went on:\n%s", out)
	}
	contains(t, out, "signature")
	for _, h := range []string{"web-1", "canary-1"} {
		if out, err := w.try(t, h, "test ! -e /tmp/owned && ! ls /opt/storefront/releases/evil"); err != nil {
			t.Errorf("%s has what the router made up: %s", h, out)
		}
	}
}

// forgedFlags writes flags into the Redis that takenRouter has opened, tells them to all readers, and has these read
// everything again. The hosts keep the flags that the operator set.
func forgedFlags(t *testing.T, w *world) {
	const (
		redis = "redis-cli -s /run/redis/redis-server.sock --user root --pass x --no-auth-warning "
		key   = "troop:flag:new-feature"
	)
	begin := time.Now()
	answers := func(host, flag, want string) func() bool {
		return func() bool {
			out, err := w.try(t, host, "curl -s -X POST -d '{}' http://127.0.0.1:8016/ofrep/v1/evaluate/flags/"+flag)
			var answer struct{ Value any }
			return err == nil && json.Unmarshal([]byte(out), &answer) == nil && fmt.Sprint(answer.Value) == want
		}
	}
	hosts := []string{"web-1", "canary-1"}
	set := func(flag, value string) {
		w.must(t, "flag", "set", w.manifest, flag, value, "--env", "lab")
		for _, h := range hosts {
			eventually(t, 2*time.Minute, flag+" is "+value+" on "+h, answers(h, flag, value))
		}
	}
	set("new-feature", "true")
	older := w.on(t, "router-1", redis+"GET "+key)
	set("new-feature", "false")
	genuine := w.on(t, "router-1", redis+"GET "+key)
	var sealed map[string]any
	if err := json.Unmarshal([]byte(older), &sealed); err != nil {
		t.Fatalf("%v: %s", err, older)
	}
	sealed["version"] = 1e6
	changed, err := json.Marshal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	for i, attempt := range []struct{ what, command string }{
		{"a flag that is not signed", redis + `SET ` + key + ` '{"name":"new-feature","value":true,"version":1000000}'`},
		{"another version of a signed flag", redis + "SET " + key + " '" + string(changed) + "'"},
		{"an older flag", redis + "SET " + key + " '" + older + "'"},
		{"the signed flag under another name", redis + "SET troop:flag:other '" + older + "'; " + redis + "DEL " + key},
		{"no flag", redis + "DEL " + key},
	} {
		w.on(t, "router-1", attempt.command+"; "+redis+"PUBLISH troop:flags \"$("+redis+"GET "+key+")\"; "+redis+"CLIENT KILL TYPE pubsub")
		set("marker", fmt.Sprint(i+1)) // a host that has it has read the others, too
		for _, h := range hosts {
			if !answers(h, "new-feature", "false")() {
				t.Errorf("%s: the flag was changed on %s", attempt.what, h)
			}
		}
		w.on(t, "router-1", redis+"DEL troop:flag:other; "+redis+"SET "+key+" '"+genuine+"'")
	}
	told := ""
	for _, e := range w.events(t, begin, "agent.refused") {
		told += string(e.Host) + ": " + e.Summary + "\n"
	}
	for _, h := range hosts {
		contains(t, told, h+": .*flag new-feature is refused: its signature", h+": .*flag new-feature is refused: it is of", h+": .*flag other is refused")
	}
}

// openSSH is a private key as the programs of OpenSSH read it. They do not read one of storage as it is on hosts.
func openSSH(t testing.TB, key string) string {
	t.Helper()
	found, err := ssh.ParseRawPrivateKey([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(found, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}
