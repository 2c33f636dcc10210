package proc

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// WaitParent returns when the process that started this one is gone, however it ended. The parent's number
// must come from the parent itself: one that ended before the call is then noticed too.
func WaitParent(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil || os.Getppid() != pid {
		pollParent(pid)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			pollParent(pid)
			return
		}
	}
}

// pollParent is for kernels and sandboxes without pidfd.
func pollParent(pid int) {
	for os.Getppid() == pid {
		time.Sleep(200 * time.Millisecond)
	}
}
