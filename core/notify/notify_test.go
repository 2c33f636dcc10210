package notify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-b96de936/troop/core"
)

func TestWants(t *testing.T) {
	alert := core.Event{Kind: "host.cpu", Severity: core.Alert}
	for _, c := range []struct {
		on   string
		e    core.Event
		want bool
	}{
		{"alert", alert, true},
		{"warning", alert, false},
		{"host.cpu", alert, true},
		{"host", alert, true},
		{"hos", alert, false},
		{"alert", core.Event{Kind: "host.cpu", Severity: core.Resolved}, true},
		{"run.failed", core.Event{Kind: "run.failed", Severity: core.Warning}, true},
		{"run.failed", core.Event{Kind: "run.passed", Severity: core.Info}, false},
	} {
		if got := Wants(core.Notifier{On: []string{c.on}}, c.e); got != c.want {
			t.Errorf("on %s, event %s %s: got %v", c.on, c.e.Severity, c.e.Kind, got)
		}
	}
}

// desk is a router with receivers that note what they get and when. It lives in a bubble of synctest, where time
// passes at once.
type desk struct {
	*Router
	t      *testing.T
	start  time.Time
	mu     sync.Mutex
	got    []string // receiver, second, subject
	bodies []string
	kinds  []string // of the reports
	done   int
	fail   func(n core.Notifier) error // optional
}

func newDesk(t *testing.T, notifiers ...core.Notifier) *desk {
	t.Helper()
	d := &desk{t: t, start: time.Now()}
	for i := range notifiers {
		notifiers[i].On = []string{"alert", "run.failed"}
	}
	d.Router = &Router{
		Notifiers: notifiers,
		Send: func(ctx context.Context, n core.Notifier, m Message) error {
			if d.fail != nil {
				if err := d.fail(n); err != nil {
					return err
				}
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.got = append(d.got, fmt.Sprintf("%s %.0fs %s", strings.TrimSpace(n.Name+" "+receiver(n)), time.Since(d.start).Seconds(), m.Subject))
			d.bodies = append(d.bodies, m.Body)
			return ctx.Err()
		},
		Report: func(e core.Event) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.kinds = append(d.kinds, e.Kind)
		},
	}
	return d
}

func (d *desk) say(s core.Severity, key, host string) {
	d.Take(d.t.Context(), core.Event{
		ID: core.NewID(time.Now()), Severity: s, Kind: "host." + key, Key: key, Environment: "lab", Host: core.HostName(host), Summary: key + " is high",
	}, func(error) { d.mu.Lock(); d.done++; d.mu.Unlock() })
}

func (d *desk) want(want ...string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.got, want) {
		d.t.Errorf("got\n  %s\nwant\n  %s", strings.Join(d.got, "\n  "), strings.Join(want, "\n  "))
	}
}

var (
	mailer = core.Notifier{Type: "email", Name: "ops", URL: "smtp://mail/?from=a@b&to=one@x,two@x"}
	phone  = core.Notifier{Type: "sms", Name: "duty", URL: "twilio://SID:TOKEN@host/?from=%2B1&to=%2B2"}
	hook   = core.Notifier{Type: "webhook", Name: "hook", URL: "http://host/"}
)

// A mail server that hangs, and a receiver that is refused, keep nobody else waiting.
func TestReceiversDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, mailer, phone)
		send := d.Send
		d.Send = func(ctx context.Context, n core.Notifier, m Message) error {
			switch receiver(n) {
			case "one@x":
				<-ctx.Done() // hangs
				return ctx.Err()
			case "two@x":
				return &RefusedError{"550 no such user"}
			}
			return send(ctx, n, m)
		}
		for i := range 50 {
			d.say(core.Alert, fmt.Sprintf("cpu%d", i), "web-1")
			time.Sleep(20 * time.Second)
		}
		if len(d.got) != 50 {
			t.Errorf("%d SMS, want one for each alert", len(d.got))
		}
		for i, g := range d.got {
			if want := fmt.Sprintf("duty +2 %ds ", 20*i); !strings.HasPrefix(g, want) {
				t.Errorf("got %s, want it at %s", g, want)
			}
		}
		if !slices.Contains(d.kinds, "notify.retrying") || !slices.Contains(d.kinds, "notify.failed") {
			t.Errorf("reports %v", d.kinds)
		}
		time.Sleep(2 * time.Hour)
		if d.done != 50 {
			t.Errorf("%d events are done, want all: after an hour they are given up", d.done)
		}
	})
}

// What was not delivered is told when the receiver is back, and starts no cool-down before.
func TestRetriesAndCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, hook)
		away := true
		d.fail = func(core.Notifier) error {
			if away {
				return errors.New("away")
			}
			return nil
		}
		d.say(core.Alert, "cpu", "web-1")
		time.Sleep(3 * time.Minute)
		d.say(core.Alert, "cpu", "web-1")
		if d.done != 0 || len(d.got) != 0 {
			t.Fatalf("done %d, got %v", d.done, d.got)
		}
		away = false
		time.Sleep(10 * time.Minute)
		if d.done != 2 || len(d.got) != 1 || !strings.HasSuffix(d.got[0], "[troop] ALERT lab/web-1: cpu is high (2 times)") {
			t.Errorf("done %d, got %v", d.done, d.got)
		}
		d.say(core.Alert, "cpu", "web-1") // not yet cooled down after what was delivered, or it was
		time.Sleep(time.Second)
		retrying := 0
		for _, k := range d.kinds {
			if k == "notify.retrying" {
				retrying++
			}
		}
		if retrying < 4 || retrying > 6 { // after 1, 5, 30, 60, 300 s
			t.Errorf("%d attempts failed: %v", retrying, d.kinds)
		}
	})
}

func TestCooldownAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hook
		n.Cooldown = time.Minute
		d := newDesk(t, n)
		step := func(after time.Duration, s core.Severity, key string) {
			time.Sleep(after)
			d.say(s, key, "web-1")
		}
		step(0, core.Alert, "cpu")
		step(20*time.Second, core.Alert, "cpu")        // held back
		step(20*time.Second, core.Alert, "memory")     // another
		step(time.Minute, core.Alert, "cpu")           // cooled down
		step(20*time.Second, core.Resolved, "cpu")     // its end
		step(20*time.Second, core.Resolved, "cpu")     // of nothing
		step(20*time.Second, core.Resolved, "traffic") // of what nobody was told
		step(20*time.Second, core.Alert, "cpu")
		time.Sleep(time.Minute)
		d.want(
			"hook 0s [troop] ALERT lab/web-1: cpu is high",
			"hook 40s [troop] ALERT lab/web-1: memory is high",
			"hook 100s [troop] ALERT lab/web-1: cpu is high",
			"hook 120s [troop] RESOLVED lab/web-1: cpu is high",
			"hook 180s [troop] ALERT lab/web-1: cpu is high",
		)
		if !strings.Contains(d.bodies[2], "1 more times") {
			t.Errorf("the alert that was held back is not counted in:\n%s", d.bodies[2])
		}
	})
}

// A thousand alerts are a few messages, one incident is two.
func TestManyBecomeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, phone)
		for i, key := range []string{"cpu", "memory", "disk", "canary"} {
			d.say(core.Alert, key, fmt.Sprintf("web-%d", i))
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Second)
		d.say(core.Alert, "late", "web-1")
		time.Sleep(time.Minute)
		d.want(
			"duty +2 0s [troop] 4 ALERT on lab/web-0, lab/web-1, lab/web-2, 1 more: cpu is high, …",
			"duty +2 15s [troop] ALERT lab/web-1: late is high",
		)
		d.got = nil
		for i := range 1000 {
			d.say(core.Alert, fmt.Sprintf("storm%d", i), "web-1")
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		if len(d.got) > 4 || !strings.Contains(strings.Join(d.got, "\n"), "ALERT on lab/web-1") {
			t.Errorf("%d messages for 1,000 alerts in 20 s: %q", len(d.got), d.got)
		}
		if d.done != 1005 {
			t.Errorf("%d done", d.done)
		}
		if last := d.bodies[len(d.bodies)-1]; !strings.Contains(last, "and ") || strings.Count(last, "\n") > 150 {
			t.Errorf("a body of %d lines", strings.Count(last, "\n"))
		}
	})
}

// What comes and goes is told once, and again when it has settled.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hook
		n.Cooldown = 5 * time.Minute
		d := newDesk(t, n)
		for range 20 {
			d.say(core.Alert, "cpu", "web-1")
			time.Sleep(20 * time.Second)
			d.say(core.Resolved, "cpu", "web-1")
			time.Sleep(20 * time.Second)
		}
		if len(d.got) > 6 {
			t.Errorf("%d messages: %q", len(d.got), d.got)
		}
		if last := d.bodies[len(d.bodies)-1]; !strings.Contains(last, "it comes and goes: ") {
			t.Errorf("got %s", last)
		}
		before := len(d.got)
		time.Sleep(20 * time.Minute)
		if len(d.got) != before+1 || !strings.Contains(d.got[before], "RESOLVED") || !strings.Contains(d.bodies[before], "has stayed so") {
			t.Errorf("after it settled: %q", d.got[before:])
		}
		d.say(core.Alert, "cpu", "web-1")
		time.Sleep(time.Minute)
		if len(d.got) != before+2 {
			t.Errorf("a new alert: %q", d.got)
		}
	})
}

func TestCameAndWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, hook)
		d.say(core.Alert, "cpu", "web-1")
		time.Sleep(10 * time.Millisecond)
		d.say(core.Resolved, "cpu", "web-1")
		time.Sleep(time.Minute)
		d.want("hook 0s [troop] RESOLVED lab/web-1: cpu is high (2 times)")
		if !strings.Contains(d.bodies[0], "came and went") {
			t.Error(d.bodies[0])
		}
	})
}

// memory is a Memory that is not on a network.
type memory struct {
	mu      sync.Mutex
	entries map[string]core.Entry
	changed chan string
}

func newMemory() *memory {
	return &memory{entries: map[string]core.Entry{}, changed: make(chan string, 100)}
}

func (m *memory) Get(_ context.Context, key string) (core.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[key], nil
}

func (m *memory) Set(_ context.Context, key string, value []byte) (core.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries[key] = core.Entry{Key: key, Value: value, Version: m.entries[key].Version + 1}
	m.changed <- key
	return m.entries[key], nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

func (m *memory) Watch(ctx context.Context, _ string, each func(core.Entry) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case key := <-m.changed:
			e, _ := m.Get(ctx, key)
			if err := each(e); err != nil {
				return err
			}
		}
	}
}

func TestSilenceAndAcknowledge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := hook
		n.Cooldown = time.Minute
		d := newDesk(t, n)
		m := newMemory()
		d.Memory = m
		go func() { _ = d.Follow(t.Context()) }()
		for _, s := range []Silence{
			{Match: "web-2", Until: time.Now().Add(time.Hour), By: "a"},
			{Match: "host.disk*", Until: time.Now().Add(time.Hour), By: "a"},
		} {
			if err := s.Put(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		d.say(core.Alert, "cpu", "web-2")
		d.say(core.Alert, "disk", "web-1")
		time.Sleep(time.Minute)
		d.want()
		time.Sleep(time.Hour) // the silences end
		d.say(core.Alert, "cpu", "web-2")
		time.Sleep(time.Minute)
		if err := (Acknowledgement{Key: "cpu", By: "a", At: time.Now()}).Put(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range 5 {
			time.Sleep(2 * time.Minute)
			d.say(core.Alert, "cpu", "web-2") // somebody is at it
		}
		d.say(core.Resolved, "cpu", "web-2")
		time.Sleep(time.Minute)
		d.say(core.Alert, "cpu", "web-2")
		time.Sleep(time.Minute)
		d.want(
			"hook 3660s [troop] ALERT lab/web-2: cpu is high",
			"hook 4320s [troop] RESOLVED lab/web-2: cpu is high (2 times)",
			"hook 4380s [troop] ALERT lab/web-2: cpu is high",
		)
		if d.done != 10 {
			t.Errorf("%d done", d.done)
		}
	})
}

// A relay that starts knows what the one before has told.
func TestEscalation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		duty := core.Notifier{Type: "email", Name: "duty", URL: "smtp://mail/?to=a", Limit: 60}
		lead := core.Notifier{Type: "email", Name: "lead", URL: "smtp://mail/?to=b", Limit: 60, After: 15 * time.Minute}
		d := newDesk(t, duty, lead)
		m := newMemory()
		d.Memory = m
		followed := make(chan error)
		go func() { followed <- d.Follow(ctx) }()
		synctest.Wait()

		d.say(core.Alert, "forgotten", "h1")
		d.say(core.Alert, "ended", "h1")
		d.say(core.Alert, "known", "h1")
		d.say(core.Alert, "silenced", "h1")
		time.Sleep(10 * time.Minute)
		d.say(core.Resolved, "ended", "h1")
		d.say(core.Alert, "forgotten", "h1") // a repetition does not start the wait again
		if err := (Acknowledgement{Key: "known", By: "ops", At: time.Now()}).Put(ctx, m); err != nil {
			t.Fatal(err)
		}
		if err := (Silence{Match: "silenced", Until: time.Now().Add(time.Hour), By: "ops"}).Put(ctx, m); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Minute)
		d.mu.Lock()
		early := slices.ContainsFunc(d.got, func(s string) bool { return strings.HasPrefix(s, "lead") })
		d.mu.Unlock()
		if early {
			t.Errorf("the lead was told before the time: %q", d.got)
		}
		time.Sleep(2 * time.Minute)
		d.say(core.Resolved, "forgotten", "h1")
		time.Sleep(time.Minute)
		stop()
		<-followed //nolint:errcheck // it ended because it was stopped
		d.mu.Lock()
		defer d.mu.Unlock()
		var leads []string
		for i, got := range d.got {
			if strings.HasPrefix(got, "lead") {
				leads = append(leads, got)
				if len(leads) == 1 && !strings.Contains(d.bodies[i], "nobody has acknowledged it for 15m0s") {
					t.Errorf("the message does not say why it came:\n%s", d.bodies[i])
				}
			}
		}
		if len(leads) != 2 || !strings.Contains(leads[0], "lead b 900s") || !strings.Contains(leads[0], "forgotten") || !strings.Contains(leads[1], "lead b 960s") {
			t.Errorf("the lead was told %q", leads)
		}
		if d.done != 7 {
			t.Errorf("%d of 7 events are done with", d.done)
		}
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		d := newDesk(t, hook)
		d.Memory = m
		d.say(core.Alert, "cpu", "web-1")
		time.Sleep(time.Minute)
		if o := Read(slices.Collect(maps.Values(m.entries))); len(o.Open) != 1 || o.Open[0].Key != "cpu" || o.Open[0].Receiver != "webhook hook" {
			t.Errorf("open: %+v", o)
		}
		again := newDesk(t, hook)
		again.Memory = m
		again.say(core.Alert, "cpu", "web-1")
		again.say(core.Resolved, "memory", "web-1")
		time.Sleep(time.Minute)
		again.want()
		again.say(core.Resolved, "cpu", "web-1")
		time.Sleep(time.Minute)
		again.want("hook 60s [troop] RESOLVED lab/web-1: cpu is high")
		if len(m.entries) != 0 {
			t.Errorf("left in the memory: %v", m.entries)
		}
	})
}

func TestStopLeavesWhatIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, hook)
		d.fail = func(core.Notifier) error { return errors.New("away") }
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- d.Handle(ctx, core.Event{Severity: core.Alert, Kind: "host.cpu"}) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-result; err == nil {
			t.Error("no error, so that it would be acknowledged")
		}
	})
}

// What people are told of a stopped release is one record, with the delay of each part.
func TestStoppedReleaseIsOneRecord(t *testing.T) {
	t.Parallel()
	reports := make(chan core.Event, 10)
	told := 0
	r := Router{
		Notifiers: []core.Notifier{{Type: "webhook", Name: "ops", URL: "https://ops.example", On: []string{"alert"}}},
		Send:      func(context.Context, core.Notifier, Message) error { told++; return nil },
		Report:    func(e core.Event) { reports <- e },
	}
	e := core.Event{
		ID: "01J", Time: time.Now(), Kind: "canary.closed", Severity: core.Alert, Key: "canary",
		Data: map[string]any{core.StoppedRelease: "sha256:1", core.Delays: map[string]any{"canary": 0.4, "flags": 2.5}},
	}
	if err := r.Handle(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	got := <-reports
	delays, _ := got.Data[core.Delays].(map[string]any)
	if got.Kind != "notify.sent" || told != 1 || got.Data[core.StoppedRelease] != "sha256:1" || delays["canary"] != 0.4 || delays["flags"] != 2.5 {
		t.Errorf("told %d times, reported %+v", told, got)
	}
	if ms, ok := delays["message"].(float64); !ok || ms <= 0 || ms > 60_000 {
		t.Errorf("delay of the message: %v", delays["message"])
	}
}
