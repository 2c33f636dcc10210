package main

import (
	"encoding/json"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// told collects the events of an agent.
type told struct {
	mu     sync.Mutex
	name   string // of the test
	events []sdk.Event
}

func (o *told) add(e sdk.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
	return keep(o.name, e)
}

// keep appends an alert, or its end, to the file that KEEP_ALERTS names, if it is set. It renews the day of core/notify's
// TestDay.
func keep(test string, e sdk.Event) error {
	name := os.Getenv("KEEP_ALERTS")
	if name == "" || e.Severity != sdk.Alert && e.Severity != sdk.Resolved {
		return nil
	}
	line, err := json.Marshal(map[string]any{"test": test, "kind": e.Kind, "severity": e.Severity, "key": e.Key, "summary": e.Summary})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func (o *told) kinds() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []string
	for _, e := range o.events {
		list = append(list, e.Kind+"/"+string(e.Severity))
	}
	return list
}

func (o *told) find(kind string) *sdk.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.events {
		if o.events[i].Kind == kind {
			return &o.events[i]
		}
	}
	return nil
}

// filled returns a config with the defaults that the SDK fills in.
func filled(c config) config {
	if c.Interval == 0 {
		c.Interval = sdk.Duration(1e9)
	}
	if c.Treat == nil {
		c.Treat = []string{"alert", "renice", "terminate", "kill"}
	}
	if c.Pause == 0 {
		c.Pause = sdk.Duration(2e9)
	}
	if c.Grace == 0 {
		c.Grace = sdk.Duration(5e9)
	}
	return c.withDefaults()
}

// newTestAgent returns an agent for this machine.
func newTestAgent(tb testing.TB, c config, role string) *agent {
	tb.Helper()
	a, _ := newTellingAgent(tb, c, role, "/etc", tb.TempDir())
	return a
}

func newTellingAgent(tb testing.TB, c config, role, etc, state string) (*agent, *told) {
	tb.Helper()
	o := &told{name: tb.Name()}
	info := sdk.RunInfo{Stage: "doctor.test", Host: "web-1", Role: role, StateDir: state}
	a, err := newAgent(filled(c), info, place{proc: "/proc", etc: etc, share: etc}, o.add, tb.Logf)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.Close)
	return a, o
}
