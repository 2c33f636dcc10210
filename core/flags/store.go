// Package flags keeps the feature flags of an environment and evaluates them. The flags are in the environment's Redis:
// a key each, signed, with a version, an audit trail and a channel that tells readers of every change. `troop flag` and the
// capability of plugins change them there. A Copy follows them on each host and evaluates them there with Redis away, too;
// package ofrep serves it to applications. Files in flagd's format go in and out: file.go.
package flags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
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

// kind is what a sealed flag is.
const kind = "flag"

// Bus is a connection to an environment's Redis that somebody else owns, with the keys of whoever may set flags.
type Bus interface {
	Client() *redis.Client
	Seal(kind string, value []byte) ([]byte, error)
	Unseal(kind string, sealed []byte) (value []byte, fence int64, err error)
}

// Flags are the flags of one environment.
type Flags struct {
	bus Bus
	rdb *redis.Client
}

// Open reads flags over a connection, and sets them if it can sign.
func Open(b Bus) *Flags { return &Flags{b, b.Client()} }

// ForgedError is a flag that the operator's side did not set.
type ForgedError struct {
	Name string // empty: of a change that was told
	Why  error
}

func (e *ForgedError) Error() string {
	what := "flag " + e.Name
	if e.Name == "" {
		what = "a change of a flag"
	}
	return fmt.Sprintf("%s is refused: %v; whoever wrote it had the rights of root on the router, or a version of troop that did not sign flags; troop flag set writes it again", what, e.Why)
}

// Get returns a flag; ok is false when it is not set.
func (f *Flags) Get(ctx context.Context, name string) (flag Flag, ok bool, err error) {
	data, err := f.rdb.Get(ctx, prefix+name).Bytes()
	if errors.Is(err, redis.Nil) {
		return Flag{Name: name}, false, nil
	}
	if err == nil {
		flag, err = f.decode(name, data)
	}
	switch {
	case err != nil:
		return Flag{}, false, fmt.Errorf("read flag %s: %w", name, err)
	case flag.Unset:
		return Flag{Name: name}, false, nil
	}
	return flag, true, nil
}

// decode reads a flag that lies under a name; empty: the name that it has itself.
func (f *Flags) decode(name string, sealed []byte) (flag Flag, err error) {
	value, fence, err := f.bus.Unseal(kind, sealed)
	if err != nil {
		return Flag{}, &ForgedError{name, err}
	}
	if err := json.Unmarshal(value, &flag); err != nil {
		return Flag{}, fmt.Errorf("flag %s: %w", name, err)
	}
	if name != "" && flag.Name != name {
		return Flag{}, &ForgedError{name, errors.New("it is the flag " + flag.Name)}
	}
	flag.Fence = fence
	return compile(flag).Flag, nil
}

// List returns all flags by name. One that cannot be read is in the error, and the others are returned all the same.
func (f *Flags) List(ctx context.Context) ([]Flag, error) {
	all, err := f.all(ctx)
	return slices.DeleteFunc(all, func(x Flag) bool { return x.Unset }), err
}

// all returns those that were unset, too.
func (f *Flags) all(ctx context.Context) ([]Flag, error) {
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
			flag, err := f.decode(strings.TrimPrefix(part[i], prefix), []byte(text))
			if err != nil {
				broken = append(broken, err)
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

// brokenError is why flags cannot be read.
type brokenError []error

func (e brokenError) Error() string   { return errors.Join(e...).Error() }
func (e brokenError) Unwrap() []error { return e }

// write replaces a flag whose version is still the one that was read, tells readers and keeps the trail, all in one step.
// One that was unset stays, signed, so that a host can tell it from one that Redis lost.
var write = redis.NewScript(`
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[4] then return 0 end
redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'flag', ARGV[1])
return 1`)

// errFaster says that a flag is no longer the one that was read.
var errFaster = errors.New("somebody else was faster")

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
		version := int64(0)
		if text, ok := values[0].(string); ok {
			if version, err = strconv.ParseInt(text, 10, 64); err != nil {
				return Flag{}, fmt.Errorf("read the version of flag %s: %w", name, err)
			}
		}
		flag, after := Flag{Name: name, State: Enabled}, time.Time{}
		if text, ok := values[1].(string); ok {
			// A flag that cannot be read is replaced.
			if old, err := f.decode(name, []byte(text)); err == nil {
				after = old.Updated
				if !old.Unset {
					flag = old
				}
			}
		}
		if err := edit(&flag); err != nil {
			return Flag{}, err
		}
		flag.Version, flag.Updated = version, later(after)
		done, err := f.write(ctx, name, flag, c)
		if !errors.Is(err, errFaster) {
			return done, err
		}
	}
	return Flag{}, fmt.Errorf("write flag %s: others keep changing it; try again", name)
}

// later is now, and after a time of another clock.
func later(than time.Time) time.Time {
	now := time.Now().UTC()
	if !now.After(than) {
		now = than.Add(time.Microsecond)
	}
	return now
}

// write is one attempt to replace the version that the flag has.
func (f *Flags) write(ctx context.Context, name string, flag Flag, c Change) (Flag, error) {
	version := flag.Version
	flag.Version, flag.Fence, flag.Name, flag.By, flag.Reason = version+1, 0, name, c.By, c.Reason
	if flag.Unset {
		flag.State, flag.Value, flag.Variants, flag.Default, flag.Targeting, flag.Metadata = "", nil, nil, "", nil, nil
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
	sealed, err := f.bus.Seal(kind, doc)
	if err != nil {
		return Flag{}, fmt.Errorf("sign flag %s: %w", name, err)
	}
	n, err := write.Run(ctx, f.rdb, []string{prefix + name, counters + name, trail}, sealed, channel, maxTrail, version).Int()
	if err != nil {
		return Flag{}, fmt.Errorf("write flag %s: %w", name, err)
	}
	if n == 0 {
		return Flag{}, errFaster
	}
	return flag, json.Unmarshal(doc, &flag)
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

// Audit returns the last limit changes, newest first. What the operator's side did not write is left out.
func (f *Flags) Audit(ctx context.Context, limit int64) ([]Flag, error) {
	msgs, err := f.rdb.XRevRangeN(ctx, trail, "+", "-", limit).Result()
	if err != nil {
		return nil, fmt.Errorf("read audit trail: %w", err)
	}
	out := make([]Flag, 0, len(msgs))
	for _, m := range msgs {
		s, _ := m.Values["flag"].(string)
		if flag, err := f.decode("", []byte(s)); err == nil {
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
	Stand   func([]Flag) // all flags, after each connection, with those that were unset
	Change  func(Flag)   // every change; it may be told again, and late
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
			err = f.tell(ctx, m.Channel, to)
			well()
		case *redis.Message:
			if m.Channel == stopped {
				err = f.tell(ctx, stopped, to)
			} else if flag, err := f.decode("", []byte(m.Payload)); err == nil {
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

// tell tells what stands of a channel's subject.
func (f *Flags) tell(ctx context.Context, of string, to Follower) error {
	if of == stopped {
		s, err := f.Stops(ctx)
		if err == nil {
			to.Stopped(s)
		}
		return err
	}
	list, err := f.all(ctx)
	if broken, ok := errors.AsType[brokenError](err); ok {
		to.Trouble(broken)
	} else if err != nil {
		return err
	}
	to.Stand(list)
	return nil
}
