package agent

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// follow takes over every desired state.
func (a *agent) follow(ctx context.Context) error {
	defer func() {
		a.mu.Lock()
		a.connected = false
		a.mu.Unlock()
	}()
	return a.job.WatchState(ctx, a.service.Key(state.KeyDesired), func(e sdk.Entry) error {
		a.learn(e)
		return nil
	})
}

// learn takes over one changed value of the shared state.
func (a *agent) learn(e sdk.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connected = true
	switch e.Key {
	case a.service.Key(state.KeyDriver):
		a.driverAt = time.Now()
	case a.service.Key(state.KeyDesired):
		var d state.Desired
		none := len(e.Value) == 0 // there never was one, or the service is taken out
		if err := json.Unmarshal(e.Value, &d); err != nil && !none {
			a.job.Warnf("the desired state, version %d, cannot be read and is ignored: %v", e.Version, err)
			return
		}
		a.memory.Gone = none && (a.memory.Gone || a.memory.Desired.Service != "")
		if d.Generation != a.memory.Desired.Generation {
			a.driverAt = time.Now() // whoever opened the canary is alive
		}
		a.memory.Desired, a.memory.Version, a.unsaved = d, e.Version, true
		poke(a.wake)
	}
}

// report writes the actual state and the traffic into the shared state.
func (a *agent) report(ctx context.Context) {
	tick := time.NewTicker(reportTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		case <-tick.C:
			a.tell(ctx, state.KeyTraffic, a.count.Read(time.Now()))
		}
		a.mu.Lock()
		now := a.actual
		a.mu.Unlock()
		a.tell(ctx, state.KeyActual, now)
	}
}

// tell sets one value of the shared state, and empties it once the service is taken out. A failure is not repeated: the next
// report follows.
func (a *agent) tell(ctx context.Context, key string, v any) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	value := state.Encode(v)
	a.mu.Lock()
	if a.memory.Gone {
		value = nil
	}
	a.mu.Unlock()
	if _, err := a.job.SetState(ctx, sdk.HostKey(a.job.Info.Host, a.service.Key(key)), value); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		a.job.Warnf("%v", err)
	}
}
