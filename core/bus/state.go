package bus

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

// State is the part of the bus where one type of plugin keeps what its stages and agents share.
type State struct {
	rdb     *redis.Client
	prefix  string // of the keys
	channel string // where changed keys are announced
}

// State returns the entries of a plugin type.
func (b *Bus) State(typ string) *State {
	return &State{rdb: b.rdb, prefix: "troop:state:" + typ + ":", channel: "troop:state:" + typ}
}

var setState = redis.NewScript(`
local v = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'value', ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return v`)

// Get returns an entry; Version 0 says that it is not set.
func (s *State) Get(ctx context.Context, key string) (core.Entry, error) {
	m, err := s.rdb.HGetAll(ctx, s.prefix+key).Result()
	if err != nil {
		return core.Entry{}, fmt.Errorf("read state %s: %w", key, err)
	}
	e := core.Entry{Key: key}
	if len(m) > 0 {
		e.Value = []byte(m["value"])
		e.Version, err = strconv.ParseInt(m["version"], 10, 64)
	}
	return e, err
}

// Set writes an entry, counts its version up and tells every watcher.
func (s *State) Set(ctx context.Context, key string, value []byte) (core.Entry, error) {
	v, err := setState.Run(ctx, s.rdb, []string{s.prefix + key}, value, s.channel, key).Int64()
	if err != nil {
		return core.Entry{}, fmt.Errorf("write state %s: %w", key, err)
	}
	return core.Entry{Key: key, Value: value, Version: v}, nil
}

// Delete takes an entry away. Watchers are not told.
func (s *State) Delete(ctx context.Context, key string) error {
	if err := s.rdb.Del(ctx, s.prefix+key).Err(); err != nil {
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
// that changed meanwhile is handed on. It returns when ctx ends or each returns an error.
func (s *State) Watch(ctx context.Context, prefix string, each func(core.Entry) error) error {
	sub := s.rdb.Subscribe(ctx, s.channel)
	defer sub.Close()
	seen := map[string]int64{}
	hand := func(key string) error {
		e, err := s.Get(ctx, key)
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
		if err != nil {
			_ = sub.Close()
			wait.sleep(ctx)
			sub = s.rdb.Subscribe(ctx, s.channel)
			continue
		}
		wait.reset()
	}
	return context.Cause(ctx)
}

func (s *State) each(ctx context.Context, prefix string, hand func(key string) error) error {
	var keys []string
	it := s.rdb.Scan(ctx, 0, s.prefix+prefix+"*", 1000).Iterator()
	for it.Next(ctx) {
		keys = append(keys, strings.TrimPrefix(it.Val(), s.prefix))
	}
	if err := it.Err(); err != nil {
		return err
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
