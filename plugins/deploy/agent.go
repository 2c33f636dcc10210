package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

const (
	busy       = 50 * time.Millisecond  // between two steps while something is under way
	idle       = 250 * time.Millisecond // between two looks at rest: a restart of HAProxy is noticed within this
	reportTime = 250 * time.Millisecond
	askTime    = 3 * time.Second // for one call of the shared state
	guardTime  = 40              // readings, one a report: the window in which the agent judges by itself
	maxBackOff = 5 * time.Second
)

// agent makes the router what the shared state desires, reports what it is, and takes the canary's traffic away
// when an alert or its own count says so. It needs the shared state only to learn of changes: without it, what
// stands is kept, and what was desired last is healed.
//
// Goroutines: follow (desired state), listen (alerts), readLog, guard, report (actual, traffic), and steps, which
// alone places hosts. All share what mu guards.
type agent struct {
	c      *config
	job    *sdk.Job
	router *router
	count  *counter
	id     string
	wake   chan struct{} // the desired state changed
	said   chan struct{} // the actual state changed

	mu        sync.Mutex
	memory    memory
	unsaved   bool // memory is not on disk yet
	connected bool // the desired state is being followed
	driverAt  time.Time
	actual    actual
}

// memory is what survives a restart of the agent.
type memory struct {
	Version int64    `json:"version"` // of Desired; 0: nothing is known yet
	Desired desired  `json:"desired"`
	Closed  *closing `json:"closed,omitempty"`
}

// watch is the plugin's face on the router.
func (p setting) watch(ctx context.Context, c *config, job *sdk.Job) error {
	id, err := identity(c)
	if err != nil {
		return err
	}
	a := &agent{
		c: c, job: job, router: newRouter(p, c.drain()), id: id,
		count: &counter{traffic: traffic{Epoch: time.Now().UTC().Format(time.RFC3339Nano), Agent: id}},
		wake:  make(chan struct{}, 1), said: make(chan struct{}, 1), driverAt: time.Now(),
	}
	if err := a.load(); err != nil {
		return err
	}
	log, err := listenLog(p.log())
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
		func(context.Context) { a.readLog(log) },
		a.report,
		a.guard,
		a.steps,
	} {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// identity tells one program with one configuration from any other, so that the stage knows whether the agent on
// the router is the one it would install. The artifact and the service are not the agent's business.
func identity(c *config) (string, error) {
	program, err := ownDigest()
	if err != nil {
		return "", fmt.Errorf("read own program: %w", err)
	}
	sum := sha256.Sum256(append([]byte(program), encode([]any{c.Canary, c.Production})...))
	return hex.EncodeToString(sum[:])[:16], nil
}

var ownDigest = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return string(sum.Sum(nil)), err
})

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
		sleep(ctx, wait)
		wait = min(2*wait, maxBackOff)
	}
}

// sleep returns early when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// follow takes over every desired state. A shared state that lost its data gets back what is remembered here:
// otherwise the next deploy would believe that nothing serves.
func (a *agent) follow(ctx context.Context) error {
	e, err := a.job.State(ctx, keyDesired)
	if err != nil {
		return err
	}
	a.mu.Lock()
	m := a.memory
	a.mu.Unlock()
	if e.Version == 0 && m.Version != 0 {
		a.job.Warnf("the shared state lost what was desired; it gets it back")
		if _, err := a.job.SetState(ctx, keyDesired, encode(m.Desired)); err != nil {
			return err
		}
	}
	defer func() {
		a.mu.Lock()
		a.connected = false
		a.mu.Unlock()
	}()
	return a.job.WatchState(ctx, keyDesired, func(e sdk.Entry) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.connected = true
		if e.Key == keyDriver {
			a.driverAt = time.Now()
			return nil
		}
		if e.Key != keyDesired {
			return nil
		}
		var d desired
		if err := json.Unmarshal(e.Value, &d); err != nil {
			a.job.Warnf("the desired state, version %d, cannot be read and is not followed: %v", e.Version, err)
			return nil
		}
		if d.Generation != a.memory.Desired.Generation {
			a.driverAt = time.Now() // whoever opened the canary lives
		}
		a.memory.Desired, a.memory.Version, a.unsaved = d, e.Version, true
		poke(a.wake)
		return nil
	})
}

// poke wakes the receiver of c; one wake-up is enough for many reasons.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// listen takes the canary's traffic away at the first alert of one of its hosts. Alerts from before the canary was
// opened are known to whoever opened it.
func (a *agent) listen(ctx context.Context) error {
	a.mu.Lock()
	since := a.memory.Desired.Opened
	a.mu.Unlock()
	return a.job.Subscribe(ctx, sdk.EventFilter{Kinds: a.c.Canary.Alerts, Severities: []sdk.Severity{sdk.Alert}, Since: since}, func(e sdk.Event) error {
		a.mu.Lock()
		from := a.memory.Desired.Hosts[string(e.Host)].Pool == poolCanary || e.Role == poolCanary
		late := e.Time.Before(a.memory.Desired.Opened)
		a.mu.Unlock()
		if from && !late {
			a.close(ctx, fmt.Sprintf("alert from %s: %s", e.Host, e.Summary))
		}
		return nil
	})
}

// close takes the canary's traffic away until it is opened again. The router comes first, everything else later.
func (a *agent) close(ctx context.Context, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := &a.memory.Desired
	if a.memory.Version == 0 || d.effective(a.memory.Closed).Canary == 0 {
		return
	}
	c := &closing{Generation: d.Generation, Reason: reason, Time: time.Now().UTC()}
	a.memory.Closed, a.unsaved = c, true
	if err := a.router.setWeights(ctx, d.effective(c)); err != nil {
		a.job.Warnf("close the canary: %v; trying again", err) // the next step does
	}
	poke(a.wake)
	go a.publish(ctx, sdk.Event{
		Kind: "canary.closed", Severity: sdk.Alert, Key: "canary",
		Summary: "the canary gets no more traffic: " + reason,
		Data:    map[string]any{"reason": reason, "generation": d.Generation},
	})
}

func (a *agent) publish(ctx context.Context, e sdk.Event) {
	if err := a.job.Publish(ctx, e); err != nil && ctx.Err() == nil {
		a.job.Warnf("%v", err)
	}
}

// steps places hosts and keeps the weights, quickly while something is under way.
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

// step does what can be done now, and returns how the router stands. It alone writes to the disk, outside the lock:
// a closing never waits for that.
func (a *agent) step(ctx context.Context) actual {
	a.mu.Lock()
	if !a.driverAlive() {
		a.mu.Unlock()
		a.close(ctx, "the deploy that opened it is gone without a verdict")
		a.mu.Lock()
	}
	m := a.memory
	now := actual{Desired: m.Version}
	var err error
	if m.Version != 0 {
		now.Weights = m.Desired.effective(m.Closed)
		if m.Closed != nil && m.Closed.Generation == m.Desired.Generation {
			now.Closed = m.Closed
		}
		err = a.keepWeights(ctx, now.Weights)
	}
	unsaved := a.unsaved
	a.unsaved = false
	a.mu.Unlock()

	if unsaved {
		if err := replaceFile(a.memoryFile(), string(encode(m))); err != nil {
			a.job.Warnf("write memory: %v", err)
		}
	}
	if err == nil && m.Version != 0 {
		now.Hosts, now.Settled, err = a.router.place(ctx, &m.Desired)
	}
	for _, h := range now.Hosts {
		if h.Problem != "" {
			now.Problem = h.Problem
		}
	}
	if err != nil && ctx.Err() == nil {
		now.Problem, now.Settled = err.Error(), false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !reflect.DeepEqual(now, a.actual) {
		a.actual = now
		poke(a.said)
	}
	return now
}

// driverAlive is false when a candidate takes traffic and nobody is there who will judge it. Without the shared
// state nothing is known, and so nothing done. The caller holds the lock.
func (a *agent) driverAlive() bool {
	d := &a.memory.Desired
	return d.Phase != phaseCanary || !a.connected || time.Since(a.driverAt) < a.router.silence
}

// keepWeights sets the weights when the router has others. The caller holds the lock, so that a closing in between
// is never undone.
func (a *agent) keepWeights(ctx context.Context, w weights) error {
	have, err := a.router.haveWeights(ctx, w)
	if err != nil || have {
		return err
	}
	return a.router.setWeights(ctx, w)
}

// report tells the shared state how the router stands.
func (a *agent) report(ctx context.Context) {
	tick := time.NewTicker(reportTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.said:
		case <-tick.C:
			a.tell(ctx, keyTraffic, a.count.read(time.Now().UTC()))
		}
		a.mu.Lock()
		now := a.actual
		a.mu.Unlock()
		a.tell(ctx, keyActual, now)
	}
}

// tell sets one value of the shared state. A failure is not repeated: the next report follows.
func (a *agent) tell(ctx context.Context, key string, v any) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if _, err := a.job.SetState(ctx, key, encode(v)); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		a.job.Warnf("%v", err)
	}
}

// guardLimits are for a short window without a person or a deploy behind it: only what is clear counts.
func (c *config) guardLimits() limits {
	l := c.limits()
	l.minRequests = max(min(l.minRequests, 50), 20)
	l.minErrors = 5
	l.latencyFactor *= 2
	l.latencySlack *= 2
	return l
}

// guard closes a canary that is clearly worse than production in the same sliding window. What was counted before
// the canary was opened is not held against it.
func (a *agent) guard(ctx context.Context) {
	tick := time.NewTicker(reportTime)
	defer tick.Stop()
	var window []traffic
	var generation int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.mu.Lock()
		now := a.memory.Desired.Generation
		a.mu.Unlock()
		if now != generation {
			window, generation = nil, now
		}
		window = append(window, a.count.read(time.Now().UTC()))
		window = window[max(0, len(window)-guardTime):]
		from, to := window[0], window[len(window)-1]
		production, canary := to.since(from)
		if v := judge(a.c.guardLimits(), production, canary, to.Time.Sub(from.Time)); v.Outcome == fail {
			a.close(ctx, v.Reason)
		}
	}
}

// listenLog opens the socket to which HAProxy sends a datagram for each request. HAProxy drops what nobody reads.
func listenLog(path string) (*net.UnixConn, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old log socket: %w", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("open log socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		_ = conn.Close() // the first error tells more
		return nil, fmt.Errorf("open log socket: %w", err)
	}
	return conn, nil
}

// readLog counts until the socket is closed.
func (a *agent) readLog(conn *net.UnixConn) {
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		// HAProxy also says when it starts and when a server changes; only requests have the form.
		_ = a.count.add(string(buf[:n]))
	}
}

func (a *agent) memoryFile() string { return filepath.Join(a.job.Info.StateDir, "memory.json") }

// load takes over what the agent knew before its restart.
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
		a.job.Warnf("the memory is damaged and begins anew: %v", err)
		a.memory = memory{}
	}
	return nil
}
