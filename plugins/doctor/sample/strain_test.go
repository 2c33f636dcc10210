package sample

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestStrain has a host whose provider takes a quarter of its two cores away, and whose processes wait for memory.
func TestStrain(t *testing.T) {
	proc, cg := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(cg, "cgroup.type"), "domain\n")
	write(filepath.Join(cg, "cgroup.controllers"), "cpu\n")
	at := func(steal, throttled, cpu, memory, killed int) {
		write(filepath.Join(proc, "stat"), fmt.Sprintf("cpu  1 2 3 4 5 6 7 %d 0 0\ncpu0 1\n", steal))
		write(filepath.Join(proc, "pressure", "memory"), fmt.Sprintf("some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 total=1\n", memory))
		write(filepath.Join(proc, "vmstat"), fmt.Sprintf("nr_free_pages 7\noom_kill %d\n", killed))
		write(filepath.Join(cg, "cpu.stat"), fmt.Sprintf("usage_usec 1\nthrottled_usec %d\n", throttled))
		write(filepath.Join(cg, "cpu.pressure"), fmt.Sprintf("some avg10=0.00 total=%d\n", cpu))
	}
	m := newStrainMeter(proc, cgroup2{cg}, nil)
	at(100, 5_000_000, 1_000_000, 0, 3)
	if s, err := m.read(0, 2); err != nil || s != (Strain{}) {
		t.Errorf("the first reading says %+v, %v", s, err)
	}
	at(100+500, 5_000_000+1_000_000, 1_000_000+9_000_000, 4_000_000, 5)
	s, err := m.read(10*time.Second, 2)
	if want := (Strain{Steal: 25, Throttled: 10, CPUPressure: 90, MemoryPressure: 40, Killed: 2}); err != nil || s != want {
		t.Errorf("got %+v, %v, want %+v", s, err, want)
	}
	// A kernel without these files is no error.
	if s, err := newStrainMeter(t.TempDir(), cgroup2{}, nil).read(time.Second, 1); err != nil || s != (Strain{}) {
		t.Errorf("without files: %+v, %v", s, err)
	}
}
