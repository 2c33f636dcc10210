package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

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
		other := held(path).Holder
		if wait == nil {
			return core.Lease{}, errors.Join(&core.LockedError{Environment: env, Holder: other}, l.Close())
		}
		wait(other)
		_, err = l.TryLockContext(ctx, lockPause)
	}
	if err != nil {
		return core.Lease{}, errors.Join(fmt.Errorf("lock environment %s: %w", env, err), l.Close())
	}
	mine := lockFile{Holder: h, Fence: held(path).Fence + 1}
	b, err := json.Marshal(mine)
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644) // in place: the lock is on this file
	}
	if err != nil {
		return core.Lease{}, errors.Join(fmt.Errorf("lock environment %s: %w", env, err), l.Close())
	}
	return core.Lease{Fence: mine.Fence, Release: l.Close}, nil
}

// lockFile is what the file of a lock says: who holds it, or was the last to hold it.
type lockFile struct {
	core.Holder
	Fence int64 `json:"fence"`
}

// held reads who holds a lock. The holder may have taken it a moment ago and not yet written its name.
func held(path string) lockFile {
	h := lockFile{Holder: core.Holder{What: "somebody"}}
	b, err := os.ReadFile(path)
	if err == nil {
		_ = json.Unmarshal(b, &h) // half-written: the default stands
	}
	return h
}

// Fence returns the number of the present or last holder of an environment; 0: there was none.
func (f *Files) Fence(ctx context.Context, env string) (int64, error) {
	if f.shared != nil {
		l, _, err := readLease(ctx, f.shared, env)
		return l.Fence, err
	}
	return held(filepath.Join(f.dir, env, "lock")).Fence, nil
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
	h := held(path)
	if free {
		return nil, h.Fence, nil
	}
	return &h.Holder, h.Fence, nil
}
