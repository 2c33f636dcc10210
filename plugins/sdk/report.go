package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// Report is an agent's current picture of its host. The agent sets it as often as it likes; it is published to the
// state that the plugin shares with its actions, which read it with ReadReport:
//
//   - Only the newest value counts. One that was not published yet is replaced by the next.
//   - A value is published at once, the next one not before the interval has passed. A value that is equal to the
//     last is published again after ten intervals, so that a reader sees that the agent lives.
//   - Set never waits: while the state cannot be reached, the newest value is kept and tried again. An outage is
//     logged once.
//
// Capability: State.
type Report struct {
	mu   sync.Mutex
	next *picture      // the newest value that is not published; nil: none
	wake chan struct{} // there is one
	stop context.CancelFunc
	done chan struct{}
}

// picture is a value at one time, and the form in which it is published.
type picture struct {
	Time  time.Time       `json:"time"`
	Value json.RawMessage `json:"value"`
}

// keepAlive is after how many intervals an unchanged value is published again.
const keepAlive = 10

// NewReport starts a report of this name, until ctx ends or Close is called. every is the least time between two
// publications.
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

// Set replaces the report's value. A value that JSON cannot hold is a mistake of the plugin and panics.
func (r *Report) Set(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("report: %v", err))
	}
	r.put(picture{Time: time.Now().UTC(), Value: b}, true)
}

// put makes p the value to publish, unless there is a newer one and p must not replace it.
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

// Close ends the report. A value that is not published yet is dropped. Twice is harmless.
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

// ReadReport reads the report that the agent of a host published last into v, and returns when it was set: the
// zero time when there is none. Capability: State.
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
	return fmt.Sprintf("%s/%s/%s", name, job.Info.Stage, host)
}
