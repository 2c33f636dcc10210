package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// hostUsage is the use of a host's own capacity at the time of a sample.
type hostUsage struct {
	CPU         float64 `json:"cpu"`    // per cent of the capacity since the last sample; -1: not known yet
	Memory      float64 `json:"memory"` // per cent of the capacity that cannot be reclaimed at once
	Cores       float64 `json:"cores"`  // capacity
	MemoryTotal int64   `json:"memory_total"`
}

// hostMeter measures the host from within. A host that is a container has a cgroup of its own: then its usage
// and its capacity are that cgroup's, because /proc/stat, /proc/meminfo and the number of CPUs are the whole
// machine's there. The first that serves of cgroup v2, cgroup v1 and /proc is used, for each resource apart:
// hybrid machines have both versions.
type hostMeter struct {
	proc   string
	cpu    cpuSource
	memory memorySource
	lastAt time.Time
	last   time.Duration
}

// cpuSource reads the CPU time used so far and the capacity in cores.
type cpuSource func(ctx context.Context) (used time.Duration, cores float64, err error)

// memorySource reads memory in use and the capacity, in bytes.
type memorySource func(ctx context.Context) (used, total int64, err error)

func newHostMeter(proc string) (*hostMeter, error) {
	m := &hostMeter{proc: proc}
	machine := &machine{proc: proc}
	v2, v1, err := findCgroups(proc)
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
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

// Read measures the host; CPU is that since the call before.
func (m *hostMeter) Read(ctx context.Context, now time.Time) (hostUsage, error) {
	used, cores, err := m.cpu(ctx)
	if err != nil {
		return hostUsage{}, fmt.Errorf("measure host cpu: %w", err)
	}
	inUse, total, err := m.memory(ctx)
	if err != nil {
		return hostUsage{}, fmt.Errorf("measure host memory: %w", err)
	}
	h := hostUsage{CPU: -1, Cores: cores, MemoryTotal: total, Memory: percent(float64(inUse), float64(total))}
	if step := now.Sub(m.lastAt); !m.lastAt.IsZero() && step > 0 {
		h.CPU = percent(float64(used-m.last), float64(step)*cores)
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

// cgroup2 is the folder of the host's own cgroup in the unified hierarchy.
type cgroup2 struct{ dir string }

// controls reports whether the unified hierarchy accounts for a resource, and this is not its root: the root
// has no limits, and /proc says the same.
func (c cgroup2) controls(controller string) bool {
	if c.dir == "" {
		return false
	}
	if _, err := os.Stat(filepath.Join(c.dir, "cgroup.type")); err != nil {
		return false
	}
	list, err := os.ReadFile(filepath.Join(c.dir, "cgroup.controllers"))
	return err == nil && strings.Contains(" "+strings.TrimSpace(string(list))+" ", " "+controller+" ")
}

// isRootV1 reports whether dir is the root of its hierarchy: only the root has a release agent, and a cgroup
// namespace does not make one.
func isRootV1(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "release_agent"))
	return err == nil
}

// findCgroups returns the folders of the host's own cgroup: the one that holds PID 1, without the scope that
// systemd puts itself into.
func findCgroups(proc string) (v2 cgroup2, v1 map[string]string, err error) {
	paths, err := readCgroups(filepath.Join(proc, "1", "cgroup"))
	if err != nil {
		return v2, nil, err
	}
	mounts, err := os.ReadFile(filepath.Join(proc, "self", "mountinfo"))
	if err != nil {
		return v2, nil, err
	}
	v1 = map[string]string{}
	for line := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		root, dir := left[3], left[4]
		switch right[0] {
		case "cgroup2":
			if v2.dir == "" {
				v2.dir = hostCgroup(dir, root, paths[""])
			}
		case "cgroup":
			for option := range strings.SplitSeq(right[2], ",") {
				if p, ok := paths[option]; ok && option != "" && v1[option] == "" {
					v1[option] = hostCgroup(dir, root, p)
				}
			}
		}
	}
	return v2, v1, nil
}

// hostCgroup returns the folder below a mount of the cgroup path, whose own root is mounted there.
func hostCgroup(mount, root, path string) string {
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/init.scope"), "/")
	if rel, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/")); ok && !strings.Contains(rel, "..") {
		if dir := filepath.Join(mount, rel); exists(dir) {
			return dir
		}
	}
	return mount
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readCgroups reads /proc/PID/cgroup: path by controller; "" is the unified hierarchy.
func readCgroups(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	paths := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("parse %s: line %q", file, line)
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			paths[c] = parts[2]
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("parse %s: it is empty", file)
	}
	return paths, nil
}

func cpuV2(dir string, m *machine) (time.Duration, float64, error) {
	values, err := keyValues(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return 0, 0, err
	}
	cores := m.cores()
	limit, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if err != nil {
		return 0, 0, err
	}
	if f := strings.Fields(string(limit)); len(f) == 2 && f[0] != "max" {
		cores = min(cores, quota(f[0], f[1], cores))
	}
	return time.Duration(values["usage_usec"]) * time.Microsecond, cores, nil
}

func cpuV1(acct, cpuDir string, m *machine) (time.Duration, float64, error) {
	used, err := readInt(filepath.Join(acct, "cpuacct.usage"))
	if err != nil {
		return 0, 0, err
	}
	cores := m.cores()
	if cpuDir != "" {
		q, errQ := os.ReadFile(filepath.Join(cpuDir, "cpu.cfs_quota_us"))
		p, errP := os.ReadFile(filepath.Join(cpuDir, "cpu.cfs_period_us"))
		if err := errors.Join(errQ, errP); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, 0, err
		}
		cores = min(cores, quota(string(q), string(p), cores))
	}
	return time.Duration(used), cores, nil
}

// quota is the number of cores that a CFS quota allows; without one (-1, or no such file), all.
func quota(q, p string, all float64) float64 {
	quota, errQ := strconv.ParseFloat(strings.TrimSpace(q), 64)
	period, errP := strconv.ParseFloat(strings.TrimSpace(p), 64)
	if errQ != nil || errP != nil || quota <= 0 || period <= 0 {
		return all
	}
	return quota / period
}

func memoryV2(ctx context.Context, dir string, m *machine) (used, total int64, err error) {
	if used, err = readInt(filepath.Join(dir, "memory.current")); err != nil {
		return 0, 0, err
	}
	values, err := keyValues(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, 0, err
	}
	limit, err := readInt(filepath.Join(dir, "memory.max"))
	if err != nil {
		limit = 1<<63 - 1 // "max"
	}
	return workingSet(ctx, used, values["inactive_file"], limit, m)
}

func memoryV1(ctx context.Context, dir string, m *machine) (used, total int64, err error) {
	if used, err = readInt(filepath.Join(dir, "memory.usage_in_bytes")); err != nil {
		return 0, 0, err
	}
	values, err := keyValues(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, 0, err
	}
	limit, err := readInt(filepath.Join(dir, "memory.limit_in_bytes"))
	if err != nil {
		return 0, 0, err
	}
	return workingSet(ctx, used, values["total_inactive_file"], limit, m)
}

// workingSet takes the page cache that nobody used lately off what a cgroup is charged for: the kernel drops
// it before it runs short. A limit above the machine's memory is none.
func workingSet(ctx context.Context, used, cache, limit int64, m *machine) (int64, int64, error) {
	_, total, err := m.memory(ctx)
	if err != nil {
		return 0, 0, err
	}
	return max(0, used-cache), min(limit, total), nil
}

// machine reads the figures of the whole machine, by gopsutil.
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
	// Time stolen by the hypervisor is no work of this host; guest time is in user time already.
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
