package sample

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

// cgroup2 is the folder of the host's own cgroup in the unified hierarchy.
type cgroup2 struct{ dir string }

// controls reports whether the cgroup accounts for a resource and is not the root. The root has no limits, and /proc has
// the same figures.
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

// isRootV1 reports whether dir is the root of its hierarchy. Only the real root has a release agent; the root of a cgroup
// namespace has none.
func isRootV1(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "release_agent"))
	return err == nil
}

// findCgroups returns the folders of the host's cgroup: that of PID 1, without the scope that systemd puts itself into.
func findCgroups(proc string) (v2 cgroup2, v1 map[string]string, err error) {
	paths, err := process.Cgroups(filepath.Join(proc, "1", "cgroup"))
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

// hostCgroup returns the folder of a cgroup path below a mount whose root is the cgroup root.
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

// quota is the number of cores that a CFS quota allows; without a quota, all.
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

// workingSet subtracts page cache that was not used lately, which the kernel can drop at any time. A limit above the
// machine's memory counts as none.
func workingSet(ctx context.Context, used, cache, limit int64, m *machine) (int64, int64, error) {
	_, total, err := m.memory(ctx)
	if err != nil {
		return 0, 0, err
	}
	return max(0, used-cache), min(limit, total), nil
}
