package sample

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSamplerReusedPID gives a pid to a second process: it is seen with its own start time.
func TestSamplerReusedPID(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "42")
	write := func(start uint64) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "stat"), fmt.Appendf(nil, "42 (x) R 1 42 42 0 -1 0 1 2 3 4 100 0 7 8 20 0 1 0 %d 4096 1 0\n", start), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := NewSampler(root)
	t.Cleanup(s.Close)
	write(10)
	first, err := s.Processes(nil)
	if err != nil || len(first) != 1 {
		t.Fatalf("got %v, %v", first, err)
	}
	_ = unix.Close(s.held[42].fd) // reading it is an error from now on, as for a process that ended
	write(20)
	second, err := s.Processes(nil)
	if err != nil || len(second) != 1 {
		t.Fatalf("got %v, %v", second, err)
	}
	if first[0].Start != 10 || second[0].Start != 20 {
		t.Errorf("start times %d, %d, want 10, 20", first[0].Start, second[0].Start)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(s.held[42].fd)
	if third, err := s.Processes(nil); err != nil || len(third) != 0 || len(s.held) != 0 {
		t.Errorf("after its end: %v, %v, %d files held", third, err, len(s.held))
	}
}

func TestSamplerReadsThisProcess(t *testing.T) {
	s := NewSampler("/proc")
	t.Cleanup(s.Close)
	for deadline := time.Now().Add(50 * time.Millisecond); time.Now().Before(deadline); {
		runtime.KeepAlive(fmt.Sprint(deadline))
	}
	procs, err := s.Processes(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if p.PID != os.Getpid() {
			continue
		}
		if p.CPU < 10*time.Millisecond || p.RSS < 1<<20 || p.Start == 0 || p.Kernel {
			t.Errorf("implausible: %+v", p)
		}
		return
	}
	t.Errorf("process %d is not among %d", os.Getpid(), len(procs))
}
