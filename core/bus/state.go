package bus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

// State is the part of the bus where one type of plugin keeps what its stages and agents share. An entry belongs to
// whoever may write it: one with a key of core.HostKey to that host, each other to the operator's side, which signs it.
type State struct {
	b      *Bus
	typ    string
	shared bool // the relay's: both sides write, nothing is signed
}

// State returns the entries of a plugin type.
func (b *Bus) State(typ string) *State { return &State{b: b, typ: typ} }

// Relay returns what the relay remembers, and what operators tell it.
func (b *Bus) Relay() *State { return &State{b: b, shared: true} }

// place is where an entry is: a host's, or the operator's side's.
type place struct {
	host core.HostName
	rest string // the key without the host
}

func placeOf(key string) place {
	if host, rest, ok := core.CutHostKey(key); ok {
		return place{host, rest}
	}
	return place{rest: key}
}

// channel is where changes of a place are announced.
func (s *State) channel(p place) string {
	switch {
	case s.shared:
		return strings.TrimSuffix(relayPrefix, ":")
	case p.host != "":
		return hostPrefix + string(p.host) + ":" + s.typ
	}
	return orderPrefix + s.typ
}

func (s *State) redisKey(p place) string { return s.channel(p) + ":" + p.rest }

// key is the opposite of placeOf.
func (p place) key() string {
	if p.host == "" {
		return p.rest
	}
	return core.HostKey(p.host, p.rest)
}

// Get returns an entry; Version 0 says that it is not set.
func (s *State) Get(ctx context.Context, key string) (core.Entry, error) {
	e, err := s.get(ctx, key)
	if err != nil {
		return core.Entry{}, fmt.Errorf("read state %s: %w", key, err)
	}
	return e, nil
}

func (s *State) get(ctx context.Context, key string) (core.Entry, error) {
	p := placeOf(key)
	m, err := s.b.rdb.HGetAll(ctx, s.redisKey(p)).Result()
	if err != nil {
		return core.Entry{}, err
	}
	e := core.Entry{Key: key}
	if s.shared || p.host != "" {
		if len(m) > 0 {
			e.Value = []byte(m["value"])
			e.Version, err = strconv.ParseInt(m["version"], 10, 64)
		}
		return e, err
	}
	o := order{Value: []byte(m["value"])}
	if len(m) == 0 {
		if s.b.o.Self == "" {
			o, err = s.recover(ctx, key)
		}
		e.Value, e.Version = o.Value, o.Version
		return e, err
	}
	o.Fence, err = strconv.ParseInt(m["fence"], 10, 64)
	if err == nil {
		o.Version, err = strconv.ParseInt(m["version"], 10, 64)
	}
	if err == nil {
		o.Signature, err = base64.StdEncoding.DecodeString(m["signature"])
	}
	if err != nil || o.Version <= 0 {
		return e, &ForgedError{s.typ, key}
	}
	if err = s.b.genuine(o, s.typ, key); err == nil && s.b.o.Self != "" {
		err = s.b.ledger.take(s.typ, key, o)
	}
	if err == nil {
		e.Value, e.Version = o.Value, o.Version
	}
	return e, err
}

// Set writes an entry, counts its version up and tells every watcher.
func (s *State) Set(ctx context.Context, key string, value []byte) (core.Entry, error) {
	p := placeOf(key)
	e := core.Entry{Key: key, Value: value}
	var err error
	switch {
	case s.shared, p.host != "" && p.host == s.b.o.Self:
		e.Version, err = s.report(ctx, p, value)
	case p.host != "" || s.b.o.Self != "":
		err = core.Refused(fmt.Sprintf("state %s belongs to %s", key, owner(p)))
	default:
		e.Version, err = s.order(ctx, key, value)
	}
	if err != nil {
		return core.Entry{}, fmt.Errorf("write state %s: %w", key, err)
	}
	return e, nil
}

func owner(p place) string {
	if p.host == "" {
		return "stages and actions: an agent sets those of its own host"
	}
	return "the agent on host " + string(p.host)
}

// report writes an entry that is not signed.
func (s *State) report(ctx context.Context, p place, value []byte) (version int64, err error) {
	var counted *redis.IntCmd
	_, err = s.b.rdb.TxPipelined(ctx, func(t redis.Pipeliner) error {
		counted = t.HIncrBy(ctx, s.redisKey(p), "version", 1)
		t.HSet(ctx, s.redisKey(p), "value", value)
		t.Publish(ctx, s.channel(p), p.key())
		return nil
	})
	if err != nil {
		return 0, err
	}
	return counted.Val(), nil
}

// putOrder writes an order whose version follows the one that stands, unless that is of a later holder.
var putOrder = redis.NewScript(`
local have = redis.call('HMGET', KEYS[1], 'fence', 'version')
if tonumber(have[1] or '0') > tonumber(ARGV[2]) then return -1 end
if tonumber(have[2] or '0') ~= tonumber(ARGV[7]) then return 0 end
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'fence', ARGV[2], 'version', ARGV[3], 'signature', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1`)

// put writes an order over the version before. It is false when that is not the one that stands.
func (s *State) put(ctx context.Context, key string, o order, before int64) (bool, error) {
	p := place{rest: key}
	n, err := putOrder.Run(ctx, s.b.rdb, []string{s.redisKey(p)}, o.Value, o.Fence, o.Version,
		base64.StdEncoding.EncodeToString(o.Signature), s.channel(p), key, before).Int()
	if err == nil && n < 0 {
		err = errors.New("another command has taken over this environment since; this one must not go on")
	}
	return n > 0, err
}

// order signs and writes an entry of the operator's side. What is there is only counted, not read: it is replaced.
func (s *State) order(ctx context.Context, key string, value []byte) (int64, error) {
	for {
		last, err := s.b.rdb.HGet(ctx, s.redisKey(place{rest: key}), "version").Int64()
		if isNil(err) {
			var lost order
			lost, err = s.recover(ctx, key) // versions go on
			last = lost.Version
		}
		if err != nil {
			return 0, err
		}
		o := order{Value: value, Version: last + 1}
		if err := s.b.sign(&o, s.typ, key); err != nil {
			return 0, err
		}
		if done, err := s.put(ctx, key, o, last); done || err != nil {
			return o.Version, err
		}
	}
}

// Delete takes an entry of the relay away. Watchers are not told.
func (s *State) Delete(ctx context.Context, key string) error {
	if err := s.b.rdb.Del(ctx, s.redisKey(placeOf(key))).Err(); err != nil {
		return fmt.Errorf("delete state %s: %w", key, err)
	}
	return nil
}

// Entries returns the entries whose keys start with prefix, sorted by key.
func (s *State) Entries(ctx context.Context, prefix string) (all []core.Entry, err error) {
	err = s.each(ctx, prefix, func(key string) error {
		e, err := s.Get(ctx, key)
		if err == nil && e.Version > 0 {
			all = append(all, e)
		}
		return err
	})
	return all, err
}

// Watch hands the entries whose keys start with prefix to each: first those that stand, then every change, in
// order per key. Changes that follow each other closely may be seen as one. After a lost connection everything
// that changed meanwhile is handed on. On a host, an order that is refused is not handed on. It returns when ctx ends,
// when each returns an error, or when Redis refuses.
func (s *State) Watch(ctx context.Context, prefix string, each func(core.Entry) error) error {
	channel := s.channel(placeOf(prefix))
	sub := s.b.rdb.Subscribe(ctx, channel)
	defer func() { _ = sub.Close() }()
	hand := s.handler(ctx, each)
	wait := backoff{}
	for ctx.Err() == nil {
		msg, err := sub.ReceiveTimeout(ctx, blockFor)
		if err == nil {
			switch m := msg.(type) {
			case *redis.Subscription: // also after each reconnection
				err = s.each(ctx, prefix, hand)
			case *redis.Message:
				if strings.HasPrefix(m.Payload, prefix) {
					err = hand(m.Payload)
				}
			}
		} else if isTimeout(err) {
			// A quiet channel and a dead peer look alike until something is sent.
			if err = sub.Ping(ctx); err == nil {
				wait.reset()
				continue
			}
		}
		if stop, ok := errors.AsType[stopError](err); ok {
			return stop.error
		}
		if refused(err) {
			return fmt.Errorf("watch state %s: %w", prefix, err)
		}
		if err != nil {
			_ = sub.Close()
			wait.sleep(ctx)
			sub = s.b.rdb.Subscribe(ctx, channel)
			continue
		}
		wait.reset()
	}
	return context.Cause(ctx)
}

// handler hands on the entries that were not seen yet.
func (s *State) handler(ctx context.Context, each func(core.Entry) error) func(key string) error {
	seen := map[string]int64{}
	return func(key string) error {
		e, err := s.get(ctx, key)
		if isUntrue(err) {
			if s.b.o.Refused != nil {
				s.b.o.Refused(err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if e.Version == seen[key] {
			return nil
		}
		seen[key] = e.Version
		if err := each(e); err != nil {
			return stopError{err}
		}
		return nil
	}
}

// each hands the keys that stand, sorted, and looks after those that Redis lost.
func (s *State) each(ctx context.Context, prefix string, hand func(key string) error) error {
	p := placeOf(prefix)
	whole := s.channel(p) + ":"
	var keys, rests []string
	it := s.b.rdb.Scan(ctx, 0, whole+p.rest+"*", 1000).Iterator()
	for it.Next(ctx) {
		rest := strings.TrimPrefix(it.Val(), whole)
		rests = append(rests, rest)
		keys = append(keys, place{p.host, rest}.key())
	}
	if err := it.Err(); err != nil {
		return err
	}
	if p.host == "" {
		if err := s.giveBack(ctx, prefix, rests); err != nil {
			return err
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		if err := hand(k); err != nil {
			return err
		}
	}
	return nil
}

// stopError marks the error of a callback, which ends a watch, among those of the network, which do not.
type stopError struct{ error }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func isNil(err error) bool { return errors.Is(err, redis.Nil) }

// isUntrue reports whether an order was refused.
func isUntrue(err error) bool {
	_, forged := errors.AsType[*ForgedError](err)
	_, stale := errors.AsType[*StaleError](err)
	return forged || stale
}
