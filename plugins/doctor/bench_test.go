package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkTick500 measures one tick on a quiet host with 500 processes. The budget is 0.5 % of one core at one sample a
// second: 5 ms.
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
	for line := range strings.SplitSeq(string(b), "\n") {
		var name string
		var n int
		if _, err := fmt.Sscanf(line, "%s %d", &name, &n); err == nil && len(name) > 0 {
			values[name[:len(name)-1]] = float64(n)
		}
	}
	return values, nil
}
