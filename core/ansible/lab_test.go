//go:build lab

package ansible_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/ansible"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
	"github.com/seed-b96de936/troop/playbooks"
	modules "github.com/seed-b96de936/troop/terraform"
)

// These tests configure real hosts. They need root, Terraform and the lab's packages. Run them with:
// go test -tags lab -run TestLab ./core/ansible

type lab struct {
	*testing.T
	dir   string
	ssh   *remote.Client
	hosts map[string]core.Host // by role
	all   []core.Host
	// number is that of the holder.
	number int64
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{T: t, dir: t.TempDir(), hosts: map[string]core.Host{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	provider := filepath.Join(t.TempDir(), "terraform-provider-lab")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", provider, "github.com/seed-b96de936/troop/plugins/terraform-provider-lab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build provider: %v\n%s", err, out)
	}
	module, err := modules.Open("lab")
	must(err)
	l.ssh, err = remote.New(l.dir)
	must(err)
	ctx := context.WithoutCancel(t.Context()) // clean-up needs it, too
	w, err := terraform.Open(ctx, terraform.Options{
		Dir: filepath.Join(l.dir, "terraform"), Module: module, Environment: "lab", PublicKey: l.ssh.PublicKey(),
		Providers: map[string]string{"troop.local/troop/lab": provider}, Log: func(string) {},
	})
	must(err)
	t.Cleanup(func() {
		_ = l.ssh.Close()
		p, err := w.PlanDestroy(ctx)
		if err == nil {
			err = w.Apply(ctx, p, nil)
		}
		if err != nil {
			t.Errorf("destroy: %v", err)
		}
	})
	p, err := w.Plan(ctx)
	must(err)
	must(w.Apply(ctx, p, nil))
	l.all, err = w.Hosts(ctx)
	must(err)
	must(l.ssh.Pin(l.all))
	must(l.ssh.Wait(ctx, l.all, time.Minute, nil))
	for _, h := range l.all {
		l.hosts[h.Role] = h
	}
	return l
}

func (l *lab) runner(public string) *ansible.Runner {
	users, keys := map[core.HostName][]string{}, map[core.HostName][]string{}
	for _, h := range l.all {
		users[h.Name], keys[h.Name] = []string{digest(passwordOf(h.Name))}, []string{public}
	}
	return runner(l.T, ansible.Config{
		Dir: l.dir, Playbooks: playbooks.FS, SSH: l.ssh, Hosts: l.all, Holder: func() (int64, error) { return l.number, nil },
		Vars: map[string]any{
			"troop_environment": "lab", "troop_pipeline": "test", "troop_redis_address": l.hosts["router"].PrivateAddress,
			"troop_redis_port": 6379, "troop_redis_certificate": redisCertificate, "troop_redis_certificate_key": redisKey, "troop_redis_operator": []string{digest(redisPassword)}, "troop_redis_hosts": users,
			"troop_app_redis_port": 6380, "troop_app_redis_password": redisPassword, "app_redis_memory": "16mb",
			"troop_storage_keys": keys, "storage_mailbox": true, "troop_admitted_keys": []string{}, "troop_retired_keys": []string{},
		},
	})
}

var redisCertificate, redisKey, _ = bus.Certificate([]byte("the secret of this test: 32 bytes"[:32]))

const redisPassword = `pass "word" {{ not_a_template }} \`

func passwordOf(h core.HostName) string { return "password of " + string(h) }

func digest(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func (l *lab) on(role, command string) (string, error) {
	out, err := l.ssh.Run(l.Context(), l.hosts[role], command, nil)
	return strings.TrimSpace(string(out)), err
}

// tasks logs changed and slow tasks.
func (l *lab) tasks(x core.TaskResult) {
	if x.Status != "ok" && x.Status != "skipped" {
		l.Logf("%s %s %s %q (%s)", x.Host, x.Status, x.Task, x.Message, x.Elapsed.Round(10*time.Millisecond))
	}
}

func TestLab(t *testing.T) {
	l := newLab(t)
	private, public, err := remote.NewKey("backups")
	if err != nil {
		t.Fatal(err)
	}
	// A fake of what cloud-init does with manage_etc_hosts: at a boot it writes /etc/hosts from this template.
	const template = "/etc/cloud/templates/hosts.debian.tmpl"
	if _, err := l.on("router", "mkdir -p /etc/cloud/templates && echo '127.0.0.1 localhost' >"+template); err != nil {
		t.Fatal(err)
	}
	r := l.runner(public)
	site := ansible.Run{Playbook: "site.yml", Check: true}
	if _, err := r.Run(t.Context(), site, l.tasks); err != nil {
		t.Errorf("check of new hosts: %v", err)
	}
	site.Check = false
	start := time.Now()
	recap, err := r.Run(t.Context(), site, l.tasks)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first run: %d changed in %s", recap.Changed(), time.Since(start).Round(10*time.Millisecond))
	if out, err := l.on("router", "cp "+template+" /etc/hosts && getent hosts web-1"); err != nil {
		t.Errorf("after a boot with manage_etc_hosts, the router knows no web-1: %s, %v", out, err)
	}
	if err := r.Record(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if ok, why := r.Unchanged(t.Context(), site); !ok || time.Since(start) > time.Second {
		t.Errorf("Unchanged after a run = %v, %s in %s", ok, why, time.Since(start))
	}
	start = time.Now()
	if recap, err = r.Run(t.Context(), site, l.tasks); err != nil || recap.Changed() != 0 {
		t.Errorf("second run: %d changed, %v", recap.Changed(), err)
	}
	t.Logf("second run in %s", time.Since(start).Round(10*time.Millisecond))

	if _, err := l.on("router", "echo '# by hand' >> /etc/redis/redis.conf && rm -r /etc/troop/agents"); err != nil {
		t.Fatal(err)
	}
	site.Check = true
	var drift []string
	if _, err = r.Run(t.Context(), site, func(x core.TaskResult) {
		if x.Status == "changed" {
			drift = append(drift, string(x.Host)+" "+x.Task)
		}
	}); err != nil {
		t.Error(err)
	}
	want := []string{"router-1 base : Create the folders", "router-1 redis : Configure Redis", "router-1 redis : Start Redis now and at boot"}
	if !slices.Equal(drift, want) {
		t.Errorf("drift = %q, want %q", drift, want)
	}
	site.Check = false
	if recap, err = r.Run(t.Context(), site, l.tasks); err != nil || recap[l.hosts["router"].Name].Changed != 3 {
		t.Errorf("drift repaired: %+v, %v; want 3 changes on the router: file, restart, folder", recap, err)
	}

	t.Run("redis", l.redis)
	t.Run("storage", func(t *testing.T) { l.storage(t, private) })
	t.Run("mailbox", l.mailbox)
	t.Run("earlier holder", func(t *testing.T) { l.earlier(t, r, site) })
	t.Run("release", func(t *testing.T) { l.release(t, r) })
	t.Run("release that does not come up", func(t *testing.T) { l.refused(t, r) })
	t.Run("programs", func(t *testing.T) { l.programs(t, r) })
	t.Run("services without HTTP", func(t *testing.T) { l.silent(t, r) })
	t.Run("server", func(t *testing.T) { l.server(t, r) })
	t.Run("router's settings", func(t *testing.T) { l.settings(t, r, site) })
	t.Run("agent", func(t *testing.T) { l.agent(t, r) }) // leaves a stopped agent
	t.Run("killed", l.killed)
}

func (l *lab) redis(t *testing.T) {
	address := l.hosts["router"].PrivateAddress
	dial := l.ssh.Dialer(l.hosts["router"])
	do := func(addr, user, password string, command ...any) error {
		o := &redis.Options{Addr: addr, Username: user, Password: password, Dialer: dial, MaxRetries: -1, Protocol: 2, DisableIdentity: true}
		if !strings.HasSuffix(addr, ":6379") {
			c := redis.NewClient(o)
			defer func() { _ = c.Close() }()
			return c.Do(t.Context(), command...).Err()
		}
		b := bus.Open(bus.Options{Address: addr, User: user, Password: password, Dial: dial, Certificates: redisCertificate})
		defer func() { _ = b.Close() }()
		return b.Client().Do(t.Context(), command...).Err()
	}
	plain := redis.NewClient(&redis.Options{Addr: address + ":6379", Username: "operator", Password: redisPassword, Dialer: dial, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	if err := plain.Ping(t.Context()).Err(); err == nil {
		t.Error("Redis answers without TLS")
	}
	_ = plain.Close()
	for _, addr := range []string{address + ":6379", "127.0.0.1:6379"} {
		if err := do(addr, "operator", redisPassword, "SET", "troop:flag:x", "1"); err != nil {
			t.Errorf("%s through the tunnel: %v", addr, err)
		}
	}
	for _, h := range l.all {
		if err := do(address+":6379", "host:"+string(h.Name), passwordOf(h.Name), "GET", "troop:flag:x"); err != nil {
			t.Errorf("%s: %v", h.Name, err)
		}
		if err := do(address+":6379", "host:"+string(h.Name), passwordOf(h.Name), "SET", "troop:flag:x", "2"); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%s sets a flag: %v", h.Name, err)
		}
	}
	if err := do(address+":6379", "", "", "PING"); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
	// The application's is another one.
	if err := do(address+":6380", "", redisPassword, "GET", "troop:flag:x"); err == nil || !errors.Is(err, redis.Nil) {
		t.Errorf("the application's Redis has a key of troop: %v", err)
	}
	if out, err := l.on("router", "systemctl restart redis-app && runuser -u redis -- cat /etc/redis/users.acl >/dev/null && nsenter -t $(systemctl show -p MainPID --value redis-app) -m cat /etc/redis/users.acl /var/lib/redis/appendonlydir/*"); err == nil {
		t.Errorf("the application's Redis sees troop's files: %s", out)
	}
	l.confined(t, "router", "redis-app")
	if out, err := l.on("router", "systemctl restart redis-server && ss -Hltn 'sport = :6379' | awk '{print $4}' | sort"); err != nil || out != "10"+strings.TrimPrefix(address, "10")+":6379\n127.0.0.1:6379" {
		t.Errorf("redis listens on %q, %v", out, err)
	}
	l.confined(t, "router", "redis-server")
}

// server installs troop serve on a host of its own.
func (l *lab) server(t *testing.T, r *ansible.Runner) {
	root, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if err := os.Symlink(filepath.Join(root, "troop"), filepath.Join(programs, "troop")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.on("canary", `mkdir -p /srv/shop && printf 'pipeline "shop" {\n  source { path = "." }\n}\n' >/srv/shop/pipeline.hcl && mkdir -p /srv/shop/.troop && chmod 777 /srv/shop/.troop`); err != nil {
		t.Fatal(err)
	}
	run := ansible.Run{Name: "server", Playbook: "server.yml", Hosts: []core.HostName{l.hosts["canary"].Name}, Vars: map[string]any{
		"server_programs": programs, "server_pipelines": []string{"/srv/shop"}, "server_packages": []string{},
		"server_environment": map[string]string{"TROOP_WEBHOOK_SECRET": `a "quoted" $ecret \ `},
	}}
	if _, err := r.Run(t.Context(), run, l.tasks); err != nil {
		t.Fatal(err)
	}
	answers := func() bool {
		out, err := l.on("canary", "curl -sf http://127.0.0.1:8080/healthz")
		return err == nil && out == "ok"
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				out, _ := l.on("canary", "journalctl -u troop-server -n 20 --no-pager")
				t.Fatalf("not %s:\n%s", what, out)
			}
		}
	}
	eventually("serving", answers)
	l.settled(t, r, run, "canary")
	l.confined(t, "canary", "troop-server")
	const secret = `tr '\0' '\n' </proc/$(systemctl show -P MainPID troop-server)/environ | sed -n 's/^TROOP_WEBHOOK_SECRET=//p'; stat -c %U:%a /etc/troop-server/environment`
	if out, err := l.on("canary", secret); err != nil || out != "a \"quoted\" $ecret \\ \nroot:600" {
		t.Errorf("its secret: %q, %v", out, err)
	}
	if out, err := l.on("canary", "ps -o user:20= -p $(systemctl show -P MainPID troop-server); kill -9 $(systemctl show -P MainPID troop-server)"); err != nil || out != "troop-server" {
		t.Errorf("it runs as %q, %v", out, err)
	}
	eventually("serving after it was killed", answers)
	if out, err := l.on("canary", "systemctl disable -q --now troop-server && systemctl show -P Result troop-server"); err != nil || out != "success" {
		t.Errorf("its end: %q, %v", out, err)
	}
}

func (l *lab) storage(t *testing.T, private string) {
	h := l.hosts["storage"]
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	options := []string{"-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + l.ssh.KnownHostsFile()}
	host := string(l.hosts["production"].Name)
	sftp := func(batch string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sftp", append(options, "-b", "-", "backup-"+host+"@"+h.Address)...)
		cmd.Stdin = strings.NewReader(batch)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	file := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(file, []byte("a line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	back := filepath.Join(t.TempDir(), "back.log")
	if out, err := sftp("put " + file + " /files/a.log\nls -l /files\nget /files/a.log " + back + "\n"); err != nil || !strings.Contains(out, "a.log") {
		t.Errorf("upload: %v\n%s", err, out)
	}
	if b, err := os.ReadFile(back); err != nil || string(b) != "a line\n" {
		t.Errorf("read back: %q, %v", b, err)
	}
	folder := "/srv/backups/backup-" + host
	if out, err := l.on("storage", "stat -c '%U %a' "+folder+"/files/a.log "+folder+"/files "+folder+" /srv/backups"); err != nil || out != "backup-"+host+" 400\nroot 1770\nroot 755\nroot 755" {
		t.Errorf("on the host: %q, %v", out, err)
	}
	other := filepath.Join(t.TempDir(), "b.log")
	if err := os.WriteFile(other, []byte("another\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, batch := range []string{
		"put " + other + " /files/a.log", "put -a " + other + " /files/a.log", "rm /files/a.log", "rename /files/a.log /files/b.log",
		"rename -l /files/a.log /files/b.log", "chmod 600 /files/a.log", "chown 0 /files/a.log", "ln /files/a.log /files/b.log",
		"ln -s /files/a.log /files/b.log", "mkdir /files/folder", "rmdir /files", "copy /files/a.log /files/b.log", "put " + other + " /elsewhere",
		"get /etc/passwd " + filepath.Join(t.TempDir(), "passwd"), "get ../../../etc/passwd " + filepath.Join(t.TempDir(), "passwd"),
	} {
		if out, err := sftp(batch + "\n"); err == nil {
			t.Errorf("%s: %s", batch, out)
		}
	}
	if out, err := l.on("storage", "ls -A "+folder+" "+folder+"/files && cat "+folder+"/files/a.log"); err != nil || out != folder+":\nfiles\n\n"+folder+"/files:\na.log\na line" {
		t.Errorf("after all attempts: %q, %v", out, err)
	}
	cmd := exec.CommandContext(t.Context(), "ssh", append(options, "backup-"+host+"@"+h.Address, "id")...)
	if out, err := cmd.CombinedOutput(); err == nil || strings.Contains(string(out), "uid=") {
		t.Errorf("the user of the uploads runs commands: %s", out)
	}
}

func (l *lab) mailbox(t *testing.T) {
	h := l.hosts["storage"]
	conn, err := l.ssh.DialContext(t.Context(), h, "tcp", h.PrivateAddress+":1025")
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtp.NewClient(conn, h.PrivateAddress)
	if err != nil {
		t.Fatal(err)
	}
	w := io.WriteCloser(nil)
	err = errors.Join(c.Mail("troop@lab.invalid"), c.Rcpt("ops@lab.invalid"))
	if err == nil {
		w, err = c.Data()
	}
	if err == nil {
		_, err = io.WriteString(w, "Subject: a hog\r\n\r\nterminated\r\n")
		err = errors.Join(err, w.Close(), c.Quit())
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := l.on("storage", "cat /var/mail/troop/new/*"); err != nil || !strings.Contains(out, "Subject: a hog") {
		t.Errorf("mailbox holds %q, %v", out, err)
	}
	l.confined(t, "storage", "troop-mailbox")
}

// earlier runs playbooks for a holder whose place another one has taken.
func (l *lab) earlier(t *testing.T, r *ansible.Runner, site ansible.Run) {
	run := func(number int64, run ansible.Run, obeyed bool) {
		t.Helper()
		l.number = number
		if _, err := r.Run(t.Context(), run, l.tasks); (err == nil) != obeyed || !obeyed && !strings.Contains(err.Error(), "another command has taken over") {
			t.Errorf("%s of holder %d: %v", run.Playbook, number, err)
		}
	}
	renew := ansible.Run{Playbook: "renew.yml"}
	run(9, renew, true)
	run(9, renew, true)
	for _, playbook := range []string{"renew.yml", "release.yml", "site.yml"} {
		run(8, ansible.Run{Playbook: playbook}, false)
	}
	site.Check = true
	run(8, site, true)
	run(10, renew, true)
	run(9, renew, false)
	l.number = 10
}

func (l *lab) agent(t *testing.T, r *ansible.Runner) {
	dir := t.TempDir()
	program := filepath.Join(dir, "troop-agent")
	write := func(script string) {
		t.Helper()
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("cp $1 $STATE_DIRECTORY/seen; exec sleep 1000")
	run := ansible.Run{
		Name: "agent-wait-x", Playbook: "agent.yml", Hosts: []core.HostName{l.hosts["production"].Name, l.hosts["canary"].Name},
		Healthy: "systemctl is-active troop-agent@wait-x",
		Vars: map[string]any{
			"agent_type": "wait", "agent_name": "x", "agent_binary": program, "agent_config": map[string]any{"block": `a = "{{ b }}"`},
			"agent_capabilities": []string{"CAP_KILL"}, "agent_writable_paths": []string{"/var/log/a b%"},
		},
	}
	pid := func() string {
		t.Helper()
		out, err := l.on("canary", "systemctl show -P MainPID troop-agent@wait-x")
		if err != nil || out == "0" {
			t.Fatalf("pid of the agent = %q, %v", out, err)
		}
		return out
	}
	recap, err := r.Run(t.Context(), run, l.tasks)
	if err != nil {
		t.Fatal(err)
	}
	if len(recap) != 2 {
		t.Errorf("ran on %v", recap)
	}
	want := "{\n    \"block\": \"a = \\\"{{ b }}\\\"\",\n    \"host\": \"canary-1\",\n    \"role\": \"canary\"\n}"
	if out, err := l.on("canary", "cat /var/lib/troop/wait-x/seen"); err != nil || out != want {
		t.Errorf("the agent reads %q, %v", out, err)
	}
	if out, err := l.on("canary", "cd /proc/$(systemctl show -P MainPID troop-agent@wait-x); stat -c %U .; grep CapEff status"); err != nil || out != "troop\nCapEff:\t0000000000000020" {
		t.Errorf("the agent runs as %q, %v", out, err)
	}
	l.confined(t, "canary", "troop-agent@wait-x")
	if out, err := l.on("canary", "systemctl show -P Slice troop-agent@wait-x; systemctl show -P CPUWeight troop.slice; systemctl show -P IOWeight troop.slice"); err != nil || out != "troop.slice\n10\n10" {
		t.Errorf("slice of the agent and its weights: %q, %v", out, err)
	}

	before := pid()
	if recap, err = r.Run(t.Context(), run, l.tasks); err != nil || recap.Changed() != 0 || pid() != before {
		t.Errorf("second run: %+v, %v; pid %s, was %s", recap, err, pid(), before)
	}
	l.settled(t, r, run, "canary")
	if err := r.Record(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if ok, why := r.Unchanged(t.Context(), run); !ok {
		t.Error(why)
	}
	l.altered(t, r, "canary")
	l.renewed(t, r, pid)
	if _, err := l.on("canary", "echo >> /etc/troop/agents/wait-x.json; mv /usr/local/lib/troop/troop-agent /root; systemctl stop troop-agent@wait-x"); err != nil {
		t.Fatal(err)
	}
	l.altered(t, r, "canary", "/usr/local/lib/troop/troop-agent is missing",
		"/etc/troop/agents/wait-x.json is not what was installed", "troop-agent@wait-x.service is inactive")
	if ok, why := r.Unchanged(t.Context(), run); ok || !strings.Contains(why, "canary-1") {
		t.Errorf("with a stopped agent: Unchanged = %v, %s", ok, why)
	}

	write("echo the reason >&2; exit 3")
	_, err = r.Run(t.Context(), run, l.tasks)
	var failed *ansible.Error
	if !errors.As(err, &failed) || len(failed.Failed) != 2 || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "playbooks/roles/agent/tasks/main.yml:") {
		t.Errorf("an agent that ends at once: %v", err)
	}
}

// renewed gives the agent another secret, and carries on a renewal that was interrupted before the agent was restarted.
func (l *lab) renewed(t *testing.T, r *ansible.Runner, pid func() string) {
	renew := func(changed int, from, to string) {
		t.Helper()
		run := ansible.Run{Playbook: "renew.yml", Vars: map[string]any{
			"renew_secrets": map[core.HostName]any{"canary-1": []map[string]string{{"from": from, "to": to}}},
		}}
		if recap, err := r.Run(t.Context(), run, l.tasks); err != nil || recap.Changed() != changed {
			t.Errorf("renew: %+v, %v; want %d changes", recap, err, changed)
		}
		l.altered(t, r, "canary")
	}
	before := pid()
	const key = "-----BEGIN\nx+/=\\1\n-----END\n"
	renew(2, `a = "{{ b }}"`, key)
	var seen map[string]string
	if out, err := l.on("canary", "cat /var/lib/troop/wait-x/seen"); err != nil || json.Unmarshal([]byte(out), &seen) != nil || seen["block"] != key {
		t.Errorf("the agent reads %q, %v", out, err)
	}
	if pid() == before {
		t.Error("the agent has not been restarted")
	}
	before = pid()
	renew(0, `a = "{{ b }}"`, key)
	if pid() != before {
		t.Error("the agent has been restarted without a change")
	}
	if _, err := l.on("canary", "sed -i s/BEGIN/ANOTHER/ /etc/troop/agents/wait-x.json"); err != nil {
		t.Fatal(err)
	}
	renew(1, key, "unused")
	if pid() == before {
		t.Error("the agent has not been restarted after an interruption")
	}
}

// settled checks that a playbook that has just run changes nothing, also in check mode.
func (l *lab) settled(t *testing.T, r *ansible.Runner, run ansible.Run, role string) {
	t.Helper()
	for _, run.Check = range []bool{true, false} {
		recap, err := r.Run(t.Context(), run, l.tasks)
		if c := recap[l.hosts[role].Name]; err != nil || c.Changed != 0 || c.OK == 0 {
			t.Errorf("%s again, check %v: %+v, %v", run.Playbook, run.Check, recap, err)
		}
	}
}

// altered compares the result of Altered on a host.
func (l *lab) altered(t *testing.T, r *ansible.Runner, role string, want ...string) {
	t.Helper()
	got, err := r.Altered(t.Context(), l.hosts[role])
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("altered on %s: %q, %v; want %q", role, got, err, want)
	}
}

// release installs a release in each of the two slots.
func (l *lab) release(t *testing.T, r *ansible.Runner) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "release.tar.zst")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "cd "+dir+" && echo hello > index.html && tar -c index.html | zstd -q > "+archive).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	host := l.hosts["production"].Name
	install := func(id, slot string) ansible.Run {
		return ansible.Run{Name: "release", Playbook: "release.yml", Hosts: []core.HostName{host}, Vars: map[string]any{
			"release_service": "site", "release_id": id, "release_archive": archive, "release_slots": map[string]string{string(host): slot},
			"release_command": []string{"sh", "-c", `set -e; echo $RELEASE >>uploads/seen; ulimit -n >uploads/files; echo $STATE_DIR
			python3 -c 'import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)'; exec python3 -m http.server $PORT`}, "release_health": health("/index.html"),
			"release_sandbox": map[string]any{
				"allow": map[string]string{"netlink": "the test lists the interfaces"}, "data": []string{"uploads"}, "memory": "256M", "cpu": 150, "files": 4321,
			},
		}}
	}
	for _, run := range []ansible.Run{install("one", "a"), install("two", "b")} {
		if _, err := r.Run(t.Context(), run, l.tasks); err != nil {
			t.Fatal(err)
		}
		l.settled(t, r, run, "production")
		l.altered(t, r, "production")
	}
	l.confined(t, "production", "site@b")
	const kept = "cd /opt/site/slot-b/app && nsenter -t $(systemctl show -P MainPID site@b) -m cat /var/lib/site/uploads/seen /opt/site/slot-b/app/uploads/files && systemctl show -P MemoryMax -P CPUQuotaPerSecUSec site@b"
	if out, err := l.on("production", kept); err != nil || out != "one\ntwo\n4321\n1.500000s\n268435456" {
		t.Errorf("what both releases wrote, and the limits: %v\n%s", err, out)
	}
	// The way back is short: what a stopped slot still has is only started, unless somebody changed it.
	for command, wrote := range map[string]bool{"true": false, "echo '# by hand' >>/opt/site/slot-a.env": true} {
		if _, err := l.on("production", "systemctl stop site@a; "+command); err != nil {
			t.Fatal(err)
		}
		run, writes := install("one", "a"), false
		run.Vars["release_archive"] = ""
		begin := time.Now()
		if _, err := r.Run(t.Context(), run, func(x core.TaskResult) {
			writes = writes || x.Task == "release : Write the unit of the slots" && x.Status != "skipped"
		}); err != nil {
			t.Fatal(err)
		}
		t.Logf("back after %q in %.1f s", command, time.Since(begin).Seconds())
		if out, err := l.on("production", "systemctl is-active site@a; grep -c hand /opt/site/slot-a.env"); writes != wrote || out != "active\n0" {
			t.Errorf("after %q: files written %v, want %v; %s %v", command, writes, wrote, out, err)
		}
	}
	l.altered(t, r, "production")
	if _, err := l.on("production", "echo by hand > /opt/site/slot-b/app/index.html; rm /opt/site/slot-a.env; systemctl stop site@b"); err != nil {
		t.Fatal(err)
	}
	l.altered(t, r, "production", "/opt/site/slot-b/app/index.html is not what was installed", "/opt/site/slot-a.env is missing", "site@b.service is inactive")
}

func health(path string) map[string]any {
	return map[string]any{"path": path, "host": "localhost", "status": 200, "timeout": 3, "grace": 20}
}

// refused installs a release that ends because the sandbox is in its way, and expects the whole reason.
func (l *lab) refused(t *testing.T, r *ansible.Runner) {
	archive := filepath.Join(t.TempDir(), "release.tar.zst")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "tar -c -C / etc/hostname | zstd -q > "+archive).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	host := l.hosts["production"].Name
	run := ansible.Run{Name: "release", Playbook: "release.yml", Hosts: []core.HostName{host}, Vars: map[string]any{
		"release_service": "stuck", "release_id": "one", "release_archive": archive, "release_slots": map[string]string{string(host): "a"},
		"release_command": []string{"sh", "-c", "echo began; mkdir $PWD/uploads; exit 3"}, "release_health": health("/up"), "release_app_port": 3010,
	}}
	var said []string
	_, err := r.Run(t.Context(), run, func(x core.TaskResult) { said = append(said, x.Message) })
	all := strings.Join(said, "\n")
	for _, want := range []string{
		"http://localhost:3010/up: nothing listens on this port", "it ended with status 3/NOTIMPLEMENTED", `data = ["uploads"]`, "its log ends with: ", "began | mkdir: ",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%v: nothing says %q:\n%s", err, want, all)
		}
	}
}

// programs installs a release with a task, a process and a schedule, and then one whose task fails and one whose process
// does not stay up.
func (l *lab) programs(t *testing.T, r *ansible.Runner) {
	archive := filepath.Join(t.TempDir(), "release.tar.zst")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "tar -c -C / etc/hostname | zstd -q > "+archive).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	host := l.hosts["production"].Name
	program := func(kind, name, command string) map[string]any {
		return map[string]any{
			"kind": kind, "name": name, "command": []string{"sh", "-c", command}, "hosts": []string{string(host)},
			"stop_signal": "SIGINT", "stop_timeout": 15, "timeout": 60, "calendar": "daily",
		}
	}
	run := func(step, id, slot string, programs ...map[string]any) ansible.Run {
		return ansible.Run{Name: "release", Playbook: "release.yml", Hosts: []core.HostName{host}, Vars: map[string]any{
			"release_step": step, "release_service": "jobs", "release_id": id, "release_archive": archive, "release_slots": map[string]string{string(host): slot},
			"release_command": []string{"sh", "-c", "exec python3 -m http.server $PORT"}, "release_health": health("/"), "release_app_port": 3020,
			"release_programs": programs,
		}}
	}
	do := func(step, id, slot string, programs ...map[string]any) error {
		_, err := r.Run(t.Context(), run(step, id, slot, programs...), l.tasks)
		return err
	}
	task := program("task", "migrate", `echo "$RELEASE 100% \"done\"" >>$STATE_DIR/migrated`)
	worker := program("process", "worker", `echo $RELEASE >>$STATE_DIR/worked; trap 'echo ended >>$STATE_DIR/worked; exit 0' INT; while :; do sleep 0.1; done`)
	report := program("schedule", "report", `echo $RELEASE >>$STATE_DIR/reported`)
	if err := do("install", "one", "a", task, worker, report); err != nil {
		t.Fatal(err)
	}
	if err := do("settle", "one", "a", worker, report); err != nil {
		t.Fatal(err)
	}
	l.settled(t, r, run("settle", "one", "a", worker, report), "production")
	out, err := l.on("production", `systemctl start jobs-report@a && systemctl is-active jobs-worker@a jobs-report.timer && cd /var/lib/jobs && cat migrated worked reported`)
	if want := "active\nactive\none 100% \"done\"\none\none"; err != nil || out != want {
		t.Errorf("got %v and %q, want %q", err, out, want)
	}
	if err := do("install", "two", "b", program("task", "migrate", "echo no such table; exit 4")); err == nil ||
		!strings.Contains(err.Error(), "the task jobs-migrate failed; it ended with status 4/NOPERMISSION; its log ends with: no such table") {
		t.Errorf("a task that fails: %v", err)
	}
	if out, _ := l.on("production", "systemctl is-active jobs@b"); out != "inactive" {
		t.Errorf("the release of a task that failed is %s", out)
	}
	if err := do("install", "three", "b", program("process", "worker", "echo no queue; exit 5")); err == nil ||
		!strings.Contains(err.Error(), "the process jobs-worker does not stay up; it ended with status 5/NOTINSTALLED") {
		t.Errorf("a process that does not stay up: %v", err)
	}
	// The next release has neither process nor schedule.
	if err := do("install", "four", "b"); err != nil {
		t.Fatal(err)
	}
	if err := do("settle", "four", "b"); err != nil {
		t.Fatal(err)
	}
	out, _ = l.on("production", `systemctl is-active jobs@b jobs@a jobs-worker@a jobs-report.timer; tail -n 1 /var/lib/jobs/worked; cd /etc/systemd/system && ls -d jobs*`)
	if want := "active\ninactive\ninactive\ninactive\nended\njobs-migrate@a.service\njobs-report@a.service\njobs-worker@a.service\njobs@.service\njobs@a.service.d\njobs@b.service.d"; out != want {
		t.Errorf("after a release without them: %q, want %q", out, want)
	}
}

// silent installs services without HTTP, and runs programs in the sandbox of one of them.
func (l *lab) silent(t *testing.T, r *ansible.Runner) {
	archive := filepath.Join(t.TempDir(), "release.tar.zst")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "tar -c -C / etc/hostname | zstd -q > "+archive).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	host := l.hosts["production"].Name
	do := func(step, id, slot, command string, health map[string]any) error {
		health["timeout"], health["grace"] = 2, 10
		_, err := r.Run(t.Context(), ansible.Run{Name: "release", Playbook: "release.yml", Hosts: []core.HostName{host}, Vars: map[string]any{
			"release_step": step, "release_service": "queue", "release_id": id, "release_archive": archive, "release_slots": map[string]string{string(host): slot},
			"release_command": []string{"sh", "-c", command}, "release_health": health, "release_app_port": 3030, "release_environment": map[string]string{"WORD": `a "b" $c`},
		}}, l.tasks)
		return err
	}
	asked := func(command string) map[string]any { return map[string]any{"command": []string{"sh", "-c", command}} }
	const live = "sleep 1; echo $RELEASE >$STATE_DIR/up; exec sleep 1d"
	if err := do("install", "one", "a", live, asked(`grep -x "$RELEASE" $STATE_DIR/up`)); err != nil {
		t.Fatal(err)
	}
	if err := do("settle", "one", "a", live, map[string]any{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id, command string
		health      map[string]any
		want        string
	}{
		{"two", live, asked("echo the queue is away; exit 7"), "the command sh -c echo the queue is away; exit 7: it ended with status 7 and said: the queue is away"},
		{"three", live, asked("sleep 1m"), "no end within 2 s"},
		{"four", "sleep 1; exit 9", map[string]any{"stays_up": 20}, "the process queue does not stay up; it ended with status 9"},
	} {
		if err := do("install", c.id, "b", c.command, c.health); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("release %s: %v, want %q", c.id, err, c.want)
		}
	}
	if err := do("install", "five", "b", live, map[string]any{"stays_up": 2}); err != nil {
		t.Errorf("a release that stays up: %v", err)
	}
	for _, c := range []struct{ command, want string }{
		{`/opt/queue/exec current sh -c 'echo "$RELEASE $WORD $PWD $(id -un)"; touch /etc/x 2>/dev/null || echo refused; cat'; echo $?`, "one a \"b\" $c /opt/queue/releases/one/app queue\nrefused\nsaid\n0"},
		{`/opt/queue/exec b sh -c 'echo $RELEASE; exit 42'; echo $?`, "five\n42"},
		{`script -qec "/opt/queue/exec b tty" /dev/null </dev/null | tr -d '\r'`, "/dev/pts/"},
	} {
		if out, err := l.on("production", "echo said | { "+c.command+"; }"); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v and %q, want %q", c.command, err, out, c.want)
		}
	}
}

// settings configures the router for a service. Nothing else changes that, and a second run changes nothing.
func (l *lab) settings(t *testing.T, r *ansible.Runner, site ansible.Run) {
	run := ansible.Run{Name: "router", Playbook: "router.yml", Hosts: []core.HostName{l.hosts["router"].Name}, Vars: map[string]any{
		"router_settings": map[string]any{"statuses": []int{200, 204}, "check": 5000},
	}}
	if _, err := r.Run(t.Context(), run, l.tasks); err != nil {
		t.Fatal(err)
	}
	l.settled(t, r, run, "router")
	l.settled(t, r, site, "router")
	if _, err := l.on("router", "grep 'expect status 200,204' /etc/haproxy/haproxy.cfg && grep 'timeout check 5000ms' /etc/haproxy/haproxy.cfg"); err != nil {
		t.Error("the configuration of the whole site forgot what the service needs")
	}
}

// confined checks the unit's exposure level as rated by systemd-analyze.
func (l *lab) confined(t *testing.T, role, unit string) {
	t.Helper()
	out, err := l.on(role, "systemd-analyze security --no-pager "+unit)
	m := regexp.MustCompile(`exposure level for .*: ([0-9.]+)`).FindStringSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("exposure of %s: %v\n%s", unit, err, out)
	}
	if score, err := strconv.ParseFloat(m[1], 64); err != nil || score > 4 {
		t.Errorf("exposure of %s is %s, want 4.0 at most", unit, m[1])
	}
}

const victimDir = "TROOP_TEST_VICTIM"

// killed kills a process that runs a playbook while a second run's connections are open, and checks that nothing is left.
func (l *lab) killed(t *testing.T) {
	h := l.hosts["production"]
	dir := t.TempDir()
	for _, name := range []string{"ssh_key", "known_hosts"} {
		b, err := os.ReadFile(filepath.Join(l.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLabVictim$")
	victim.Env = append(os.Environ(), victimDir+"="+dir, "TROOP_TEST_ADDRESS="+h.Address, "TMPDIR="+t.TempDir())
	out := &bytes.Buffer{}
	victim.Stdout, victim.Stderr = out, out
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	mine := func() string { // the command lines of ssh, its masters and Ansible contain the folder
		b, _ := exec.CommandContext(t.Context(), "pgrep", "-af", dir).Output()
		return string(b)
	}
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(mine(), "sleep 977") && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(mine(), "[mux]") {
		t.Errorf("no open connection before the kill:\n%s%s", mine(), out)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	for end := time.Now().Add(5 * time.Second); mine() != "" && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if left := mine(); left != "" {
		t.Errorf("left after kill -9:\n%s", left)
	}
	r := runner(t, ansible.Config{Dir: dir, Playbooks: playbooks.FS, SSH: l.ssh, Hosts: l.all})
	if _, err := r.Run(t.Context(), ansible.Run{Playbook: l.playbook(t, "true")}, nil); err != nil {
		t.Errorf("the next run: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "ansible", "run-*")); len(left) != 1 {
		t.Errorf("folders of runs: %v, want the living one", left)
	}
}

func (l *lab) playbook(t *testing.T, command string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p.yml")
	content := fmt.Sprintf("- hosts: production\n  gather_facts: false\n  tasks:\n    - ansible.builtin.raw: %q\n", command)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestLabVictim is the process that TestLab kills.
func TestLabVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		return
	}
	ssh, err := remote.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := runner(t, ansible.Config{Dir: dir, Playbooks: playbooks.FS, SSH: ssh, Hosts: []core.Host{{Name: "web-1", Role: "production", Address: os.Getenv("TROOP_TEST_ADDRESS"), User: "root", Port: 22}}})
	for _, command := range []string{"true", "sleep 977"} {
		if _, err := r.Run(t.Context(), ansible.Run{Playbook: (&lab{}).playbook(t, command)}, nil); err != nil {
			t.Fatal(err)
		}
	}
}
