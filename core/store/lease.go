package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
)

// leaseTime is how long an environment belongs to a holder that is not heard of.
const leaseTime = 30 * time.Second

// leasePatience is for how many times as long a holder keeps a lease that a busy store does not let it write.
const leasePatience = 4

// leaseFile is ENVIRONMENT/lease.json of a shared store. It is written on the condition that it has not changed, by the
// holder again and again while it works. It stays when the lease is given back: the number has to grow.
type leaseFile struct {
	Fence  int64        `json:"fence"`
	Free   bool         `json:"free"`
	Holder *core.Holder `json:"holder,omitempty"`
	Nonce  string       `json:"nonce"` // of one holding: the answer to a write may be lost
	Beat   int          `json:"beat"`  // makes each version of the file different
}

func leaseKey(env string) string { return env + "/lease.json" }

// readLease returns a lease and what to write over; a missing one is free.
func readLease(ctx context.Context, o core.Objects, env string) (leaseFile, core.Object, error) {
	b, object, err := ReadObject(ctx, o, leaseKey(env))
	if errors.Is(err, fs.ErrNotExist) {
		return leaseFile{Free: true}, core.Object{}, nil
	}
	var l leaseFile
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		return l, object, fmt.Errorf("read lease of environment %s: %w", env, err)
	}
	return l, object, nil
}

// writeLease replaces the version of a lease that was read.
func writeLease(ctx context.Context, o core.Objects, env string, l leaseFile, over string) (core.Object, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return core.Object{}, err
	}
	return PutBytes(ctx, o, leaseKey(env), append(b, '\n'), core.Condition{Absent: over == "", Tag: over})
}

func (f *Files) leaseTime() time.Duration {
	if f.Lease > 0 {
		return f.Lease
	}
	return leaseTime
}

// lease is Lock in a shared store.
func (f *Files) lease(ctx context.Context, env string, h core.Holder, wait func(core.Holder)) (core.Lease, error) {
	if name, err := os.Hostname(); err == nil {
		h.Machine = name
	}
	length := f.leaseTime()
	nonce := core.NewID(time.Now())
	var seen core.Object // the version of another holder's lease, and since when it has not changed
	var since time.Time
	told, wasAway := false, false
	changed, stop := f.watch(leaseKey(env))
	defer stop()
	for {
		asked := time.Now()
		l, at, err := readLease(ctx, f.shared, env)
		if err != nil {
			return core.Lease{}, err
		}
		away := time.Since(asked) >= length/5 // and perhaps for the holder as well, who gets the time to write again
		wasAway = wasAway || away
		if at.Tag != seen.Tag || away {
			seen, since = at, time.Now()
		}
		// The store's own clock may have told already that nobody has written for long; it may count in seconds.
		dead := time.Since(since) >= length || at.Age >= length+2*time.Second && !wasAway
		if l.Free || dead {
			mine := leaseFile{Fence: l.Fence + 1, Holder: &h, Nonce: nonce}
			began := time.Now()
			put, err := writeLease(ctx, f.shared, env, mine, at.Tag)
			if err == nil {
				lease := f.hold(env, mine, put.Tag, began)
				if !l.Free {
					lease.After = l.Holder
				}
				return lease, nil
			}
			if !errors.Is(err, core.ErrChanged) {
				return core.Lease{}, fmt.Errorf("lock environment %s: %w", env, err)
			}
			continue // somebody was faster
		}
		if wait == nil {
			return core.Lease{}, &core.LockedError{Environment: env, Holder: *l.Holder}
		}
		if !told {
			wait(*l.Holder)
			told = true
		}
		select {
		case <-ctx.Done():
			return core.Lease{}, fmt.Errorf("lock environment %s: %w", env, context.Cause(ctx))
		case <-changed:
		case <-time.After(min(length/10, 2*time.Second)):
		}
	}
}

// hold keeps a lease until it is released or lost.
//
//nolint:contextcheck // the lease lasts until Release, whatever ends before
func (f *Files) hold(env string, mine leaseFile, tag string, began time.Time) core.Lease {
	ctx, stop := context.WithCancel(context.Background()) // until Release
	lost, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if f.beat(ctx, env, &mine, &tag, began) {
			close(lost)
		}
	}()
	release := sync.OnceValue(func() error {
		stop()
		<-done
		select {
		case <-lost:
			return nil // it is somebody else's
		default:
		}
		mine.Free, mine.Holder = true, nil
		mine.Beat++
		ctx, cancel := context.WithTimeout(context.Background(), f.leaseTime())
		defer cancel()
		_, err := writeLease(ctx, f.shared, env, mine, tag)
		if errors.Is(err, core.ErrChanged) {
			return nil // somebody has freed or taken it meanwhile
		}
		if err != nil {
			return fmt.Errorf("free environment %s: %w; it is free by itself in %s", env, err, f.leaseTime())
		}
		return nil
	})
	return core.Lease{Fence: mine.Fence, Lost: lost, Release: release}
}

// beat writes the lease again and again, until ctx ends, or the lease is lost. Others take it a lease's time after they
// have seen it written; so it is lost a little earlier, counted from before the last write that succeeded. A store that
// answers that it is busy lets nobody else in either: that time does not count, up to leasePatience. Should another holder
// get through nevertheless, its greater number protects the hosts.
func (f *Files) beat(ctx context.Context, env string, mine *leaseFile, tag *string, last time.Time) (lost bool) {
	length := f.leaseTime()
	heard := last // of the store
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(length / 5):
		}
		deadline := heard.Add(length - length/5)
		began := time.Now()
		next := *mine
		next.Beat++
		attempt, cancel := context.WithDeadline(ctx, deadline)
		put, err := writeLease(attempt, f.shared, env, next, *tag)
		if errors.Is(err, core.ErrChanged) { // perhaps by a write of our own whose answer was lost
			if l, at, readErr := readLease(attempt, f.shared, env); readErr == nil && l.Nonce == mine.Nonce && !l.Free {
				put, err, next = at, nil, l
			} else if readErr != nil {
				err = readErr
			}
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				*mine, *tag = next, put.Tag
			}
			return false
		case err == nil:
			*mine, *tag, last, heard = next, put.Tag, began, began
		case errors.Is(err, core.ErrChanged):
			return true
		case bucket.Busy(err) && time.Since(last) < leasePatience*length:
			heard = time.Now()
		case time.Now().After(deadline):
			return true
		}
	}
}

// LeaseOn returns who holds an environment.
func (f *Files) LeaseOn(ctx context.Context, env string) (Lease, error) {
	if f.shared == nil {
		h, fence, err := f.lockHolder(env)
		return Lease{env, h, fence}, err
	}
	l, _, err := readLease(ctx, f.shared, env)
	if l.Free {
		l.Holder = nil
	}
	return Lease{env, l.Holder, l.Fence}, err
}

// FreeLease takes an environment of a shared store away from its holder, who stops at the next safe point.
func (f *Files) FreeLease(ctx context.Context, env string) (*core.Holder, error) {
	l, at, err := readLease(ctx, f.shared, env)
	if err != nil || l.Free {
		return nil, err
	}
	h := l.Holder
	l.Free, l.Holder, l.Nonce = true, nil, core.NewID(time.Now())
	l.Fence++ // what the old holder still says is refused
	if _, err := writeLease(ctx, f.shared, env, l, at.Tag); err != nil {
		return nil, fmt.Errorf("free environment %s: %w", env, err)
	}
	return h, nil
}

// CountOn makes the number of the next holder of an environment greater than one that was given in another store: hosts
// that have heard that one would not obey a smaller number.
func (f *Files) CountOn(ctx context.Context, env string, fence int64) error {
	for {
		l, at, err := readLease(ctx, f.shared, env)
		if err != nil || l.Fence >= fence {
			return err
		}
		if !l.Free {
			return &core.LockedError{Environment: env, Holder: *l.Holder}
		}
		l.Fence, l.Nonce = fence, core.NewID(time.Now())
		if _, err = writeLease(ctx, f.shared, env, l, at.Tag); !errors.Is(err, core.ErrChanged) {
			return err
		}
	}
}

// Lease says who holds an environment.
type Lease struct {
	Environment string       `json:"environment"`
	Holder      *core.Holder `json:"holder"` // nil: nobody
	Fence       int64        `json:"fence"`  // the number of the present or last holder
}

// Lines is the report as text.
func (l Lease) Lines() []string {
	if l.Holder == nil {
		return []string{fmt.Sprintf("environment %s is free (%d holders so far)", l.Environment, l.Fence)}
	}
	return []string{fmt.Sprintf("environment %s is in use by %s (holder number %d)", l.Environment, l.Holder, l.Fence)}
}
