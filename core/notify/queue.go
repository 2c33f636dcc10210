package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
)

const (
	// defaultCooldown is how long an alert with the same key is held back after it was told.
	defaultCooldown = 5 * time.Minute
	// defaultLimit is how many messages a receiver gets in a minute. What comes faster becomes one message.
	defaultLimit = 4
	// gather is how long the first event waits for those that come with it: an incident has several.
	gather = 200 * time.Millisecond
	// defaultGiveUp is how long a message is tried again.
	defaultGiveUp = time.Hour
	// An alert that began or ended flaps times in flapWindow is told once more, and then when it has settled.
	flaps      = 4
	flapWindow = 10 * time.Minute
	// sendTimeout bounds one attempt to deliver.
	sendTimeout = 20 * time.Second
)

const settledNote = "it came and went, and has stayed so since"

// pauses between the attempts to deliver one message; the last is repeated.
var pauses = [...]time.Duration{time.Second, 5 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute}

// queue holds what one receiver is to be told. One goroutine works while there is something in it.
type queue struct {
	id     string
	router *Router
	to     core.Notifier

	mu      sync.Mutex
	waiting []*item
	working bool
	wake    chan struct{}

	keys  map[string]*state // of the goroutine alone
	sent  time.Time         // the last message that was delivered
	tries int               // since then
	next  time.Time         // no attempt before
	err   error             // of the attempts since
}

// item is an event on its way to one receiver.
type item struct {
	core.Event
	since time.Time // when it was given to the queue; of an escalation, when it is due
	done  func(error)
	seen  bool // counted in the state of its key
}

// escalates reports whether an event waits for somebody to acknowledge it.
func (q *queue) escalates(e core.Event) bool {
	return q.to.After > 0 && e.Key != "" && e.Severity == core.Alert
}

// state is what a receiver knows of a key. What it was told is kept in the Memory.
type state struct {
	Key      string        `json:"key"`
	Receiver string        `json:"receiver"`
	Told     bool          `json:"told"`
	Severity core.Severity `json:"severity,omitempty"` // as told
	At       time.Time     `json:"at"`                 // when
	ID       string        `json:"event,omitempty"`    // of which event
	before   core.Severity // of the event before
	held     int           // alerts since
	changes  []time.Time
	flapping bool
	last     core.Event // while it flaps
	settles  time.Time
}

func (q *queue) add(ctx context.Context, x *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.to.After > 0 && !q.escalate(x) {
		go x.done(nil)
		return
	}
	q.waiting = append(q.waiting, x)
	if !q.working {
		q.working = true
		go q.work(ctx)
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// escalate says when an alert is due that waits for an acknowledgement, and ends the wait of one that has ended before.
// It is false for one whose key waits already. q.mu is held.
func (q *queue) escalate(x *item) bool {
	if q.escalates(x.Event) {
		if slices.ContainsFunc(q.waiting, func(w *item) bool { return w.Key == x.Key && w.Severity == core.Alert }) {
			return false
		}
		begun := x.since
		if !x.Time.IsZero() { // a relay that starts again does not start the wait again
			begun = x.Time
		}
		x.since = begun.Add(q.to.After)
	}
	if x.Severity == core.Resolved {
		q.waiting = slices.DeleteFunc(q.waiting, func(w *item) bool {
			ended := w.Key == x.Key && q.escalates(w.Event) && time.Now().Before(w.since)
			if ended {
				go w.done(nil)
			}
			return ended
		})
	}
	return true
}

func (q *queue) work(ctx context.Context) {
	for {
		q.mu.Lock()
		due, ok := q.due()
		if !ok || ctx.Err() != nil {
			rest := q.waiting
			q.waiting, q.working = nil, false
			q.mu.Unlock()
			for _, x := range rest {
				x.done(errors.Join(context.Cause(ctx), q.err))
			}
			return
		}
		wait := time.Until(due)
		var batch, later []*item
		if wait <= 0 {
			for _, x := range q.waiting {
				if q.escalates(x.Event) && time.Now().Before(x.since) {
					later = append(later, x)
				} else {
					batch = append(batch, x)
				}
			}
			q.waiting = later
		}
		q.mu.Unlock()
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-q.wake:
			}
			timer.Stop()
			continue
		}
		if left := q.deliver(ctx, batch); len(left) > 0 {
			q.mu.Lock()
			q.waiting = append(left, q.waiting...)
			q.mu.Unlock()
		}
	}
}

// due is when there is something to do; not ok: nothing.
func (q *queue) due() (at time.Time, ok bool) {
	earlier := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	for _, x := range q.waiting {
		earlier(x.since.Add(gather))
	}
	for _, s := range q.keys {
		if s.flapping {
			earlier(s.settles)
		}
	}
	limit := q.to.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	if pace := q.sent.Add(time.Minute / time.Duration(limit)); ok && at.Before(pace) {
		at = pace
	}
	if ok && at.Before(q.next) {
		at = q.next
	}
	return at, ok
}

// deliver tells the receiver what of a batch it has to be told, and returns what has to be tried again.
func (q *queue) deliver(ctx context.Context, batch []*item) (again []*item) {
	lines, told := q.judge(ctx, batch)
	if len(lines) == 0 {
		return nil
	}
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	err := q.router.Send(sending, q.to, compose(q.to, lines))
	cancel()
	if err == nil {
		q.sent, q.tries, q.next, q.err = time.Now(), 0, time.Time{}, nil
		for _, l := range lines {
			q.keep(ctx, l)
		}
		// The report comes first: who waits for the last item may end then.
		q.router.report(q.to, lines, "notify.sent", core.Info, "told "+name(q.to)+": "+summary(lines))
		for _, x := range told {
			x.done(nil)
		}
		return nil
	}
	err = fmt.Errorf("tell %s: %w", name(q.to), err)
	q.err = err
	refused := (*RefusedError)(nil)
	var givenUp []*item
	for _, x := range told {
		switch {
		case ctx.Err() != nil:
			x.done(err)
		case errors.As(err, &refused) || time.Since(x.since) >= q.giveUp():
			givenUp = append(givenUp, x)
		default:
			again = append(again, x)
		}
	}
	if len(again) > 0 || len(told) == 0 {
		pause := pauses[min(q.tries, len(pauses)-1)]
		q.tries++
		q.next = time.Now().Add(pause) // also for what has settled
		q.router.report(q.to, lines, "notify.retrying", core.Warning, fmt.Sprintf("%v; again in %v", err, pause))
	}
	if len(givenUp) > 0 {
		q.tries, q.next = 0, time.Time{}
		q.router.report(q.to, lines, "notify.failed", core.Warning, err.Error())
		for _, x := range givenUp {
			x.done(err)
		}
	}
	return again
}

func (q *queue) giveUp() time.Duration {
	if q.router.GiveUp > 0 {
		return q.router.GiveUp
	}
	return defaultGiveUp
}

// judge makes a line of each key of a batch that has to be told, and finishes the items of the others.
func (q *queue) judge(ctx context.Context, batch []*item) (lines []Line, told []*item) {
	for key, s := range q.keys { // nothing is known of them that matters
		if !s.Told && !s.flapping && (len(s.changes) == 0 || time.Since(s.changes[len(s.changes)-1]) > flapWindow) {
			delete(q.keys, key)
		}
	}
	var order []string
	groups := map[string][]*item{}
	for _, x := range batch {
		id := x.Key
		if id == "" {
			id = "event " + x.ID
		}
		if groups[id] == nil {
			order = append(order, id)
		}
		groups[id] = append(groups[id], x)
	}
	for _, id := range order {
		group := groups[id]
		l, ok := q.line(ctx, group)
		if !ok {
			for _, x := range group {
				x.done(nil)
			}
			continue
		}
		lines, told = append(lines, l), append(told, group...)
	}
	return append(lines, q.settled(groups)...), told
}

// line is what is said of a key. It is not ok when nothing is.
func (q *queue) line(ctx context.Context, group []*item) (Line, bool) {
	last := group[len(group)-1]
	l := Line{Event: last.Event, Count: len(group)}
	if last.Key == "" {
		return l, true
	}
	s := q.state(ctx, last.Key)
	cooldown, now := q.cooldown(), time.Now()
	alerts := 0
	for _, x := range group {
		if x.Severity != core.Resolved {
			alerts++
		}
		if !x.seen && x.Severity != s.before {
			s.before = x.Severity
			s.changes = append(s.changes, now)
		}
		x.seen = true
	}
	for len(s.changes) > 0 && now.Sub(s.changes[0]) > flapWindow {
		s.changes = s.changes[1:]
	}
	switch changing := len(s.changes) > flaps && s.Severity != "" && last.Severity != s.Severity; {
	case s.flapping:
		s.last, s.settles = last.Event, now.Add(cooldown)
		return l, false
	case changing:
		l.Note = fmt.Sprintf("it comes and goes: %d changes in %v; you will hear of it again when it has not changed for %v", len(s.changes), flapWindow, cooldown)
		l.flaps, l.cooldown = true, cooldown
		return l, true
	case last.Severity == core.Resolved && !s.Told:
		if alerts == 0 {
			return l, false // of an alert that nobody was told of
		}
		l.Note = "it came and went before you could be told"
	case last.Severity != core.Resolved && (q.router.acknowledged(last.Key) || q.router.silenced(last.Event)):
		return l, false
	case s.Told && s.ID != "" && s.ID == last.ID: // by the relay before this one
		return l, false
	case last.Severity != core.Resolved && s.Told && s.Severity == last.Severity && now.Sub(s.At) < cooldown:
		s.held += len(group)
		return l, false
	case s.held > 0:
		l.Note = fmt.Sprintf("the same was reported %d more times since you were told", s.held)
	case q.escalates(last.Event):
		l.Note = fmt.Sprintf("nobody has acknowledged it for %v", q.to.After)
	}
	return l, true
}

// settled are lines of what came and went, and has stayed as it is.
func (q *queue) settled(groups map[string][]*item) (lines []Line) {
	for key, s := range q.keys {
		if s.flapping && groups[key] == nil && !time.Now().Before(s.settles) {
			lines = append(lines, Line{Event: s.last, Count: 1, Note: settledNote})
		}
	}
	return lines
}

// keep remembers that a line was told.
func (q *queue) keep(ctx context.Context, l Line) {
	if l.Key == "" {
		return
	}
	s := q.state(ctx, l.Key)
	s.held, s.At, s.ID, s.Severity, s.Told = 0, time.Now(), l.ID, l.Severity, l.Severity != core.Resolved
	if s.flapping = l.flaps; s.flapping {
		s.last, s.settles = l.Event, time.Now().Add(l.cooldown)
		s.Told = true // also its end is told
	} else if l.Note == settledNote {
		s.changes = nil
	}
	if m := q.router.Memory; m != nil {
		key, ctx := toldPrefix+q.id+" "+l.Key, context.WithoutCancel(ctx)
		if !s.Told {
			_ = m.Delete(ctx, key) // a recovery told twice is no harm
		} else if data, err := json.Marshal(s); err == nil {
			_, _ = m.Set(ctx, key, data) // as is an alert
		}
	}
}

// state is what the receiver knows of a key, also from the relay before this one.
func (q *queue) state(ctx context.Context, key string) *state {
	if s := q.keys[key]; s != nil {
		return s
	}
	s := &state{Key: key, Receiver: name(q.to)}
	if m := q.router.Memory; m != nil {
		if e, err := m.Get(ctx, toldPrefix+q.id+" "+key); err == nil && e.Version > 0 {
			_ = json.Unmarshal(e.Value, s) // what cannot be read is told once more
		}
	}
	q.keys[key] = s
	return s
}

func (q *queue) cooldown() time.Duration {
	if q.to.Cooldown > 0 {
		return q.to.Cooldown
	}
	return defaultCooldown
}
