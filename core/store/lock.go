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

// Holder is who holds a lock.
type Holder struct {
	PID   int        `json:"pid"`
	Run   core.RunID `json:"run,omitempty"`
	What  string     `json:"what"` // what it does: the command
	Since time.Time  `json:"since"`
}

func (h Holder) String() string {
	if h.PID == 0 { // it holds the lock and has not yet said who it is
		return h.What
	}
	s := fmt.Sprintf("%s (process %d, since %s)", h.What, h.PID, h.Since.Local().Format(time.TimeOnly))
	if h.Run != "" {
		s = fmt.Sprintf("run %s, %s", h.Run, s)
	}
	return s
}

// LockedError says that somebody else works on an environment.
type LockedError struct {
	Environment string
	Holder      Holder
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("environment %s is in use by %s; wait for it, or end that process", e.Environment, e.Holder)
}

// Lock keeps everybody else out of an environment until it is released or the process dies, however that
// happens. When it is taken, wait is told who holds it, once, and Lock waits until ctx ends; with no wait it
// returns a *LockedError. It is not reentrant. Releasing twice is harmless.
func (f *Files) Lock(ctx context.Context, env string, h Holder, wait func(Holder)) (release func() error, err error) {
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
			return nil, errors.Join(&LockedError{Environment: env, Holder: other}, l.Close())
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

// holder reads who holds a lock. It may have been taken a moment ago by somebody who has not yet said so.
func holder(path string) Holder {
	h := Holder{What: "somebody"}
	b, err := os.ReadFile(path)
	if err == nil {
		_ = json.Unmarshal(b, &h) // half-written: the default stands
	}
	return h
}
