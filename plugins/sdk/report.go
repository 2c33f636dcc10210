package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// Report is an agent's current view of its host. The agent sets it at any time; it is published to the state that the
// plugin shares with its actions, which read it with ReadReport:
//
//   - Only the newest value counts. It replaces a value that was not published yet.
//   - The first value is published at once, later ones at most once per interval. An unchanged value is published again
//     after ten intervals, as a sign of life.
//   - Set never blocks: while the state cannot be reached, the newest value is kept and retried. An outage is logged
//     once.
//
// Capability: State.
type Report struct {
	mu   sync.Mutex
	next *picture      // newest unpublished value; nil: none
	wake chan struct{} // signals that next is set
	stop context.CancelFunc
	done chan struct{}
}

// picture is a value at one time, with its published form.
type picture struct {
	Time  time.Time       `json:"time"`
	Value json.RawMessage `json:"value"`
}

// keepAlive is the number of intervals after which an unchanged value is published again.
const keepAlive = 10

// NewReport starts a report, which ends with ctx or Close. every is the minimum time between two publications.
func NewReport(ctx context.Context, job *Job, name string, every time.Duration) *Report {
	key := reportKey(job, name, job.Info.Host)
	set := func(ctx context.Context, b []byte) error {
		_, err := job.SetState(ctx, key, b)
		return err
	}
	return startReport(ctx, every, set, func(err error) { job.Warnf("publish report %s: %v", name, err) })
}

func startReport(ctx context.Context, every time.Duration, set func(context.Context, []byte) error, warn func(error)) *Report {
	ctx, stop := context.WithCancel(ctx)
	r := &Report{wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.run(ctx, every, set, warn)
	}()
	return r
}

// Set replaces the report's value. It panics if JSON cannot encode the value.
func (r *Report) Set(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("report: %v", err))
	}
	r.put(picture{Time: time.Now().UTC(), Value: b}, true)
}

// put sets the value to publish, unless there is a newer one that p must not replace.
func (r *Report) put(p picture, replace bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil || replace {
		r.next = &p
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Report) take() (picture, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		return picture{}, false
	}
	p := *r.next
	r.next = nil
	return p, true
}

// Close ends the report and drops an unpublished value. It may be repeated.
func (r *Report) Close() {
	r.stop()
	<-r.done
}

func (r *Report) run(ctx context.Context, every time.Duration, set func(context.Context, []byte) error, warn func(error)) {
	var sent picture
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		p, ok := r.take()
		if !ok || bytes.Equal(p.Value, sent.Value) && p.Time.Sub(sent.Time) < keepAlive*every {
			continue
		}
		b, err := json.Marshal(p)
		if err == nil {
			err = set(ctx, b)
		}
		if err == nil {
			sent = p
		} else {
			if !failed && ctx.Err() == nil {
				warn(err)
			}
			r.put(p, false)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// ReadReport reads the last report of a host's agent into v and returns the time when it was set, or the zero time if
// there is none. Capability: State.
func ReadReport(ctx context.Context, job *Job, name string, host HostName, v any) (time.Time, error) {
	e, err := job.State(ctx, reportKey(job, name, host))
	if err != nil || e.Version == 0 {
		return time.Time{}, err
	}
	var p picture
	if err = json.Unmarshal(e.Value, &p); err == nil {
		err = json.Unmarshal(p.Value, v)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("decode report %s of host %s: %w", name, host, err)
	}
	return p.Time, nil
}

func reportKey(job *Job, name string, host HostName) string {
	return HostKey(host, fmt.Sprintf("%s/%s", name, job.Info.Stage))
}
