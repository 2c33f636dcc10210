//go:build lab

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

// teamStore is the block that shares the store. HOLD is the canary's, for a release that somebody else promotes.
const teamStore = `
  store "s3" {
    bucket     = "BUCKET"
    region     = "REGION"
    endpoint   = "ENDPOINT"
    path_style = true
  }
  team { keys_from = "team.keys" }
}
`

// person is somebody on a machine of their own: a home with an SSH key, and nothing else of anybody's.
func person(t testing.TB, homes, name string) (env []string, key string) {
	t.Helper()
	home := filepath.Join(homes, name)
	sh(t, homes, "mkdir -p "+home+"/.ssh && ssh-keygen -q -t ed25519 -N '' -C "+name+" -f "+home+"/.ssh/id_ed25519")
	b, err := os.ReadFile(filepath.Join(home, ".ssh", "id_ed25519.pub"))
	if err != nil {
		t.Fatal(err)
	}
	env = []string{"HOME=" + home, "XDG_CACHE_HOME=" + home + "/.cache", "TROOP_IDENTITY="}
	for k, v := range buckettest.Environ() {
		env = append(env, k+"="+v)
	}
	return env, string(b)
}

// shared is a manifest with a store and a team.
func shared(manifest string, gateway *buckettest.Server) string {
	block := strings.NewReplacer("BUCKET", gateway.Bucket, "REGION", gateway.Region, "ENDPOINT", gateway.Endpoint).Replace(teamStore)
	return strings.Replace(manifest, "  source { path = \".\" }\n}\n", "  source { path = \".\" }\n"+block, 1)
}

// clone is the project on somebody else's machine.
func (w *world) clone(t *testing.T, env []string) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	sh(t, "/", "git clone -q "+w.dir+" "+dir+" && cd "+dir+" && git config user.name test && git config user.email test@localhost")
	return &world{dir: dir, bin: w.bin, manifest: filepath.Join(dir, "pipeline.hcl"), env: env}
}

// TestTeam has two members and a third person, who share nothing but a repository and a bucket.
func TestTeam(t *testing.T) {
	gateway := buckettest.Gateway(t)
	homes := t.TempDir()
	firstEnv, firstKey := person(t, homes, "first")
	secondEnv, secondKey := person(t, homes, "second")
	thirdEnv, _ := person(t, homes, "third")

	first := makeWorld(t, "The storefront", func(w *world) {
		w.env = firstEnv
		w.storefront(t, edit)
		text := shared(w.read(t, "pipeline.hcl"), gateway)
		text = strings.Replace(text, `      web-2     = { role = "production" }`+"\n", "", 1)
		w.write(t, "pipeline.hcl", text)
		w.write(t, "team.keys", firstKey+secondKey)
	})
	first.must(t, "apply", first.manifest, "--env", "lab", "--yes")
	second, third := first.clone(t, secondEnv), first.clone(t, thirdEnv)

	for _, s := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the second member watches the first one's run", func(t *testing.T) { watched(t, first, second) }},
		{"the second member sees what the first one made", func(t *testing.T) { seen(t, first, second) }},
		{"the second member promotes and rolls back", func(t *testing.T) { promoted(t, first, second) }},
		{"each member logs in with a key of their own", func(t *testing.T) { toldApart(t, homes, first, second) }},
		{"a third person gets a sentence", func(t *testing.T) { strange(t, third) }},
		{"nothing private is in the store, and nothing stays on a machine", func(t *testing.T) { private(t, gateway, homes, first) }},
		{"a removed member is out", func(t *testing.T) { removed(t, homes, first, second, firstKey) }},
	} {
		if !t.Run(s.name, s.run) {
			t.FailNow()
		}
	}
}

// watched starts a run on one machine and follows it on another.
func watched(t *testing.T, first, second *world) {
	ended := make(chan string, 1)
	failed := make(chan int, 1)
	go func() {
		out, code := first.troop(t, "run", first.manifest, "--env", "lab")
		ended <- out
		failed <- code
	}()
	eventually(t, 2*time.Minute, "the run is seen elsewhere", func() bool {
		return strings.Contains(second.results(t, "runs", second.manifest), "running")
	})
	c := exec.CommandContext(t.Context(), filepath.Join(second.bin, "troop"), "logs", second.manifest, "--follow")
	c.Dir, c.Env = second.dir, append(environ(), second.env...)
	var lines strings.Builder
	c.Stdout, c.Stderr = &lines, &lines
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Minute, "the environment is in use by the run", func() bool {
		return regexp.MustCompile(`in use by .*troop run`).MatchString(second.results(t, "lock", "show", second.manifest, "--env", "lab"))
	})
	if _, ok := readOrNot(ended); ok {
		t.Error("the run had ended before its log was followed")
	}
	out, code := <-ended, <-failed
	if code != 0 {
		t.Fatalf("run: exit status %d\n%s", code, tail(out, 60))
	}
	if err := c.Wait(); err != nil {
		t.Errorf("logs --follow: %v", err)
	}
	contains(t, lines.String(), `build\.app`, `deploy\.storefront`, `site\.yml`)
}

// readOrNot reads from a channel if something is there, and puts it back.
func readOrNot(c chan string) (string, bool) {
	select {
	case s := <-c:
		c <- s
		return s, true
	default:
		return "", false
	}
}

func seen(t *testing.T, first, second *world) {
	first.learn(t)
	second.learn(t)
	if len(second.hosts) != 4 || second.hosts["router-1"].Address != first.hosts["router-1"].Address {
		t.Errorf("hosts: %v, for the first member %v", second.hosts, first.hosts)
	}
	contains(t, second.results(t, "runs", second.manifest), "passed")
	contains(t, second.must(t, "deploy", "status", second.manifest, "--env", "lab"), "web-1", "canary-1")
	if out, code := second.troop(t, "plan", second.manifest, "--env", "lab"); code != 0 || !strings.Contains(out, "nothing to change") {
		t.Errorf("plan: exit status %d\n%s", code, tail(out, 40))
	}
	if got := second.on(t, "web-1", "hostname"); got != "web-1" {
		t.Errorf("troop ssh: %q", got)
	}
	// The same commit again, from the second machine: what the first one built and configured counts.
	out, code := second.run(t)
	if code != 0 {
		t.Fatalf("run: exit status %d\n%s", code, tail(out, 60))
	}
	contains(t, out, `site\.yml: skipped`, `build\.app .*unchanged since it passed in run`)
	var runs []core.Run
	if err := json.Unmarshal([]byte(first.results(t, "runs", first.manifest, "--json")), &runs); err != nil || len(runs) != 2 {
		t.Errorf("the first member sees %d runs, %v", len(runs), err)
	}
}

func promoted(t *testing.T, first, second *world) {
	version := func() string { return sh(t, "/", "curl -s "+first.url("/version")) }
	before := version()
	first.replace(t, "lib/pages.js", "</title>", " today</title>")
	first.replace(t, "pipeline.hcl", `no_traffic    = "promote"`, "hold          = true\n    no_traffic    = \"promote\"")
	first.commit(t, "A better title")
	if out, code := first.run(t); code != 1 || !strings.Contains(out, "is held on the canary") {
		t.Fatalf("run: exit status %d\n%s", code, tail(out, 60))
	}
	sh(t, second.dir, "git pull -q")
	contains(t, second.must(t, "deploy", "status", second.manifest, "--env", "lab"), "held")
	second.must(t, "deploy", "promote", second.manifest, "--env", "lab")
	for range 6 {
		if now := version(); now == before {
			t.Fatal("a host serves the old release after the promotion")
		}
	}
	second.must(t, "flag", "set", second.manifest, "new-feature", "false", "--env", "lab", "--reason", "not yet")
	contains(t, first.must(t, "flag", "audit", first.manifest, "--env", "lab"), "new-feature.*not yet")
	second.must(t, "events", second.manifest, "--env", "lab")
	second.must(t, "deploy", "rollback", second.manifest, "--env", "lab", "--yes")
	for range 6 {
		if now := version(); now != before {
			t.Fatalf("after the rollback: %s, want %s", now, before)
		}
	}
	// And the first one sees it.
	contains(t, first.must(t, "deploy", "status", first.manifest, "--env", "lab"), "web-1")
}

// strange tries every command that needs the environment.
func strange(t *testing.T, third *world) {
	sentence := regexp.MustCompile(`^troop: you are no member of the team that may open environment lab \(first, second\): [^\n]*\n$`)
	for _, command := range []string{
		"hosts", "plan", "run", "apply --yes", "drift", "ssh MANIFEST web-1", "events", "flag list", "state list", "vault show",
		"deploy status", "deploy promote", "deploy rollback --yes", "destroy --yes",
	} {
		args := strings.Fields(command)
		at := 1
		if strings.Contains("flag state vault deploy", args[0]) {
			at = 2
		}
		if strings.Contains(command, " MANIFEST") {
			args = strings.Fields(strings.Replace(command, "MANIFEST", third.manifest, 1))
		} else {
			args = append(args[:at:at], append([]string{third.manifest}, args[at:]...)...)
		}
		args = append(args, "--env", "lab")
		c := exec.CommandContext(t.Context(), filepath.Join(third.bin, "troop"), args...)
		c.Dir, c.Env = third.dir, append(environ(), third.env...)
		var out, errOut strings.Builder
		c.Stdout, c.Stderr = &out, &errOut
		_ = c.Run()
		if code := c.ProcessState.ExitCode(); code != 2 || out.Len() > 0 || !sentence.MatchString(errOut.String()) {
			t.Errorf("troop %s: exit status %d\n%s%s", command, code, out.String(), errOut.String())
		}
	}
}

// private looks for the environment's secrets in every object of the store, and in the homes of the members.
func private(t *testing.T, gateway *buckettest.Server, homes string, first *world) {
	key := first.results(t, "vault", "show", first.manifest, "--env", "lab", "--reveal", "ssh_key")
	secrets := []string{strings.Split(key, "\n")[2]}
	for _, s := range first.reveal(t, "secrets.json") {
		secrets = append(secrets, s)
	}
	if len(secrets) < 3 {
		t.Fatalf("%d secrets", len(secrets))
	}
	for _, s := range secrets {
		c := exec.CommandContext(t.Context(), "grep", "-rlF", "--", s, gateway.Dir, homes, first.dir)
		if out, _ := c.Output(); len(out) > 0 {
			t.Errorf("a secret lies in %s", out)
		}
	}
}

// accepted counts the logins to a host that its log says were made with a person's key.
func accepted(t *testing.T, w *world, host, homes, name string) int {
	t.Helper()
	fingerprint := strings.Fields(sh(t, homes, "ssh-keygen -lf "+homes+"/"+name+"/.ssh/id_ed25519.pub"))[1]
	log := w.on(t, host, "journalctl --no-pager --output cat --identifier sshd --identifier sshd-session")
	return strings.Count(log, "ED25519 "+fingerprint)
}

// toldApart logs in as each member: the host's log has the fingerprint of the member's key.
func toldApart(t *testing.T, homes string, first, second *world) {
	firsts, seconds := accepted(t, first, "web-1", homes, "first"), accepted(t, first, "web-1", homes, "second")
	second.on(t, "web-1", "true")
	if n := accepted(t, first, "web-1", homes, "second"); n != seconds+1 {
		t.Errorf("%d logins of the second member, want %d", n, seconds+1)
	}
	if n := accepted(t, first, "web-1", homes, "first"); n < firsts+2 { // those that read the log
		t.Errorf("%d logins of the first member, want at least %d", n, firsts+2)
	}
}

// removed removes the second member: the next apply takes the key off every host, and a rotation closes the vault and
// replaces what the member knows, too: the environment's own key, and passwords and keys of the hosts. No request is lost.
func removed(t *testing.T, homes string, first, second *world, left string) {
	login := func(key, host string) error {
		return exec.CommandContext(t.Context(), "ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
			"-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "root@"+first.hosts[host].Address, "true").Run()
	}
	own, copied := homes+"/second/.ssh/id_ed25519", filepath.Join(t.TempDir(), "ssh_key")
	if err := os.WriteFile(copied, []byte(second.results(t, "vault", "show", second.manifest, "--env", "lab", "--reveal", "ssh_key")), 0o600); err != nil {
		t.Fatal(err)
	}
	can := func(key, what string, want bool) {
		t.Helper()
		for host := range first.hosts {
			if err := login(key, host); (err == nil) != want {
				t.Errorf("%s with %s: %v", host, what, err)
			}
		}
	}
	can(own, "a member's key", true)
	can(copied, "the environment's key", true)
	former := first.reveal(t, "secrets.json")
	opened := func() string { return first.tryPasswords(t, former) }
	if got := opened(); got != "operator host:router-1 host:web-1 storage" {
		t.Errorf("before the rotation, the passwords open: %s", got)
	}
	stop := first.load()
	first.write(t, "team.keys", left)
	first.commit(t, "One member less")
	first.must(t, "apply", first.manifest, "--env", "lab", "--yes")
	can(own, "a removed member's key", false)
	out := first.must(t, "vault", "rotate", first.manifest, "--env", "lab", "--hosts")
	contains(t, out, "second opens nothing that is written from now on", "- secrets.json holds")
	can(copied, "the environment's earlier key", false)
	if got := opened(); got != "" {
		t.Errorf("after the rotation, the earlier passwords open: %s", got)
	}
	first.works(t, former)
	if out, code := second.troop(t, "hosts", second.manifest, "--env", "lab"); code != 2 || !strings.Contains(out, "you are no member of the team") {
		t.Errorf("hosts: exit status %d\n%s", code, out)
	}
	if got := first.on(t, "web-1", "hostname"); got != "web-1" {
		t.Errorf("the other member logs in to %q", got)
	}
	// The hosts stay as they are, and a run still gets there.
	if out, code := first.troop(t, "plan", first.manifest, "--env", "lab"); code != 0 || !strings.Contains(out, "nothing to change") {
		t.Errorf("plan: exit status %d\n%s", code, tail(out, 40))
	}
	first.must(t, "deploy", "status", first.manifest, "--env", "lab")
	contains(t, first.must(t, "drift", first.manifest, "--env", "lab"), "no drift")
	for answer, n := range stop() {
		if strings.HasPrefix(answer, "error") || strings.HasPrefix(answer, "status") {
			t.Errorf("%d requests: %s", n, answer)
		}
	}
}

// works has every agent do its work after a rotation: they have the new secrets, and nothing has the former ones.
func (w *world) works(t *testing.T, former map[string]string) {
	t.Helper()
	now := w.reveal(t, "secrets.json")
	for host := range w.hosts {
		password := func(secrets map[string]string) string { return base32Text(derived(secrets, "redis "+host)) }
		if out := w.on(t, host, "grep -LF "+password(now)+" /etc/troop/agents/*.json 2>/dev/null; grep -rlF "+password(former)+" /etc; systemctl list-units --failed --plain --no-legend 'troop-agent@*'"); out != "" {
			t.Errorf("%s has an agent without the new password, the former one, or an agent that failed: %s", host, out)
		}
	}
	w.must(t, "flag", "set", w.manifest, "new-feature", "true", "--env", "lab")
	eventually(t, 2*time.Minute, "the hosts read flags", func() bool {
		return sh(t, "/", "curl -s -o /dev/null -w '%{http_code}' "+w.url("/feature")) == "200"
	})
	w.must(t, "deploy", "weights", w.manifest, "1:1", "--env", "lab")
	eventually(t, 2*time.Minute, "the router obeys", func() bool { return w.pools(6)["canary"] > 0 })
	w.log(t, "web-1", "renewed.log")
	eventually(t, 2*time.Minute, "the storage host takes backups", w.stored(t, "web-1", "renewed"))
}

// reveal is a private file of the environment that holds texts.
func (w *world) reveal(t testing.TB, file string) map[string]string {
	t.Helper()
	var texts map[string]string
	if err := json.Unmarshal([]byte(w.results(t, "vault", "show", w.manifest, "--env", "lab", "--reveal", file)), &texts); err != nil {
		t.Fatal(err)
	}
	return texts
}

// tryPasswords returns what the environment's secrets open: users of Redis, and an account on the storage host.
func (w *world) tryPasswords(t *testing.T, secrets map[string]string) string {
	t.Helper()
	var opened []string
	for _, u := range [][2]string{
		{"operator", secrets["redis_password"]}, {"host:router-1", base32Text(derived(secrets, "redis router-1"))}, {"host:web-1", base32Text(derived(secrets, "redis web-1"))},
	} {
		out := w.on(t, "router-1", "REDISCLI_AUTH="+u[1]+" redis-cli -s /run/redis/redis-server.sock --user "+u[0]+" ping 2>&1 || true")
		if strings.Contains(out, "PONG") {
			opened = append(opened, u[0])
		} else if !strings.Contains(out, "NOAUTH") {
			t.Errorf("the password of %s: %s", u[0], out)
		}
	}
	key, _, err := remote.KeyOf(derived(secrets, "storage web-1"))
	if err != nil {
		t.Fatal(err)
	}
	out := w.on(t, "web-1", "umask 77; cat >/tmp/former <<'END'\n"+openSSH(t, key)+"END\n"+
		"echo pwd | sftp -i /tmp/former -b - -o IdentityAgent=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null backup-web-1@"+w.hosts["storage-1"].PrivateAddress+" 2>&1; rm /tmp/former")
	if strings.Contains(out, "Remote working directory") {
		opened = append(opened, "storage")
	} else if !strings.Contains(out, "Permission denied") {
		t.Errorf("the key of the backup account: %s", out)
	}
	return strings.Join(opened, " ")
}
