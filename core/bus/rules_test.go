package bus_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/bus"
	"github.com/seed-b96de936/troop/core/bus/redistest"
	"github.com/seed-b96de936/troop/core/flags"
)

var hosts = []core.Host{{Name: "router-1", Role: "router"}, {Name: "web-1", Role: "production"}, {Name: "canary-1", Role: "canary"}}

// environment is a Redis with the rules of the role redis.
func environment(t *testing.T) *redistest.Server {
	t.Helper()
	return redistest.StartWithRules(t, []string{"router-1"}, []string{"web-1", "canary-1"})
}

func opened(t *testing.T, o bus.Options) *bus.Bus {
	t.Helper()
	o.Environment = "lab"
	b := bus.Open(o)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// operator is the operator's side, whose fence is a number.
func operator(t *testing.T, m *redistest.Server, fence *int64) *bus.Bus {
	t.Helper()
	return opened(t, bus.Options{
		Address: m.Addr, Certificates: m.Certificates, User: bus.Operator, Password: redistest.PasswordOf("operator"), Hosts: hosts, Trust: trust,
		Sign: &bus.Signer{Key: key, Fence: func() (int64, error) { return *fence, nil }},
	})
}

// on is what an agent on a host opens.
func on(t *testing.T, m *redistest.Server, name core.HostName, ledger string, refused func(error)) *bus.Bus {
	t.Helper()
	read := hosts
	if name != "router-1" {
		read = slices.DeleteFunc(slices.Clone(hosts), func(h core.Host) bool { return h.Name != name })
	}
	return opened(t, bus.Options{
		Address: m.Addr, Certificates: m.Certificates, User: bus.UserOf(name), Password: redistest.PasswordOf(string(name)), Self: name, Hosts: read, Trust: trust,
		Ledger: ledger, Refused: refused,
	})
}

// What a host needs, its user may do.
func TestHostsMayWork(t *testing.T) {
	m := environment(t)
	fence := int64(1)
	op, canary, router := operator(t, m, &fence), on(t, m, "canary-1", "", nil), on(t, m, "router-1", "", nil)
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	_, err := flags.Open(op).Set(ctx, "new-feature", true, "a person")
	must("set a flag", err)
	if list, err := flags.Open(canary).List(ctx); err != nil || len(list) != 1 {
		t.Errorf("flags on a host: %v, %v", list, err)
	}
	followed, stops := make(chan flags.Flag, 10), make(chan flags.Stops, 10)
	following, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_ = flags.Open(canary).Follow(following, flags.Follower{
			Stand: func([]flags.Flag) { followed <- flags.Flag{} }, Change: func(f flags.Flag) { followed <- f },
			Stopped: func(s flags.Stops) { stops <- s }, Trouble: func(err error) { t.Error(err) },
		})
	}()
	<-followed
	<-stops
	must("stop a release", flags.Open(router).Stop(ctx, "sha256:1", time.Now()))
	if s := <-stops; len(s) != 1 {
		t.Errorf("stopped: %v", s)
	}
	_, err = flags.Open(op).Set(ctx, "new-feature", false, "a person")
	must("set a flag", err)
	if f := <-followed; f.Value != false {
		t.Errorf("followed %+v", f)
	}

	_, err = op.State("deploy").Set(ctx, "desired", []byte("two to one"))
	must("order", err)
	for name, b := range map[string]*bus.Bus{"canary": canary, "router": router} {
		if e, err := b.State("deploy").Get(ctx, "desired"); err != nil || string(e.Value) != "two to one" {
			t.Errorf("the order on the %s: %+v, %v", name, e, err)
		}
	}
	_, err = router.State("deploy").Set(ctx, core.HostKey("router-1", "actual"), []byte("done"))
	must("report", err)
	if e, err := op.State("deploy").Get(ctx, core.HostKey("router-1", "actual")); err != nil || string(e.Value) != "done" || e.Version != 1 {
		t.Errorf("the report: %+v, %v", e, err)
	}
	for range 2 {
		must("publish", canary.Publish(ctx, core.Event{ID: core.NewID(time.Now()), Kind: "host.cpu", Severity: core.Alert}))
	}
	taken := make(chan core.Event, 10)
	consuming, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- router.Consume(consuming, "relay", "router-1", func(e core.Event, done func(error)) { done(nil); taken <- e })
	}()
	for i := 0; len(taken) == 0; i++ { // the group takes what comes after it was made
		must("publish", canary.Publish(ctx, event(i)))
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the relay: %v", err)
	}
	_, err = router.Relay().Set(ctx, "told:x", []byte("{}"))
	must("remember", err)
	must("forget", router.Relay().Delete(ctx, "told:x"))
}

// A host that was taken over tries everything with its own user of Redis; nothing of another host changes.
func TestHostsMayHarmOnlyThemselves(t *testing.T) {
	m := environment(t)
	fence := int64(1)
	op := operator(t, m, &fence)
	ctx := t.Context()
	if _, err := flags.Open(op).Set(ctx, "new-feature", false, "a person"); err != nil {
		t.Fatal(err)
	}
	if _, err := op.State("deploy").Set(ctx, "desired", []byte("two to one")); err != nil {
		t.Fatal(err)
	}
	if err := on(t, m, "web-1", "", nil).Publish(ctx, event(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := on(t, m, "web-1", "", nil).State("doctor").Set(ctx, core.HostKey("web-1", "report"), []byte("well")); err != nil {
		t.Fatal(err)
	}
	attempts := []string{
		"SET troop:flag:new-feature on", "DEL troop:flag:new-feature", "SET troop:flagversion:new-feature 9", "PUBLISH troop:flags {}",
		"HSET troop:stopped sha256:1 2026-01-01T00:00:00Z", "HDEL troop:stopped sha256:1", "PUBLISH troop:stopped sha256:1",
		"XADD troop:flags:audit * flag {}", "XTRIM troop:flags:audit MAXLEN 0",
		"HSET troop:order:deploy:desired value forged", "DEL troop:order:deploy:desired", "PUBLISH troop:order:deploy desired",
		"XADD troop:events * event {}", "XADD troop:events:web-1 * event {}", "XTRIM troop:events:web-1 MAXLEN 0", "XRANGE troop:events:web-1 - +",
		"SET troop:event:web-1:01J 1", "HSET troop:report:web-1:doctor:report value forged", "HGETALL troop:report:web-1:doctor:report",
		"PUBLISH troop:report:web-1:doctor report", "HSET troop:report:router-1:deploy:actual value forged",
		"HSET troop:relay:silence:* value forged", "HGETALL troop:relay:told", "XGROUP DESTROY troop:events:web-1 relay",
		"CONFIG SET maxmemory 1", "CONFIG GET *", "KEYS *", "FLUSHALL", "FLUSHDB", "ACL LIST", "ACL SETUSER canary-1 +@all", "ACL WHOAMI",
		"DEBUG SLEEP 1", "SCRIPT FLUSH", "EVAL return 0", "FUNCTION LIST", "SHUTDOWN NOSAVE", "SAVE", "BGREWRITEAOF", "REPLICAOF 127.0.0.1 1",
		"CLIENT KILL TYPE normal", "CLIENT LIST", "CLIENT PAUSE 1000", "MONITOR", "SWAPDB 0 1", "MIGRATE h 1 k 0 1", "MODULE LIST",
		"RENAME troop:flag:new-feature x", "COPY troop:flag:new-feature troop:report:canary-1:x", "SORT troop:flag:new-feature", "OBJECT FREQ x",
		"INFO", "LATENCY RESET", "SLOWLOG RESET", "PSUBSCRIBE *", "SUBSCRIBE troop:report:web-1:doctor",
	}
	before := everything(t, op)
	rdb := on(t, m, "canary-1", "", nil).Client()
	for _, command := range attempts {
		var args []any
		for word := range strings.FieldsSeq(command) {
			args = append(args, word)
		}
		// DEBUG is off for everybody.
		if err := rdb.Do(ctx, args...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "DEBUG command not allowed") {
			t.Errorf("%s: %v, want NOPERM", command, err)
		}
	}
	if err := redis.NewClient(&redis.Options{Network: "unix", Addr: m.Socket, Protocol: 2}).Ping(ctx).Err(); err == nil {
		t.Error("Redis serves who has no password")
	}
	// What its user may do says who it is, whatever the event says.
	canary := on(t, m, "canary-1", "", nil)
	forged := event(2)
	forged.Host, forged.Role, forged.Environment, forged.Run, forged.Key = "web-1", "production", "production", "01R", "maintenance:web-1:storage"
	if err := canary.Publish(ctx, forged); err != nil {
		t.Fatal(err)
	}
	all, err := op.Events(ctx, core.EventFilter{}, 0)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	if e := all[1]; e.Host != "canary-1" || e.Role != "canary" || e.Environment != "lab" || e.Run != "" || e.Key != "canary-1/maintenance:web-1:storage" {
		t.Errorf("the forged event is read as %+v", e)
	}
	if err := canary.Client().Del(ctx, "troop:events:canary-1").Err(); err == nil {
		t.Error("a host took back what it had published")
	}
	after := everything(t, op)
	for key, value := range before {
		if after[key] != value {
			t.Errorf("%s was %s, and is %s", key, value, after[key])
		}
	}
	for key := range after {
		if _, ok := before[key]; !ok && !strings.Contains(key, "canary-1") {
			t.Errorf("the host made %s", key)
		}
	}
}

// everything is what Redis holds, by key.
func everything(t *testing.T, b *bus.Bus) map[string]string {
	t.Helper()
	all := map[string]string{}
	it := b.Client().Scan(t.Context(), 0, "*", 1000).Iterator()
	for it.Next(t.Context()) {
		dump, err := b.Client().Dump(t.Context(), it.Val()).Result()
		if err != nil {
			t.Fatal(err)
		}
		all[it.Val()] = fmt.Sprintf("%x", dump)
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// The agents' own code refuses, too, without asking Redis.
func TestAgentsSetOnlyTheirOwnEntries(t *testing.T) {
	m := environment(t)
	s := on(t, m, "web-1", "", nil).State("deploy")
	for _, k := range []string{"desired", core.HostKey("canary-1", "report")} {
		if _, err := s.Set(t.Context(), k, nil); err == nil || !strings.Contains(err.Error(), "belongs to") {
			t.Errorf("%s: %v", k, err)
		}
	}
	fence := int64(1)
	if _, err := operator(t, m, &fence).State("deploy").Set(t.Context(), core.HostKey("canary-1", "report"), nil); err == nil {
		t.Error("the operator's side wrote a host's report")
	}
}

// An entry that the operator's side empties is read as an empty one, by itself and on hosts.
func TestEmptiedEntry(t *testing.T) {
	m := environment(t)
	fence := int64(1)
	op := operator(t, m, &fence).State("deploy")
	for _, value := range [][]byte{[]byte("1"), nil} {
		if _, err := op.Set(t.Context(), "desired", value); err != nil {
			t.Fatal(err)
		}
	}
	for who, s := range map[string]*bus.State{"the operator's side": op, "a host": on(t, m, "router-1", "", nil).State("deploy")} {
		if e, err := s.Get(t.Context(), "desired"); err != nil || len(e.Value) > 0 || e.Version != 2 {
			t.Errorf("%s: %+v, %v", who, e, err)
		}
	}
}

// Root on the router owns Redis. What it writes there is not obeyed, nor is what the operator's side wrote long ago.
func TestForgedAndStaleOrdersAreRefused(t *testing.T) {
	m := environment(t)
	fence := int64(7)
	op := operator(t, m, &fence)
	ctx := t.Context()
	const redisKey = "troop:order:deploy:desired"
	set := func(value string) map[string]string {
		t.Helper()
		if _, err := op.State("deploy").Set(ctx, "desired", []byte(value)); err != nil {
			t.Fatal(err)
		}
		m, err := op.Client().HGetAll(ctx, redisKey).Result()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	write := func(fields map[string]string) {
		t.Helper()
		if err := op.Client().HSet(ctx, redisKey, fields).Err(); err != nil {
			t.Fatal(err)
		}
	}
	ledger := filepath.Join(t.TempDir(), "orders.json")
	get := func() (core.Entry, error) {
		return on(t, m, "router-1", ledger, nil).State("deploy").Get(ctx, "desired")
	} // a restarted agent
	first := set("two to one")
	fence = 8
	second := set("one to nothing")
	if e, err := get(); err != nil || string(e.Value) != "one to nothing" || e.Version != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
	write(first)
	if _, err := get(); !errors.As(err, new(*bus.StaleError)) {
		t.Errorf("an earlier order: %v", err)
	}
	forged := func(change func(map[string]string)) map[string]string {
		f := maps.Clone(second)
		change(f)
		return f
	}
	for what, f := range map[string]map[string]string{
		"another value":   forged(func(f map[string]string) { f["value"] = "all to the canary" }),
		"another version": forged(func(f map[string]string) { f["version"] = "99" }),
		"another fence":   forged(func(f map[string]string) { f["fence"] = "99" }),
		"no signature":    forged(func(f map[string]string) { f["signature"] = "" }),
		"no number":       forged(func(f map[string]string) { f["version"] = "x" }),
	} {
		write(f)
		if _, err := get(); !errors.As(err, new(*bus.ForgedError)) {
			t.Errorf("%s: on the host %v", what, err)
		}
		// The operator's side reads the history from there: it runs nothing that it did not write.
		if _, err := op.State("deploy").Get(ctx, "desired"); !errors.As(err, new(*bus.ForgedError)) {
			t.Errorf("%s: on the operator's side %v", what, err)
		}
	}
	// A genuine order in another place is none.
	if err := op.Client().HSet(ctx, "troop:order:deploy:order", second).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := op.State("deploy").Get(ctx, "order"); !errors.As(err, new(*bus.ForgedError)) {
		t.Errorf("in another place: %v", err)
	}
	// Signed with a key that is not the environment's.
	stranger := opened(t, bus.Options{
		Address: m.Addr, Certificates: m.Certificates, User: bus.Operator, Password: redistest.PasswordOf("operator"),
		Sign: &bus.Signer{Key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", ed25519.SeedSize))), Fence: func() (int64, error) { return 100, nil }},
	})
	write(second)
	if _, err := stranger.State("deploy").Set(ctx, "desired", []byte("strange")); err != nil {
		t.Fatal(err)
	}
	if _, err := get(); !errors.As(err, new(*bus.ForgedError)) {
		t.Errorf("a stranger's key: %v", err)
	}
}

// A watcher tells of what it refuses, and goes on.
func TestWatchRefuses(t *testing.T) {
	m := environment(t)
	fence := int64(1)
	op := operator(t, m, &fence)
	refused := make(chan error, 100)
	seen := make(chan string, 100)
	b := on(t, m, "router-1", "", func(err error) { refused <- err })
	go func() {
		_ = b.State("deploy").Watch(t.Context(), "desired", func(e core.Entry) error { seen <- string(e.Value); return nil })
	}()
	set := func(value string) {
		if _, err := op.State("deploy").Set(t.Context(), "desired", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	set("one")
	if got := <-seen; got != "one" {
		t.Fatal(got)
	}
	if err := op.Client().HSet(t.Context(), "troop:order:deploy:desired", "value", "forged").Err(); err != nil {
		t.Fatal(err)
	}
	if err := op.Client().Publish(t.Context(), "troop:order:deploy", "desired").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-refused; !errors.As(err, new(*bus.ForgedError)) {
		t.Error(err)
	}
	set("two")
	if got := <-seen; got != "two" {
		t.Error(got)
	}
}

// A command that lost the environment to another one changes nothing more.
func TestOlderHolderIsFenced(t *testing.T) {
	m := environment(t)
	older, newer := int64(1), int64(2)
	first, second := operator(t, m, &older), operator(t, m, &newer)
	for i, b := range []*bus.Bus{first, second, first} {
		_, err := b.State("deploy").Set(t.Context(), "desired", []byte(fmt.Sprint(i)))
		if fenced := err != nil && strings.Contains(err.Error(), "taken over"); fenced != (i == 2) {
			t.Errorf("write %d: %v", i, err)
		}
	}
}

// When Redis loses its data, the hosts give back what they were told, and it counts because it is signed.
func TestLostOrdersAreGivenBack(t *testing.T) {
	m := environment(t)
	fence := int64(3)
	op := operator(t, m, &fence)
	s := op.State("deploy")
	ctx := t.Context()
	for _, v := range []string{"one", "two"} {
		if _, err := s.Set(ctx, "desired", []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	ledger := filepath.Join(t.TempDir(), "orders.json")
	watch := func() (stop func(), seen chan core.Entry) {
		ctx, cancel := context.WithCancel(ctx)
		seen = make(chan core.Entry, 10)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = on(t, m, "router-1", ledger, nil).State("deploy").Watch(ctx, "desired", func(e core.Entry) error { seen <- e; return nil })
		}()
		return func() { cancel(); <-done }, seen
	}
	stop, seen := watch()
	<-seen
	stop()
	it := op.Client().Scan(ctx, 0, "troop:*", 1000).Iterator()
	for it.Next(ctx) {
		if err := op.Client().Del(ctx, it.Val()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// A host that lies is not believed.
	if _, err := on(t, m, "canary-1", "", nil).State("deploy").Set(ctx, core.HostKey("canary-1", "order/desired"), []byte(`{"value":"Zm9yZ2Vk","fence":99,"version":99}`)); err != nil {
		t.Fatal(err)
	}
	stop, seen = watch()
	defer stop()
	for {
		e, err := s.Get(ctx, "desired")
		if err != nil {
			t.Fatal(err)
		}
		if e.Version != 0 {
			if string(e.Value) != "two" || e.Version != 2 {
				t.Errorf("given back: %+v", e)
			}
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if e, err := s.Set(ctx, "desired", []byte("three")); err != nil || e.Version != 3 {
		t.Errorf("the next order: %+v, %v", e, err)
	}
	for e := range seen {
		if string(e.Value) == "three" {
			break
		}
	}
}
