package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func signalName(s unix.Signal) string { return unix.SignalName(s) }

const hogUID, adminUID, serviceUID = 60001, 60002, 990

var quick = config{
	Interval: sdk.Duration(250 * time.Millisecond), Pause: sdk.Duration(200 * time.Millisecond), Grace: sdk.Duration(400 * time.Millisecond),
	CPU:   &cpuLimit{Above: 2, For: sdk.Duration(500 * time.Millisecond)}, // low: the machine of the tests is shared
	Treat: []string{"alert", "terminate", "kill"},                         // a reniced loop on such a machine is none any more
}

// busyLoop starts a shell that does nothing as fast as it can, as a user.
func busyLoop(t *testing.T, uid uint32, script string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test starts processes of other users: run it as root")
	}
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "hog", "--password=hunter2")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

// startDoctor is an agent that does not know the loops to be its own children, on a host with three users.
func startDoctor(t *testing.T, c config, role string) (*agent, *told) {
	t.Helper()
	return startDoctorIn(t, c, role, t.TempDir())
}

// startDoctorIn starts it with the state that another one left.
func startDoctorIn(t *testing.T, c config, role, state string) (*agent, *told) {
	t.Helper()
	etc := etcFolder(t, "root:x:0:0::/:/bin/sh\nhog:x:60001:60001::/:/bin/sh\nboss:x:60002:60002::/:/bin/sh\napp:x:990:990::/:/bin/sh\n", "sudo:x:27:boss\n")
	a, o := newTellingAgent(t, c, role, etc, state)
	a.guard.self = self{}
	a.policy.judges.(*guard).self = self{}
	return a, o
}

// tend lets the doctor work until done, or for some time. It sees these processes and no other: what else runs on
// this machine is not the test's business.
func tend(t *testing.T, a *agent, most time.Duration, done func() bool, pids ...int) {
	t.Helper()
	all := a.sampler
	a.sampler = onlyThese{all, pids}
	defer func() { a.sampler = all }()
	for deadline := time.Now().Add(most); time.Now().Before(deadline) && !done(); {
		if err := a.Tick(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(a.interval)
	}
}

type onlyThese struct {
	sampling
	pids []int
}

func (o onlyThese) Processes(procs []usage) ([]usage, error) {
	procs, err := o.sampling.Processes(procs)
	return slices.DeleteFunc(procs, func(u usage) bool { return !slices.Contains(o.pids, u.PID) }), err
}

func ended(c *exec.Cmd) func() bool {
	return func() bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err == nil && info.Signo != 0
	}
}

func TestTerminates(t *testing.T) {
	loop := busyLoop(t, hogUID, "while :; do :; done")
	a, o := startDoctor(t, quick, "production")
	tend(t, a, 10*time.Second, ended(loop), loop.Process.Pid)
	if !ended(loop)() {
		t.Fatalf("the loop still runs; told %v", o.kinds())
	}
	_ = loop.Wait()
	if s := loop.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGTERM {
		t.Errorf("it ended by %v, want SIGTERM", s.Signal())
	}
	tend(t, a, time.Second, func() bool { return len(a.policy.patients) == 0 }, loop.Process.Pid)
	for _, want := range []string{"process.hog/alert", "process.terminated/warning", "process.hog/resolved"} {
		if !slices.Contains(o.kinds(), want) {
			t.Errorf("told %v, not %s", o.kinds(), want)
		}
	}
	e := o.find("process.terminated")
	if e == nil {
		t.Fatal("nothing told of the end")
	}
	command, _ := e.Data["command"].(string)
	if !strings.Contains(command, "while :") || strings.Contains(command, "hunter2") {
		t.Errorf("command line %q", command)
	}
	if e.Data["user"] != "hog" || e.Data["executable"] == "" || e.Data["percent"].(float64) < 2 {
		t.Errorf("evidence %v", e.Data)
	}
	if parents, _ := e.Data["parents"].([]string); len(parents) == 0 {
		t.Errorf("no parents in %v", e.Data)
	}
}

func TestRenices(t *testing.T) {
	loop := busyLoop(t, hogUID, "while :; do :; done")
	c := quick
	c.Treat = []string{"alert", "renice"}
	a, o := startDoctor(t, c, "production")
	tend(t, a, 10*time.Second, func() bool { return o.find("process.reniced") != nil }, loop.Process.Pid)
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, loop.Process.Pid)
	if err != nil || 20-nice != reniced { // the system call returns 20 - nice
		t.Errorf("nice %d, %v; told %v", 20-nice, err, o.kinds())
	}
}

func TestKillsWhatIgnores(t *testing.T) {
	loop := busyLoop(t, hogUID, "trap '' TERM; while :; do :; done")
	a, o := startDoctor(t, quick, "production")
	tend(t, a, 10*time.Second, ended(loop), loop.Process.Pid)
	_ = loop.Process.Kill() // harmless when it is dead
	_ = loop.Wait()
	if !slices.Contains(o.kinds(), "process.killed/warning") {
		t.Errorf("told %v, want it killed", o.kinds())
	}
}

// TestSpares keeps loops that must live under the eyes of a doctor who would kill them in a second.
func TestSpares(t *testing.T) {
	for name, test := range map[string]struct {
		uid  uint32
		c    config
		role string
		rule rule
	}{
		"root's":                  {0, quick, "production", ruleRoot},
		"an administrator's":      {adminUID, quick, "production", ruleAdmin},
		"a system user's":         {serviceUID, quick, "production", ruleSystem},
		"an unknown user's":       {60009, quick, "production", ruleUnknown},
		"anyone's, on the leash":  {hogUID, config{Interval: quick.Interval, Pause: quick.Pause, CPU: quick.CPU, Treat: quick.Treat, Leash: true}, "production", ruleLeash},
		"root's, on a canary too": {0, quick, "canary", ruleRoot},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loop := busyLoop(t, test.uid, "while :; do :; done")
			a, o := startDoctor(t, test.c, test.role)
			tend(t, a, 10*time.Second, func() bool { return o.find("process.spared") != nil || ended(loop)() }, loop.Process.Pid)
			tend(t, a, 500*time.Millisecond, func() bool { return false }, loop.Process.Pid)
			if ended(loop)() {
				t.Fatalf("it was ended; told %v", o.kinds())
			}
			e := o.find("process.spared")
			if e == nil || e.Data["spared"] != string(test.rule) {
				t.Errorf("told %v, %v; want it spared by %q", o.kinds(), e, test.rule)
			}
			if !slices.Contains(o.kinds(), "process.hog/alert") {
				t.Errorf("told %v, no alert", o.kinds())
			}
			ours, _ := unix.Getpriority(unix.PRIO_PROCESS, 0) // the loop began with it
			nice, err := unix.Getpriority(unix.PRIO_PROCESS, loop.Process.Pid)
			if err != nil || nice != ours {
				t.Errorf("its priority was changed from %d to %d, %v", ours, nice, err)
			}
		})
	}
}

// TestHoldReusedPID holds a process, lets it end, and has another at its pid: the signal goes to neither.
func TestHoldReusedPID(t *testing.T) {
	c := exec.CommandContext(t.Context(), "sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	st, err := readStat(filepath.Join("/proc", itoa(c.Process.Pid)))
	if err != nil {
		t.Fatal(err)
	}
	id := ident{c.Process.Pid, st.start}
	h, err := hold("/proc", id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if !h.Alive() {
		t.Error("a living process is not alive")
	}
	if _, err := hold("/proc", ident{c.Process.Pid, st.start - 1}); err == nil {
		t.Error("a process of another start time was held")
	}
	if err := h.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); h.Alive() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if h.Alive() {
		t.Error("a zombie is alive") // it accepts signals
	}
	if err := h.Signal(0); err == nil {
		t.Error("a zombie took a signal")
	}
	_ = c.Wait()
	// Linux gives pids in order: with the last pid set back, the next process has the old one. Start times count
	// hundredths of a second.
	time.Sleep(30 * time.Millisecond)
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(itoa(id.PID-1)), 0); err != nil {
		t.Fatal(err)
	}
	second := exec.CommandContext(t.Context(), "sleep", "60")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Process.Kill(); _ = second.Wait() })
	if err := h.Signal(unix.SIGKILL); err == nil {
		t.Error("the handle of an ended process took a signal")
	}
	if err := h.Renice(19); err == nil {
		t.Error("the handle of an ended process changed a priority")
	}
	if _, err := hold("/proc", id); err == nil {
		t.Error("a reused pid was held for the process that had it")
	}
	if _, err := readFacts("/proc", id); err == nil {
		t.Error("a reused pid was examined for the process that had it")
	}
	if err := second.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the second process: %v", err)
	}
}

// TestRehearse replays what an agent on the leash recorded: without the leash it would have acted.
func TestRehearse(t *testing.T) {
	loop := busyLoop(t, hogUID, "while :; do :; done")
	leashed := quick
	leashed.Leash = true
	a, o := startDoctor(t, leashed, "production")
	tend(t, a, 10*time.Second, func() bool { return o.find("process.spared") != nil }, loop.Process.Pid)
	tend(t, a, 1500*time.Millisecond, func() bool { return false }, loop.Process.Pid)
	file := filepath.Join(a.info.StateDir, "samples.jsonl")
	body := "interval = \"250ms\"\ncpu {\n above = 2\n for = \"500ms\"\n}\npause = \"200ms\"\ntreat = [\"alert\", \"terminate\"]\n"
	r := sdktest.Call(t, stage, body, "rehearse", map[string]string{"file": file})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	var would []string
	for _, row := range r.Tables[0].Rows {
		if row[1] == itoa(loop.Process.Pid) {
			would = append(would, row[5])
		}
	}
	if len(would) < 2 || would[0] != "alert" || would[len(would)-1] != "terminate" {
		t.Errorf("would %v", would)
	}
	again := sdktest.Call(t, stage, body+"protect {\n users = [\"hog\"]\n}\n", "rehearse", map[string]string{"file": file})
	if again.Err != nil {
		t.Fatal(again.Err)
	}
	for _, row := range again.Tables[0].Rows {
		if row[1] == itoa(loop.Process.Pid) && row[5] == "terminate" {
			t.Errorf("would %s a protected user's process", row[5])
		}
	}
}
