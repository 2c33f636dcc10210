package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
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
	got, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	want := stat{comm: "a) R 7 (b", state: 'R', ppid: 7, session: 41, tty: 34816, flags: 0x400000, ticks: 200, start: 991, pages: 10, nice: -5}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "42", "42 (x", "42 (x)", "42 (x) R 1 2 3"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) reported no error", bad)
		}
	}
}

// TestSamplerReusedPID gives a pid to a second process, as the kernel does: the first one's open file answers
// no more, and the second is seen with its own start time.
func TestSamplerReusedPID(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "42")
	write := func(start uint64) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(statLine(42, "x", 1, 42, 0, 0, 100, 0, 0, start, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSampler(root)
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
	s := newSampler("/proc")
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

// BenchmarkTick500 is one sample of a host with 500 processes, all of the agent's work on a quiet host
// included. The budget is 0.5 % of one core at one sample a second: 5 ms.
func BenchmarkTick500(b *testing.B) {
	a := newTestAgent(b, config{}, "production")
	procs, err := a.sampler.Processes(nil)
	if err != nil {
		b.Fatal(err)
	}
	for range 500 - len(procs) { // kernel threads count: the first sample has them all
		c := exec.CommandContext(b.Context(), "sleep", "600")
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	}
	now := time.Now()
	var before, after unix.Rusage
	var used, worst time.Duration
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
		if err := a.Tick(b.Context(), now); err != nil {
			b.Fatal(err)
		}
		_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
		d := cpuTime(after) - cpuTime(before)
		used += d
		worst = max(worst, d)
	}
	b.ReportMetric(100*used.Seconds()/float64(b.N), "%core")
	b.ReportMetric(float64(len(a.procs)), "processes")
	b.ReportMetric(peakMiB(b), "MiB-peak")
}

func cpuTime(r unix.Rusage) time.Duration {
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func peakMiB(tb testing.TB) float64 {
	tb.Helper()
	values, err := keyValuesColon("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	return values["VmHWM"] / 1024
}

func keyValuesColon(file string) (map[string]float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, line := range splitLines(string(b)) {
		var name string
		var n int
		if _, err := fmt.Sscanf(line, "%s %d", &name, &n); err == nil && len(name) > 0 {
			values[name[:len(name)-1]] = float64(n)
		}
	}
	return values, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
