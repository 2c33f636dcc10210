package store

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-b96de936/troop/core"
)

// Announced are objects whose changes are announced through Redis: whoever waits for one looks at once, and not after a
// pause. Redis decides nothing and keeps nothing: values, leases and their numbers are in the objects. While it is away,
// slow, or has lost everything, waiting takes up to a pause longer, and nothing else is different.
//
// Its methods may be called from several goroutines.
type Announced struct {
	core.Objects
	client  *redis.Client
	channel string
	say     func(line string)

	mu       sync.Mutex
	rests    time.Time // Redis has failed: it is not asked before
	said     bool
	closed   bool
	watchers map[chan struct{}]string // prefixes of keys
	listens  bool
}

const (
	announceWait = 500 * time.Millisecond // for Redis, before the work goes on
	announceRest = 10 * time.Second
)

// Announce returns objects whose changes are announced through the Redis at a URL, on a channel that is named after the
// store. say receives lines for the user.
func Announce(objects core.Objects, address, name string, say func(line string)) (*Announced, error) {
	o, err := redis.ParseURL(address)
	if err != nil { // which may quote a password
		return nil, bad("the store "+name, "its redis is not the URL of a Redis", "write redis://USER:PASSWORD@HOST:6379, or rediss:// for TLS")
	}
	o.Protocol, o.DisableIdentity, o.ContextTimeoutEnabled = 2, true, true
	o.MaxRetries, o.DialerRetries, o.PoolSize = -1, 1, 4
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = announceWait, announceWait, announceWait
	return &Announced{
		Objects: objects, client: redis.NewClient(o), channel: "troop:" + name, say: say, watchers: map[chan struct{}]string{},
	}, nil
}

// Put implements core.Objects.
func (a *Announced) Put(ctx context.Context, key string, data io.ReadSeeker, when core.Condition) (core.Object, error) {
	o, err := a.Objects.Put(ctx, key, data, when)
	if err == nil {
		a.announce(ctx, key)
	}
	return o, err
}

// announce tells the others that a value has changed. What they do not hear, they see after a pause.
func (a *Announced) announce(ctx context.Context, key string) {
	a.mu.Lock()
	resting := a.closed || time.Now().Before(a.rests)
	a.mu.Unlock()
	if resting {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceWait)
	defer cancel()
	err := a.client.Publish(ctx, a.channel, key).Err()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.said = false
		return
	}
	a.rests = time.Now().Add(announceRest)
	if !a.said {
		a.said = true
		a.say("the store's Redis does not answer: " + err.Error() + "; all goes on without it, and others see a little later what is new")
	}
}

// Watch returns a channel that receives when a value whose key begins with prefix may have changed, until stop is called.
// It may miss changes while Redis is away.
func (a *Announced) Watch(prefix string) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers[c] = prefix
	if !a.listens {
		a.listens = true
		go a.listen()
	}
	return c, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watchers, c)
	}
}

// listen passes on what others announce, until Close.
func (a *Announced) listen() {
	for m := range a.client.Subscribe(context.Background(), a.channel).Channel() { // it connects again by itself
		a.mu.Lock()
		for c, prefix := range a.watchers {
			if !strings.HasPrefix(m.Payload, prefix) {
				continue
			}
			select {
			case c <- struct{}{}:
			default: // it has not looked yet
			}
		}
		a.mu.Unlock()
	}
}

// Close ends the connections to Redis. What is written afterwards is not announced.
func (a *Announced) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	return a.client.Close()
}

// watch is Watch where the store has a Redis; elsewhere nothing is announced.
//
//nolint:contextcheck // it listens until Close
func (f *Files) watch(prefix string) (changed <-chan struct{}, stop func()) {
	if f.shared != nil {
		if a, ok := f.shared.Objects.(*Announced); ok {
			return a.Watch(prefix)
		}
	}
	return nil, func() {}
}
