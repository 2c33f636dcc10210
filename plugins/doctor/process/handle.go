package process

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Handle holds one process by a pidfd. Its methods never affect another process that reused the PID.
type Handle struct {
	ID   Ident
	fd   int
	proc string
}

// Hold opens process id. It opens the pidfd first and then compares the start time: if it matches, the process has existed
// since before the pidfd was opened, so the pidfd is its own. ErrGone means that it has ended.
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

// Alive reports whether the process runs. A zombie is not alive, although it accepts signals.
func (h *Handle) Alive() bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, 0)
		// A signal interrupts poll even if it does not wait. The Go runtime sends some to its own threads.
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n == 0
	}
}

// Signal sends a signal. ErrGone says that the process has ended.
func (h *Handle) Signal(sig unix.Signal) error {
	if !h.Alive() {
		return ErrGone
	}
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), h.ID.PID, asGone(err))
	}
	return nil
}

// Renice sets the nice value of every thread. Linux has no such call for a pidfd; thread IDs are used only while the pidfd
// shows that the process is alive.
func (h *Handle) Renice(nice int) error {
	done := 0
	for _, t := range threads(folder(h.proc, h.ID.PID)) {
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
