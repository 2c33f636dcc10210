// Package agent is the deploy plugin's long-running part on the router. It makes the router do what the shared state
// desires, reports what the router does, and takes the canary's traffic away when an alert or its own count says so.
// The stage and the actions never talk to the router themselves. Imported by the plugin's main.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
	"github.com/seed-b96de936/troop/plugins/deploy/router"
	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

const (
	busy       = 50 * time.Millisecond  // between two steps while hosts move
	idle       = 250 * time.Millisecond // between two steps at rest: a restart of HAProxy is noticed within this
	reportTime = 250 * time.Millisecond
	askTime    = 3 * time.Second // for one call of the shared state
	maxBackOff = 5 * time.Second
)

// Config is what an agent is told when it starts.
type Config struct {
	Service string
	ID      string // of the program and its configuration; the stage reinstalls an agent with another one
	Paths   router.Paths
	Drain   time.Duration  // how long a slot may finish its requests
	Silence time.Duration  // after which the deploy that watches a canary is taken for dead
	Alerts  []string       // prefixes of the alert kinds that close the canary
	Guard   verdict.Limits // beyond which the agent itself closes the canary
	FailOn  traffic.Criteria
	Retry   time.Duration // after the first attempt at a certificate that failed; then it doubles
}

// agent needs the shared state only to learn of changes. Without it, the router keeps the state desired last, and
// the agent still repairs what departs from that.
//
// Goroutines: follow (desired state), listen (alerts), count, guard, certificate, report (actual, traffic), and
// steps, which alone places seats. All share what mu guards.
type agent struct {
	conf    Config
	service state.Service
	job     *sdk.Job
	router  *router.Router
	count   *traffic.Counter
	wake    chan struct{} // the desired state changed
	changed chan struct{} // the actual state changed

	mu        sync.Mutex
	memory    memory
	unsaved   bool // memory is not on disk yet
	connected bool // the desired state is being followed
	driverAt  time.Time
	actual    state.Actual
	tls       *state.Certificate
}

// memory is what survives a restart of the agent.
type memory struct {
	Service *state.Service `json:"service,omitempty"`
	Version int64          `json:"version"`        // of Desired; 0: nothing is known yet
	Gone    bool           `json:"gone,omitempty"` // the service is taken out
	Desired state.Desired  `json:"desired"`
	Closed  *state.Closing `json:"closed,omitempty"`
}

// Run works until ctx ends, and returns its cause. Any other error means that the agent could not start.
func Run(ctx context.Context, conf Config, job *sdk.Job) error {
	now := time.Now()
	count := traffic.NewCounter(conf.ID, now, conf.FailOn)
	a := &agent{conf: conf, job: job, count: count, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), driverAt: now}
	if err := a.load(); err != nil {
		return err
	}
	unknown, known := context.WithCancel(ctx)
	a.persist(unknown, "learn the environment's services", func(ctx context.Context) error {
		err := a.identify(ctx)
		if err == nil {
			known()
		}
		return err
	})
	known()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a.conf.Paths = conf.Paths.Of(a.service)
	a.router = router.New(conf.Paths, a.service, conf.Drain, count.See)
	if err := os.MkdirAll(a.conf.Paths.Dir, 0o770); err != nil {
		return fmt.Errorf("make the service's folder: %w", err)
	}
	log, err := haproxy.ListenLog(a.conf.Paths.Log())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = log.Close() })
	defer stop()
	var wg sync.WaitGroup
	for _, f := range []func(context.Context){
		func(ctx context.Context) { a.persist(ctx, "follow the desired state", a.follow) },
		func(ctx context.Context) { a.persist(ctx, "listen for alerts", a.listen) },
		func(context.Context) { log.Each(a.see) },
		func(ctx context.Context) { a.persist(ctx, "keep the certificate", a.certificate) },
		a.report,
		a.guard,
		a.steps,
	} {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// see counts a request of the service; HAProxy logs those of all.
func (a *agent) see(r haproxy.Request) {
	var ok bool
	if r.Backend, ok = a.router.Pool(r.Backend); ok {
		a.count.Add(r)
	}
}

// identify finds out which of the environment's services this agent is of. It never changes.
func (a *agent) identify(ctx context.Context) error {
	if a.memory.Service == nil {
		e, err := a.job.State(ctx, state.KeyServices)
		if err != nil {
			return err
		}
		var all []state.Route
		if len(e.Value) > 0 {
			if err := json.Unmarshal(e.Value, &all); err != nil {
				return fmt.Errorf("read state %s: %w", state.KeyServices, err)
			}
		}
		s, known := state.Find(all, a.conf.Service)
		if !known {
			return fmt.Errorf("the environment does not know the service %s; run the pipeline", a.conf.Service)
		}
		a.memory.Service, a.unsaved = &s, true
	}
	a.service = *a.memory.Service
	return nil
}

// persist calls f until ctx ends, with growing pauses while it fails.
func (a *agent) persist(ctx context.Context, what string, f func(context.Context) error) {
	wait := idle
	for ctx.Err() == nil {
		began := time.Now()
		err := f(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxBackOff {
			wait = idle
		}
		a.job.Warnf("%s: %v; trying again in %s", what, err, wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxBackOff)
	}
}

// poke wakes the receiver of c; several reasons need one wake-up.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// steps places seats and keeps the weights, quickly while hosts move.
func (a *agent) steps(ctx context.Context) {
	problem := ""
	for ctx.Err() == nil {
		now := a.step(ctx)
		if now.Problem != "" && now.Problem != problem {
			a.job.Warnf("%s", now.Problem)
		}
		problem = now.Problem
		pause := busy
		if now.Settled || now.Problem != "" || now.Desired == 0 {
			pause = idle
		}
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-time.After(pause):
		}
	}
}

// step does what can be done now, and returns what the router does. Only step writes to the disk, and without the lock:
// closing the canary never waits for that.
func (a *agent) step(ctx context.Context) state.Actual {
	m, now, err := a.keep(ctx)
	if err == nil {
		now.Settings, err = a.router.Settings()
	}
	if err == nil && m.Version != 0 {
		now.Seats, now.Settled, err = a.router.Place(ctx, &m.Desired)
	}
	for _, h := range now.Seats {
		if h.Problem != "" {
			now.Problem = h.Problem
		}
	}
	if err != nil && ctx.Err() == nil {
		now.Problem, now.Settled = err.Error(), false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now.Certificate = a.tls
	if !reflect.DeepEqual(now, a.actual) {
		a.actual = now
		poke(a.changed)
	}
	return now
}

// keep closes a canary without a driver, keeps the weights, and saves the memory. It returns the memory, and the part of
// the actual state that follows from it.
func (a *agent) keep(ctx context.Context) (memory, state.Actual, error) {
	a.mu.Lock()
	if !a.driverAlive() {
		a.mu.Unlock()
		a.close(ctx, "the deploy that opened it is gone without a verdict", nil)
		a.mu.Lock()
	}
	m := a.memory
	now := state.Actual{Desired: m.Version}
	var err error
	if m.Version != 0 {
		now.Weights = m.Desired.Effective(m.Closed)
		if m.Closed != nil && m.Closed.Generation == m.Desired.Generation {
			now.Closed = m.Closed
		}
		err = a.keepWeights(ctx, now.Weights)
	}
	unsaved := a.unsaved
	a.unsaved = false
	a.mu.Unlock()

	if unsaved {
		if err := router.ReplaceFile(a.memoryFile(), string(state.Encode(m))); err != nil {
			a.job.Warnf("write memory: %v", err)
		}
	}
	return m, now, err
}

// driverAlive is false when a candidate takes traffic and no deploy is left that will judge it. While the shared state
// is out of reach, nothing is known of the driver, and it counts as alive. The caller holds the lock.
func (a *agent) driverAlive() bool {
	d := &a.memory.Desired
	return d.Phase != state.PhaseCanary || !a.connected || time.Since(a.driverAt) < a.conf.Silence
}

// keepWeights sets the weights when the router has others. The caller holds the lock, so that a closing in between
// is never undone.
func (a *agent) keepWeights(ctx context.Context, w state.Weights) error {
	have, err := a.router.HaveWeights(ctx, w)
	if err != nil || have {
		return err
	}
	return a.router.SetWeights(ctx, w)
}

func (a *agent) memoryFile() string { return filepath.Join(a.job.Info.StateDir, "memory.json") }

// load reads what the agent knew before its restart.
func (a *agent) load() error {
	if err := os.MkdirAll(a.job.Info.StateDir, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	b, err := os.ReadFile(a.memoryFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read memory: %w", err)
	}
	if err := json.Unmarshal(b, &a.memory); err != nil {
		a.job.Warnf("the memory is damaged and starts empty: %v", err)
		a.memory = memory{}
	}
	return nil
}
