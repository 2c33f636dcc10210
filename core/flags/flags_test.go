package flags_test

import (
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
)

func open(t *testing.T) *flags.Flags {
	t.Helper()
	b := bus.Open(bus.Options{Address: redistest.Start(t).Addr, Password: redistest.Password})
	t.Cleanup(func() { _ = b.Close() })
	return flags.Open(b.Client())
}

func TestSetGetListUnset(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	for _, v := range []any{true, "blue \"version\":0", 0.25, false} {
		set, err := f.Set(ctx, "new-feature", v, "ops")
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := f.Get(ctx, "new-feature")
		if err != nil || !ok || got.Value != v || got.Version != set.Version || got.By != "ops" {
			t.Fatalf("set %v: got %+v, %v, %v", v, got, ok, err)
		}
	}
	if _, err := f.Set(ctx, "a", 1, "ops"); err != nil {
		t.Fatal(err)
	}
	list, err := f.List(ctx)
	if err != nil || len(list) != 2 || list[0].Name != "a" {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if err := f.Unset(ctx, "new-feature", "ops"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.Get(ctx, "new-feature"); ok || err != nil {
		t.Fatalf("still set after unset (%v)", err)
	}
	again, err := f.Set(ctx, "new-feature", true, "ops")
	if err != nil || again.Version != 6 {
		t.Fatalf("version after unset: %+v, %v; want 6, it never goes back", again, err)
	}
	trail, err := f.Audit(ctx, 3)
	if err != nil || len(trail) != 3 || trail[0].Version != 6 || trail[1].Value != nil {
		t.Fatalf("audit: %+v, %v", trail, err)
	}
}

func TestSetRefuses(t *testing.T) {
	f := open(t)
	for _, c := range []struct {
		name  string
		value any
	}{{"", true}, {"New", true}, {"a b", true}, {"ok", []any{1}}} {
		if _, err := f.Set(t.Context(), c.name, c.value, "ops"); err == nil {
			t.Errorf("set %q to %v: no error", c.name, c.value)
		}
	}
}

func TestWatch(t *testing.T) {
	f := open(t)
	seen := make(chan flags.Flag, 100)
	go func() { _ = f.Watch(t.Context(), func(x flags.Flag) { seen <- x }) }()
	for {
		if _, err := f.Set(t.Context(), "x", true, "ops"); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-seen:
			if got.Name != "x" || got.Value != true {
				t.Fatalf("saw %+v", got)
			}
			return
		case <-time.After(20 * time.Millisecond): // the watcher may not be subscribed yet
		}
	}
}
