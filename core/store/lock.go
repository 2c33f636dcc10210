package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/core"
)

// lockPause is how often a waiting Lock tries again.
const lockPause = 200 * time.Millisecond

// Lock keeps everybody else out of an environment until it is released or the process dies, however that
// happens; in a shared store, until the process was not heard of for the time of a lease. When it is taken, wait is told
// who holds it, once, and Lock waits until ctx ends; with no wait it returns a *core.LockedError. It is not reentrant.
func (f *Files) Lock(ctx context.Context, env string, h core.Holder, wait func(core.Holder)) (core.Lease, error) {
	h.PID, h.Since = os.Getpid(), time.Now()
	if f.shared != nil {
		return f.lease(ctx, env, h, wait)
	}
	dir, err := f.makeFolder(env)
	if err != nil {
		return core.Lease{}, err
	}
	// The file is never removed: a lock on a removed file would keep nobody out.
	path := filepath.Join(dir, "lock")
	l := flock.New(path, flock.SetPermissions(0o644))
	got, err := l.TryLock()
	if err == nil && !got {
		other := held(path)
		if wait == nil {
			return core.Lease{}, errors.Join(&core.LockedError{Environment: env, Holder: other}, l.Close())
		}
		wait(other)
		_, err = l.TryLockContext(ctx, lockPause)
	}
	if err != nil {
		return core.Lease{}, errors.Join(fmt.Errorf("lock environment %s: %w", env, err), l.Close())
	}
	fence, err := lastFence(dir)
	if err == nil { // counted before it holds: a number is never given twice
		fence++
		err = renameio.WriteFile(filepath.Join(dir, fenceName), []byte(strconv.FormatInt(fence, 10)+"\n"), 0o644)
	}
	var b []byte
	if err == nil {
		b, err = json.Marshal(h)
	}
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644) // in place: the lock is on this file
	}
	if err != nil {
		return core.Lease{}, errors.Join(fmt.Errorf("lock environment %s: %w", env, err), l.Close())
	}
	return core.Lease{Fence: fence, Release: l.Close}, nil
}

// held reads who holds a lock. The holder may have taken it a moment ago and not yet written its name.
func held(path string) core.Holder {
	h := core.Holder{What: "somebody"}
	b, err := os.ReadFile(path)
	if err == nil {
		_ = json.Unmarshal(b, &h) // half-written: the default stands
	}
	return h
}

// fenceName is the file with the number of the last holder. It is not in the file of the lock, which is written in place: a
// number that a crash took would start again, and the hosts would obey nobody.
const fenceName = "fence"

// lastFence reads the number of the last holder; 0: there was none.
func lastFence(dir string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, fenceName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", filepath.Join(dir, fenceName), err)
	}
	return n, nil
}

// Fence returns the number of the present or last holder of an environment; 0: there was none.
func (f *Files) Fence(ctx context.Context, env string) (int64, error) {
	if f.shared != nil {
		l, _, err := readLease(ctx, f.shared, env)
		return l.Fence, err
	}
	return lastFence(filepath.Join(f.dir, env))
}

// lockHolder is LeaseHolder of a store on this machine. It does not take the lock: that would count as a holder.
func (f *Files) lockHolder(env string) (*core.Holder, int64, error) {
	path := filepath.Join(f.dir, env, "lock")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	l := flock.New(path)
	free, err := l.TryRLock()
	if err := errors.Join(err, l.Close()); err != nil {
		return nil, 0, fmt.Errorf("look at lock of environment %s: %w", env, err)
	}
	fence, err := lastFence(filepath.Dir(path))
	if free || err != nil {
		return nil, fence, err
	}
	h := held(path)
	return &h, fence, nil
}
