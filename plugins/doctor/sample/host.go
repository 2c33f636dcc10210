package sample

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/common"
	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"
)

// Host is a host's use of its capacity.
type Host struct {
	CPU         float64 `json:"cpu"`              // per cent of the capacity since the last sample, without troop's agents; -1: unknown
	Agents      float64 `json:"agents,omitempty"` // per cent of the capacity that troop's agents used
	Memory      float64 `json:"memory"`           // per cent of the capacity that cannot be reclaimed at once
	Cores       float64 `json:"cores"`            // capacity
	MemoryTotal int64   `json:"memory_total"`
	Strain
}

// Share returns bytes in per cent of the host's memory.
func (h Host) Share(bytes int64) float64 { return percent(float64(bytes), float64(h.MemoryTotal)) }

// Meter measures the host from inside. In a container, /proc/stat, /proc/meminfo and the number of CPUs describe the whole
// machine, so usage and capacity are read from the container's cgroup. For each resource, the meter uses the first source
// that works of cgroup v2, cgroup v1 and /proc; hybrid machines have both versions.
type Meter struct {
	proc   string
	cpu    cpuSource
	memory memorySource
	strain *strainMeter
	agents *agentsMeter
	kills  *killings
	slices string // folder of user.slice in cgroup v2; empty: there is none
	lastAt time.Time
	last   time.Duration
}

// UserSlices returns the folder of the users' slices in cgroup v2, for a Ledger; empty: there is none.
func (m *Meter) UserSlices() string { return m.slices }

// KilledIn returns the cgroups in which the kernel has killed processes since the last call, because memory was full.
func (m *Meter) KilledIn() []string { return m.kills.since() }

// cpuSource reads the CPU time used so far and the capacity in cores.
type cpuSource func(ctx context.Context) (used time.Duration, cores float64, err error)

// memorySource reads memory in use and the capacity, in bytes.
type memorySource func(ctx context.Context) (used, total int64, err error)

// NewMeter chooses the sources of this host; proc is /proc.
func NewMeter(proc string) (*Meter, error) {
	m := &Meter{proc: proc}
	machine := &machine{proc: proc}
	v2, v1, err := findCgroups(proc)
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	m.strain = newStrainMeter(proc, v2, v1)
	m.agents = newAgentsMeter(v2, v1)
	m.kills = newKillings(v2, v1)
	if dir := filepath.Join(v2.dir, "user.slice"); v2.dir != "" && exists(dir) {
		m.slices = dir
	}
	switch {
	case v2.controls("cpu"):
		m.cpu = func(context.Context) (time.Duration, float64, error) { return cpuV2(v2.dir, machine) }
	case v1["cpuacct"] != "" && !isRootV1(v1["cpuacct"]):
		m.cpu = func(context.Context) (time.Duration, float64, error) { return cpuV1(v1["cpuacct"], v1["cpu"], machine) }
	default:
		m.cpu = machine.cpuTime
	}
	switch {
	case v2.controls("memory"):
		m.memory = func(ctx context.Context) (int64, int64, error) { return memoryV2(ctx, v2.dir, machine) }
	case v1["memory"] != "" && !isRootV1(v1["memory"]):
		m.memory = func(ctx context.Context) (int64, int64, error) { return memoryV1(ctx, v1["memory"], machine) }
	default:
		m.memory = machine.memory
	}
	return m, nil
}

// Read measures the host, whose processes are procs. CPU is the usage since the previous call.
func (m *Meter) Read(ctx context.Context, now time.Time, procs []Usage) (Host, error) {
	used, cores, err := m.cpu(ctx)
	if err != nil {
		return Host{}, fmt.Errorf("measure host cpu: %w", err)
	}
	inUse, total, err := m.memory(ctx)
	if err != nil {
		return Host{}, fmt.Errorf("measure host memory: %w", err)
	}
	h := Host{CPU: -1, Cores: cores, MemoryTotal: total, Memory: percent(float64(inUse), float64(total))}
	step := now.Sub(m.lastAt)
	if m.lastAt.IsZero() {
		step = 0
	}
	if h.Strain, err = m.strain.read(step, float64(runtime.NumCPU())); err != nil {
		return Host{}, fmt.Errorf("measure host: %w", err)
	}
	agents, err := m.agents.read(procs)
	if err != nil {
		return Host{}, fmt.Errorf("measure troop's agents: %w", err)
	}
	if step > 0 {
		agents = min(agents, used-m.last) // the two are not read in the same moment
		h.CPU = percent(float64(used-m.last-agents), float64(step)*cores)
		h.Agents = percent(float64(agents), float64(step)*cores)
	}
	m.last, m.lastAt = used, now
	return h, nil
}

func percent(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return max(0, 100*part/whole)
}

// machine reads the figures of the whole machine, with gopsutil.
type machine struct{ proc string }

func (m *machine) at(ctx context.Context) context.Context {
	return context.WithValue(ctx, common.EnvKey, common.EnvMap{common.HostProcEnvKey: m.proc})
}

func (m *machine) cores() float64 { return float64(runtime.NumCPU()) }

func (m *machine) cpuTime(ctx context.Context) (time.Duration, float64, error) {
	t, err := cpu.TimesWithContext(m.at(ctx), false)
	if err != nil {
		return 0, 0, err
	}
	if len(t) == 0 {
		return 0, 0, errors.New("no cpu line in /proc/stat")
	}
	// Time stolen by the hypervisor is not work of this host; guest time is part of user time.
	busy := t[0].User + t[0].Nice + t[0].System + t[0].Irq + t[0].Softirq
	return time.Duration(busy * float64(time.Second)), m.cores(), nil
}

func (m *machine) memory(ctx context.Context) (used, total int64, err error) {
	v, err := mem.VirtualMemoryWithContext(m.at(ctx))
	if err != nil {
		return 0, 0, err
	}
	return int64(v.Total - v.Available), int64(v.Total), nil
}

func readInt(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", file, err)
	}
	return n, nil
}

// keyValues reads lines of "name number".
func keyValues(file string) (map[string]int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := map[string]int64{}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		name, value, ok := strings.Cut(sc.Text(), " ")
		if n, err := strconv.ParseInt(value, 10, 64); ok && err == nil {
			values[name] = n
		}
	}
	return values, nil
}
