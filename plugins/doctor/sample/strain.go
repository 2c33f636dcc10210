package sample

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Strain says why a host is slow when its own use of the CPU does not. Each is in per cent; 0 where the kernel does not say.
type Strain struct {
	Steal          float64 `json:"steal,omitempty"`           // of the machine's CPU capacity: the hypervisor gave it to others
	Throttled      float64 `json:"throttled,omitempty"`       // of the time: the host had used up its CPU quota
	CPUPressure    float64 `json:"cpu_pressure,omitempty"`    // of the time: a process waited for a core
	MemoryPressure float64 `json:"memory_pressure,omitempty"` // of the time: a process waited for memory
	Killed         int64   `json:"killed,omitempty"`          // processes that the kernel has killed since the last sample: memory was full
}

// strainMeter reads the counters behind Strain.
type strainMeter struct {
	proc, cpuStat, cpuPressure, memoryPressure string
	killed                                     func() (int64, error)
	last                                       map[string]int64
}

func newStrainMeter(proc string, v2 cgroup2, v1 map[string]string) *strainMeter {
	m := &strainMeter{
		proc: proc, cpuPressure: filepath.Join(proc, "pressure", "cpu"), memoryPressure: filepath.Join(proc, "pressure", "memory"),
		killed: func() (int64, error) { return keyValue(filepath.Join(proc, "vmstat"), "oom_kill") },
	}
	switch {
	case v2.controls("cpu"):
		m.cpuStat = filepath.Join(v2.dir, "cpu.stat")
		m.cpuPressure = filepath.Join(v2.dir, "cpu.pressure")
	case v1["cpu"] != "" && !isRootV1(v1["cpu"]):
		m.cpuStat = filepath.Join(v1["cpu"], "cpu.stat")
	}
	switch {
	case v2.controls("memory"):
		m.memoryPressure = filepath.Join(v2.dir, "memory.pressure")
		m.killed = func() (int64, error) { return keyValue(filepath.Join(v2.dir, "memory.events"), "oom_kill") }
	case v1["memory"] != "" && !isRootV1(v1["memory"]):
		m.killed = func() (int64, error) { return keyValue(filepath.Join(v1["memory"], "memory.oom_control"), "oom_kill") }
	}
	return m
}

// read returns the strain over the time since the last call, on a machine with so many cores: a container sees what is
// stolen from the whole machine. Counters that the kernel does
// not have are no error.
func (m *strainMeter) read(step time.Duration, cores float64) (Strain, error) {
	now := map[string]int64{}
	var errs []error
	get := func(name string, value int64, err error) {
		switch {
		case err == nil:
			now[name] = value
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported):
			errs = append(errs, err)
		}
	}
	ticks, err := stolen(filepath.Join(m.proc, "stat"))
	get("steal", ticks*int64(time.Second)/100, err)
	if m.cpuStat != "" {
		ns, err := throttledTime(m.cpuStat)
		get("throttled", ns, err)
	}
	ns, err := stalled(m.cpuPressure)
	get("cpu", ns, err)
	ns, err = stalled(m.memoryPressure)
	get("memory", ns, err)
	n, err := m.killed()
	get("killed", n, err)
	last := m.last
	m.last = now
	if last == nil || step <= 0 {
		return Strain{}, errors.Join(errs...)
	}
	grown := func(name string) float64 {
		before, ok := last[name]
		if !ok {
			return 0
		}
		return float64(max(0, now[name]-before))
	}
	share := func(name string, of float64) float64 { return min(100, percent(grown(name), of)) }
	return Strain{
		Steal: share("steal", float64(step)*max(cores, 1)), Throttled: share("throttled", float64(step)),
		CPUPressure: share("cpu", float64(step)), MemoryPressure: share("memory", float64(step)), Killed: int64(grown("killed")),
	}, errors.Join(errs...)
}

// stolen reads the time that a hypervisor took away, of all cores together, in clock ticks.
func stolen(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	f := strings.Fields(string(line))
	const steal = 8
	if len(f) <= steal || f[0] != "cpu" {
		return 0, errors.ErrUnsupported
	}
	return strconv.ParseInt(f[steal], 10, 64)
}

// throttledTime reads throttled_usec (cgroup v2) or throttled_time (v1) of a cpu.stat file, in nanoseconds.
func throttledTime(file string) (int64, error) {
	values, err := keyValues(file)
	if err != nil {
		return 0, err
	}
	if v, ok := values["throttled_usec"]; ok {
		return v * int64(time.Microsecond), nil
	}
	if v, ok := values["throttled_time"]; ok {
		return v, nil
	}
	return 0, errors.ErrUnsupported
}

// stalled reads how long some process waited, from a file of pressure stall information, in nanoseconds.
func stalled(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		return 0, errors.ErrUnsupported // the kernel has the file, but was started without the feature
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if _, total, ok := strings.Cut(sc.Text(), "total="); ok && strings.HasPrefix(sc.Text(), "some ") {
			us, err := strconv.ParseInt(total, 10, 64)
			return us * int64(time.Microsecond), err
		}
	}
	return 0, errors.ErrUnsupported
}

func keyValue(file, key string) (int64, error) {
	values, err := keyValues(file)
	if err != nil {
		return 0, err
	}
	v, ok := values[key]
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return v, nil
}
