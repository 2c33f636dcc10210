package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is its own helper: as a guard (Main), and as a parent that a test kills.
func TestMain(m *testing.M) {
	Main()
	if script := os.Getenv("PROC_TEST_PARENT"); script != "" {
		c := Cmd{
			Args: []string{"sh", "-c", script}, Stdout: os.Stdout,
			Guard: os.Getenv("PROC_TEST_GUARD") != "", Linger: os.Getenv("PROC_TEST_LINGER") != "",
		}
		if err := c.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		time.Sleep(time.Minute)
		return
	}
	m.Run()
}

func TestRun(t *testing.T) {
	tests := map[string]struct {
		script string
		want   string
		out    string
	}{
		"passes":     {script: "echo out; echo err >&2", out: "out\nerr\n"},
		"status":     {script: "exit 7", want: "exit status 7"},
		"signal":     {script: "kill -9 $$", want: "signal: killed"},
		"background": {script: "sleep 2 & echo on", out: "on\n"},
		"stdin":      {script: "cat", out: "in"},
	}
	for name, test := range tests {
		for _, guard := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s guard=%v", name, guard), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				t.Cleanup(cancel)
				var out bytes.Buffer
				c := Cmd{Args: []string{"sh", "-c", test.script}, Stdin: strings.NewReader("in"), Stdout: &out, Stderr: &out, Guard: guard}
				err := c.Run(ctx)
				if got := fmt.Sprint(err); got != test.want && (err != nil || test.want != "") {
					t.Errorf("error %v, want %s", err, test.want)
				}
				if out.String() != test.out {
					t.Errorf("output %q, want %q", out.String(), test.out)
				}
			})
		}
	}
	for _, guard := range []bool{false, true} {
		c := Cmd{Args: []string{"/no/such/program"}, Guard: guard}
		if err := c.Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a missing program: %v", err)
		}
	}
}

// leaks are what a command might leave: the markers are numbers of seconds that no other test uses.
func leaks(n int) (script string, marker string) {
	marker = fmt.Sprintf("%d.%d", 40000+n, os.Getpid())
	s := "sleep " + marker
	return fmt.Sprintf("%s & setsid %s & (setsid sh -c '%s & %s & wait' &) ; env -i PATH=$PATH setsid %s & echo up; wait", s, s, s, s, s), marker
}

func living(t *testing.T, marker string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if args := strings.Split(string(b), "\x00"); args[0] == "sleep" && args[1] == marker {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func eventually(t *testing.T, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// A listener that is slower than the command hears its last lines, too; what a daemon goes on to write is not
// waited for.
func TestSlowListener(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"seq 20000", "seq 20000; (while sleep 0.1; do echo x; done) &"} {
		n := 0
		c := Cmd{Args: []string{"sh", "-c", script}, Stdout: &Lines{Each: func(line string) {
			if n++; n%4000 == 0 {
				time.Sleep(500 * time.Millisecond)
			}
		}}}
		start := time.Now()
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); n < 20000 || n > 20100 || took > 10*time.Second {
			t.Errorf("%s: %d lines in %s", script, n, took)
		}
	}
}

func TestCancelEndsTree(t *testing.T) {
	for i, guard := range []bool{false, true} {
		t.Run(fmt.Sprintf("guard=%v", guard), func(t *testing.T) {
			script, marker := leaks(10 + i)
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("enough")
			done := make(chan error, 1)
			go func() {
				done <- (&Cmd{Args: []string{"sh", "-c", "trap '' TERM; " + script}, Guard: guard, Grace: 200 * time.Millisecond}).Run(ctx)
			}()
			eventually(t, 5*time.Second, "five processes", func() bool { return len(living(t, marker)) == 5 })
			start := time.Now()
			cancel(why)
			if err := <-done; !errors.Is(err, why) {
				t.Errorf("error %v, want the cause", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("cancelling took %s", took)
			}
			if pids := living(t, marker); len(pids) > 0 {
				t.Errorf("left alive: %v", pids)
			}
		})
	}
}

// start runs this binary as a parent of a script.
func start(t *testing.T, script string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), "PROC_TEST_PARENT="+script), env...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestKilledParentLeavesNothing(t *testing.T) {
	script, marker := leaks(1)
	parent := start(t, "trap '' INT TERM; "+script, "PROC_TEST_GUARD=1")
	eventually(t, 5*time.Second, "five processes", func() bool { return len(living(t, marker)) == 5 })
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "everything ends", func() bool { return len(living(t, marker)) == 0 })
}

func TestKilledParentWithoutGuard(t *testing.T) {
	marker := fmt.Sprintf("40002.%d", os.Getpid())
	parent := start(t, "exec sleep "+marker)
	eventually(t, 5*time.Second, "the command", func() bool { return len(living(t, marker)) == 1 })
	_ = parent.Process.Kill()
	eventually(t, time.Second, "the command ends", func() bool { return len(living(t, marker)) == 0 })
}

func TestLinger(t *testing.T) {
	marker := fmt.Sprintf("40003.%d", os.Getpid())
	parent := start(t, "setsid sleep "+marker+" & sleep 0.1", "PROC_TEST_GUARD=1", "PROC_TEST_LINGER=1")
	eventually(t, 5*time.Second, "the daemon", func() bool { return len(living(t, marker)) == 1 })
	time.Sleep(500 * time.Millisecond)
	if len(living(t, marker)) != 1 {
		t.Fatal("the daemon ended with its command")
	}
	_ = parent.Process.Kill()
	eventually(t, 5*time.Second, "the daemon ends with the parent", func() bool { return len(living(t, marker)) == 0 })
}

func TestGuard(t *testing.T) {
	exe, env, err := Guard("/bin/sh", 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	marker := fmt.Sprintf("40004.%d", os.Getpid())
	run := func(script string) *exec.Cmd {
		cmd := exec.Command(exe, "-c", script)
		cmd.Env = append(os.Environ(), env)
		return cmd
	}
	out, err := run("setsid sleep " + marker + " >/dev/null 2>&1 & echo $TROOP_GUARD; exit 3").Output()
	if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != 3 || string(out) != "\n" {
		t.Errorf("output %q, error %v; want an empty line and status 3", out, err)
	}
	if len(living(t, marker)) != 0 {
		t.Error("the daemon lives on")
	}

	cmd := run("trap 'exit 9' INT; sleep " + marker + " & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the program", func() bool { return len(living(t, marker)) == 1 })
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err == nil || err.Error() != "exit status 9" {
		t.Errorf("interrupted: %v, want status 9", err)
	}
	if len(living(t, marker)) != 0 {
		t.Error("the interrupted program's child lives on")
	}
}

func TestEndByMark(t *testing.T) {
	mark, env := Mark()
	marker := fmt.Sprintf("40005.%d", os.Getpid())
	cmd := exec.Command("setsid", "sh", "-c", "sleep "+marker+" & sleep "+marker+" & exit 0")
	cmd.Env = append(os.Environ(), env)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "both", func() bool { return len(living(t, marker)) == 2 })
	End(Tree{Mark: mark[:len(mark)-1]}, syscall.SIGKILL, 0)
	if len(living(t, marker)) != 2 {
		t.Error("a part of a mark ended the tree of another")
	}
	End(Tree{Mark: mark}, syscall.SIGTERM, time.Second)
	if len(living(t, marker)) != 0 {
		t.Error("the marked processes live on")
	}
}

func TestLines(t *testing.T) {
	tests := map[string]struct {
		writes []string
		want   []string
	}{
		"parts":   {[]string{"a", "b\nc\r\n", "d"}, []string{"ab", "c", "d"}},
		"empty":   {[]string{"\n\n"}, []string{"", ""}},
		"long":    {[]string{"12345", "678\nx\n"}, []string{"1234… (4 bytes more)", "x"}},
		"invalid": {[]string{"\xff\n"}, []string{"\uFFFD"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			l := Lines{Max: 4, Each: func(line string) { got = append(got, line) }}
			for _, w := range test.writes {
				if n, err := l.Write([]byte(w)); n != len(w) || err != nil {
					t.Errorf("write: %d, %v", n, err)
				}
			}
			l.Flush()
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
