package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/deploy/traffic"
	"github.com/seed-b96de936/troop/plugins/deploy/verdict"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// guardReadings is the length of the guard's window, in readings of the count, one each reportTime.
const guardReadings = 40

// listen closes the canary at the first alert of a canary host. Whoever opened the canary knew the alerts from before.
func (a *agent) listen(ctx context.Context) error {
	a.mu.Lock()
	since := a.memory.Desired.Opened
	a.mu.Unlock()
	return a.job.Subscribe(ctx, sdk.EventFilter{Kinds: a.conf.Alerts, Severities: []sdk.Severity{sdk.Alert}, Since: since}, func(e sdk.Event) error {
		a.mu.Lock()
		from := a.memory.Desired.Hosts[string(e.Host)].Pool == state.PoolCanary || e.Role == state.PoolCanary
		old := e.Time.Before(a.memory.Desired.Opened)
		a.mu.Unlock()
		if from && !old {
			a.close(ctx, fmt.Sprintf("alert from %s: %s", e.Host, e.Summary))
		}
		return nil
	})
}

// guard closes a canary that is clearly worse than production in the same sliding window. A window starts anew when the
// canary is opened.
func (a *agent) guard(ctx context.Context) {
	tick := time.NewTicker(reportTime)
	defer tick.Stop()
	var window []traffic.Reading
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
		window = append(window, a.count.Read(time.Now()))
		window = window[max(0, len(window)-guardReadings):]
		production, canary := window[len(window)-1].Since(window[0])
		if j := verdict.Judge(a.conf.Guard, production, canary); j.Outcome == verdict.Fail {
			a.close(ctx, j.Reason)
		}
	}
}

// close takes the canary's traffic away until it is opened again: on the router at once, everywhere else later.
func (a *agent) close(ctx context.Context, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := &a.memory.Desired
	if a.memory.Version == 0 || d.Effective(a.memory.Closed).Canary == 0 {
		return
	}
	c := &state.Closing{Generation: d.Generation, Reason: reason, Time: time.Now().UTC()}
	a.memory.Closed, a.unsaved = c, true
	if err := a.router.SetWeights(ctx, d.Effective(c)); err != nil {
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
