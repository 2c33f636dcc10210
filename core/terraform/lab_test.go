//go:build lab

package terraform_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/remote"
	"github.com/seed-b96de936/troop/core/terraform"
	modules "github.com/seed-b96de936/troop/terraform"
	"github.com/seed-b96de936/troop/terraform/moduletest"
)

// These tests make real hosts. They need root, Terraform, the packages that `troop preflight` lists and, the first time,
// a Debian mirror. Run them with: go test -tags lab ./core/terraform

// testLab is the test's own lab; it is removed at the end.
type testLab struct {
	t      *testing.T
	dir    string
	ssh    *remote.Client
	logged []string
}

var provider string

func TestMain(m *testing.M) {
	if applied() {
		return
	}
	dir, err := os.MkdirTemp("", "troop-lab-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	provider = filepath.Join(dir, "terraform-provider-lab")
	cmd := exec.Command("go", "build", "-trimpath", "-o", provider, "github.com/seed-b96de936/troop/plugins/terraform-provider-lab")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	m.Run()
}

func newLab(t *testing.T) *testLab {
	t.Helper()
	l := &testLab{t: t, dir: t.TempDir()}
	var err error
	if l.ssh, err = remote.New(l.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.ssh.Close()
		w := l.open(nil)
		p, err := w.PlanDestroy(context.WithoutCancel(t.Context()))
		if err == nil {
			err = w.Apply(context.WithoutCancel(t.Context()), p, nil)
		}
		if err != nil {
			t.Errorf("destroy: %v", err)
		}
		if left := l.things(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if left := l.processes(); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
	})
	return l
}

func (l *testLab) open(variables map[string]any) *terraform.Workspace {
	l.t.Helper()
	module, err := modules.Open("lab")
	if err != nil {
		l.t.Fatal(err)
	}
	w, err := terraform.Open(context.WithoutCancel(l.t.Context()), terraform.Options{
		Dir: filepath.Join(l.dir, "terraform"), Module: module, Environment: "lab", PublicKey: l.ssh.PublicKey(),
		Variables: variables, Providers: map[string]string{"troop.local/troop/lab": provider},
		Log: func(line string) { l.logged = append(l.logged, line); l.t.Log(line) },
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return w
}

// engine applies in a separate process.
func (l *testLab) engine(variables map[string]any) engine {
	l.t.Helper()
	module, err := filepath.Abs("../../terraform/lab")
	if err != nil {
		l.t.Fatal(err)
	}
	return engine{
		Dir: filepath.Join(l.dir, "terraform"), Module: module, PublicKey: l.ssh.PublicKey(), What: "the test",
		Variables: variables, Providers: map[string]string{"troop.local/troop/lab": provider},
	}
}

func (l *testLab) apply(w *terraform.Workspace) (*terraform.Plan, []core.Host) {
	l.t.Helper()
	p, err := w.Plan(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	if err := w.Apply(l.t.Context(), p, nil); err != nil {
		l.t.Fatal(err)
	}
	hosts, err := w.Hosts(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.ssh.Pin(hosts); err != nil {
		l.t.Fatal(err)
	}
	return p, hosts
}

func (l *testLab) run(h core.Host, command string) string {
	l.t.Helper()
	out, err := l.ssh.Run(l.t.Context(), h, command, nil)
	if err != nil {
		l.t.Fatalf("%s: %v", h.Name, err)
	}
	return strings.TrimSpace(string(out))
}

// thing is a line of `terraform-provider-lab list`.
type thing struct{ Lab, Host, Kind, Name string }

func (l *testLab) things() []thing {
	l.t.Helper()
	out, err := exec.Command(provider, "list").Output()
	if err != nil {
		l.t.Fatal(err)
	}
	var mine []thing
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		var x thing
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			l.t.Fatal(err)
		}
		if x.Lab == l.id() {
			mine = append(mine, x)
		}
	}
	return mine
}

// id is the lab's name, as computed by the module.
func (l *testLab) id() string {
	sum := sha256.Sum256([]byte(filepath.Join(l.dir, "terraform")))
	return hex.EncodeToString(sum[:])[:8]
}

// supervisor returns the PID of a host's systemd-nspawn.
func (l *testLab) supervisor(host string) int {
	l.t.Helper()
	for _, x := range l.things() {
		if x.Host == host && x.Kind == "process" && strings.Contains(x.Name, " systemd-nspawn ") {
			pid, err := strconv.Atoi(strings.Fields(x.Name)[0])
			if err != nil {
				l.t.Fatal(err)
			}
			return pid
		}
	}
	l.t.Fatalf("no systemd-nspawn runs %s", host)
	return 0
}

func TestLab(t *testing.T) {
	l := newLab(t)
	w := l.open(nil)
	began := time.Now()
	p, hosts := l.apply(w)
	took := time.Since(began)
	t.Logf("apply took %s", took)
	if n := p.Count()[terraform.Create]; n != 5 {
		t.Errorf("the first plan creates %d resources, want 4 hosts and their roster", n)
	}
	var roles []string
	for _, h := range hosts {
		if comm := l.run(h, "cat /proc/1/comm"); comm != "systemd" {
			t.Errorf("%s: PID 1 is %s", h.Name, comm)
		}
		if name := l.run(h, "hostname"); name != string(h.Name) {
			t.Errorf("%s calls itself %s", h.Name, name)
		}
		if size := l.run(h, "df --output=size -BM / | tail -1 | tr -dc 0-9"); size < "1900" || size > "2048" {
			t.Errorf("%s: disk of %s MiB, want 2048 less what ext4 needs", h.Name, size)
		}
		if state := l.run(h, "systemctl is-system-running --wait || true"); state != "running" {
			t.Errorf("%s: system is %s", h.Name, state)
		}
		roles = append(roles, h.Role)
	}
	if want := []string{"canary", "router", "storage", "production"}; !slices.Equal(roles, want) {
		t.Errorf("roles %v, want %v", roles, want)
	}
	l.run(hosts[0], "timeout 2 bash -c 'echo > /dev/tcp/"+hosts[1].PrivateAddress+"/22'")
	if l.run(hosts[0], "ip route show default") != "" {
		t.Error("a host has a way out of the lab")
	}

	began = time.Now()
	p, err := w.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("plan of an unchanged lab took %s", time.Since(began))
	if !p.Empty() {
		t.Errorf("second plan is not empty: %+v", p)
	}
}

func TestKilledHostIsDrift(t *testing.T) {
	for _, victim := range []string{"supervisor", "init"} {
		t.Run(victim, func(t *testing.T) {
			l := newLab(t)
			w := l.open(map[string]any{"hosts": map[string]any{
				"web-1": map[string]any{"role": "production"}, "web-2": map[string]any{"role": "production"},
			}})
			_, hosts := l.apply(w)
			pid := l.supervisor("web-1")
			if victim == "init" {
				out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
				if err != nil {
					t.Fatal(err)
				}
				if pid, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
					t.Fatal(err)
				}
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			drift, err := w.Drift(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(drift.Changes) != 0 || len(drift.Drift) != 1 || drift.Drift[0].Host != "web-1" {
				t.Errorf("drift: %+v", drift)
			}
			p, err := w.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			old := *p
			old.File = "sha256:another"
			if err := w.Apply(t.Context(), &old, nil); !errors.As(err, new(*terraform.StaleError)) {
				t.Errorf("a plan that is no longer the saved one is applied: %v", err)
			}
			if saved, err := w.Saved(); err != nil || saved.Digest != p.Digest {
				t.Errorf("saved plan: %+v, %v", saved, err)
			}
			if len(p.Drift) != 1 || p.Drift[0].Host != "web-1" || p.Drift[0].Action != terraform.Destroy {
				t.Errorf("drift: %+v, want that web-1 is gone", p.Drift)
			}
			if len(p.Changes) != 1 || p.Changes[0].Host != "web-1" || p.Changes[0].Action != terraform.Create {
				t.Errorf("changes: %+v, want that web-1 is made", p.Changes)
			}
			if err := w.Apply(t.Context(), p, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Saved(); !errors.Is(err, terraform.ErrNoPlan) {
				t.Errorf("an applied plan is still there: %v", err)
			}
			healed, err := w.Hosts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(healed[1], hosts[1]) || healed[0].HostKey == hosts[0].HostKey || healed[0].Address != hosts[0].Address {
				t.Errorf("after healing %+v, before %+v", healed, hosts)
			}
		})
	}
}

func TestHostThatRebootsStays(t *testing.T) {
	l := newLab(t)
	w := l.open(map[string]any{"hosts": map[string]any{"web-1": map[string]any{"role": "production"}}})
	_, hosts := l.apply(w)
	l.run(hosts[0], "touch /root/kept; systemd-run --quiet --on-active=100ms systemctl reboot")
	time.Sleep(time.Second)
	if err := l.ssh.Wait(t.Context(), hosts, 20*time.Second, nil); err != nil {
		t.Fatal(err)
	}
	p, err := w.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Changes) != 0 {
		t.Errorf("a reboot leads to %+v", p.Changes)
	}
	l.run(hosts[0], "test -e /root/kept")
}

// TestKilledApply kills Terraform while it makes hosts, then removes those hosts from the configuration.
func TestKilledApply(t *testing.T) {
	l := newLab(t)
	one := map[string]any{"hosts": map[string]any{"web-1": map[string]any{"role": "production"}}}
	l.apply(l.open(one))
	four := l.open(nil)
	p, err := four.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	err = four.Apply(t.Context(), p, func(step terraform.Progress) {
		if step.Host == "" || step.Status != "started" || killed != 0 {
			return
		}
		time.Sleep(400 * time.Millisecond)
		killed = l.kill("terraform")
	})
	if err == nil || killed == 0 {
		t.Fatalf("terraform was not killed: %v", err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for l.processOf("terraform-provider-lab_v0.1.0") != 0 {
		if time.Now().After(deadline) {
			t.Fatal("the provider outlives Terraform")
		}
		time.Sleep(10 * time.Millisecond)
	}
	var strays []string
	for _, x := range l.things() {
		if x.Host != "web-1" && x.Kind == "folder" && x.Host != "" {
			strays = append(strays, x.Host)
		}
	}
	if len(strays) == 0 {
		t.Fatal("the killed apply left no host behind: nothing is tested")
	}
	p, _ = l.apply(l.open(one))
	t.Logf("strays %v, plan %+v", strays, p)
	for _, x := range l.things() {
		if x.Host != "" && x.Host != "web-1" {
			t.Errorf("still there: %+v", x)
		}
	}
	if !slices.ContainsFunc(l.logged, func(s string) bool { return strings.Contains(s, "was interrupted") }) {
		t.Error("the interrupted apply was not reported")
	}
	if p, err := l.open(one).Plan(t.Context()); err != nil || !p.Empty() {
		t.Errorf("after that: %+v, %v", p, err)
	}
}

// TestKilledCore kills the process that drives Terraform while hosts are made.
func TestKilledCore(t *testing.T) {
	l := newLab(t)
	core, _ := l.engine(nil).start(t)
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("timed out: %s", what)
			}
		}
	}
	await("a host is being made", func() bool {
		return slices.ContainsFunc(l.things(), func(x thing) bool { return x.Kind == "process" })
	})
	if err := core.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = core.Wait()
	killed := time.Now()
	await("terraform and its provider are gone", func() bool {
		return l.processOf("terraform") == 0 && l.processOf("terraform-provider-lab_v0.1.0") == 0
	})
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("terraform and its provider lived on for %s", took)
	}
	if _, err := l.open(nil).Saved(); !errors.Is(err, terraform.ErrNoPlan) {
		t.Errorf("the plan of an apply that was killed is still there: %v", err)
	}
	_, hosts := l.apply(l.open(nil))
	for _, h := range hosts {
		l.run(h, "true")
	}
}

// TestRestoreInTheLab restores a state from before a host was made: no state has the host then, and the next apply
// removes it.
func TestRestoreInTheLab(t *testing.T) {
	l := newLab(t)
	one := map[string]any{"hosts": map[string]any{"web-1": map[string]any{"role": "production"}}}
	two := map[string]any{"hosts": map[string]any{
		"web-1": map[string]any{"role": "production"}, "web-2": map[string]any{"role": "production"},
	}}
	_, before := l.apply(l.open(one))
	l.apply(l.open(two))
	if err := l.open(one).Restore(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if hosts, err := l.open(one).Hosts(t.Context()); err != nil || !reflect.DeepEqual(hosts, before) {
		t.Errorf("hosts of the restored state %+v, want %+v, %v", hosts, before, err)
	}
	p, after := l.apply(l.open(one))
	if p.Empty() {
		t.Error("the plan does not mention the host that is in no state")
	}
	if !reflect.DeepEqual(after, before) {
		t.Errorf("hosts %+v, want %+v", after, before)
	}
	l.check(one)
}

// TestHostsHoldNothingOfOurs gives the provider a lock to inherit, as flock(1) does with what it runs.
func TestHostsHoldNothingOfOurs(t *testing.T) {
	l := newLab(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := l.engine(map[string]any{"hosts": map[string]any{"web-1": map[string]any{"role": "production"}}}).command(t)
	cmd.ExtraFiles = []*os.File{file}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := os.Open(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if err := syscall.Flock(int(again.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Errorf("a host holds the lock: %v", err)
	}
}

// processOf returns the PID of a process with that name in the lab's folder, or 0.
func (l *testLab) processOf(program string) int {
	l.t.Helper()
	return programIn(l.t, filepath.Join(l.dir, "terraform"), program)
}

func (l *testLab) kill(program string) int {
	pid := l.processOf(program)
	if pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return pid
}

func TestCancelledApply(t *testing.T) {
	l := newLab(t)
	w := l.open(nil)
	p, err := w.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("the operator had enough")
	began := time.Now()
	err = w.Apply(ctx, p, func(step terraform.Progress) {
		if step.Host != "" && step.Status == "started" {
			cancel(enough)
		}
	})
	if !errors.Is(err, enough) {
		t.Errorf("error %v, want the cause", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("winding up took %s", took)
	}
	if pid := l.processOf("terraform"); pid != 0 {
		t.Errorf("terraform lives on: %d", pid)
	}
}

func TestTwoLabs(t *testing.T) {
	web := map[string]any{"hosts": map[string]any{"web-1": map[string]any{"role": "production"}}}
	a, b := newLab(t), newLab(t)
	_, inA := a.apply(a.open(web))
	_, inB := b.apply(b.open(web))
	if inA[0].Address == inB[0].Address {
		t.Fatalf("both labs have %s", inA[0].Address)
	}
	if err := a.ssh.Wait(t.Context(), inA, 5*time.Second, nil); err != nil {
		t.Error(err)
	}
	out, err := a.ssh.Run(t.Context(), inA[0], "timeout 2 bash -c 'echo > /dev/tcp/"+inB[0].Address+"/22'", nil)
	if _, ok := errors.AsType[*ssh.ExitError](err); !ok {
		t.Errorf("a host reaches another lab's: %s %v", out, err)
	}
	p, err := a.open(web).PlanDestroy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.open(web).Apply(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	b.run(inB[0], "true")
}

func TestHostsComeAndGo(t *testing.T) {
	l := newLab(t)
	_, before := l.apply(l.open(map[string]any{"hosts": map[string]any{
		"web-1": map[string]any{"role": "production"}, "web-2": map[string]any{"role": "production"},
	}}))
	p, after := l.apply(l.open(map[string]any{"hosts": map[string]any{
		"app-1": map[string]any{"role": "canary"}, "web-2": map[string]any{"role": "production", "memory": "256MiB"},
	}}))
	if after[1].Address != before[1].Address || after[0].Address == before[0].Address {
		t.Errorf("addresses before %+v, after %+v", before, after)
	}
	var reasons []string
	for _, c := range p.Changes {
		if c.Action == terraform.Replace {
			for _, a := range c.Attributes {
				if a.Forces {
					reasons = append(reasons, string(c.Host)+" "+a.Name)
				}
			}
		}
	}
	if !slices.Equal(reasons, []string{"web-2 memory"}) {
		t.Errorf("reasons for replacement: %v", reasons)
	}
	if limit := l.run(after[1], "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"); limit != "268435456" {
		t.Errorf("memory limit %s", limit)
	}
}

// TestReviewOfReplacements changes the disk of one host and the role of another: each is a replacement with a reason. A
// review can forbid it; an approval allows it once.
func TestReviewOfReplacements(t *testing.T) {
	l := newLab(t)
	hosts := func(disk, role string) map[string]any {
		return map[string]any{"hosts": map[string]any{
			"web-1": map[string]any{"role": "production", "disk": disk}, "web-2": map[string]any{"role": role},
		}}
	}
	_, before := l.apply(l.open(hosts("2GiB", "production")))
	plan := func(w *terraform.Workspace, conf core.Review) *terraform.Review {
		t.Helper()
		p, err := w.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.Review(t.Context(), p, conf)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one := func(r *terraform.Review, host core.HostName, lines ...string) {
		t.Helper()
		if len(r.Changes) != 1 || r.Changes[0].Host != host || r.Changes[0].Action != terraform.Replace {
			t.Errorf("changes: %+v, want that %s is replaced", r.Changes, host)
		}
		for _, line := range lines {
			if !slices.Contains(r.Lines(), line) {
				t.Errorf("the review does not say %q:\n%s", line, strings.Join(r.Lines(), "\n"))
			}
		}
	}
	disk, role := l.open(hosts("3GiB", "production")), l.open(hosts("2GiB", "canary"))
	conf := core.Review{Approve: true, MaxDestroy: -1}

	a := plan(disk, conf)
	one(a, "web-1", `      disk: "2GiB" → "3GiB"  # forces replacement`, "  lab: cpus 2, disk 4096MiB → 5120MiB, hosts 2, memory 1024MiB")
	if err := plan(disk, core.Review{Forbid: []string{"destroy"}, MaxDestroy: -1}).Err(); !errors.As(err, new(*terraform.RefusedError)) {
		t.Errorf("destroy is forbidden: %v", err)
	}
	if err := plan(disk, core.Review{MaxDestroy: 0}).Err(); !errors.As(err, new(*terraform.RefusedError)) {
		t.Errorf("nothing may be destroyed: %v", err)
	}
	if err := a.Err(); !errors.As(err, new(*terraform.WaitsError)) {
		t.Errorf("before the approval: %v", err)
	}
	if err := disk.Decide(a, terraform.Decision{By: "alice", From: "here"}); err != nil {
		t.Fatal(err)
	}

	b := plan(role, conf)
	one(b, "web-2", `      role: "production" → "canary"  # forces replacement`)
	if err := b.Err(); !errors.As(err, new(*terraform.WaitsError)) || !strings.Contains(err.Error(), "the plan changed") {
		t.Errorf("an approval made for another plan: %v", err)
	}

	again := plan(disk, conf)
	if err := again.Err(); err != nil {
		t.Fatalf("the approved plan, made again: %v", err)
	}
	if err := disk.Apply(t.Context(), again.Plan, nil); err != nil {
		t.Fatal(err)
	}
	after, err := disk.Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after[0].HostKey == before[0].HostKey || !reflect.DeepEqual(after[1], before[1]) {
		t.Errorf("before %+v, after %+v, want another web-1 and the same web-2", before, after)
	}
	if r := plan(disk, conf); !r.Empty() {
		t.Errorf("after the apply: %+v", r.Changes)
	}
	if out, err := os.ReadFile(filepath.Join(disk.Dir, ".troop", "approvals.jsonl")); err != nil || strings.Count(string(out), "applied") != 1 {
		t.Errorf("the approval has not ended: %s %v", out, err)
	}
}

// TestModule runs the module's own tests.
func TestModule(t *testing.T) {
	dir := t.TempDir()
	w, err := terraform.Open(t.Context(), terraform.Options{
		Dir: dir, Module: os.DirFS("../../terraform/lab"), Environment: "lab", PublicKey: "ssh-ed25519 AAAA test",
		Providers: map[string]string{"troop.local/troop/lab": provider},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	moduletest.Run(t, dir, append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(dir, ".troop", "cli.tfrc")))
}

// TestRebuiltProvider replaces a provider with another binary of the same version.
func TestRebuiltProvider(t *testing.T) {
	l := newLab(t)
	web := map[string]any{"hosts": map[string]any{"web-1": map[string]any{"role": "production"}}}
	l.apply(l.open(web))
	b, err := os.ReadFile(provider)
	if err != nil {
		t.Fatal(err)
	}
	rebuilt := filepath.Join(t.TempDir(), "terraform-provider-lab")
	if err := os.WriteFile(rebuilt, append(b, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	w := l.open(web)
	w.Providers = map[string]string{"troop.local/troop/lab": rebuilt}
	if p, err := w.Plan(t.Context()); err != nil || !p.Empty() {
		t.Errorf("plan with a rebuilt provider: %+v, %v", p, err)
	}
}

// BenchmarkApply measures an apply until four hosts answer over SSH, and the destroy.
func BenchmarkApply(b *testing.B) {
	module, err := modules.Open("lab")
	if err != nil {
		b.Fatal(err)
	}
	ssh, err := remote.New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	w, err := terraform.Open(b.Context(), terraform.Options{
		Dir: b.TempDir(), Module: module, Environment: "lab", PublicKey: ssh.PublicKey(),
		Providers: map[string]string{"troop.local/troop/lab": provider},
	})
	if err != nil {
		b.Fatal(err)
	}
	apply := func(plan func(context.Context) (*terraform.Plan, error)) time.Duration {
		ctx := context.WithoutCancel(b.Context())
		p, err := plan(ctx)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := w.Apply(ctx, p, nil); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	b.Cleanup(func() { apply(w.PlanDestroy) })
	var up, down time.Duration
	for b.Loop() {
		up += apply(w.Plan)
		down += apply(w.PlanDestroy)
	}
	b.ReportMetric(up.Seconds()/float64(b.N), "s/apply")
	b.ReportMetric(down.Seconds()/float64(b.N), "s/destroy")
}
