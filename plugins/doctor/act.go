package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reniced is the nice value that a hog gets: it runs when nobody else wants to.
const reniced = 19

// held is one process, held by a pidfd: what is done to it cannot hit another that got its pid.
type held struct {
	id   ident
	fd   int
	proc string
}

// hold opens the process id. The pidfd is opened first and the start time read after: when that is the one that
// was sampled, the process existed before the pidfd did and still does, so the pidfd is its own. errGone says
// that it has ended, whoever has its pid now.
func hold(proc string, id ident) (*held, error) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("hold process %d: %w", id.PID, asGone(err))
	}
	st, err := readStat(filepath.Join(proc, strconv.Itoa(id.PID)))
	if err == nil && st.start != id.Start {
		err = errGone
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("hold process %d: %w", id.PID, err)
	}
	return &held{id: id, fd: fd, proc: proc}, nil
}

func (h *held) Close() error { return unix.Close(h.fd) }

// Alive reports whether the process runs. A zombie does not, although it accepts signals.
func (h *held) Alive() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, 0)
	return err == nil && n == 0
}

// Signal sends a signal to the process, errGone when it has ended.
func (h *held) Signal(sig unix.Signal) error {
	if !h.Alive() {
		return errGone
	}
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), h.id.PID, asGone(err))
	}
	return nil
}

// Renice gives every thread of the process the nice value. Linux has no call for it that takes a pidfd; each
// thread's id is used while the pidfd shows that the process has not ended, so that the id is still its own.
func (h *held) Renice(nice int) error {
	tasks, err := filepath.Glob(filepath.Join(h.proc, strconv.Itoa(h.id.PID), "task", "[0-9]*"))
	if err != nil {
		return err
	}
	done := 0
	for _, t := range tasks {
		tid, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			continue
		}
		if !h.Alive() {
			return errGone
		}
		switch err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); {
		case errors.Is(err, unix.ESRCH): // this thread has ended
		case err != nil:
			return fmt.Errorf("renice process %d: %w", h.id.PID, err)
		default:
			done++
		}
	}
	if done == 0 {
		return errGone
	}
	return nil
}

// restartSignal chooses the signal that makes systemd restart a unit whose main process gets it. The doctor is
// not root and may not ask systemd itself; ending the process is enough when the unit restarts on its own, and
// would take the application down when it does not.
func restartSignal(restart string, again bool) (unix.Signal, error) {
	switch restart {
	case "always":
		if again {
			return unix.SIGKILL, nil
		}
		return unix.SIGTERM, nil
	case "on-failure", "on-abnormal", "on-abort": // SIGTERM counts as a clean end there
		if restart == "on-abort" {
			return unix.SIGABRT, nil
		}
		return unix.SIGKILL, nil
	}
	return 0, fmt.Errorf("the unit has Restart=%s and would stay down: set Restart=always", restart)
}

// unitProperties asks systemd for a unit's restart policy and main process; any user may.
func unitProperties(ctx context.Context, unit string) (restart string, mainPID int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=Restart,MainPID", "--", unit).Output()
	if err != nil {
		return "", 0, fmt.Errorf("ask systemd for unit %s: %w", unit, err)
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "Restart":
			restart = value
		case "MainPID":
			mainPID, err = strconv.Atoi(value)
		}
	}
	if err != nil || mainPID <= 1 {
		return "", 0, fmt.Errorf("ask systemd for unit %s: it has no main process", unit)
	}
	return restart, mainPID, nil
}
