package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes this binary the hog of TestDeadMainThread, when that test asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("PROCESS_TEST_HEADLESS") == "" {
		m.Run()
		return
	}
	spin := func() {
		for n := 0; ; n++ {
			runtime.KeepAlive(n)
		}
	}
	go spin()
	for { // only the main thread has the process's id; locked, each goroutine has a thread of its own
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == os.Getpid() {
				_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
			}
			select {}
		}()
		runtime.Gosched()
		if unix.Gettid() == os.Getpid() {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestDeadMainThread has a process whose main thread has ended while another one spins. /proc shows it as a zombie
// without a program; it is examined, held and killed like any other.
func TestDeadMainThread(t *testing.T) {
	c := exec.CommandContext(t.Context(), "/proc/self/exe", "an-argument")
	c.Env = append(os.Environ(), "PROCESS_TEST_HEADLESS=1")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	dir := filepath.Join("/proc", strconv.Itoa(c.Process.Pid))
	var st Stat
	for deadline := time.Now().Add(20 * time.Second); st.State != 'Z'; time.Sleep(5 * time.Millisecond) {
		var err error
		if st, err = ReadStat(dir); err != nil || time.Now().After(deadline) {
			t.Fatalf("state %c: %v", st.State, err)
		}
	}
	id := Ident{PID: c.Process.Pid, Start: st.Start}
	f, err := Read("/proc", id)
	if err != nil {
		t.Fatal(err)
	}
	if me, _ := os.Executable(); f.Executable != me || len(f.UIDs) != 4 {
		t.Errorf("facts %+v", f)
	}
	if line := CommandLine("/proc", f); !strings.HasSuffix(line, " an-argument") {
		t.Errorf("command line %q", line)
	}
	if _, err := NewDemandReader("/proc").Read(id); err != nil {
		t.Errorf("demand: %v", err)
	}
	h, err := Hold("/proc", id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if !h.Alive() {
		t.Error("a process with a living thread is not alive")
	}
	if err := h.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(20 * time.Second); h.Alive() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if h.Alive() {
		t.Error("it lives on")
	}
}

// TestDeepChain has a process below 200 parents: it can be examined all the same.
func TestDeepChain(t *testing.T) {
	root := t.TempDir()
	for pid := 1; pid <= 200; pid++ {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		line := statLine(pid, "x", pid-1, 1, 0, 0, 1, 1, 0, uint64(pid), 1)
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/bin/sh", filepath.Join(dir, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	chain, err := Chain(root, 200)
	if err != nil || len(chain) != 200 || chain[199].PID != 1 {
		t.Fatalf("%d parents, %v", len(chain), err)
	}
	if got := fmt.Sprint(chain[0]); got != "200 /bin/sh" || !chain[0].RootOwned {
		t.Errorf("the first is %s, root's: %v", got, chain[0].RootOwned)
	}
}
