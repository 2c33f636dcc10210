// Package notify tells people: it decides which event goes to which notifier of a manifest, makes one message of many,
// holds back what was just said, retries what was not delivered, and sends by e-mail, SMS, webhook, chat or to a
// service for people on duty. The core uses it for what happens in runs, the relay on a router for what happens on hosts.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Sender delivers one message to one receiver: a notifier whose address names one only.
type Sender func(ctx context.Context, n core.Notifier, m Message) error

// Memory keeps what must outlive a relay: who was told of what, what is silenced, what somebody has acknowledged.
// *bus.State is one.
type Memory interface {
	Get(ctx context.Context, key string) (core.Entry, error)
	Set(ctx context.Context, key string, value []byte) (core.Entry, error)
	Delete(ctx context.Context, key string) error
	Watch(ctx context.Context, prefix string, each func(core.Entry) error) error
}

// Silence keeps alerts from people until it ends.
type Silence struct {
	Match  string    `json:"match"` // a key, a kind or a host of alerts, with * for any part
	Until  time.Time `json:"until"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Acknowledgement says that somebody takes care of an alert: it is not repeated, and its end is told.
type Acknowledgement struct {
	Key string    `json:"key"` // of the alert
	By  string    `json:"by"`
	At  time.Time `json:"at"`
}

// The keys in the Memory begin with these.
const (
	toldPrefix    = "told:"
	silencePrefix = "silence:"
	ackPrefix     = "acknowledged:"
)

// Put keeps a silence. One with the same match is replaced; one whose end has passed ends it.
func (s Silence) Put(ctx context.Context, m Memory) error {
	return put(ctx, m, silencePrefix+s.Match, s)
}

// Put keeps an acknowledgement until the alert ends.
func (a Acknowledgement) Put(ctx context.Context, m Memory) error {
	return put(ctx, m, ackPrefix+a.Key, a)
}

func put(ctx context.Context, m Memory, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = m.Set(ctx, key, data)
	return err
}

// takes reports whether a silence is about an event.
func (s Silence) takes(e core.Event) bool {
	return slices.ContainsFunc([]string{e.Key, e.Kind, string(e.Host)}, func(x string) bool {
		ok, err := path.Match(strings.ReplaceAll(s.Match, "/", "|"), strings.ReplaceAll(x, "/", "|"))
		return x != "" && (x == s.Match || err == nil && ok)
	})
}

// Router gives events to the receivers of notifiers. Each receiver has a queue of its own: one that does not answer
// keeps nobody else waiting. Its fields are set once; its methods are safe for concurrent use.
type Router struct {
	Notifiers []core.Notifier
	Send      Sender
	// GiveUp is how long a message is tried again, at growing pauses. 0: an hour.
	GiveUp time.Duration
	// Report hears what became of each message: notify.sent, notify.retrying, notify.failed. Optional.
	Report func(core.Event)
	// Memory is nil for a router that lives as long as what it tells of.
	Memory Memory

	mu       sync.Mutex
	queues   map[string]*queue
	silences map[string]Silence
	acks     map[string]Acknowledgement
}

// Wants reports whether a notifier is to hear of an event: its list names the severity, or the kind, or the
// first parts of the kind.
func Wants(n core.Notifier, e core.Event) bool {
	return slices.ContainsFunc(n.On, func(on string) bool {
		return on == string(e.Severity) || on == e.Kind || strings.HasPrefix(e.Kind, on+".") ||
			// Who hears of an alert hears of its end.
			on == string(core.Alert) && e.Severity == core.Resolved
	})
}

// Follow keeps the silences and acknowledgements of the Memory until ctx ends. Without it there are none.
func (r *Router) Follow(ctx context.Context) error {
	return r.Memory.Watch(ctx, "", func(e core.Entry) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		var s Silence
		var a Acknowledgement
		if strings.HasPrefix(e.Key, silencePrefix) && json.Unmarshal(e.Value, &s) == nil {
			if r.silences == nil {
				r.silences = map[string]Silence{}
			}
			r.silences[e.Key] = s
		}
		if strings.HasPrefix(e.Key, ackPrefix) && json.Unmarshal(e.Value, &a) == nil {
			if r.acks == nil {
				r.acks = map[string]Acknowledgement{}
			}
			r.acks[a.Key] = a
		}
		return nil
	})
}

// Handle is Take for a caller that waits.
func (r *Router) Handle(ctx context.Context, e core.Event) error {
	done := make(chan error, 1)
	r.Take(ctx, e, func(err error) { done <- err })
	return <-done
}

// Take queues an event for every receiver that wants it, and calls done once when each was told, need not be, or was
// given up: then with why. When ctx ends, done is called with its cause for what is not decided.
func (r *Router) Take(ctx context.Context, e core.Event, done func(error)) {
	if strings.HasPrefix(e.Kind, "notify.") || r.silenced(e) { // the first are its own reports
		done(nil)
		return
	}
	var to []*queue
	for _, n := range r.Notifiers {
		if Wants(n, e) {
			for _, one := range receivers(n) {
				to = append(to, r.queue(one))
			}
		}
	}
	if len(to) == 0 {
		done(nil)
		return
	}
	var mu sync.Mutex
	left, errs := len(to), error(nil)
	each := func(err error) {
		mu.Lock()
		errs = errors.Join(errs, err)
		left--
		last := left == 0
		mu.Unlock()
		if last {
			if e.Severity == core.Resolved {
				r.forget(ctx, e.Key)
			}
			done(errs)
		}
	}
	for _, q := range to {
		q.add(ctx, &item{Event: e, since: time.Now(), done: each})
	}
}

func (r *Router) silenced(e core.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.silences {
		if time.Now().Before(s.Until) && s.takes(e) {
			return true
		}
	}
	return false
}

func (r *Router) acknowledged(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.acks[key]
	return ok
}

// forget ends the acknowledgement of an alert that has ended.
func (r *Router) forget(ctx context.Context, key string) {
	r.mu.Lock()
	_, ok := r.acks[key]
	delete(r.acks, key)
	r.mu.Unlock()
	if ok {
		_ = r.Memory.Delete(context.WithoutCancel(ctx), ackPrefix+key) // the next relay would hold one alert back
	}
}

func (r *Router) queue(n core.Notifier) *queue {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queues == nil {
		r.queues = map[string]*queue{}
	}
	id := n.Type + "." + n.Name + " " + receiver(n)
	if r.queues[id] == nil {
		r.queues[id] = &queue{id: id, router: r, to: n, wake: make(chan struct{}, 1), keys: map[string]*state{}}
	}
	return r.queues[id]
}

// receivers are a notifier for each of those that its address names by to=A,B.
func receivers(n core.Notifier) []core.Notifier {
	u, err := url.Parse(n.URL)
	if err != nil || !slices.Contains([]string{"smtp", "smtps", "twilio"}, u.Scheme) {
		return []core.Notifier{n}
	}
	q := u.Query()
	var all []core.Notifier
	for to := range strings.SplitSeq(q.Get("to"), ",") {
		one := *u
		q.Set("to", strings.TrimSpace(to))
		one.RawQuery = q.Encode()
		n.URL = one.String()
		all = append(all, n)
	}
	return all
}

// receiver is the address of one, when it has a name that is no secret.
func receiver(n core.Notifier) string {
	u, err := url.Parse(n.URL)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(u.Query().Get("to"))
}

func (r *Router) report(n core.Notifier, about []Line, kind string, s core.Severity, summary string) {
	if r.Report == nil {
		return
	}
	now := time.Now()
	first := about[0].Event
	data := map[string]any{"notifier": n.Type + "." + n.Name, "receiver": receiver(n), "event": first.ID, "events": len(about)}
	for _, l := range about {
		if l.Data[core.StoppedRelease] != nil { // one record of all that followed
			data[core.StoppedRelease], data[core.Delays] = l.Data[core.StoppedRelease], core.Delayed(l.Event, "message")
		}
	}
	r.Report(core.Event{
		ID: core.NewID(now), Time: now, Environment: first.Environment, Run: first.Run, Source: "notify",
		Kind: kind, Severity: s, Summary: summary, Data: data,
	})
}

func name(n core.Notifier) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", n.Type, n.Name, receiver(n)))
}

// Overview is what is in a Memory.
type Overview struct {
	Open     []Open            `json:"open"`
	Silences []Silence         `json:"silences"`
	Acks     []Acknowledgement `json:"acknowledged"`
}

// Open is an alert that a receiver was told of, and not of its end.
type Open struct {
	Receiver string    `json:"receiver"`
	Key      string    `json:"key"`
	Told     time.Time `json:"told"`
}

// Read sorts the entries of a Memory. Silences that have ended are left out.
func Read(entries []core.Entry) (o Overview) {
	o = Overview{Open: []Open{}, Silences: []Silence{}, Acks: []Acknowledgement{}}
	for _, e := range entries {
		var s Silence
		var a Acknowledgement
		var t state
		switch {
		case strings.HasPrefix(e.Key, silencePrefix) && json.Unmarshal(e.Value, &s) == nil:
			if time.Now().Before(s.Until) {
				o.Silences = append(o.Silences, s)
			}
		case strings.HasPrefix(e.Key, ackPrefix) && json.Unmarshal(e.Value, &a) == nil:
			o.Acks = append(o.Acks, a)
		case strings.HasPrefix(e.Key, toldPrefix) && json.Unmarshal(e.Value, &t) == nil && t.Key != "":
			o.Open = append(o.Open, Open{t.Receiver, t.Key, t.At})
		}
	}
	return o
}

// Table lists the open alerts.
func (o Overview) Table() core.Table {
	t := core.Table{Columns: []string{"ALERT", "TOLD", "SINCE", "ACKNOWLEDGED BY"}}
	for _, x := range o.Open {
		t.Rows = append(t.Rows, []string{x.Key, x.Receiver, x.Told.Local().Format(time.DateTime), o.By(x.Key)})
	}
	return t
}

// By is who takes care of an alert; empty: nobody has said so.
func (o Overview) By(key string) string {
	i := slices.IndexFunc(o.Acks, func(a Acknowledgement) bool { return a.Key == key })
	if i < 0 {
		return ""
	}
	return o.Acks[i].By
}

func (s Silence) String() string {
	text := fmt.Sprintf("silent until %s: %s, by %s", s.Until.Local().Format(time.DateTime), s.Match, s.By)
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}
