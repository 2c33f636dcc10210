package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

// mostTaken is how many events a member works on at a time. Each is small; a receiver that does not answer for an hour
// must not keep the others' events from being taken.
const mostTaken = 10_000

// Consume hands every event to exactly one member of a group, from the first event after the group was made, until
// ctx ends. An event counts as handled when done was called with nil; what was not handled, or what a dead member left,
// is handed on again: to a member of the same name when it starts, to others after a while. each must not block.
// While Redis is away Consume waits; what Redis refuses ends it.
func (b *Bus) Consume(ctx context.Context, group, member string, each func(e core.Event, done func(error))) error {
	c := consumer{Bus: b, group: group, member: member, held: taken{ids: map[string]bool{}}, slots: make(chan struct{}, mostTaken)}
	defer c.busy.Wait()
	wait := backoff{}
	for ctx.Err() == nil {
		msgs, err := c.take(ctx)
		if err != nil {
			if refused(err) {
				return fmt.Errorf("read events: %w", err)
			}
			wait.sleep(ctx)
			continue
		}
		wait.reset()
		for _, m := range msgs {
			if !c.hand(ctx, m, each) {
				return context.Cause(ctx)
			}
		}
	}
	return context.Cause(ctx)
}

// consumer is one member of a group at work.
type consumer struct {
	*Bus
	group, member string
	next          []string // of each source: what to read next; nil: the group is not made yet
	held          taken
	slots         chan struct{}
	busy          sync.WaitGroup
}

// hand gives an event to each. It is false when ctx has ended.
func (c *consumer) hand(ctx context.Context, m message, each func(e core.Event, done func(error))) bool {
	stream := c.sources[m.from].stream
	id := stream + " " + m.ID
	if !c.held.add(id) {
		return true // this member is at it: it takes long
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	c.busy.Add(1)
	finish := sync.OnceFunc(func() { <-c.slots; c.held.remove(id); c.busy.Done() })
	e, ok := c.decode(c.sources[m.from], m.XMessage)
	if !ok {
		c.acknowledge(ctx, stream, m.ID)
		finish()
		return true
	}
	each(e, func(err error) {
		if err == nil {
			c.acknowledge(ctx, stream, m.ID)
		}
		finish()
	})
	return true
}

// acknowledge says that an event was handled. Losing that costs a repetition, which the receiver recognises by the ID.
func (c *consumer) acknowledge(ctx context.Context, stream, id string) {
	_ = c.rdb.XAck(context.WithoutCancel(ctx), stream, c.group, id).Err()
}

// take reads what is next: first what this member took and did not finish, then what others left for long, then new events.
func (c *consumer) take(ctx context.Context) ([]message, error) {
	if c.next == nil {
		if err := c.join(ctx); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(c.next, func(id string) bool { return id != ">" }) {
		if msgs, err := c.claim(ctx); err != nil || len(msgs) > 0 {
			return msgs, c.lost(err)
		}
	}
	res, err := c.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: c.group, Consumer: c.member, Streams: append(c.streams(), c.next...), Block: blockFor, Count: takeMost,
	}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, c.lost(err)
	}
	for i := range c.next {
		c.next[i] = c.following(i, res)
	}
	return c.messages(res), nil
}

// following is what to read of a source after a read.
func (c *consumer) following(i int, res []redis.XStream) string {
	k := slices.IndexFunc(res, func(x redis.XStream) bool { return x.Stream == c.sources[i].stream })
	if c.next[i] == ">" || k < 0 || len(res[k].Messages) < takeMost {
		return ">"
	}
	return res[k].Messages[takeMost-1].ID
}

// join makes the group where it does not exist.
func (c *consumer) join(ctx context.Context) error {
	for _, s := range c.sources {
		err := c.rdb.XGroupCreateMkStream(ctx, s.stream, c.group, "$").Err()
		if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
			return err
		}
	}
	c.next = slices.Repeat([]string{"0"}, len(c.sources))
	return nil
}

// lost notices that Redis lost its data, and the group with it.
func (c *consumer) lost(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "NOGROUP") {
		c.next = nil
	}
	return err
}

// claim takes over what another member took and has not finished for long.
func (c *consumer) claim(ctx context.Context) ([]message, error) {
	var all []message
	for i, s := range c.sources {
		msgs, _, err := c.rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: s.stream, Group: c.group, Consumer: c.member, MinIdle: takeOver, Start: "0", Count: takeMost,
		}).Result()
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if m.Values != nil { // else it was trimmed meanwhile
				all = append(all, message{m, i})
			}
		}
	}
	return all, nil
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
