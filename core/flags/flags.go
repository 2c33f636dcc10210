// Package flags stores feature flags in an environment's Redis: one key per flag with a version, an audit trail, and a
// channel that publishes every change. `troop flag` and the plugins' flags capability use it; applications read the same
// keys.
package flags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	prefix   = "troop:flag:"
	channel  = "troop:flags"       // publishes each changed flag as JSON
	trail    = "troop:flags:audit" // stream of all changes
	maxTrail = 10_000
)

// Flag is a feature flag as stored and as seen by readers.
type Flag struct {
	Name    string    `json:"name"`
	Value   any       `json:"value"` // bool, string or number; nil: unset
	Version int64     `json:"version"`
	Updated time.Time `json:"updated"`
	By      string    `json:"by"`
}

// Flags are the flags of one environment.
type Flags struct{ rdb *redis.Client }

// Open returns the flags in a Redis. The caller closes the connection.
func Open(rdb *redis.Client) *Flags { return &Flags{rdb: rdb} }

var valid = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)

// Check returns an error if name is not a valid flag name.
func Check(name string) error {
	if !valid.MatchString(name) {
		return fmt.Errorf("flag name %q: want lower-case letters, digits, '.', '_' and '-', at most 100", name)
	}
	return nil
}

// Get returns a flag; ok is false when it is not set.
func (f *Flags) Get(ctx context.Context, name string) (flag Flag, ok bool, err error) {
	data, err := f.rdb.Get(ctx, prefix+name).Bytes()
	if errors.Is(err, redis.Nil) {
		return Flag{Name: name}, false, nil
	}
	if err != nil {
		return Flag{}, false, fmt.Errorf("read flag %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &flag); err != nil {
		return Flag{}, false, fmt.Errorf("read flag %s: %w", name, err)
	}
	return flag, true, nil
}

// List returns all flags by name.
func (f *Flags) List(ctx context.Context) ([]Flag, error) {
	var out []Flag
	it := f.rdb.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for it.Next(ctx) {
		flag, ok, err := f.Get(ctx, it.Val()[len(prefix):])
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, flag)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list flags: %w", err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// change atomically writes or deletes a flag, publishes the change and appends to the audit trail. The version keeps
// counting when a flag is unset, so that a reader never takes an old value for a new one.
var change = redis.NewScript(`
local v = redis.call('INCR', KEYS[2])
local json = string.gsub(ARGV[1], '"version":0', '"version":' .. v, 1)
if cjson.decode(json).value == cjson.null then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], json) end
redis.call('PUBLISH', ARGV[2], json)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'flag', json)
return json`)

// Set sets a flag. by names the author for the audit trail.
func (f *Flags) Set(ctx context.Context, name string, value any, by string) (Flag, error) {
	if err := Check(name); err != nil {
		return Flag{}, err
	}
	switch value.(type) {
	case nil, bool, string, float64, int:
	default:
		return Flag{}, fmt.Errorf("flag %s: a value is true, false, a number or a string, not %T", name, value)
	}
	doc, err := json.Marshal(Flag{Name: name, Value: value, Updated: time.Now().UTC(), By: by})
	if err != nil {
		return Flag{}, fmt.Errorf("encode flag %s: %w", name, err)
	}
	out, err := change.Run(ctx, f.rdb, []string{prefix + name, "troop:flagversion:" + name, trail}, doc, channel, maxTrail).Text()
	if err != nil {
		return Flag{}, fmt.Errorf("write flag %s: %w", name, err)
	}
	var flag Flag
	return flag, json.Unmarshal([]byte(out), &flag)
}

// Unset removes a flag. Removing an unset flag is harmless; the audit trail records it.
func (f *Flags) Unset(ctx context.Context, name, by string) error {
	_, err := f.Set(ctx, name, nil, by)
	return err
}

// Audit returns the last changes, newest first, at most limit.
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

// Watch passes every change to each until ctx ends. Changes made while the connection is lost are missed; readers that
// must not miss one poll the flag from time to time.
func (f *Flags) Watch(ctx context.Context, each func(Flag)) error {
	sub := f.rdb.Subscribe(ctx, channel)
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		return fmt.Errorf("watch flags: %w", err)
	}
	ch := sub.Channel()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m, ok := <-ch:
			if !ok {
				return errors.New("watch flags: connection closed")
			}
			var flag Flag
			if json.Unmarshal([]byte(m.Payload), &flag) == nil {
				each(flag)
			}
		}
	}
}
