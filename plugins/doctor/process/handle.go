package process

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Handle is one process, held by a pidfd: what is done to it cannot hit another that got its pid.
type Handle struct {
	ID   Ident
	fd   int
	proc string
}

// Hold opens the process id. The pidfd is opened first and the start time read after: when that is the one that
// was sampled, the process existed before the pidfd did and still does, so the pidfd is its own. ErrGone says
// that it has ended, whoever has its pid now.
func Hold(proc string, id Ident) (*Handle, error) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("hold process %d: %w", id.PID, asGone(err))
	}
	st, err := ReadStat(folder(proc, id.PID))
	if err == nil && st.Start != id.Start {
		err = ErrGone
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("hold process %d: %w", id.PID, err)
	}
	return &Handle{ID: id, fd: fd, proc: proc}, nil
}

// Close releases the process.
func (h *Handle) Close() error { return unix.Close(h.fd) }

// Alive reports whether the process runs. A zombie does not, although it accepts signals.
func (h *Handle) Alive() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, 0)
	return err == nil && n == 0
}

// Signal sends a signal to the process, ErrGone when it has ended.
func (h *Handle) Signal(sig unix.Signal) error {
	if !h.Alive() {
		return ErrGone
	}
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), h.ID.PID, asGone(err))
	}
	return nil
}

// Renice gives every thread of the process the nice value. Linux has no call for it that takes a pidfd; each
// thread's id is used while the pidfd shows that the process has not ended, so that the id is still its own.
func (h *Handle) Renice(nice int) error {
	tasks, err := filepath.Glob(filepath.Join(folder(h.proc, h.ID.PID), "task", "[0-9]*"))
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
			return ErrGone
		}
		switch err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); {
		case errors.Is(err, unix.ESRCH): // this thread has ended
		case err != nil:
			return fmt.Errorf("renice process %d: %w", h.ID.PID, err)
		default:
			done++
		}
	}
	if done == 0 {
		return ErrGone
	}
	return nil
}
