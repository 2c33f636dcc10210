package store

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// processStart distinguishes a process from a later one with the same PID. It is the ID of the machine's boot and the
// process's start in clock ticks since then; empty if there is no such process, or no /proc.
func processStart(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name, in parentheses, may hold anything; field 3 is the state, field 22 the start.
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19]
}

// machine distinguishes this machine, or the container on it, from others: the processes of one know each other's PIDs.
// It is empty without /proc.
func machine() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + space
}

// alive reports whether a process still runs. Without /proc it checks the PID alone.
func alive(pid int, start string) bool {
	if pid <= 0 {
		return false
	}
	if start != "" {
		return processStart(pid) == start
	}
	return syscall.Kill(pid, 0) == nil
}
