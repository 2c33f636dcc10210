package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process identifies one process: the start time distinguishes it from a later one with the same PID.
type Process struct {
	PID   int
	Start uint64 // clock ticks since boot
}

// Alive reports whether the process exists and is not a zombie.
func (p Process) Alive() bool {
	stat, err := readStat(p.PID)
	return err == nil && stat.start == p.Start && stat.state != 'Z' && stat.state != 'X'
}

type procStat struct {
	state byte
	start uint64
}

func readStat(pid int) (procStat, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

// parseStat parses proc_pid_stat(5). The command may contain spaces and parentheses: fields start after the last one.
func parseStat(b []byte) (procStat, error) {
	i := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[i+1:]))
	const startTime = 22 - 3 // the first field after the command is number 3
	if i < 0 || len(fields) <= startTime {
		return procStat{}, errors.New("unexpected format of /proc/PID/stat")
	}
	start, err := strconv.ParseUint(fields[startTime], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("start time: %w", err)
	}
	return procStat{state: fields[0][0], start: start}, nil
}

// isInit reports whether the process is PID 1 of a child namespace of ours.
func isInit(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			return len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return false
}

// command returns the arguments of a process; empty if it has ended.
func command(pid int) []string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
}

// bootID identifies this machine's boot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// terminate sends SIGTERM and waits until the process has ended, up to a timeout. A process that has ended is no error.
func terminate(ctx context.Context, p Process, wait time.Duration) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.Alive() { // from here on the pidfd identifies exactly this process
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("terminate process %d: %w", p.PID, err)
	}
	return poll(ctx, wait, func() (bool, error) { return !p.Alive(), nil })
}

// errTimeout: the condition of poll was not met in time.
var errTimeout = errors.New("timed out")

// poll calls f every 10 ms until it is done or fails, the time is over, or ctx ends.
func poll(ctx context.Context, wait time.Duration, done func() (bool, error)) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return errTimeout
		case <-time.After(10 * time.Millisecond):
		}
	}
}
