package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

var limited = config{
	Interval: sdk.Duration(250 * time.Millisecond), Pause: sdk.Duration(250 * time.Millisecond), Grace: sdk.Duration(time.Second),
	CPU:   &cpuLimit{Above: 40, For: sdk.Duration(time.Second)},
	Treat: []string{"alert", "limit", "terminate", "kill"},
}

// used is the CPU time of a user's processes, and of their ended children.
func used(t *testing.T, uid uint32) (sum time.Duration) {
	t.Helper()
	for _, id := range living(t, uid) {
		if st, err := process.ReadStat(fmt.Sprintf("/proc/%d", id.PID)); err == nil {
			sum += st.CPU + st.Children
		}
	}
	return sum
}

// TestLimits has hogs that are limited: they are held to a quarter of the limit for as long as they want more, are
// not ended, and go on without a limit when they are calm.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // others look there
		t.Fatal(err)
	}
	calm := filepath.Join(dir, "calm")
	for name, script := range map[string]string{
		"a process":            "while [ ! -e " + calm + " ]; do :; done; exec sleep 600",
		"six spinners":         "for i in 1 2 3 4 5 6; do sh -c 'while [ ! -e " + calm + " ]; do :; done; exec sleep 600' & done; wait",
		"short-lived children": "while [ ! -e " + calm + " ]; do sh -c 'n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done'; done; exec sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(calm)
			first := swarm(t, hogUID, 1, "/bin/sh", script)
			a, o := startDoctor(t, limited, "production")
			a.sampler = onlyUser{a.sampler, hogUID}
			until := func(what string, done func() bool) {
				t.Helper()
				for deadline := time.Now().Add(patience); !done(); time.Sleep(a.interval) {
					if time.Now().After(deadline) {
						t.Fatalf("not %s; published %v; left %v", what, o.kinds(), commands(living(t, hogUID)))
					}
					if err := a.Tick(t.Context(), time.Now()); err != nil {
						t.Fatal(err)
					}
				}
			}
			until("limited", func() bool { return o.find("process.limited") != nil })
			for _, id := range living(t, hogUID) { // it has shown what it uses: now the machine is others' as well
				_ = unix.Setpriority(unix.PRIO_PROCESS, id.PID, 0)
			}
			_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", first.Process.Pid), []byte("0"), 0)
			until("settled", after(time.Second))
			begin, before := time.Now(), used(t, hogUID)
			until("measured", after(4*time.Second))
			percent := 100 * (used(t, hogUID) - before).Seconds() / time.Since(begin).Seconds()
			t.Logf("%.1f %% of one core", percent)
			if percent > 20 {
				t.Errorf("used %.1f %% of one core, want 10", percent)
			}
			if ended(first)() || slices.Contains(o.kinds(), "process.terminated/warning") {
				for _, e := range o.events {
					t.Logf("%s %s %v", e.Kind, e.Summary, e.Data["affected"])
				}
				t.Fatalf("ended: %v; published %v", ended(first)(), o.kinds())
			}
			if err := os.WriteFile(calm, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			until("free", func() bool { return a.policy.Patients() == 0 })
			if !slices.ContainsFunc(o.events, func(e sdk.Event) bool { return strings.Contains(e.Summary, "without a limit from now on") }) {
				t.Errorf("published %v", o.events)
			}
			for _, id := range living(t, hogUID) {
				if f, err := process.Read("/proc", id); err == nil && f.State == "T" {
					t.Errorf("process %d is stopped", id.PID)
				}
			}
			if len(a.quotas) > 0 || len(a.policy.Memory().Limited) > 0 {
				t.Errorf("quotas %v, noted %v", a.quotas, a.policy.Memory().Limited)
			}
		})
	}
}

// after is true once some time has passed.
func after(d time.Duration) func() bool {
	at := time.Now().Add(d)
	return func() bool { return time.Now().After(at) }
}

// TestLimitDoesNotHelp has a hog whose helper lets it go on whenever it is stopped: it is terminated.
func TestLimitDoesNotHelp(t *testing.T) {
	first := swarm(t, hogUID, 2, "/bin/sh", "me=$$; (while :; do kill -CONT $me; sleep 0.002; done) & while :; do :; done")
	a, o := startDoctor(t, limited, "production")
	a.sampler = onlyUser{a.sampler, hogUID}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !ended(first)(); time.Sleep(a.interval) {
		if err := a.Tick(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if !ended(first)() || o.find("process.limited") == nil {
		t.Errorf("ended: %v; published %v", ended(first)(), o.kinds())
	}
}

// TestLimitEndsWithAgent limits a process. When the agent ends, or is killed with its guard, the process goes on.
func TestLimitEndsWithAgent(t *testing.T) {
	stopped := func(pid int) bool {
		st, err := process.ReadStat(fmt.Sprintf("/proc/%d", pid))
		if err != nil {
			t.Fatal(err)
		}
		return st.State == 'T'
	}
	hold := func(pid int) *quota {
		st, err := process.ReadStat(fmt.Sprintf("/proc/%d", pid))
		if err != nil {
			t.Fatal(err)
		}
		h, err := process.Hold("/proc", process.Ident{PID: pid, Start: st.Start})
		if err != nil {
			t.Fatal(err)
		}
		q, err := newQuota(t.Context(), "/proc", 0.001, []*process.Handle{h})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not " + what)
			}
		}
	}
	loop := busyLoop(t, hogUID, "up; while :; do :; done")
	pid := loop.Process.Pid
	q := hold(pid)
	wait("stopped", func() bool { return stopped(pid) })
	q.Close()
	q.Close()
	wait("let go on", func() bool { return !stopped(pid) })

	q = hold(pid)
	wait("stopped", func() bool { return stopped(pid) })
	close(q.stop) // as if the agent were dead
	<-q.done
	_ = unix.Kill(pid, unix.SIGSTOP)
	_ = q.guard.in.Close()
	wait("let go on by the guard", func() bool { return !stopped(pid) })
	_ = q.guard.wait()

	a, _ := startDoctor(t, limited, "production")
	for _, id := range living(t, hogUID) {
		if id.PID == pid {
			a.policy.Limited([]process.Ident{id})
		}
	}
	a.keepMemory()
	_ = unix.Kill(pid, unix.SIGSTOP)
	wait("stopped", func() bool { return stopped(pid) })
	startDoctorIn(t, limited, "production", a.info.StateDir)
	wait("let go on by the next agent", func() bool { return !stopped(pid) })
}
