package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// untilOrphaned ends this process when Terraform is gone, however it went. A provider that lives on could still
// be making hosts that are in no state, while the next apply removes them.
func untilOrphaned(ctx context.Context, stderr io.Writer) (context.Context, error) {
	parent := os.Getppid()
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil || os.Getppid() != parent {
		return nil, fmt.Errorf("the process that started this provider (%d) is gone", parent)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n > 0 || (err != nil && err != unix.EINTR) {
				break
			}
		}
		cancel()
		fmt.Fprintln(stderr, "Terraform is gone: giving up")
		os.Exit(1) // work in flight must stop at once; the next apply clears it away
	}()
	return ctx, nil
}
