package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
)

var errEnough = errors.New("enough")

var (
	key   = redistest.Signer.Key
	trust = redistest.Trust
)

func open(t *testing.T) (*bus.Bus, *redistest.Server) {
	t.Helper()
	m := redistest.Start(t)
	return redistest.Open(t, m), m
}

func event(n int) core.Event {
	return core.Event{
		ID: fmt.Sprintf("01J%023d", n), Time: time.Now(), Kind: "host.cpu", Severity: core.Alert, Summary: fmt.Sprint(n),
		Data: map[string]any{"n": float64(n)},
	}
}

func TestPublishTwiceIsOnce(t *testing.T) {
	b, _ := open(t)
	for range 2 {
		if err := b.Publish(t.Context(), event(1)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Events(t.Context(), core.EventFilter{}, 0)
	if err != nil || len(got) != 1 || got[0].Data["n"] != 1.0 {
		t.Fatalf("got %v, %v; want the event once", got, err)
	}
}

func TestEventsFilter(t *testing.T) {
	b, _ := open(t)
	for i, k := range []string{"host.cpu", "host.memory", "process.hog"} {
		e := event(i)
		e.Kind = k
		if k == "host.memory" {
			e.Severity = core.Info
		}
		if err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		filter core.EventFilter
		limit  int
		want   int
	}{
		"all":      {core.EventFilter{}, 0, 3},
		"prefix":   {core.EventFilter{Kinds: []string{"host."}}, 0, 2},
		"severity": {core.EventFilter{Severities: []core.Severity{core.Alert}}, 0, 2},
		"both":     {core.EventFilter{Kinds: []string{"host."}, Severities: []core.Severity{core.Alert}}, 0, 1},
		"newest":   {core.EventFilter{}, 1, 1},
		"since":    {core.EventFilter{Since: time.Now().Add(time.Hour)}, 0, 0},
	} {
		got, err := b.Events(t.Context(), c.filter, c.limit)
		if err != nil || len(got) != c.want {
			t.Errorf("%s: got %d events, %v; want %d", name, len(got), err, c.want)
		}
	}
}

func TestFollowSurvivesALostRedis(t *testing.T) {
	b, m := open(t)
	if err := b.Publish(t.Context(), event(1)); err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	first := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- b.Follow(t.Context(), core.EventFilter{Since: time.Now().Add(-time.Hour)}, func(e core.Event) error {
			if n.Add(1) == 1 {
				close(first)
				return nil
			}
			if e.Summary != "2" {
				return fmt.Errorf("got event %s again", e.Summary)
			}
			return errEnough
		})
	}()
	<-first
	m.Restart()
	if err := b.Publish(t.Context(), event(2)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, errEnough) {
		t.Fatalf("follow ended with %v", err)
	}
}

func TestConsumeHandsOnWhatWasNotFinished(t *testing.T) {
	b, _ := open(t)
	taken := make(chan string, 100)
	consume := func(result error) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.Consume(ctx, "relay", "router", func(e core.Event, done func(error)) {
				taken <- e.Summary
				done(result)
			})
		}()
		return func() { cancel(); <-done }
	}
	stop := consume(errEnough)
	// The group starts with what comes after it was made: publish until it has taken one.
	var first string
	for i := 0; first == ""; i++ {
		if err := b.Publish(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
		select {
		case first = <-taken:
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	stop = consume(nil)
	if again := <-taken; again != first {
		t.Errorf("after a restart: event %s, want %s, which was not handled", again, first)
	}
	stop()
	stop = consume(nil)
	defer stop()
	select {
	case e := <-taken:
		t.Errorf("event %s was handed on though it had been handled", e)
	case <-time.After(100 * time.Millisecond):
	}
}

// A member whose work takes long takes the events that come meanwhile.
func TestConsumeDoesNotWaitForOneEvent(t *testing.T) {
	b, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan func(error), 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, "relay", "router", func(_ core.Event, done func(error)) { taken <- done })
	}()
	var waiting []func(error)
	for i := 0; len(waiting) < 200; i++ { // more than are read at a time
		if err := b.Publish(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
		select {
		case done := <-taken:
			waiting = append(waiting, done)
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	for _, done := range waiting {
		done(errEnough)
	}
	for { // an event may still be on its way to the callback
		select {
		case done := <-taken:
			done(errEnough)
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			return
		}
	}
}

// A user that may not read says so instead of waiting for ever.
func TestConsumeThatIsRefusedEnds(t *testing.T) {
	b, _ := open(t)
	if err := b.Client().Set(t.Context(), "troop:events", "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	err := b.Consume(t.Context(), "relay", "router", func(core.Event, func(error)) {})
	if err == nil || !strings.Contains(err.Error(), "read events: WRONGTYPE") {
		t.Errorf("got %v", err)
	}
}

func TestState(t *testing.T) {
	b, m := open(t)
	s := b.State("deploy")
	if e, err := s.Get(t.Context(), "desired"); err != nil || e.Version != 0 {
		t.Fatalf("unset: %+v, %v", e, err)
	}
	if e, err := s.Set(t.Context(), "desired", []byte("one")); err != nil || e.Version != 1 {
		t.Fatalf("first set: %+v, %v", e, err)
	}
	if _, err := b.State("other").Set(t.Context(), "desired", []byte("foreign")); err != nil {
		t.Fatal(err)
	}
	seen := make(chan core.Entry, 10)
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(t.Context(), "des", func(e core.Entry) error {
			seen <- e
			if string(e.Value) == "three" {
				return errEnough
			}
			return nil
		})
	}()
	want := func(value string, version int64) {
		t.Helper()
		select {
		case e := <-seen:
			if string(e.Value) != value || e.Version != version {
				t.Fatalf("saw %s version %d, want %s version %d", e.Value, e.Version, value, version)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s not seen", value)
		}
	}
	want("one", 1)
	if _, err := s.Set(t.Context(), "desired", []byte("two")); err != nil {
		t.Fatal(err)
	}
	want("two", 2)
	// A change made while the watcher is cut off is seen afterwards.
	m.Restart()
	if _, err := s.Set(t.Context(), "desired", []byte("three")); err != nil {
		t.Fatal(err)
	}
	want("three", 3)
	if err := <-done; !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func TestSpoolKeepsUntilSent(t *testing.T) {
	b, m := open(t)
	dir := t.TempDir()
	m.Stop()
	s, err := bus.OpenSpool(dir, b.Publish)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.Put(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "00.json"), []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The process dies and starts again; then Redis is back.
	s, err = bus.OpenSpool(dir, b.Publish)
	if err != nil {
		t.Fatal(err)
	}
	go s.Run(t.Context())
	m.Restart()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := b.Events(t.Context(), core.EventFilter{}, 0)
		left, _ := filepath.Glob(filepath.Join(dir, "*.json"))
		if err == nil && len(got) == 3 && len(left) == 0 {
			for i, e := range got {
				if e.Summary != fmt.Sprint(i) {
					t.Fatalf("event %d is %s: out of order", i, e.Summary)
				}
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("published %d events, left %v, %v", len(got), left, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := os.Stat(filepath.Join(dir, "00.json.bad")); err != nil {
		t.Fatalf("the broken file was not set aside: %v", err)
	}
}
