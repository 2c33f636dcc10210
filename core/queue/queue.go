// Package queue hands runs to workers on other machines, through streams of Redis: a run is given to one of them, who says
// again and again that it is at work. Redis decides nothing that must last: the one who offers a run knows it by a ticket,
// and offers it again when Redis has lost everything; that a run is only begun once, and that a worker who is cut off can
// write nothing more, is seen to by the store. core/server imports it on both sides.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

// Queue is a connection to the Redis that server and workers share. Its methods may be called from several goroutines.
type Queue struct{ client *redis.Client }

const (
	prefix = "troop:queue:"
	group  = "workers"
	wait   = 2 * time.Second // for an answer
	// keeps is how long Redis keeps a word about a run that nobody fetches.
	keeps = 24 * time.Hour
)

// Open connects to the Redis at an address such as redis://USER:PASSWORD@HOST:6379, or rediss:// for TLS.
func Open(ctx context.Context, address string) (*Queue, error) {
	o, err := redis.ParseURL(address)
	if err != nil { // which may quote a password
		return nil, &core.UsageError{Err: errors.New("the queue's address is not that of a Redis; write redis://USER:PASSWORD@HOST:6379, or rediss:// for TLS")}
	}
	o.Protocol, o.DisableIdentity, o.ContextTimeoutEnabled = 2, true, true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = wait, wait, wait
	q := &Queue{redis.NewClient(o)}
	if err := q.client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("the queue's Redis at %s does not answer: %w", o.Addr, err), q.Close())
	}
	return q, nil
}

// Close ends the connections.
func (q *Queue) Close() error { return q.client.Close() }

// Lane holds the runs of one pipeline that want workers with the same labels.
type Lane struct {
	Pipeline string   `json:"pipeline"`
	Labels   []string `json:"labels,omitempty"`
}

func (l Lane) name() string {
	return l.Pipeline + ":" + strings.Join(slices.Sorted(slices.Values(l.Labels)), "+")
}

func laneOf(name string) Lane {
	pipeline, labels, _ := strings.Cut(name, ":")
	return Lane{pipeline, strings.FieldsFunc(labels, func(r rune) bool { return r == '+' })}
}

func (l Lane) stream() string { return prefix + "lane:" + l.name() }

// Ticket names what was offered.
type Ticket struct {
	Lane  Lane   `json:"lane"`
	Entry string `json:"entry"` // of the stream
}

// word is the key of a word about a ticket: "ended" or "order".
func (t Ticket) word(w string) string { return prefix + w + ":" + t.Lane.name() + ":" + t.Entry }

// news is the channel on which changes are announced, so that nobody waits for a pause to end.
const news = prefix + "news"

// Offer puts work into a lane.
func (q *Queue) Offer(ctx context.Context, l Lane, work any) (Ticket, error) {
	text, err := json.Marshal(work)
	if err != nil {
		return Ticket{}, err
	}
	if err := q.make(ctx, l); err != nil {
		return Ticket{}, fmt.Errorf("offer to workers: %w", err)
	}
	var entry *redis.StringCmd
	_, err = q.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, prefix+"lanes", l.name())
		entry = p.XAdd(ctx, &redis.XAddArgs{Stream: l.stream(), Values: []any{"work", text}})
		p.Publish(ctx, news, "offered")
		return nil
	})
	if err != nil {
		return Ticket{}, fmt.Errorf("offer to workers: %w", err)
	}
	return Ticket{l, entry.Val()}, nil
}

// make makes the group of a lane's workers.
func (q *Queue) make(ctx context.Context, l Lane) error {
	err := q.client.XGroupCreateMkStream(ctx, l.stream(), group, "0").Err()
	if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return nil // it is there
	}
	return err
}

// Standing is how it stands with what was offered.
type Standing struct {
	Lost    bool          // Redis does not know it
	Worker  string        // who has taken it; empty: nobody
	Silent  time.Duration // since the worker has said that it is at work
	Ended   bool          // the worker has said so
	Problem string        // why the worker could not begin it
}

// Look returns how it stands with what was offered.
func (q *Queue) Look(ctx context.Context, t Ticket) (Standing, error) {
	var there *redis.XMessageSliceCmd
	var taken *redis.XPendingExtCmd
	var ended *redis.StringCmd
	_, err := q.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		there = p.XRange(ctx, t.Lane.stream(), t.Entry, t.Entry)
		taken = p.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: t.Lane.stream(), Group: group, Start: t.Entry, End: t.Entry, Count: 1})
		ended = p.Get(ctx, t.word("ended"))
		return nil
	})
	var s Standing
	if said, endedErr := ended.Result(); endedErr == nil {
		s.Ended = true
		s.Worker, s.Problem, _ = strings.Cut(said, " ")
		return s, nil
	}
	if lostGroup(taken.Err()) {
		return Standing{Lost: true}, nil
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return s, fmt.Errorf("ask the queue's Redis: %w", err)
	}
	s.Lost = len(there.Val()) == 0
	if p := taken.Val(); len(p) > 0 {
		s.Worker, s.Silent = p[0].Consumer, p[0].Idle
	}
	return s, nil
}

// lostGroup reports whether Redis does not know the stream or its group: it has lost what it had.
func lostGroup(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOGROUP") }

// Withdraw takes back what was offered. A worker that is at work on it gives it up.
func (q *Queue) Withdraw(ctx context.Context, t Ticket) error {
	_, err := q.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAck(ctx, t.Lane.stream(), group, t.Entry)
		p.XDel(ctx, t.Lane.stream(), t.Entry)
		p.Del(ctx, t.word("ended"))
		p.Set(ctx, t.word("order"), string(GivenUp), keeps)
		return nil
	})
	if err != nil {
		return fmt.Errorf("take back what was offered to workers: %w", err)
	}
	return nil
}

// Cancel asks the worker that has taken something to interrupt it.
func (q *Queue) Cancel(ctx context.Context, t Ticket) error {
	_, err := q.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, t.word("order"), string(Cancelled), keeps)
		p.Publish(ctx, news, "cancelled")
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask the worker to end a run: %w", err)
	}
	return nil
}

// Take takes the oldest work of a lane that fits, if there is any, and writes it to work.
func (q *Queue) Take(ctx context.Context, worker string, fits func(Lane) bool, work any) (t Ticket, ok bool, err error) {
	names, err := q.client.SMembers(ctx, prefix+"lanes").Result()
	if err != nil {
		return t, false, fmt.Errorf("look for work: %w", err)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) // no lane is always the first
	for _, name := range names {
		l := laneOf(name)
		if !fits(l) {
			continue
		}
		got, err := q.client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: worker, Streams: []string{l.stream(), ">"}, Count: 1, Block: -1}).Result()
		if errors.Is(err, redis.Nil) || lostGroup(err) {
			continue
		}
		if err != nil {
			return t, false, fmt.Errorf("look for work: %w", err)
		}
		for _, s := range got {
			for _, m := range s.Messages {
				text, _ := m.Values["work"].(string)
				return Ticket{l, m.ID}, true, json.Unmarshal([]byte(text), work)
			}
		}
	}
	return t, false, nil
}

// Order is what a worker is to do with what it has taken.
type Order string

// GoOn, Cancelled: somebody wants it to end. GivenUp: it is not this worker's any more.
const (
	GoOn      Order = "go on"
	Cancelled Order = "cancelled"
	GivenUp   Order = "given up"
)

// Keep says that a worker is at work on what it has taken.
func (q *Queue) Keep(ctx context.Context, worker string, t Ticket) (Order, error) {
	var order *redis.StringCmd
	_, err := q.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		order = p.Get(ctx, t.word("order"))
		p.XClaimJustID(ctx, &redis.XClaimArgs{Stream: t.Lane.stream(), Group: group, Consumer: worker, Messages: []string{t.Entry}})
		return nil
	})
	if text, orderErr := order.Result(); orderErr == nil {
		return Order(text), nil
	}
	if err != nil && !errors.Is(err, redis.Nil) && !lostGroup(err) { // whoever offered it sees in the store what Redis has lost
		return GoOn, fmt.Errorf("tell the queue of the work: %w", err)
	}
	return GoOn, nil
}

// End says that what a worker has taken is over; problem is why it could not begin.
func (q *Queue) End(ctx context.Context, worker string, t Ticket, problem string) error {
	_, err := q.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, t.word("ended"), worker+" "+problem, keeps)
		p.Publish(ctx, news, "ended")
		return nil
	})
	if err != nil {
		return fmt.Errorf("tell the queue that a run is over: %w", err)
	}
	return nil
}

// Worker is one that says that it is there.
type Worker struct {
	Name      string       `json:"name"`
	Machine   string       `json:"machine"`
	Version   string       `json:"version"`
	Labels    []string     `json:"labels"`
	Pipelines []string     `json:"pipelines"`
	Slots     int          `json:"slots"` // runs at the same time
	Runs      []core.RunID `json:"runs,omitempty"`
	Since     time.Time    `json:"since"`
	Drains    bool         `json:"drains,omitempty"` // it takes nothing more

	Silent time.Duration `json:"silent,omitempty"` // since its last word; Workers sets it
}

// Fits reports whether a worker may take what is in a lane.
func (w Worker) Fits(l Lane) bool {
	return !w.Drains && slices.Contains(w.Pipelines, l.Pipeline) &&
		!slices.ContainsFunc(l.Labels, func(want string) bool { return !slices.Contains(w.Labels, want) })
}

// Present is how long a worker is counted as being there without a word. After that it is listed as gone for Missed, unless
// it said that it leaves.
const (
	Present = 15 * time.Second
	Missed  = 24 * time.Hour
)

// Gone reports whether nobody has heard of the worker for too long.
func (w Worker) Gone() bool { return w.Silent > Present }

// Beat says that a worker is there.
func (q *Queue) Beat(ctx context.Context, w Worker) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return q.client.Set(ctx, prefix+"worker:"+w.Name, text, Missed).Err()
}

// Leave says that a worker is there no more.
func (q *Queue) Leave(ctx context.Context, name string) error {
	return q.client.Del(ctx, prefix+"worker:"+name).Err()
}

// Workers lists the workers that are there, and those that are gone, by name.
func (q *Queue) Workers(ctx context.Context) ([]Worker, error) {
	var list []Worker
	keys := q.client.Scan(ctx, 0, prefix+"worker:*", 100).Iterator()
	for keys.Next(ctx) {
		var text *redis.StringCmd
		var rest *redis.DurationCmd
		_, err := q.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
			text, rest = p.Get(ctx, keys.Val()), p.PTTL(ctx, keys.Val())
			return nil
		})
		if errors.Is(err, redis.Nil) {
			continue // it has just left
		}
		var w Worker
		if err == nil {
			err = json.Unmarshal([]byte(text.Val()), &w)
		}
		if err != nil {
			return nil, fmt.Errorf("list workers: %w", err)
		}
		w.Silent = Missed - rest.Val() // by the clock of Redis alone
		list = append(list, w)
	}
	if err := keys.Err(); err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	slices.SortFunc(list, func(a, b Worker) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(list, func(a, b Worker) bool { return a.Name == b.Name }), nil // a scan may name one twice
}

// News returns a channel that receives when something may have changed, until ctx ends. It may miss changes while Redis is
// away.
func (q *Queue) News(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	sub := q.client.Subscribe(ctx, news)
	go func() {
		defer func() { _ = sub.Close() }()
		all := sub.Channel() // it connects again by itself
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-all:
				if !ok {
					return
				}
			}
			select {
			case c <- struct{}{}:
			default: // it has not looked yet
			}
		}
	}()
	return c
}
