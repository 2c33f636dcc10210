package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchy is one mounted cgroup hierarchy of version 2 or 1.
type hierarchy struct {
	dir         string
	unified     bool
	controllers []string
}

func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return parseHierarchies(f)
}

// parseHierarchies parses proc_pid_mountinfo(5). A hierarchy that is mounted twice is listed once.
func parseHierarchies(r io.Reader) ([]hierarchy, error) {
	var found []hierarchy
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		mount, source := strings.Fields(left), strings.Fields(right)
		if !ok || len(mount) < 5 || len(source) < 3 || !strings.HasPrefix(source[0], "cgroup") {
			continue
		}
		device, subtree, dir := mount[2], mount[3], mount[4]
		if subtree != "/" || seen[device] {
			continue
		}
		seen[device] = true
		h := hierarchy{dir: dir, unified: source[0] == "cgroup2"}
		if !h.unified {
			h.controllers = strings.Split(source[2], ",")
		}
		found = append(found, h)
	}
	return found, lines.Err()
}

func (h hierarchy) group(elem ...string) string {
	return filepath.Join(append([]string{h.dir, "troop"}, elem...)...)
}

// limits of a host: CPUs in cores, Memory in bytes.
type limits struct {
	cpus   float64
	memory int64
}

const period = 100_000 // µs, the kernel's default

// createCgroups makes the host's cgroup in every hierarchy, with its limits, and returns them.
func createCgroups(h host, l limits) ([]string, error) {
	trees, err := hierarchies()
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	var groups []string
	limited := map[string]bool{}
	for _, tree := range trees {
		group, err := tree.create(string(h.lab), h.name)
		if err != nil {
			return nil, err
		}
		groups = append(groups, group)
		if err := l.apply(group, limited); err != nil {
			return nil, err
		}
	}
	for _, controller := range []string{"cpu", "memory"} {
		if !limited[controller] {
			return nil, fmt.Errorf("this machine has no cgroup controller %q", controller)
		}
	}
	return groups, nil
}

// apply sets the limits of a group and records the group's controllers in limited.
func (l limits) apply(group string, limited map[string]bool) error {
	quota := strconv.Itoa(int(l.cpus * period))
	memory := strconv.FormatInt(l.memory, 10)
	for _, setting := range []struct{ controller, file, value string }{
		{"cpu", "cpu.max", quota + " " + strconv.Itoa(period)},
		{"memory", "memory.max", memory},
		{"cpu", "cpu.cfs_period_us", strconv.Itoa(period)},
		{"cpu", "cpu.cfs_quota_us", quota},
		{"memory", "memory.limit_in_bytes", memory},
	} {
		err := os.WriteFile(filepath.Join(group, setting.file), []byte(setting.value), 0o600)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // the group lacks the controller
		} else if err != nil {
			return fmt.Errorf("limit %s: %w", setting.controller, err)
		}
		limited[setting.controller] = true
	}
	return nil
}

// showLimits also sets the limits where the host sees them: with version 2, systemd-nspawn puts the host in a group below
// ours, which is the root in the host.
func showLimits(groups []string, l limits) error {
	for _, group := range groups {
		if err := l.apply(filepath.Join(group, "payload"), map[string]bool{}); err != nil {
			return err
		}
	}
	return nil
}

// create makes the group and its parents, starting at the root of the hierarchy.
func (h hierarchy) create(elem ...string) (string, error) {
	group := h.group(elem...)
	err := retryRemoved(func() error {
		dir := h.dir
		for _, name := range append([]string{"troop"}, elem...) {
			if err := h.delegate(dir); err != nil {
				return err
			}
			parent := dir
			dir = filepath.Join(dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := h.inherit(parent, dir); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("create cgroup: %w", err)
	}
	return group, nil
}

// retryRemoved repeats f if it lost a race with the removal of an empty parent.
func retryRemoved(f func() error) error {
	var err error
	for range 20 {
		if err = f(); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

// delegate enables a version 2 group's controllers for its children. If the kernel refuses one, setting its limit fails
// later.
func (h hierarchy) delegate(dir string) error {
	if !h.unified {
		return nil
	}
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for c := range strings.FieldsSeq(string(available)) {
		if slices.Contains([]string{"cpu", "memory", "pids", "io"}, c) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o600)
		}
	}
	return nil
}

// inherit sets what version 1's cpuset needs before a process may join.
func (h hierarchy) inherit(parent, dir string) error {
	if !slices.Contains(h.controllers, "cpuset") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// processes lists every process in the host's cgroups except zombies.
func processes(h host) ([]Process, error) {
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	var all []Process
	for _, tree := range trees {
		err := filepath.WalkDir(tree.group(string(h.lab), h.name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			} else if err != nil || !d.IsDir() {
				return err
			}
			b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
				return err
			}
			for field := range strings.FieldsSeq(string(b)) {
				pid, err := strconv.Atoi(field)
				if err != nil || seen[pid] {
					continue
				}
				seen[pid] = true
				if stat, err := readStat(pid); err == nil && stat.state != 'Z' && stat.state != 'X' {
					all = append(all, Process{PID: pid, Start: stat.start})
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list processes of %s: %w", h.name, err)
		}
	}
	slices.SortFunc(all, func(a, b Process) int { return a.PID - b.PID })
	return all, nil
}

// killAll kills every process of the host and waits until none is left.
func killAll(ctx context.Context, h host) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	err = poll(ctx, 10*time.Second, func() (bool, error) {
		killed := false
		for _, tree := range trees {
			err := os.WriteFile(filepath.Join(tree.group(string(h.lab), h.name), "cgroup.kill"), []byte("1"), 0o600)
			killed = killed || err == nil
		}
		left, err := processes(h)
		for _, p := range left {
			if !killed { // Linux before 5.14, or only version 1
				_ = syscall.Kill(p.PID, syscall.SIGKILL)
			}
		}
		return len(left) == 0, err
	})
	if err != nil {
		return fmt.Errorf("kill the processes of %s: %w", h.name, err)
	}
	return nil
}

// removeCgroups removes the host's cgroups, and their parents if empty.
func removeCgroups(ctx context.Context, h host) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		// A group stays busy for a moment after its last process has ended.
		err := poll(ctx, 5*time.Second, func() (bool, error) {
			err := removeTree(tree.group(string(h.lab), h.name))
			return err == nil, ignore(err, syscall.EBUSY, syscall.ENOTEMPTY)
		})
		if err != nil {
			return fmt.Errorf("remove cgroup %s: %w", tree.group(string(h.lab), h.name), err)
		}
		for _, dir := range []string{tree.group(string(h.lab)), tree.group()} {
			if err := syscall.Rmdir(dir); ignore(err, syscall.EBUSY, syscall.ENOTEMPTY, syscall.ENOENT) != nil {
				return fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// removeTree removes a cgroup and its children; the kernel removes their files.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return ignore(syscall.Rmdir(dir), syscall.ENOENT)
}

// ignore returns nil when err is one of the expected errors.
func ignore(err error, expected ...error) error {
	for _, e := range expected {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
