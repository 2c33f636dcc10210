package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockDir makes dir if missing and locks it until the file is closed or the process ends. The holder may remove dir; a
// waiting process then makes and locks a new one.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	for {
		f, err := tryLockDir(dir)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if f != nil {
			return f, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for lock of %s: %w", dir, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// tryLockDir returns nil without error if another process holds the lock or has just removed the folder.
func tryLockDir(dir string) (_ *os.File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // a parent was removed meanwhile
		}
		return nil, err
	}
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	locked := false
	defer func() {
		if !locked {
			_ = f.Close()
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	mine, err := f.Stat()
	if err != nil {
		return nil, err
	}
	current, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !os.SameFile(mine, current)) {
		return nil, nil
	}
	locked = err == nil
	return f, err
}
