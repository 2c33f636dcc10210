package flags_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
)

func open(t *testing.T) (*flags.Flags, *redis.Client, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t)
	b := redistest.Open(t, server)
	return flags.Open(b), b.Client(), server
}

// eventually waits for a state, up to a minute.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestSetGetListUnset(t *testing.T) {
	f, _, _ := open(t)
	ctx := t.Context()
	for _, v := range []any{true, "blue \"version\":0", 0.25, false} {
		set, err := f.Set(ctx, "new-feature", v, "ops")
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := f.Get(ctx, "new-feature")
		if err != nil || !ok || got.Value != v || got.Version != set.Version || got.By != "ops" || got.Type() != flags.TypeOf(v) {
			t.Fatalf("set %v: got %+v, %v, %v", v, got, ok, err)
		}
	}
	object, err := f.Set(ctx, "object", map[string]any{"version": 0.0, "a": map[string]any{"version": 0.0}}, "ops")
	if v, _ := json.Marshal(object.Value); err != nil || object.Version != 1 || string(v) != `{"a":{"version":0},"version":0}` {
		t.Errorf("an object with versions of its own: %+v, %v", object, err)
	}
	if _, err := f.Set(ctx, "a", 1, "ops"); err != nil {
		t.Fatal(err)
	}
	list, err := f.List(ctx)
	if err != nil || len(list) != 3 || list[0].Name != "a" {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if _, err := f.Set(ctx, "new-feature", nil, "ops"); err != nil {
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
	if err != nil || len(trail) != 3 || trail[0].Version != 6 || !trail[1].Unset || trail[1].Value != nil {
		t.Fatalf("audit: %+v, %v", trail, err)
	}
}

func TestSetRefuses(t *testing.T) {
	f, _, _ := open(t)
	for _, c := range []struct {
		name  string
		value any
	}{{"", true}, {"-new", true}, {"a b", true}, {"a/b", true}, {"ok", []any{1}}, {"ok", strings.Repeat("x", 1<<17)}} {
		if _, err := f.Set(t.Context(), c.name, c.value, "ops"); err == nil {
			t.Errorf("set %q to %.20v: no error", c.name, c.value)
		}
	}
	if list, err := f.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("refused, and yet there: %v, %v", list, err)
	}
}

// Whoever changes a part of a flag keeps the other parts, also when another does so at the same time.
func TestUpdateLosesNothing(t *testing.T) {
	f, _, _ := open(t)
	var busy sync.WaitGroup
	for i, key := range []string{"a", "b", "c", "d"} {
		busy.Go(func() {
			_, err := f.Update(t.Context(), "x", flags.Change{By: key, Reason: "because"}, func(flag *flags.Flag) (err error) {
				metadata := map[string]any{key: float64(i)}
				maps.Copy(metadata, flag.Metadata)
				*flag, err = flag.Give(true, nil)
				flag.Metadata = metadata
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	busy.Wait()
	got, _, err := f.Get(t.Context(), "x")
	if err != nil || len(got.Metadata) != 4 || got.Version != 4 || got.Reason != "because" {
		t.Errorf("after four changes: %+v, %v", got, err)
	}
	if _, err := f.Set(t.Context(), "x", false, "plugin"); err != nil {
		t.Fatal(err)
	}
	if got, _, err = f.Get(t.Context(), "x"); err != nil || len(got.Metadata) != 4 || got.Value != false || got.Reason != "" {
		t.Errorf("after a plugin set it: %+v, %v", got, err)
	}
}

func TestListNamesWhatItCannotRead(t *testing.T) {
	f, rdb, _ := open(t)
	if _, err := f.Set(t.Context(), "good", true, "ops"); err != nil {
		t.Fatal(err)
	}
	rdb.Set(t.Context(), "troop:flag:bad", "not json", 0)
	rdb.Set(t.Context(), "troop:flag:old", `{"name":"old","value":true,"version":3,"updated":"2026-01-02T03:04:05Z","by":"ops"}`, 0)
	rdb.Copy(t.Context(), "troop:flag:good", "troop:flag:other", 0, true)
	list, err := f.List(t.Context())
	if err == nil || len(list) != 1 || strings.Count(err.Error(), "is refused") != 3 || !strings.Contains(err.Error(), "flag other is refused: it is the flag good") {
		t.Fatalf("%+v, %v", list, err)
	}
}

// follow runs a copy on the file until the test ends, or stop is called.
func follow(t *testing.T, file string, from *flags.Flags) (c *flags.Copy, stop func()) {
	t.Helper()
	c = flags.OpenCopy(file, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, from) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the copy ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

// A host keeps its flags while Redis is away, over a restart of its agent, too, and learns what it missed.
func TestCopyOutlivesRedis(t *testing.T) {
	f, _, server := open(t)
	set := func(name string, v any) {
		t.Helper()
		eventually(t, "Redis takes a change", func() bool {
			_, err := f.Set(t.Context(), name, v, "ops")
			return err == nil
		})
	}
	file := filepath.Join(t.TempDir(), "flags.json")
	set("stays", "blue")
	set("goes", true)
	c, stop := follow(t, file, f)
	is := func(name string, want any) func() bool {
		return func() bool { return c.Snapshot().Evaluate(name, nil).Value == want }
	}
	eventually(t, "the flags that stand", is("stays", "blue"))
	before := c.Snapshot()
	set("stays", "red")
	eventually(t, "a change", is("stays", "red"))
	select {
	case <-before.Expired():
	case <-time.After(time.Minute):
		t.Error("the former snapshot is not said to be over")
	}
	if before.Evaluate("stays", nil).Value != "blue" || before.Tag == c.Snapshot().Tag {
		t.Error("a snapshot changed")
	}

	server.Stop()
	if got := c.Snapshot().Evaluate("stays", nil); got.Value != "red" || got.Variant != "on" || got.Reason != flags.ReasonStatic {
		t.Errorf("while Redis is away: %+v", got)
	}
	stop()
	c, _ = follow(t, file, f)
	if !is("stays", "red")() || !is("goes", true)() {
		t.Errorf("after a restart while Redis is away: %+v", c.Snapshot().Names())
	}
	server.Restart()
	set("goes", nil)
	set("new", 3)
	eventually(t, "what was missed", func() bool {
		return c.Snapshot().Evaluate("goes", nil).Code == flags.CodeNotFound && is("new", 3.0)() && is("stays", "red")()
	})
}

func TestCopyWithABadFile(t *testing.T) {
	f, _, _ := open(t)
	file := filepath.Join(t.TempDir(), "none", "flags.json") // which cannot be written either
	if _, err := f.Set(t.Context(), "x", true, "ops"); err != nil {
		t.Fatal(err)
	}
	c, _ := follow(t, file, f)
	eventually(t, "the flags without a file", func() bool { return c.Snapshot().Evaluate("x", nil).Value == true })
}

// A release that is stopped takes its flags along, on every host, also after a restart without Redis. A flag that somebody
// changes afterwards holds again.
func TestStoppedReleaseTakesItsFlagsAlong(t *testing.T) {
	f, _, server := open(t)
	give := func(name, release string) {
		t.Helper()
		_, err := f.Update(t.Context(), name, flags.Change{By: "ops"}, func(x *flags.Flag) (err error) {
			*x, err = x.Give(true, nil)
			x.Metadata = map[string]any{flags.Release: release}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	give("theirs", "sha256:1")
	give("others", "sha256:2")
	file := filepath.Join(t.TempDir(), "flags.json")
	c, stop := follow(t, file, f)
	reason := func(name string) string { return c.Snapshot().Evaluate(name, nil).Reason }
	eventually(t, "the flags are known", func() bool { return reason("theirs") == flags.ReasonStatic && reason("others") == flags.ReasonStatic })
	snapshot := c.Snapshot()
	if err := f.Stop(t.Context(), "sha256:1", time.Now()); err != nil {
		t.Fatal(err)
	}
	<-snapshot.Expired() // readers are told
	if reason("theirs") != flags.ReasonDisabled || reason("others") != flags.ReasonStatic || !slices.Equal(c.Snapshot().Names(), []string{"others"}) {
		t.Errorf("after the stop: %s, %s, %v", reason("theirs"), reason("others"), c.Snapshot().Names())
	}
	stop()
	server.Stop()
	c, stop = follow(t, file, f)
	if reason("theirs") != flags.ReasonDisabled || reason("others") != flags.ReasonStatic {
		t.Errorf("without Redis: %s, %s", reason("theirs"), reason("others"))
	}
	server.Restart()
	eventually(t, "Redis takes a change", func() bool {
		_, err := f.Set(t.Context(), "theirs", true, "ops")
		return err == nil
	})
	eventually(t, "it is on again", func() bool { return reason("theirs") == flags.ReasonStatic })
	stop()
}
