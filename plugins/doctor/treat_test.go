package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

var quick = config{
	Interval: sdk.Duration(250 * time.Millisecond), Pause: sdk.Duration(200 * time.Millisecond), Grace: sdk.Duration(400 * time.Millisecond),
	CPU:   &cpuLimit{Above: 2, For: sdk.Duration(500 * time.Millisecond)}, // low: the test machine is shared
	Treat: []string{"alert", "terminate", "kill"},                         // without renice: a reniced loop gets no CPU on such a machine
}

// patience bounds what must happen at last, also on a machine that is busy with other things.
const patience = 2 * time.Minute

// favour gives a process enough of a busy machine to be a hog all the time. One that others keep from running is none.
func favour(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, -10); err != nil {
		t.Fatal(err)
	}
	// The same among sessions, where the kernel schedules them as groups.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte("-10"), 0)
}

// busyLoop starts a shell script as a user, and waits until it calls up: its traps are set then.
func busyLoop(t *testing.T, uid uint32, script string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test starts processes of other users: run it as root")
	}
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", "up() { echo up >&3; exec 3>&-; }; "+script, "hog", "--password=hunter2")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.ExtraFiles = []*os.File{w} // it is the child's 3
	said := stderrOf(t, c)
	err = c.Start()
	_ = w.Close() // the child has its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	if line, err := io.ReadAll(r); err != nil || string(line) != "up\n" {
		_ = c.Process.Kill() // if it has not ended
		t.Fatalf("the loop did not come up: %v, %q, %v: %s", c.Wait(), line, err, said())
	}
	return c
}

// stderrOf gives a command a file for its stderr, which its children may hold open. said returns what is in it.
func stderrOf(t *testing.T, c *exec.Cmd) (said func() []byte) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	c.Stderr = f
	return func() []byte {
		b, err := os.ReadFile(f.Name())
		return append(b, fmt.Sprintf(" (stderr: %d bytes, %v)", len(b), err)...)
	}
}

// startDoctor returns an agent of a host with some users. It does not treat the test's processes as its own children.
func startDoctor(t *testing.T, c config, role string) (*agent, *told) {
	t.Helper()
	return startDoctorIn(t, c, role, t.TempDir())
}

// startDoctorIn is startDoctor with the state folder of another agent.
func startDoctorIn(t *testing.T, c config, role, state string) (*agent, *told) {
	t.Helper()
	etc := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/:/bin/sh\n" + account("hog", hogUID) + account("hog2", bombUID) + account("boss", adminUID) + account("app", serviceUID),
		"group":  "sudo:x:27:boss\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return newTellingAgent(t, c, role, etc, state)
}

func account(name string, uid uint32) string {
	return fmt.Sprintf("%s:x:%d:%d::/:/bin/sh\n", name, uid, uid)
}

// tend runs the doctor until done, or for some time. It sees these processes only.
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

func (o onlyThese) Processes(procs []sample.Usage) ([]sample.Usage, error) {
	procs, err := o.sampling.Processes(procs)
	return slices.DeleteFunc(procs, func(u sample.Usage) bool { return !slices.Contains(o.pids, u.PID) }), err
}

func ended(c *exec.Cmd) func() bool {
	return func() bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err == nil && info.Signo != 0
	}
}

func TestTerminates(t *testing.T) {
	loop := busyLoop(t, hogUID, "up; while :; do :; done")
	a, o := startDoctor(t, quick, "production")
	tend(t, a, patience, ended(loop), loop.Process.Pid)
	if !ended(loop)() {
		t.Fatalf("the loop still runs; published %v", o.kinds())
	}
	_ = loop.Wait()
	if s := loop.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGTERM {
		t.Errorf("it ended by %v, want SIGTERM", s.Signal())
	}
	tend(t, a, time.Second, func() bool { return a.policy.Patients() == 0 }, loop.Process.Pid)
	for _, want := range []string{"process.hog/alert", "process.terminated/warning", "process.hog/resolved"} {
		if !slices.Contains(o.kinds(), want) {
			t.Errorf("published %v, not %s", o.kinds(), want)
		}
	}
	e := o.find("process.terminated")
	if e == nil {
		t.Fatal("no event of the end")
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
	loop := busyLoop(t, hogUID, "up; while :; do :; done")
	c := quick
	c.Treat = []string{"alert", "renice"}
	a, o := startDoctor(t, c, "production")
	tend(t, a, patience, func() bool { return o.find("process.reniced") != nil }, loop.Process.Pid)
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, loop.Process.Pid)
	if err != nil || 20-nice != ladder.Niced { // the system call returns 20 - nice
		t.Errorf("nice %d, %v; published %v", 20-nice, err, o.kinds())
	}
}

func TestKillsWhatIgnores(t *testing.T) {
	loop := busyLoop(t, hogUID, "trap '' TERM; up; while :; do :; done")
	a, o := startDoctor(t, quick, "production")
	tend(t, a, patience, ended(loop), loop.Process.Pid)
	_ = loop.Process.Kill() // harmless when it is dead
	_ = loop.Wait()
	if !slices.Contains(o.kinds(), "process.killed/warning") {
		t.Errorf("published %v, want it killed", o.kinds())
	}
}

// TestSpares has loops of protected users, and a doctor that would kill them within a second.
func TestSpares(t *testing.T) {
	for name, test := range map[string]struct {
		uid  uint32
		c    config
		role string
		rule protect.Rule
	}{
		"root's":                  {0, quick, "production", protect.RuleRoot},
		"an administrator's":      {adminUID, quick, "production", protect.RuleAdmin},
		"a system user's":         {serviceUID, quick, "production", protect.RuleSystem},
		"an unknown user's":       {unknownUID, quick, "production", protect.RuleUnknown},
		"anyone's, on the leash":  {hogUID, config{Interval: quick.Interval, Pause: quick.Pause, CPU: quick.CPU, Treat: quick.Treat, Leash: true}, "production", ladder.RuleLeash},
		"root's, on a canary too": {0, quick, "canary", protect.RuleRoot},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loop := busyLoop(t, test.uid, "up; while :; do :; done")
			a, o := startDoctor(t, test.c, test.role)
			tend(t, a, patience, func() bool { return o.find("process.spared") != nil || ended(loop)() }, loop.Process.Pid)
			tend(t, a, 500*time.Millisecond, func() bool { return false }, loop.Process.Pid)
			if ended(loop)() {
				t.Fatalf("it was ended; published %v", o.kinds())
			}
			e := o.find("process.spared")
			if e == nil || e.Data["spared"] != string(test.rule) {
				t.Errorf("published %v, %v; want it spared by %q", o.kinds(), e, test.rule)
			}
			if !slices.Contains(o.kinds(), "process.hog/alert") {
				t.Errorf("published %v, no alert", o.kinds())
			}
			ours, _ := unix.Getpriority(unix.PRIO_PROCESS, 0) // the loop inherited it
			nice, err := unix.Getpriority(unix.PRIO_PROCESS, loop.Process.Pid)
			if err != nil || nice != ours {
				t.Errorf("its priority was changed from %d to %d, %v", ours, nice, err)
			}
		})
	}
}

// TestRehearse replays the recording of an agent with leash: without it, the agent would have acted.
func TestRehearse(t *testing.T) {
	loop := busyLoop(t, hogUID, "up; while :; do :; done")
	leashed := quick
	leashed.Leash = true
	a, o := startDoctor(t, leashed, "production")
	tend(t, a, patience, func() bool { return o.find("process.spared") != nil }, loop.Process.Pid)
	tend(t, a, 1500*time.Millisecond, func() bool { return false }, loop.Process.Pid)
	file := filepath.Join(a.info.StateDir, "samples.jsonl")
	body := "interval = \"250ms\"\ncpu {\n above = 2\n for = \"500ms\"\n}\npause = \"200ms\"\ntreat = [\"alert\", \"terminate\"]\n"
	r := sdktest.Call(t, stage, body, "rehearse", map[string]string{"file": file})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	var would []string
	for _, row := range r.Tables[0].Rows {
		if row[1] == strconv.Itoa(loop.Process.Pid) {
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
		if row[1] == strconv.Itoa(loop.Process.Pid) && row[5] == "terminate" {
			t.Errorf("would %s a protected user's process", row[5])
		}
	}
}

// TestBudgetOutlastsRestart spends the budget on one loop, and restarts the agent: a second loop is left alone.
func TestBudgetOutlastsRestart(t *testing.T) {
	c := quick
	c.Budget = &budgetConfig{Actions: 1, Per: sdk.Duration(time.Hour)}
	first := busyLoop(t, hogUID, "up; while :; do :; done")
	a, o := startDoctor(t, c, "production")
	tend(t, a, patience, ended(first), first.Process.Pid)
	if !ended(first)() {
		t.Fatalf("the first loop still runs; published %v", o.kinds())
	}
	second := busyLoop(t, hogUID, "up; while :; do :; done")
	b, o := startDoctorIn(t, c, "production", a.info.StateDir)
	tend(t, b, patience, func() bool { return o.find("doctor.budget") != nil }, second.Process.Pid)
	if e := o.find("process.spared"); ended(second)() || e == nil || e.Data["spared"] != string(ladder.RuleBudget) {
		t.Errorf("the second loop: ended %v, published %v", ended(second)(), o.kinds())
	}
	// One more agent knows that its alert is open.
	d, o := startDoctorIn(t, c, "production", a.info.StateDir)
	tend(t, d, 3*time.Second, func() bool { return o.find("process.spared") != nil }, second.Process.Pid)
	if slices.Contains(o.kinds(), "doctor.budget/alert") || !d.alerts.IsOpen(budgetKey("web-1")) {
		t.Errorf("published %v, budget alert open: %v", o.kinds(), d.alerts.IsOpen(budgetKey("web-1")))
	}
}
