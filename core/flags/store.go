// Package flags keeps the feature flags of an environment and evaluates them. The flags are in the environment's Redis:
// a key each, with a version, an audit trail and a channel that tells readers of every change. `troop flag` and the
// capability of plugins change them there. A Copy follows them on each host and evaluates them there with Redis away, too;
// package ofrep serves it to applications. Files in flagd's format go in and out: file.go.
package flags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	prefix   = "troop:flag:"
	counters = "troop:flagversion:"
	channel  = "troop:flags"       // carries the changed flag as JSON
	trail    = "troop:flags:audit" // stream of all changes
	maxTrail = 10_000
	tries    = 10 // of a change, when others change the same flag
)

// Flags are the flags of one environment.
type Flags struct{ rdb *redis.Client }

// Open uses a connection that somebody else owns.
func Open(rdb *redis.Client) *Flags { return &Flags{rdb: rdb} }

// Get returns a flag; ok is false when it is not set.
func (f *Flags) Get(ctx context.Context, name string) (flag Flag, ok bool, err error) {
	data, err := f.rdb.Get(ctx, prefix+name).Bytes()
	if errors.Is(err, redis.Nil) {
		return Flag{Name: name}, false, nil
	}
	if err == nil {
		flag, err = decode(data)
	}
	if err != nil {
		return Flag{}, false, fmt.Errorf("read flag %s: %w", name, err)
	}
	return flag, true, nil
}

func decode(data []byte) (Flag, error) {
	var f Flag
	if err := json.Unmarshal(data, &f); err != nil {
		return Flag{}, err
	}
	return compile(f).Flag, nil
}

// List returns all flags by name. One that cannot be read is in the error, and the others are returned all the same.
func (f *Flags) List(ctx context.Context) ([]Flag, error) {
	var keys []string
	it := f.rdb.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for it.Next(ctx) {
		keys = append(keys, it.Val())
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list flags: %w", err)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys) // a scan may name a key twice
	var out []Flag
	var broken brokenError
	for part := range slices.Chunk(keys, 1000) {
		values, err := f.rdb.MGet(ctx, part...).Result()
		if err != nil {
			return nil, fmt.Errorf("list flags: %w", err)
		}
		for i, v := range values {
			text, ok := v.(string)
			if !ok {
				continue // unset meanwhile
			}
			flag, err := decode([]byte(text))
			if err != nil {
				broken = append(broken, fmt.Sprintf("flag %s: %v", strings.TrimPrefix(part[i], prefix), err))
				continue
			}
			out = append(out, flag)
		}
	}
	if len(broken) > 0 {
		return out, broken
	}
	return out, nil
}

// brokenError names flags whose JSON cannot be read.
type brokenError []string

func (e brokenError) Error() string { return strings.Join(e, "; ") }

// write replaces or deletes a flag whose version is still the one that was read, tells readers and keeps the trail, all in
// one step. The version goes on counting after a flag was unset, so that a reader never takes an old value for a new one.
var write = redis.NewScript(`
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[4] then return false end
local v = redis.call('INCR', KEYS[2])
local json = string.gsub(ARGV[1], '^{"version":0', '{"version":' .. v, 1)
if ARGV[5] == 'unset' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], json) end
redis.call('PUBLISH', ARGV[2], json)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'flag', json)
return json`)

// Change is who changes a flag, and why; both are for the trail.
type Change struct{ By, Reason string }

// Update changes a flag: it hands the flag as it stands to edit, empty when it is not set, and writes what edit made of it.
// When somebody else was faster it starts again, so edit may be called several times. A flag that edit marks Unset is
// removed.
func (f *Flags) Update(ctx context.Context, name string, c Change, edit func(*Flag) error) (Flag, error) {
	if err := CheckName(name); err != nil {
		return Flag{}, err
	}
	for range tries {
		values, err := f.rdb.MGet(ctx, counters+name, prefix+name).Result()
		if err != nil {
			return Flag{}, fmt.Errorf("read flag %s: %w", name, err)
		}
		version, ok := values[0].(string)
		if !ok {
			version = "0"
		}
		flag := Flag{Name: name, State: Enabled}
		if text, ok := values[1].(string); ok {
			// A flag that cannot be read is replaced.
			if old, err := decode([]byte(text)); err == nil {
				flag = old
			}
		}
		if err := edit(&flag); err != nil {
			return Flag{}, err
		}
		done, err := f.write(ctx, name, version, flag, c)
		if !errors.Is(err, redis.Nil) {
			return done, err
		}
	}
	return Flag{}, fmt.Errorf("write flag %s: others keep changing it; try again", name)
}

// write is one attempt; redis.Nil says that the flag is no longer the one that was read.
func (f *Flags) write(ctx context.Context, name, version string, flag Flag, c Change) (Flag, error) {
	flag.Version, flag.Name, flag.Updated, flag.By, flag.Reason = 0, name, time.Now().UTC(), c.By, c.Reason
	mode := "set"
	if flag.Unset {
		flag.State, flag.Value, flag.Variants, flag.Default, flag.Targeting, flag.Metadata = "", nil, nil, "", nil, nil
		mode = "unset"
	} else {
		checked := compile(flag)
		if checked.err != nil {
			return Flag{}, checked.err
		}
		flag = checked.Flag
		flag.Value = nil
		if flag.State == Enabled {
			flag.Value = flag.Variants[flag.Default]
		}
	}
	doc, err := json.Marshal(flag)
	if err != nil {
		return Flag{}, fmt.Errorf("encode flag %s: %w", name, err)
	}
	if len(doc) > maxSize {
		return Flag{}, fmt.Errorf("flag %s: %d bytes; at most %d", name, len(doc), maxSize)
	}
	out, err := write.Run(ctx, f.rdb, []string{prefix + name, counters + name, trail}, doc, channel, maxTrail, version, mode).Text()
	if err != nil {
		return Flag{}, fmt.Errorf("write flag %s: %w", name, err)
	}
	return flag, json.Unmarshal([]byte(out), &flag)
}

// Set gives a flag one value for everybody, and keeps its metadata. nil unsets it.
func (f *Flags) Set(ctx context.Context, name string, value any, by string) (Flag, error) {
	return f.Update(ctx, name, Change{By: by}, func(flag *Flag) (err error) {
		if value == nil {
			flag.Unset = true
			return nil
		}
		*flag, err = flag.Give(value, nil)
		return err
	})
}

// Audit returns the last limit changes, newest first.
func (f *Flags) Audit(ctx context.Context, limit int64) ([]Flag, error) {
	msgs, err := f.rdb.XRevRangeN(ctx, trail, "+", "-", limit).Result()
	if err != nil {
		return nil, fmt.Errorf("read audit trail: %w", err)
	}
	out := make([]Flag, 0, len(msgs))
	for _, m := range msgs {
		var flag Flag
		if s, _ := m.Values["flag"].(string); json.Unmarshal([]byte(s), &flag) == nil {
			out = append(out, flag)
		}
	}
	return out, nil
}

// The pauses of Follow.
const (
	quiet      = 2 * time.Second // after which the connection is tried: a quiet channel and a dead peer look alike
	pauseFirst = 50 * time.Millisecond
	pauseMost  = 2 * time.Second
)

// Follower hears of the flags.
type Follower struct {
	Stand   func([]Flag) // all flags, after each connection
	Change  func(Flag)   // every change; it may be told again, and late: its version says so
	Stopped func(Stops)  // the stopped releases, after each connection and each change
	Trouble func(error)  // why there is no connection, and flags that cannot be read
}

// Follow tells of the flags until ctx ends. Nothing that was changed while the connection was lost is missed.
func (f *Flags) Follow(ctx context.Context, to Follower) error {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		err := f.follow(ctx, to, func() { pause = 0 })
		if ctx.Err() != nil {
			break
		}
		to.Trouble(err)
		pause = min(max(2*pause, pauseFirst), pauseMost)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return context.Cause(ctx)
}

// follow lasts as long as one connection.
func (f *Flags) follow(ctx context.Context, to Follower, well func()) error {
	sub := f.rdb.Subscribe(ctx, stopped, channel)
	defer sub.Close()
	for {
		msg, err := sub.ReceiveTimeout(ctx, quiet)
		var t interface{ Timeout() bool }
		if errors.As(err, &t) && t.Timeout() && ctx.Err() == nil {
			if err = sub.Ping(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("follow flags: %w", err)
		}
		switch m := msg.(type) {
		case *redis.Subscription:
			err = f.all(ctx, m.Channel, to)
			well()
		case *redis.Message:
			if m.Channel == stopped {
				err = f.all(ctx, stopped, to)
			} else if flag, err := decode([]byte(m.Payload)); err == nil {
				to.Change(flag)
			} else {
				to.Trouble(fmt.Errorf("read a changed flag: %w", err))
			}
		}
		if err != nil {
			return err
		}
	}
}

// all tells what stands of a channel's subject.
func (f *Flags) all(ctx context.Context, of string, to Follower) error {
	if of == stopped {
		s, err := f.Stops(ctx)
		if err == nil {
			to.Stopped(s)
		}
		return err
	}
	list, err := f.List(ctx)
	if broken, ok := errors.AsType[brokenError](err); ok {
		to.Trouble(broken)
	} else if err != nil {
		return err
	}
	to.Stand(list)
	return nil
}
