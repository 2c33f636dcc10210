package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// statLine is a line of /proc/PID/stat with the fields that the doctor reads.
func statLine(pid int, comm string, ppid, session, tty int, flags, utime, stime uint64, nice int, start uint64, pages int) string {
	return fmt.Sprintf("%d (%s) R %d %d %d %d -1 %d 1 2 3 4 %d %d 7 8 20 %d 1 0 %d 4096 %d 18446744073709551615 0 0\n",
		pid, comm, ppid, pid, session, tty, flags, utime, stime, nice, start, pages)
}

func TestParseStat(t *testing.T) {
	line := statLine(42, "a) R 7 (b", 7, 41, 34816, 0x400000, 150, 50, -5, 991, 10)
	got, err := ParseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	want := Stat{Comm: "a) R 7 (b", State: 'R', PPID: 7, Session: 41, Group: 42, TTY: 34816, Flags: 0x400000, CPU: 2 * time.Second, Children: 150 * time.Millisecond, Start: 991, Pages: 10, Nice: -5}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "42", "42 (x", "42 (x)", "42 (x) R 1 2 3"} {
		if _, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("ParseStat(%q) reported no error", bad)
		}
	}
}

func TestUnitOf(t *testing.T) {
	for cgroup, want := range map[string]string{
		"/system.slice/ssh.service":                                       "ssh.service",
		"/system.slice/system-shop.slice/shop@a.service":                  "shop@a.service",
		"/user.slice/user-1000.slice/session-3.scope":                     "session-3.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope": "user@1000.service",
		"/init.scope":  "init.scope",
		"/":            "",
		"/docker/0123": "",
		"/../../system.slice/troop-agent@x.service": "troop-agent@x.service",
	} {
		if got := UnitOf(cgroup); got != want {
			t.Errorf("UnitOf(%q) = %q, want %q", cgroup, got, want)
		}
	}
}

func TestOfAgent(t *testing.T) {
	for cgroup, want := range map[string]bool{
		"/troop.slice/troop-agent@doctor-hosts.service":                                   true,
		"/system.slice/system-troop\\x2dagent.slice/troop-agent@doctor-hosts.service":     true,
		"/../../troop.slice/troop-agent@doctor-hosts.service":                             true,
		"/system.slice/shop@a.service":                                                    false,
		"/user.slice/user-1000.slice/troop-agent@x.scope":                                 false,
		"/user.slice/user-1000.slice/user@1000.service/troop.slice/troop-agent@x.service": false,
		"/machine.slice/../user.slice/user-1000.slice/troop-agent@x.scope":                false,
		"/": false,
	} {
		if got := OfAgent(cgroup); got != want {
			t.Errorf("OfAgent(%q) = %v", cgroup, got)
		}
	}
}

func TestRedact(t *testing.T) {
	for name, test := range map[string]struct{ args, want []string }{
		"nothing":      {[]string{"node", "start.js", "--port", "3000"}, []string{"node", "start.js", "--port", "3000"}},
		"flag=value":   {[]string{"x", "--password=hunter2"}, []string{"x", "--password=***"}},
		"flag value":   {[]string{"x", "--db-password", "hunter2", "y"}, []string{"x", "--db-password", "***", "y"}},
		"flag flag":    {[]string{"x", "--token", "--verbose"}, []string{"x", "--token", "--verbose"}},
		"environment":  {[]string{"env", "API_KEY=abc", "run"}, []string{"env", "API_KEY=***", "run"}},
		"in a script":  {[]string{"sh", "-c", "PGPASSWORD=abc psql"}, []string{"sh", "-c", "PGPASSWORD=***"}},
		"URL":          {[]string{"x", "redis://:s3cret@10.0.0.1:6379"}, []string{"x", "redis://:***@10.0.0.1:6379"}},
		"header":       {[]string{"curl", "-H", "Authorization: Bearer abc"}, []string{"curl", "-H", "Authorization:***"}},
		"bearer alone": {[]string{"x", "Bearer abc"}, []string{"x", "Bearer ***"}},
		"mysql":        {[]string{"/usr/bin/mysqldump", "-pabc"}, []string{"/usr/bin/mysqldump", "-p***"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := redact(test.args)
			for i := range test.want {
				if i >= len(got) || got[i] != test.want[i] {
					t.Fatalf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}

// TestHoldReusedPID holds a process that ends and whose pid goes to another one: a signal reaches neither.
func TestHoldReusedPID(t *testing.T) {
	c := exec.CommandContext(t.Context(), "sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	st, err := ReadStat(filepath.Join("/proc", strconv.Itoa(c.Process.Pid)))
	if err != nil {
		t.Fatal(err)
	}
	id := Ident{c.Process.Pid, st.Start}
	h, err := Hold("/proc", id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if !h.Alive() {
		t.Error("a living process is not alive")
	}
	if _, err := Hold("/proc", Ident{c.Process.Pid, st.Start - 1}); err == nil {
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
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(id.PID-1)), 0); err != nil {
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
	if _, err := Hold("/proc", id); err == nil {
		t.Error("a reused pid was held for the process that had it")
	}
	if _, err := Read("/proc", id); err == nil {
		t.Error("a reused pid was examined for the process that had it")
	}
	if err := second.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the second process: %v", err)
	}
}
