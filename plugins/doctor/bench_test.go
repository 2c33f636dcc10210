package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkTick500 measures one tick on a quiet host with 500 processes. The budget is 0.5 % of one core at one sample a
// second: 5 ms. Beside it stand monit and earlyoom, for some seconds of real time on the same host: monit looks each second at
// the system and at two processes by name, and earlyoom, which knows memory only, as often as it wants.
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
	b.ReportMetric(peakMiB(b, "self"), "MiB-peak")
	for name, args := range map[string][]string{
		"monit":    {"monit", "-I", "-c", monitrc(b)},
		"earlyoom": {"earlyoom", "-r", "0", "--dryrun"},
	} {
		core, peak := peer(b, args)
		b.ReportMetric(core, "%core-"+name)
		b.ReportMetric(peak, "MiB-peak-"+name)
	}
}

// peerTime is how long another tool is measured.
const peerTime = 10 * time.Second

// peer runs another tool for a while. It returns what it used, in per cent of one core, and its peak memory.
func peer(b *testing.B, args []string) (core, peak float64) {
	b.Helper()
	c := exec.CommandContext(b.Context(), args[0], args[1:]...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	time.Sleep(peerTime)
	peak = peakMiB(b, strconv.Itoa(c.Process.Pid))
	err := c.Process.Signal(unix.SIGTERM)
	_ = c.Wait() // it was ended
	if err != nil {
		b.Fatalf("%s ended by itself: %s", args[0], said.String())
	}
	used := c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	return 100 * used.Seconds() / peerTime.Seconds(), peak
}

// monitrc writes a configuration of monit that has it look for what the doctor looks for.
func monitrc(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	file := filepath.Join(dir, "monitrc")
	text := "set daemon 1\nset idfile " + dir + "/id\nset statefile " + dir + "/state\nset pidfile " + dir + "/pid\n" +
		"check system host\n if cpu usage > 60% for 15 cycles then alert\n if memory usage > 90% for 15 cycles then alert\n"
	for _, name := range []string{"sleep", "sshd"} {
		text += "check process " + name + " matching \"" + name + "\"\n if cpu > 80% for 10 cycles then alert\n if memory > 50% for 10 cycles then alert\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

func cpuTime(r unix.Rusage) time.Duration {
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func peakMiB(tb testing.TB, process string) float64 {
	tb.Helper()
	values, err := keyValuesColon("/proc/" + process + "/status")
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
