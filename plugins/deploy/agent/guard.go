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

// guardWindows are the lengths of the windows that the guard judges.
var guardWindows = []time.Duration{time.Minute, time.Hour}

// listen closes the canary at the first alert that is the canary's. Whoever opened the canary knew the alerts from before.
func (a *agent) listen(ctx context.Context) error {
	a.mu.Lock()
	since := a.memory.Desired.Opened
	a.mu.Unlock()
	return a.job.Subscribe(ctx, sdk.EventFilter{Kinds: a.conf.Alerts, Severities: []sdk.Severity{sdk.Alert}, Since: since}, func(e sdk.Event) error {
		a.mu.Lock()
		from := ofCanary(&a.memory.Desired, e)
		old := e.Time.Before(a.memory.Desired.Opened)
		a.mu.Unlock()
		if from && !old {
			a.close(ctx, fmt.Sprintf("alert from %s: %s", e.Host, e.Summary), nil)
		}
		return nil
	})
}

// ofCanary reports whether an alert is the canary's. All of a host are that serves for the canary alone; of one that serves for
// production, too, those are that name a unit of the canary's release.
func ofCanary(d *state.Desired, e sdk.Event) bool {
	if _, production := d.Seats[state.Seat{Host: string(e.Host), Pool: state.PoolProduction}]; production {
		p := d.Seats[state.Seat{Host: string(e.Host), Pool: state.PoolCanary}]
		unit, _ := e.Data["unit"].(string)
		return d.Releases[p.Release].Runs(unit, p.Slot)
	}
	_, canary := d.Seats[state.Seat{Host: string(e.Host), Pool: state.PoolCanary}]
	return canary || e.Role == state.PoolCanary
}

// guard closes a canary that is worse than production by more than chance. It judges windows one after the other: short
// ones see a sudden fault at once, long ones a small one in the end. All begin anew when the canary is opened.
func (a *agent) guard(ctx context.Context) {
	tick := time.NewTicker(reportTime)
	defer tick.Stop()
	type window struct {
		judge *verdict.Judge
		ends  time.Time
	}
	windows := make([]window, len(guardWindows))
	var last traffic.Reading
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
		reading := a.count.Read(time.Now())
		if now != generation || last.Epoch == "" {
			clear(windows)
			generation, last = now, reading
			continue
		}
		since := reading.Since(last)
		last = reading
		// A canary that is down harms nobody: production takes its turns.
		since.Canary.Missed, since.Canary.Downs = 0, 0
		for name, p := range since.Classes {
			p.Canary.Missed = 0
			since.Classes[name] = p
		}
		for i, length := range guardWindows {
			w := &windows[i]
			if w.judge == nil || reading.Time.After(w.ends) {
				*w = window{verdict.New(a.conf.Guard.Guard(length, len(guardWindows))), reading.Time.Add(length)}
			}
			w.judge.Observe(since)
			if seen := w.judge.Seen(); seen.Outcome == verdict.Fail {
				a.close(ctx, seen.Reason, state.Encode(seen))
				*w = window{}
			}
		}
	}
}

// close takes the canary's traffic away until it is opened again: on the router at once, everywhere else later.
func (a *agent) close(ctx context.Context, reason string, seen []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := &a.memory.Desired
	if a.memory.Version == 0 || d.Effective(a.memory.Closed).Canary == 0 {
		return
	}
	c := &state.Closing{Generation: d.Generation, Reason: reason, Time: time.Now().UTC(), Seen: seen}
	a.memory.Closed, a.unsaved = c, true
	if err := a.router.SetWeights(ctx, d.Effective(c)); err != nil {
		a.job.Warnf("close the canary: %v; trying again", err) // the next step does
	}
	poke(a.wake)
	data := map[string]any{
		"reason": reason, "generation": d.Generation,
		sdk.Delays: map[string]any{"canary": float64(time.Since(c.Time).Microseconds()) / 1000},
	}
	if r, ok := d.Releases[d.Candidate]; ok { // else it is the good one, which production serves, too
		data[sdk.StoppedRelease] = r.Artifact
	}
	go a.publish(ctx, sdk.Event{
		Time: c.Time, Kind: "canary.closed", Severity: sdk.Alert, Key: "canary",
		Summary: "the canary gets no more traffic: " + reason, Data: data,
	})
}

func (a *agent) publish(ctx context.Context, e sdk.Event) {
	if err := a.job.Publish(ctx, e); err != nil && ctx.Err() == nil {
		a.job.Warnf("%v", err)
	}
}
