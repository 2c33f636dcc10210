package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// together is quick with a limit that no single process of a swarm reaches.
var together = config{
	Interval: sdk.Duration(250 * time.Millisecond), Pause: sdk.Duration(250 * time.Millisecond), Grace: sdk.Duration(time.Second),
	CPU:   &cpuLimit{Above: 40, For: sdk.Duration(1500 * time.Millisecond)},
	Treat: []string{"alert", "terminate", "kill"},
}

// onlyUser is a sampler that sees the processes of one user.
type onlyUser struct {
	sampling
	uid uint32
}

func (o onlyUser) Processes(procs []sample.Usage) ([]sample.Usage, error) {
	procs, err := o.sampling.Processes(procs)
	return slices.DeleteFunc(procs, func(u sample.Usage) bool { return u.Owner.UID != o.uid }), err
}

// swarm starts a script as a user, in a session of its own, and waits until it has so many processes, or its first one
// has waited for children that burned. What is left of it ends with the test.
func swarm(t *testing.T, uid uint32, processes int, shell, script string) *exec.Cmd {
	t.Helper()
	if shell == "/bin/sh" {
		script = "ulimit -t 100; " + script // should this test be killed, nothing burns for long
	}
	c := exec.CommandContext(t.Context(), shell, "-c", script)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Setsid: true, Pdeathsig: syscall.SIGKILL}
	said := stderrOf(t, c)
	before := len(living(t, uid))
	// On a busy machine it must get enough to be a hog. A child inherits the priority of the thread that starts it.
	runtime.LockOSThread()
	ours, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, -10)
	}
	if err == nil {
		err = c.Start()
	}
	err = errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, 0, 20-ours))
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	// The same among sessions, where the kernel schedules them as groups.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", c.Process.Pid), []byte("-10"), 0)
	t.Cleanup(func() {
		for range 50 { // a fork bomb needs several rounds
			list := living(t, uid)
			for _, id := range list {
				_ = unix.Kill(id.PID, unix.SIGSTOP)
			}
			for _, id := range living(t, uid) {
				_ = unix.Kill(id.PID, unix.SIGKILL)
			}
			if len(list) == 0 {
				break
			}
		}
		_ = c.Wait()
	})
	for deadline := time.Now().Add(time.Minute); len(living(t, uid))-before < processes; time.Sleep(5 * time.Millisecond) {
		if st, err := process.ReadStat(fmt.Sprintf("/proc/%d", c.Process.Pid)); err == nil && st.Children > 0 && !ended(c)() {
			break
		}
		if !ended(c)() && time.Now().Before(deadline) {
			continue
		}
		left := commands(living(t, uid))
		_ = c.Process.Kill() // if it has not ended
		t.Fatalf("the swarm did not come up: want %d processes beside %d, got %v; the first: %v, %s", processes, before, left, c.Wait(), said())
	}
	return c
}

// hurry gives this test more than the swarm, which was favoured: the doctor has a share of its own on a host.
func hurry(t *testing.T) {
	t.Helper()
	set := func(nice int) {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if tid, err := strconv.Atoi(task.Name()); err == nil {
				_ = unix.Setpriority(unix.PRIO_PROCESS, tid, nice) // or the thread has ended
			}
		}
	}
	ours, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	set(-15)
	t.Cleanup(func() { set(20 - ours) })
}

// living lists the processes of a user that are no zombies.
func living(t *testing.T, uid uint32) []process.Ident {
	t.Helper()
	s := sample.NewSampler("/proc")
	defer s.Close()
	procs, err := s.Processes(nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []process.Ident
	for _, u := range procs {
		if u.Owner.UID != uid {
			continue
		}
		if h, err := process.Hold("/proc", u.Ident); err == nil {
			if h.Alive() {
				list = append(list, u.Ident)
			}
			_ = h.Close()
		}
	}
	return list
}

func commands(list []process.Ident) []string {
	var all []string
	for _, id := range list {
		f, err := process.Read("/proc", id)
		all = append(all, fmt.Sprintf("%d %s %s %v", id.PID, f.State, process.CommandLine("/proc", f), err))
	}
	return all
}

// one keeps a script on one processor. There, each of six gets a sixth of it: on two, one of them may get more than the limit
// for a while. Short lives are longer there, and there is no moment without some.
const one = "taskset -pc $(taskset -pc $$ | sed 's/.*: //; s/[-,].*//') $$ > /dev/null; "

const burn = "n=0; while [ $n -lt 30000 ]; do n=$((n+1)); done;"

// sessions is a program that starts another all the time, each copy in a session of its own and without a parent.
const sessions = "import os, signal, sys, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n if os.fork() == 0:\n  os.setsid()\n" +
	"  if os.fork() == 0: os.execv(\"/bin/sh\", [\"sh\", \"-c\", sys.argv[1]])\n  os._exit(0)\n time.sleep(0.05)\n"

// TestSwarms has swarms of a user, of which no process is a hog. Each ends, as one patient.
func TestSwarms(t *testing.T) {
	const bomb = "import os, resource, time\nend = time.time() + 120\nresource.setrlimit(resource.RLIMIT_NPROC, (60, 60))\nwhile time.time() < end:\n try: os.fork()\n except OSError: pass\n"
	for name, test := range map[string]struct {
		uid           uint32
		processes     int // when it is up
		shell, script string
	}{
		"short-lived children":            {hogUID, 2, "/bin/sh", "while :; do sh -c '" + burn + "'; done"},
		"the same, and nobody waits long": {hogUID, 2, "/bin/sh", "while :; do (sh -c '" + burn + burn + "' &); sleep 0.05; done"},
		"the same, on one processor":      {hogUID, 2, "/bin/sh", one + "while :; do (sh -c '" + burn + burn + "' &); sleep 0.05; done"},
		"in sessions of their own":        {hogUID, 2, "/bin/sh", one + "exec python3 -c '" + sessions + "' '" + strings.Repeat(burn, 4) + "'"},
		"a parent that uses little":       {hogUID, 2, "/bin/sh", "while :; do (sh -c '" + strings.Repeat(burn, 12) + "' &); sleep 0.5; done"},
		"six spinners":                    {hogUID, 7, "/bin/sh", one + "for i in 1 2 3 4 5 6; do sh -c 'while :; do :; done' & done; wait"},
		"six spinners that ignore TERM":   {hogUID, 7, "/bin/sh", one + "trap '' TERM; for i in 1 2 3 4 5 6; do sh -c 'while :; do :; done' & done; wait"},
		"fourteen spinners":               {hogUID, 15, "/bin/sh", one + "for i in $(seq 14); do sh -c 'while :; do :; done' & done; wait"},
		"a fork bomb of 60 processes":     {bombUID, 50, "/usr/bin/python3", bomb},
	} {
		t.Run(name, func(t *testing.T) {
			swarm(t, test.uid, test.processes, test.shell, test.script)
			hurry(t)
			a, o := startDoctor(t, together, "production")
			all := a.sampler
			a.sampler = onlyUser{all, test.uid}
			var left []process.Ident
			ended := func() bool {
				left = living(t, test.uid)
				return len(left) == 0
			}
			for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !ended(); time.Sleep(a.interval) {
				if err := a.Tick(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if len(left) > 0 {
				t.Fatalf("%d processes are left: %v; published %v", len(left), commands(left), o.kinds())
			}
			e := o.find("process.hog")
			if e == nil || e.Data["touchable"] == nil {
				t.Fatalf("published %v, want an alert of the user", o.kinds())
			}
			for _, other := range o.events { // on a busy machine it may be calm in between
				if other.Kind == "process.hog" && other.Key != e.Key {
					t.Errorf("an alert of %s beside that of %s", other.Key, e.Key)
				}
			}
			if !strings.Contains(e.Summary, "the processes of hog") || len(e.Data["members"].([]string)) == 0 || e.Data["cpu"] == "" {
				t.Errorf("alert %q, %v", e.Summary, e.Data)
			}
			steps := 0
			for _, k := range o.kinds() {
				if k == "process.terminated/warning" || k == "process.killed/warning" {
					steps++
				}
			}
			if n := len(a.policy.Memory().Spent); n != steps {
				t.Errorf("%d actions of the budget for %d steps", n, steps)
			}
		})
	}
}

// TestSwarmSpares has swarms of protected users, and an idle process beside one that may be ended: they live on.
func TestSwarmSpares(t *testing.T) {
	for name, uid := range map[string]uint32{"an administrator's": adminUID, "a system user's": serviceUID, "an unknown user's": unknownUID} {
		t.Run(name, func(t *testing.T) {
			first := swarm(t, uid, 2, "/bin/sh", "while :; do sh -c 'n=0; while [ $n -lt 30000 ]; do n=$((n+1)); done'; done")
			a, o := startDoctor(t, together, "production")
			a.sampler = onlyUser{a.sampler, uid}
			burned := func() time.Duration {
				st, err := process.ReadStat(fmt.Sprintf("/proc/%d", first.Process.Pid))
				if err != nil {
					t.Fatalf("the swarm: %v; published %v", err, o.kinds())
				}
				return st.Children
			}
			// An ordinary user's would have been treated for that.
			for from, deadline := burned(), time.Now().Add(time.Minute); burned()-from < 2500*time.Millisecond; time.Sleep(a.interval) {
				if time.Now().After(deadline) {
					t.Fatalf("the swarm burned %s only", burned()-from)
				}
				if err := a.Tick(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if got := o.kinds(); slices.Contains(got, "process.terminated/warning") || slices.Contains(got, "process.killed/warning") || len(living(t, uid)) == 0 {
				t.Errorf("published %v", got)
			}
		})
	}
	idle := swarm(t, hogUID, 2, "/bin/sh", "sleep 600; :")
	swarm(t, hogUID, 2, "/bin/sh", "while :; do sh -c 'n=0; while [ $n -lt 30000 ]; do n=$((n+1)); done'; done")
	a, o := startDoctor(t, together, "production")
	a.sampler = onlyUser{a.sampler, hogUID}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && (o.find("process.terminated") == nil || len(living(t, hogUID)) > 2); time.Sleep(a.interval) {
		if err := a.Tick(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if ended(idle)() || len(living(t, hogUID)) != 2 { // the idle shell and its sleep
		t.Errorf("the idle process ended: %v; left %v; published %v", ended(idle)(), living(t, hogUID), o.kinds())
	}
}

// TestBystander has swarms whose processes are seen for a moment only, and a program of the same user that uses little: it
// lives on.
func TestBystander(t *testing.T) {
	for name, script := range map[string]string{
		"of a script":     "while :; do (sh -c '" + burn + burn + "' &); sleep 0.05; done",
		"of no one known": "exec python3 -c '" + sessions + "' '" + burn + burn + "'",
	} {
		t.Run(name, func(t *testing.T) {
			other := swarm(t, hogUID, 1, "/bin/sh", little)
			swarm(t, hogUID, 2, "/bin/sh", script)
			hurry(t)
			a, o := startDoctor(t, together, "production")
			a.sampler = onlyUser{a.sampler, hogUID}
			var left []process.Ident
			for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(a.interval) {
				if err := a.Tick(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
				if left = living(t, hogUID); len(left) <= 1 {
					break
				}
			}
			if len(left) != 1 || left[0].PID != other.Process.Pid {
				t.Errorf("left %v; published %v", commands(left), o.kinds())
			}
		})
	}
}

// little is a program that uses some per cent of a core.
const little = "exec python3 -c 'import time\nwhile True:\n t = time.time() + 0.02\n while time.time() < t: pass\n time.sleep(0.2)'"

// TestTrace has a swarm whose processes do not show who starts them, and another program of the user that uses more than that
// one: it is not taken for it, and is not left stopped.
func TestTrace(t *testing.T) {
	other := swarm(t, hogUID, 1, "/bin/sh", little)
	source := swarm(t, hogUID, 2, "/bin/sh", one+"exec python3 -c '"+sessions+"' '"+burn+"'")
	hurry(t)
	c := together
	c.Treat = []string{"alert"}
	a, _ := startDoctor(t, c, "production")
	a.sampler = onlyUser{a.sampler, hogUID}
	ran := func(pid int) bool {
		return slices.ContainsFunc(a.ledger.Ran(hogUID), func(m sample.Member) bool { return m.PID == pid })
	}
	var targets []target
	for deadline := time.Now().Add(patience); ; time.Sleep(a.interval) {
		if time.Now().After(deadline) {
			t.Fatalf("the ledger has %v", a.ledger.Ran(hogUID))
		}
		if err := a.Tick(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		members := slices.DeleteFunc(a.ledger.Ran(hogUID), func(m sample.Member) bool { return m.PID == other.Process.Pid || m.PID == source.Process.Pid })
		if targets, _ = a.aim(members); len(targets) > 0 && ran(other.Process.Pid) && ran(source.Process.Pid) {
			break
		}
		release(targets)
	}
	targets, err := a.sweep(hogUID, targets, unix.SIGSTOP, false)
	if err == nil {
		targets = a.trace(hogUID, targets)
	}
	defer release(targets)
	aimed := func(pid int) bool {
		return slices.ContainsFunc(targets, func(t target) bool { return t.ID.PID == pid })
	}
	if err != nil || !aimed(source.Process.Pid) || aimed(other.Process.Pid) {
		t.Errorf("the source is found: %v; the other is taken for it: %v; %v", aimed(source.Process.Pid), aimed(other.Process.Pid), err)
	}
	st, err := process.ReadStat(fmt.Sprintf("/proc/%d", other.Process.Pid))
	if err != nil || st.State == 'T' || len(a.policy.Memory().Limited) > 0 {
		t.Errorf("state %c, %v; noted as stopped: %v", st.State, err, a.policy.Memory().Limited)
	}
}

// TestPretends has a process that ignores SIGTERM, sleeps when it gets one, and goes on. It is killed. (That its alert
// stays open until then is package ladder's TestCalmPhase: here, the machine may give it too little to be a hog.)
func TestPretends(t *testing.T) {
	loop := busyLoop(t, hogUID, "trap 'sleep 2' TERM; up; while :; do :; done")
	c := together
	c.Grace = sdk.Duration(500 * time.Millisecond)
	c.Treat = []string{"alert", "renice", "terminate", "kill"}
	a, o := startDoctor(t, c, "production")
	tend(t, a, patience, ended(loop), loop.Process.Pid)
	if !ended(loop)() {
		t.Fatalf("it still runs; published %v", o.kinds())
	}
	if got := o.kinds(); !slices.Contains(got, "process.killed/warning") {
		t.Errorf("published %v, want it killed", got)
	}
}

// TestNiceBack renices a process that is calm then: it has its old priority again.
func TestNiceBack(t *testing.T) {
	loop := busyLoop(t, hogUID, "up; while [ ! -e "+t.TempDir()+"/none ] && [ $((n=n+1)) -lt 4000000 ]; do :; done; exec sleep 600")
	before, err := unix.Getpriority(unix.PRIO_PROCESS, loop.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	c := together
	c.Treat = []string{"alert", "renice"}
	a, o := startDoctor(t, c, "production")
	tend(t, a, patience, func() bool { return o.find("process.reniced") != nil }, loop.Process.Pid)
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, loop.Process.Pid); err != nil || 20-nice != ladder.Niced {
		t.Fatalf("nice %d, %v; published %v", 20-nice, err, o.kinds())
	}
	tend(t, a, patience, func() bool { return slices.Contains(o.kinds(), "process.hog/resolved") }, loop.Process.Pid)
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, loop.Process.Pid)
	if err != nil || nice != before {
		t.Errorf("nice %d after it was calm, want %d; published %v", 20-nice, 20-before, o.kinds())
	}
}
