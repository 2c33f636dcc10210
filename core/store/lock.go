package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/seed-b96de936/troop/core"
)

// lockPause is how often a waiting Lock tries again.
const lockPause = 200 * time.Millisecond

// Lock keeps everybody else out of an environment until it is released or the process dies, however that
// happens. When it is taken, wait is told who holds it, once, and Lock waits until ctx ends; with no wait it
// returns a *core.LockedError. It is not reentrant. Releasing twice is harmless.
func (f *Files) Lock(ctx context.Context, env string, h core.Holder, wait func(core.Holder)) (release func() error, err error) {
	dir, err := f.makeFolder(env)
	if err != nil {
		return nil, err
	}
	// The file is never removed: a lock on a removed file would keep nobody out.
	path := filepath.Join(dir, "lock")
	l := flock.New(path, flock.SetPermissions(0o644))
	got, err := l.TryLock()
	if err == nil && !got {
		other := holder(path)
		if wait == nil {
			return nil, errors.Join(&core.LockedError{Environment: env, Holder: other}, l.Close())
		}
		wait(other)
		_, err = l.TryLockContext(ctx, lockPause)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock environment %s: %w", env, err), l.Close())
	}
	h.PID, h.Since = os.Getpid(), time.Now()
	b, err := json.Marshal(h)
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644) // in place: the lock is on this file
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock environment %s: %w", env, err), l.Close())
	}
	return l.Close, nil
}

// holder reads who holds a lock. The holder may have taken it a moment ago and not yet written its name.
func holder(path string) core.Holder {
	h := core.Holder{What: "somebody"}
	b, err := os.ReadFile(path)
	if err == nil {
		_ = json.Unmarshal(b, &h) // half-written: the default stands
	}
	return h
}
