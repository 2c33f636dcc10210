// Package bus is what the machines of one environment share over its Redis: the stream of events, and small
// state entries that a plugin and its agents agree on. The core imports it to follow and to steer, and
// troop-agent to report from a host. A Spool keeps events on disk while Redis is away.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

const (
	stream     = "troop:events"
	maxEvents  = 100_000          // of the stream, about; older events are trimmed
	rememberID = 24 * time.Hour   // how long an event's ID is known, so that sending it again does nothing
	takeMost   = 100              // events in one read
	takeOver   = 15 * time.Minute // after which an event that a member took is another's
	blockFor   = 2 * time.Second  // of one blocking read; bounds how long a dead connection goes unseen
)

// Options say where an environment's Redis is.
type Options struct {
	Address  string // host:port
	Password string
	// Dial reaches Address; nil is the plain network. The core dials through SSH.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Bus is a connection to one environment's Redis. It connects on first use and again after a loss; its
// methods are safe for concurrent use.
type Bus struct {
	rdb *redis.Client
	old atomic.Bool // Redis is older than 6.2
}

// Open makes a Bus without connecting.
func Open(o Options) *Bus {
	return &Bus{rdb: redis.NewClient(&redis.Options{
		Addr: o.Address, Password: o.Password, Dialer: o.Dial,
		Protocol: 2, DisableIdentity: true,
		DialTimeout: 3 * time.Second, ReadTimeout: 3 * time.Second, MaxRetries: 1,
		ContextTimeoutEnabled: true,
	})}
}

// Client is the connection itself, for packages that keep keys of their own there.
func (b *Bus) Client() *redis.Client { return b.rdb }

// Close ends the connections.
func (b *Bus) Close() error { return b.rdb.Close() }

// publish adds an event once: the second time its ID is known.
var publish = redis.NewScript(`
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[2]) then
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'event', ARGV[1])
  return 1
end
return 0`)

// Publish appends an event to the stream. Publishing the same ID again within a day does nothing, so a sender
// that does not know whether it was heard may repeat itself.
func (b *Bus) Publish(ctx context.Context, e core.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	err = publish.Run(ctx, b.rdb, []string{stream, "troop:event:" + e.ID}, data, int(rememberID.Seconds()), maxEvents).Err()
	if err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	return nil
}

// Match reports whether a filter takes an event.
func Match(f core.EventFilter, e core.Event) bool {
	if len(f.Severities) > 0 && !slices.Contains(f.Severities, e.Severity) {
		return false
	}
	if e.Time.Before(f.Since) {
		return false
	}
	return len(f.Kinds) == 0 || slices.ContainsFunc(f.Kinds, func(k string) bool { return strings.HasPrefix(e.Kind, k) })
}

// Events returns the stream's events that the filter takes, oldest first; the newest limit of them, or all
// when limit is 0.
func (b *Bus) Events(ctx context.Context, f core.EventFilter, limit int) ([]core.Event, error) {
	start := "-"
	if !f.Since.IsZero() {
		// An event reaches the stream after it happened, so none that matters stands before its time.
		start = fmt.Sprint(f.Since.UnixMilli())
	}
	msgs, err := b.rdb.XRange(ctx, stream, start, "+").Result()
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	var out []core.Event
	for _, m := range msgs {
		if e, ok := decode(m); ok && Match(f, e) {
			out = append(out, e)
		}
	}
	if limit > 0 && len(out) > limit {
		out = out[len(out)-limit:]
	}
	return out, nil
}

// Follow hands every event that the filter takes to each, until ctx ends or each returns an error. It starts
// at f.Since, or now. While Redis is away it waits and goes on where it was: the stream keeps what it missed.
func (b *Bus) Follow(ctx context.Context, f core.EventFilter, each func(core.Event) error) error {
	last := ""
	if !f.Since.IsZero() {
		last = fmt.Sprintf("%d-0", max(f.Since.UnixMilli()-1, 0))
	}
	wait := backoff{}
	for ctx.Err() == nil {
		if last == "" {
			// The newest ID, not "$": events that come between two reads must not be missed.
			id, err := b.newest(ctx)
			if err != nil {
				wait.sleep(ctx)
				continue
			}
			last = id
		}
		res, err := b.rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{stream, last}, Block: blockFor, Count: 100}).Result()
		switch {
		case errors.Is(err, redis.Nil):
			wait.reset()
			continue
		case err != nil:
			wait.sleep(ctx)
			continue
		}
		wait.reset()
		for _, m := range res[0].Messages {
			last = m.ID
			if e, ok := decode(m); ok && Match(f, e) {
				if err := each(e); err != nil {
					return err
				}
			}
		}
	}
	return context.Cause(ctx)
}

func (b *Bus) newest(ctx context.Context) (string, error) {
	msgs, err := b.rdb.XRevRangeN(ctx, stream, "+", "-", 1).Result()
	if err != nil {
		return "", err
	}
	if len(msgs) == 0 {
		return "0", nil
	}
	return msgs[0].ID, nil
}

// mostTaken is how many events a member works on at a time. Each is small; a receiver that does not answer for an hour
// must not keep the others' events from being taken.
const mostTaken = 10_000

// Consume hands every event to exactly one member of a group, from the first event after the group was made, until
// ctx ends. An event counts as handled when done was called with nil; what was not handled, or what a dead member left,
// is handed on again: to a member of the same name when it starts, to others after a while. each must not block.
// While Redis is away Consume waits; what Redis refuses ends it.
func (b *Bus) Consume(ctx context.Context, group, member string, each func(e core.Event, done func(error))) error {
	wait := backoff{}
	made := false
	next := "0" // first what this member took and did not finish
	var busy sync.WaitGroup
	defer busy.Wait()
	slots := make(chan struct{}, mostTaken)
	held := taken{ids: map[string]bool{}}
	for ctx.Err() == nil {
		if !made {
			err := b.rdb.XGroupCreateMkStream(ctx, stream, group, "$").Err()
			if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
				if refused(err) {
					return fmt.Errorf("read events: %w", err)
				}
				wait.sleep(ctx)
				continue
			}
			made = true
		}
		msgs, err := b.take(ctx, group, member, next)
		if err != nil {
			if made = !strings.HasPrefix(err.Error(), "NOGROUP"); made && refused(err) { // Redis lost its data
				return fmt.Errorf("read events: %w", err)
			}
			wait.sleep(ctx)
			continue
		}
		wait.reset()
		if next != ">" {
			if next = ">"; len(msgs) == takeMost {
				next = msgs[len(msgs)-1].ID
			}
		}
		for _, m := range msgs {
			if !held.add(m.ID) {
				continue // this member is at it: it takes long
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			busy.Add(1)
			done := sync.OnceFunc(func() { <-slots; held.remove(m.ID); busy.Done() })
			e, ok := decode(m)
			if !ok {
				b.acknowledge(ctx, group, m.ID)
				done()
				continue
			}
			each(e, func(err error) {
				if err == nil {
					b.acknowledge(ctx, group, m.ID)
				}
				done()
			})
		}
	}
	return context.Cause(ctx)
}

// acknowledge says that an event was handled. Losing that costs a repetition, which the receiver recognises by the ID.
func (b *Bus) acknowledge(ctx context.Context, group, id string) {
	_ = b.rdb.XAck(context.WithoutCancel(ctx), stream, group, id).Err()
}

// taken are the events that a member is at.
type taken struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (t *taken) add(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ids[id] {
		return false
	}
	t.ids[id] = true
	return true
}

func (t *taken) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ids, id)
}

// refused reports whether Redis understood a command and will not do it the next time either: a user without the
// right, a key of another type, a command that this version does not have.
func refused(err error) bool {
	said, ok := errors.AsType[redis.Error](err)
	if !ok || errors.Is(err, redis.Nil) {
		return false
	}
	return slices.ContainsFunc([]string{"NOPERM", "WRONGTYPE", "WRONGPASS", "NOAUTH", "ERR unknown command"}, func(p string) bool {
		return strings.HasPrefix(said.Error(), p)
	})
}

func (b *Bus) take(ctx context.Context, group, member, next string) ([]redis.XMessage, error) {
	if next == ">" {
		if msgs, err := b.claim(ctx, group, member); err != nil || len(msgs) > 0 {
			return msgs, err
		}
	}
	res, err := b.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: member, Streams: []string{stream, next}, Block: blockFor, Count: takeMost,
	}).Result()
	if errors.Is(err, redis.Nil) || (err == nil && len(res) == 0) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return res[0].Messages, nil
}

// claim takes over what another member took and has not finished for long. Redis before 6.2, as Ubuntu 22.04 has it,
// does not know XAUTOCLAIM, nor XPENDING with an idle time.
func (b *Bus) claim(ctx context.Context, group, member string) ([]redis.XMessage, error) {
	if !b.old.Load() {
		msgs, _, err := b.rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: stream, Group: group, Consumer: member, MinIdle: takeOver, Start: "0", Count: takeMost,
		}).Result()
		if err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command") {
			return others(msgs), err
		}
		b.old.Store(true)
	}
	pending, err := b.rdb.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: stream, Group: group, Start: "-", End: "+", Count: takeMost}).Result()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range pending {
		if p.Idle >= takeOver && p.Consumer != member {
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	msgs, err := b.rdb.XClaim(ctx, &redis.XClaimArgs{Stream: stream, Group: group, Consumer: member, MinIdle: takeOver, Messages: ids}).Result()
	return others(msgs), err
}

// others leaves out events that were trimmed meanwhile.
func others(msgs []redis.XMessage) []redis.XMessage {
	return slices.DeleteFunc(msgs, func(m redis.XMessage) bool { return m.Values == nil })
}

func decode(m redis.XMessage) (core.Event, bool) {
	s, _ := m.Values["event"].(string)
	var e core.Event
	return e, json.Unmarshal([]byte(s), &e) == nil
}

// backoff waits 50 ms, then twice as long each time, at most 2 s.
type backoff struct{ d time.Duration }

func (b *backoff) reset() { b.d = 0 }

func (b *backoff) sleep(ctx context.Context) {
	b.d = min(max(2*b.d, 50*time.Millisecond), 2*time.Second)
	select {
	case <-ctx.Done():
	case <-time.After(b.d):
	}
}
