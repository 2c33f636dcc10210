// Package bus is what the machines of one environment share over its Redis: a stream of events for each host, and small
// state entries that a plugin and its agents agree on. The core imports it to follow and to steer, and troop-agent to
// report from a host. A Spool keeps events on disk while Redis is away.
//
// A host is trusted with nothing but itself. Redis's access rules (playbooks/roles/redis) let a host write only its own
// stream and its own reports, so the names of keys say who wrote: the host and the role of an event are those of the
// stream that it was read from. What the operator's side writes is signed, because the host that Redis runs on could
// change it: order.go.
package bus

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

// The names in Redis. The role redis has the same ones in its access rules.
const (
	eventStream = "troop:events"  // of the operator's side; with :HOST, of a host
	eventMark   = "troop:event:"  // HOST:ID of an event that was published
	orderPrefix = "troop:order:"  // TYPE:KEY of an entry of the operator's side; without the last part, their channel
	hostPrefix  = "troop:report:" // HOST:TYPE:KEY of an entry of a host; without the last part, their channel
	relayPrefix = "troop:relay:"  // KEY of an entry of the relay
)

const (
	maxEvents   = 100_000          // of a stream, about; older events are trimmed
	rememberID  = 24 * time.Hour   // how long an event's ID is known, so that sending it again does nothing
	takeMost    = 100              // events of a stream in one read
	takeOver    = 15 * time.Minute // after which an event that a member took is another's
	dialTimeout = 3 * time.Second
	buffer      = 8 << 10         // bytes of a connection, each way; the default of 128 KiB is half of what an agent needs in all
	blockFor    = 2 * time.Second // of one blocking read; bounds how long a dead connection goes unseen
)

// Options say where an environment's Redis is, and who asks.
type Options struct {
	Address  string // host:port
	User     string // UserOf a host, or Operator; empty: Redis's default user
	Password string
	// Certificates are those that Redis may show, as PEM; empty: the connection is plain.
	Certificates string
	// Dial reaches Address; nil is the plain network. The core dials through SSH.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Environment string
	Self        core.HostName // the host that this process runs on; empty: the operator's side
	Hosts       []core.Host   // whose events are read

	Sign   *Signer           // of the operator's side; without one it only reads
	Trust  ed25519.PublicKey // of who may give orders; without one there are none
	Ledger string            // file in which a host remembers the orders that it took; empty: memory
	// Refused hears, on a host, of orders that are not genuine or that are older than one that it took. Optional.
	Refused func(error)
}

// Operator is the user of Redis that the operator's side logs in as.
const Operator = "operator"

// UserOf is the user of Redis that a host logs in as.
func UserOf(host core.HostName) string { return "host:" + string(host) }

// Bus is a connection to one environment's Redis. It connects on first use and again after a loss; its
// methods are safe for concurrent use.
type Bus struct {
	rdb     *redis.Client
	o       Options
	sources []source
	ledger  ledger
}

// source is a stream of events, and whose it is.
type source struct {
	stream string
	host   *core.Host // nil: of the operator's side
}

// Open makes a Bus without connecting.
func Open(o Options) *Bus {
	b := &Bus{o: o, ledger: ledger{file: o.Ledger}, sources: []source{{stream: eventStream}}}
	for _, h := range o.Hosts {
		b.sources = append(b.sources, source{streamOf(h.Name), &h})
	}
	dial := o.Dial
	if o.Certificates != "" {
		if dial == nil {
			dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
		}
		dial = secured(dial, o.Certificates)
	}
	b.rdb = redis.NewClient(&redis.Options{
		Addr: o.Address, Username: o.User, Password: o.Password, Dialer: dial,
		Protocol: 2, DisableIdentity: true,
		DialTimeout: dialTimeout, DialerRetries: 2, ReadTimeout: 3 * time.Second, MaxRetries: 1,
		ContextTimeoutEnabled: true,
		ReadBufferSize:        buffer, WriteBufferSize: buffer, PipelineReadBufferSize: buffer, PipelineWriteBufferSize: buffer,
	})
	b.rdb.AddHook(away{o.Environment})
	return b
}

// streamOf is the stream of a host's events, or that of the operator's side.
func streamOf(host core.HostName) string {
	if host == "" {
		return eventStream
	}
	return eventStream + ":" + string(host)
}

// Client is the connection itself, for packages that keep keys of their own there.
func (b *Bus) Client() *redis.Client { return b.rdb }

// Close ends the connections.
func (b *Bus) Close() error { return b.rdb.Close() }

// Publish appends an event to the stream of this host, or of the operator's side. Publishing the same ID again within a
// day does nothing, so a sender that does not know whether it was heard may repeat itself. No script does it: a host may
// not run any, since a script that does not end would stop Redis.
func (b *Bus) Publish(ctx context.Context, e core.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	mark := eventMark + string(b.o.Self) + ":" + e.ID
	err = redis.TxFailedErr
	for errors.Is(err, redis.TxFailedErr) { // another attempt of ours was heard meanwhile
		err = b.rdb.Watch(ctx, func(tx *redis.Tx) error {
			known, err := tx.Exists(ctx, mark).Result()
			if err != nil || known > 0 {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, mark, 1, rememberID)
				p.XAdd(ctx, &redis.XAddArgs{Stream: streamOf(b.o.Self), MaxLen: maxEvents, Approx: true, Values: []any{"event", data}})
				return nil
			})
			return err
		}, mark)
	}
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

// Events returns the events that the filter takes, oldest first; the newest limit of them, or all when limit is 0.
func (b *Bus) Events(ctx context.Context, f core.EventFilter, limit int) ([]core.Event, error) {
	start := "-"
	if !f.Since.IsZero() {
		// An event reaches its stream after it happened, so none that matters stands before its time.
		start = fmt.Sprint(f.Since.UnixMilli())
	}
	type found struct {
		id    string
		event core.Event
	}
	var all []found
	for _, s := range b.sources {
		msgs, err := b.rdb.XRange(ctx, s.stream, start, "+").Result()
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		for _, m := range msgs {
			if e, ok := b.decode(s, m); ok && Match(f, e) {
				all = append(all, found{m.ID, e})
			}
		}
	}
	slices.SortStableFunc(all, func(x, y found) int { return compareIDs(x.id, y.id) })
	if limit > 0 && len(all) > limit {
		all = all[len(all)-limit:]
	}
	var out []core.Event
	for _, x := range all {
		out = append(out, x.event)
	}
	return out, nil
}

// compareIDs orders the IDs of streams, MILLISECONDS-NUMBER.
func compareIDs(x, y string) int {
	parts := func(id string) (ms, n int64) {
		first, second, _ := strings.Cut(id, "-")
		ms, _ = strconv.ParseInt(first, 10, 64)
		n, _ = strconv.ParseInt(second, 10, 64)
		return ms, n
	}
	ms1, n1 := parts(x)
	ms2, n2 := parts(y)
	return cmp.Or(cmp.Compare(ms1, ms2), cmp.Compare(n1, n2))
}

// Follow hands every event that the filter takes to each, in order per host, until ctx ends or each returns an error. It
// starts at f.Since, or now. While Redis is away it waits and goes on where it was: the streams keep what it missed. What
// Redis refuses ends it.
func (b *Bus) Follow(ctx context.Context, f core.EventFilter, each func(core.Event) error) error {
	last := make([]string, len(b.sources))
	if !f.Since.IsZero() {
		for i := range last {
			last[i] = fmt.Sprintf("%d-0", max(f.Since.UnixMilli()-1, 0))
		}
	}
	wait := backoff{}
	for ctx.Err() == nil {
		msgs, err := b.after(ctx, last)
		if err != nil {
			if refused(err) {
				return fmt.Errorf("read events: %w", err)
			}
			wait.sleep(ctx)
			continue
		}
		wait.reset()
		for _, m := range msgs {
			last[m.from] = m.ID
			if e, ok := b.decode(b.sources[m.from], m.XMessage); ok && Match(f, e) {
				if err := each(e); err != nil {
					return err
				}
			}
		}
	}
	return context.Cause(ctx)
}

// Tail is Follow for people: it does not wait for a Redis that is away when it begins.
func (b *Bus) Tail(ctx context.Context, f core.EventFilter, each func(core.Event) error) error {
	if err := b.rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return b.Follow(ctx, f, each)
}

// message is what a stream holds, and the number of its source.
type message struct {
	redis.XMessage
	from int
}

// after waits for what the sources have after the last IDs; empty ones become those of the newest events: those that come
// between two reads must not be missed.
func (b *Bus) after(ctx context.Context, last []string) ([]message, error) {
	for i, s := range b.sources {
		if last[i] != "" {
			continue
		}
		msgs, err := b.rdb.XRevRangeN(ctx, s.stream, "+", "-", 1).Result()
		if err != nil {
			return nil, err
		}
		if last[i] = "0"; len(msgs) > 0 {
			last[i] = msgs[0].ID
		}
	}
	res, err := b.rdb.XRead(ctx, &redis.XReadArgs{Streams: append(b.streams(), last...), Block: blockFor, Count: takeMost}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	return b.messages(res), nil
}

func (b *Bus) streams() []string {
	names := make([]string, 0, 2*len(b.sources))
	for _, s := range b.sources {
		names = append(names, s.stream)
	}
	return names
}

// messages puts what several streams hold in the order of time.
func (b *Bus) messages(res []redis.XStream) []message {
	var all []message
	for _, x := range res {
		from := slices.IndexFunc(b.sources, func(s source) bool { return s.stream == x.Stream })
		for _, m := range x.Messages {
			all = append(all, message{m, from})
		}
	}
	slices.SortStableFunc(all, func(x, y message) int { return compareIDs(x.ID, y.ID) })
	return all
}

// decode reads an event. Whose it is, its stream says: a host speaks for itself only, also in the keys of its alerts.
func (b *Bus) decode(from source, m redis.XMessage) (core.Event, bool) {
	s, _ := m.Values["event"].(string)
	var e core.Event
	if json.Unmarshal([]byte(s), &e) != nil {
		return e, false
	}
	if h := from.host; h != nil {
		e.Environment, e.Host, e.Role, e.Run = b.o.Environment, h.Name, h.Role, ""
		if e.Key != "" {
			e.Key = string(h.Name) + "/" + e.Key
		}
	}
	return e, true
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
