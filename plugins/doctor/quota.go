package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

const (
	quotaPeriod = 20 * time.Millisecond
	// quotaBurst is for how long unused quota can be saved up, and how long a process that used more than its quota is
	// stopped at most at a time.
	quotaBurst = 200 * time.Millisecond
)

// quota holds processes together to a share of one core: they are stopped while they have used more. The kernel's own quota
// belongs to a cgroup, which is root's: the agent is not root, and a cgroup holds the shell of the user as well.
type quota struct {
	proc  string
	share float64 // of one core
	guard *guard
	like  map[string]bool // likeness of the first processes
	since uint64          // younger processes that are alike belong to them, too; clock ticks since boot

	mu      sync.Mutex
	members map[process.Ident]*process.Handle
	used    map[process.Ident]time.Duration // at the last look
	stopped bool
	hitAt   time.Time // when the quota was used up last

	stop chan struct{}
	done chan struct{}
}

// newQuota begins to hold processes. The handles are its own from now on.
func newQuota(ctx context.Context, proc string, share float64, targets []*process.Handle) (*quota, error) {
	g, err := startGuard(ctx)
	if err != nil {
		return nil, err
	}
	q := &quota{
		proc: proc, share: share, guard: g, members: map[process.Ident]*process.Handle{}, used: map[process.Ident]time.Duration{},
		stop: make(chan struct{}), done: make(chan struct{}), hitAt: time.Now(),
	}
	q.Add(targets)
	go q.run()
	return q, nil
}

// Add holds further processes. Their handles are the quota's from now on.
func (q *quota) Add(targets []*process.Handle) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range targets {
		if _, known := q.members[h.ID]; known {
			_ = h.Close() // a pidfd holds no data
			continue
		}
		q.members[h.ID] = h
		if st, err := process.ReadStat(filepath.Join(q.proc, strconv.Itoa(h.ID.PID))); err == nil {
			q.used[h.ID] = st.CPU + st.Children
		}
		if q.stopped {
			_ = h.Signal(unix.SIGSTOP) // or it has ended
		}
	}
	q.guard.tell(q.members)
}

// Members returns the processes that it holds.
func (q *quota) Members() map[process.Ident]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := make(map[process.Ident]bool, len(q.members))
	for id := range q.members {
		list[id] = true
	}
	return list
}

// HitAt returns when the quota was used up last: as long as that goes on, the processes want more.
func (q *quota) HitAt() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.hitAt
}

// Close lets the processes go on. Twice is harmless.
func (q *quota) Close() {
	select {
	case <-q.stop:
		return
	default:
	}
	close(q.stop)
	<-q.done
	q.mu.Lock()
	defer q.mu.Unlock()
	q.signal(false)
	q.guard.Close()
	for id, h := range q.members {
		_ = h.Close() // a pidfd holds no data
		delete(q.members, id)
	}
}

func (q *quota) run() {
	defer close(q.done)
	tick := time.NewTicker(quotaPeriod)
	defer tick.Stop()
	last := time.Now()
	var left time.Duration // of the quota; negative: more was used
	for {
		select {
		case <-q.stop:
			return
		case now := <-tick.C:
			q.mu.Lock()
			granted := time.Duration(q.share * float64(now.Sub(last)))
			last = now
			most := time.Duration(q.share * float64(quotaBurst))
			left = min(left+granted-q.look(), most)
			left = max(left, -most)
			if left < 0 {
				q.hitAt = now
			}
			if stop := left < 0; stop != q.stopped {
				q.signal(stop)
			}
			q.mu.Unlock()
		}
	}
}

// look returns what the processes have used since the last look, and forgets those that have ended.
func (q *quota) look() (sum time.Duration) {
	for id, h := range q.members {
		st, err := process.ReadStat(filepath.Join(q.proc, strconv.Itoa(id.PID)))
		if err != nil || st.Start != id.Start {
			_ = h.Close() // a pidfd holds no data
			delete(q.members, id)
			delete(q.used, id)
			continue
		}
		sum += st.CPU + st.Children - q.used[id]
		q.used[id] = st.CPU + st.Children
	}
	return sum
}

func (q *quota) signal(stop bool) {
	sig := unix.SIGCONT
	if stop {
		sig = unix.SIGSTOP
	}
	for _, h := range q.members {
		_ = h.Signal(sig) // or it has ended
	}
	q.stopped = stop
}

// guard is a process that lets others go on when the agent is killed while they are stopped.
type guard struct {
	in   io.WriteCloser
	wait func() error
}

func startGuard(ctx context.Context) (*guard, error) {
	// Each line replaces the list. The last one is carried out when the input ends.
	c := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", `while read -r line; do list=$line; done; [ -z "$list" ] || kill -CONT $list`)
	in, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the guard of stopped processes: %w", err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the guard of stopped processes: %w", errors.Join(err, in.Close()))
	}
	return &guard{in, c.Wait}, nil
}

func (g *guard) tell(members map[process.Ident]*process.Handle) {
	var line bytes.Buffer
	for id := range members {
		fmt.Fprintf(&line, "%d ", id.PID)
	}
	_, _ = g.in.Write(append(line.Bytes(), '\n')) // without it, the guard has the list before
}

// Close ends the guard: nothing is stopped any more.
func (g *guard) Close() {
	g.tell(nil)
	_ = g.in.Close()
	_ = g.wait() // it says nothing
}

// limitShare is the part of the limit to which a hog is held. It is below the half that makes a hog, so that no further
// step follows while it is kept.
const limitShare = 0.25

// share says to what a hog is held.
func share(h limit.Hog) string { return fmt.Sprintf("%.0f %% of one core", limitShare*h.Limit) }

// limit holds the processes of a patient to a share of the limit.
func (a *agent) limit(ctx context.Context, pt *ladder.Patient, targets []target) error {
	var handles []*process.Handle
	like := map[string]bool{}
	for _, t := range targets {
		h, err := process.Hold(a.at.proc, t.ID)
		if errors.Is(err, process.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		handles = append(handles, h)
		like[t.likeness()] = true
	}
	if len(handles) == 0 {
		return process.ErrGone
	}
	k := pt.Hog.Key()
	a.unlimit(k)
	q, err := newQuota(ctx, a.at.proc, limitShare*pt.Hog.Limit/100, handles)
	if err != nil {
		return err
	}
	q.like, q.since = like, a.began
	a.quotas[k] = q
	a.noteLimited()
	return nil
}

// keepLimit adds what the processes of a limited patient have started since, and keeps the patient as long as it wants more
// than it gets. With the next step the limit ends: a process that is stopped cannot end by itself.
func (a *agent) keepLimit(now time.Time, pt *ladder.Patient) {
	k := pt.Hog.Key()
	q := a.quotas[k]
	if q == nil {
		return
	}
	if len(pt.Done) > 0 && pt.Done[len(pt.Done)-1] != ladder.Limit {
		a.unlimit(k)
		return
	}
	if pt.Hog.UID != 0 {
		var more []*process.Handle
		for _, t := range a.relatives(a.procs, pt.Hog.UID, q.since, q.Members(), q.like, false) {
			more = append(more, t.Handle)
		}
		q.Add(more)
		q.since = a.began
		a.noteLimited()
	}
	if time.Since(q.HitAt()) < a.window {
		a.policy.Wants(now, k)
	}
}

// limitMore holds those of the targets that a quota does not hold yet, and reports whether there were any.
func (a *agent) limitMore(q *quota, targets []target) bool {
	known := q.Members()
	var more []*process.Handle
	for _, t := range targets {
		if h, err := process.Hold(a.at.proc, t.ID); err == nil && !known[t.ID] {
			more = append(more, h)
			q.like[t.likeness()] = true
		} else if err == nil {
			_ = h.Close() // a pidfd holds no data
		}
	}
	q.Add(more)
	a.noteLimited()
	return len(more) > 0
}

// noteLimited writes down which processes may be stopped: the next agent lets them go on if this one is killed together with
// the guard.
func (a *agent) noteLimited() {
	var list []process.Ident
	for _, q := range a.quotas {
		list = slices.AppendSeq(list, maps.Keys(q.Members()))
	}
	slices.SortFunc(list, func(x, y process.Ident) int { return cmp.Compare(x.PID, y.PID) })
	a.windows.Slow(list)
	a.policy.Limited(list)
	a.keepMemory()
}

// letGoOn continues processes that an earlier agent may have left stopped.
func (a *agent) letGoOn(list []process.Ident) {
	for _, id := range list {
		if h, err := process.Hold(a.at.proc, id); err == nil {
			_ = h.Signal(unix.SIGCONT) // or it has ended
			_ = h.Close()              // a pidfd holds no data
		}
	}
}

// unlimit lets a patient's processes go on, if they are limited.
func (a *agent) unlimit(key string) bool {
	q := a.quotas[key]
	if q == nil {
		return false
	}
	q.Close()
	delete(a.quotas, key)
	a.noteLimited()
	return true
}
