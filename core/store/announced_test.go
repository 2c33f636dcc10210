package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket/buckettest"
)

func announced(t *testing.T, objects core.Objects, address string, say func(string)) *store.Announced {
	t.Helper()
	a, err := store.Announce(objects, address, "s3://troop-test/shop", say)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func silent(t *testing.T) func(string) { return func(line string) { t.Error(line) } }

func TestAnnounced(t *testing.T) {
	server := redistest.Start(t)
	storetest.Objects(t, func(t *testing.T) func() core.Objects {
		dir := t.TempDir()
		return func() core.Objects { return announced(t, store.NewFolder(dir), server.URL(), silent(t)) }
	})
}

func TestSharedS3Redis(t *testing.T) {
	server := redistest.Start(t)
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		o := buckettest.Gateway(t).Options
		return func() storetest.Store {
			f := store.OpenShared(t.TempDir(), announced(t, store.Patient{Objects: openS3(t, o), Wait: time.Minute}, server.URL(), silent(t)), nil, nil)
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
	})
}

// TestWatch has a machine that is told of what another one writes, of nothing else, and also after Redis was restarted.
func TestWatch(t *testing.T) {
	t.Parallel()
	server, truth := redistest.Start(t), store.NewFolder(t.TempDir())
	one, two := announced(t, truth, server.URL(), func(string) {}), announced(t, truth, server.URL(), silent(t))
	changed, stop := two.Watch("lab/lease.json")
	other, stopOther := two.Watch("production/")
	defer stopOther()
	told := func() {
		t.Helper()
		for range 1200 { // it is not known when the other one listens
			if _, err := store.PutBytes(t.Context(), one, "lab/lease.json", []byte("{}"), core.Condition{}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-changed:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
		t.Fatal("two minutes later, nothing was announced")
	}
	told()
	server.Restart()
	told()
	stop()
	select {
	case <-other:
		t.Error("told of a value that has not changed")
	default:
	}
}

// TestRedisIsLost does to Redis in the middle of a run whatever can happen to it. The run ends, its history is whole, the
// environment stays its holder's, and the numbers of holders grow.
func TestRedisIsLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testing.T, *redistest.Server){
		"stopped":   func(_ *testing.T, s *redistest.Server) { s.Stop() },
		"restarted": func(_ *testing.T, s *redistest.Server) { s.Restart() },
		"hangs":     func(_ *testing.T, s *redistest.Server) { s.Hang() },
		"flushed": func(t *testing.T, s *redistest.Server) {
			c := redis.NewClient(&redis.Options{Addr: s.Addr, Password: redistest.Password})
			if err := errors.Join(c.FlushAll(t.Context()).Err(), c.Close()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, g := redistest.Start(t), buckettest.Gateway(t)
			said := make(chan string, 100)
			open := func() *store.Files {
				f := store.OpenShared(t.TempDir(), announced(t, store.Patient{Objects: openS3(t, g.Options), Wait: time.Minute}, server.URL(), func(line string) { said <- line }), nil, nil)
				t.Cleanup(func() { _ = f.Close() })
				return f
			}
			one, two := open(), open()
			earlier := lock(t, two, "earlier", nil)
			if err := earlier.Release(); err != nil {
				t.Fatal(err)
			}
			holder := lock(t, one, "holder", nil)
			r := storetest.NewRun(1)
			begin, end := record(t, one, r, func() { lose(t, server) }, nothing)
			if begin != nil || end != nil {
				t.Errorf("begin: %v, end: %v", begin, end)
			}
			if _, err := two.Lock(t.Context(), "lab", core.Holder{What: "thief"}, nil); !errors.As(err, new(*core.LockedError)) {
				t.Errorf("two holders at once: %v", err)
			}
			next := lock(t, two, "next", func(core.Holder) {
				if err := holder.Release(); err != nil {
					t.Error(err)
				}
			})
			if lost(holder) || holder.Fence != earlier.Fence+1 || next.Fence != holder.Fence+1 || next.After != nil {
				t.Errorf("numbers %d, %d, %d, after %+v", earlier.Fence, holder.Fence, next.Fence, next.After)
			}
			whole(t, openS3(t, g.Options), r.ID)
			if away := name == "stopped" || name == "hangs"; away {
				if line := <-said; !strings.HasPrefix(line, "the store's Redis does not answer: ") || strings.Contains(line, redistest.Password) {
					t.Errorf("said %q", line)
				}
			}
			if len(said) > 2 { // once a machine
				t.Errorf("said %d more lines", len(said))
			}
		})
	}
}

// TestRedisAddress refuses what is no URL, and does not repeat the password in it.
func TestRedisAddress(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"redis://:secret@host:port", "redis://:secret@host/x", "http://:secret@host", "redis://:sec%ret@host"} {
		_, err := store.Announce(nil, bad, "s3://b/p", nil)
		if !errors.As(err, new(*store.UnusableError)) || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
