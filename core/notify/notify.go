// Package notify tells people: it decides which event goes to which notifier of a manifest, holds back what
// was just said, retries what was not delivered, and sends by e-mail, SMS, webhook or chat. The core uses it
// for what happens in runs, the relay on a router for what happens on hosts.
package notify

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// defaultCooldown is how long an alert with the same key is held back after it was sent.
const defaultCooldown = 5 * time.Minute

// Sender delivers one message to an address of a notifier.
type Sender func(ctx context.Context, n core.Notifier, m Message) error

// Message is what a person reads.
type Message struct {
	Subject string // one line
	Body    string
}

// Router gives events to notifiers. Its fields are set once; its methods are safe for concurrent use.
type Router struct {
	Notifiers []core.Notifier
	Send      Sender
	// Retries are the pauses between attempts to deliver one message; when they are used up it is given up.
	Retries []time.Duration
	// Report hears what became of each message: notify.sent, notify.failed. Optional.
	Report func(core.Event)

	mu   sync.Mutex
	said map[string]*said // by notifier and key
	now  func() time.Time // nil: time.Now
}

// said remembers an alert that a notifier was told of.
type said struct {
	at   time.Time
	held int // alerts with the same key since
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

// Handle sends an event to every notifier that wants it and returns when each has it or was given up. One that
// fails does not keep the others waiting.
func (r *Router) Handle(ctx context.Context, e core.Event) error {
	if strings.HasPrefix(e.Kind, "notify.") {
		return nil // its own reports
	}
	var wg sync.WaitGroup
	errs := make([]error, len(r.Notifiers))
	for i, n := range r.Notifiers {
		held, ok := r.due(n, e)
		if !ok {
			continue
		}
		wg.Go(func() { errs[i] = r.deliver(ctx, n, e, held) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// due decides whether a notifier is told now, and how many alerts of the same key were held back before.
func (r *Router) due(n core.Notifier, e core.Event) (held int, ok bool) {
	if !Wants(n, e) {
		return 0, false
	}
	if e.Key == "" {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil {
		r.said = map[string]*said{}
	}
	now := time.Now
	if r.now != nil {
		now = r.now
	}
	key := n.Type + "." + n.Name + " " + e.Key
	last := r.said[key]
	if e.Severity == core.Resolved {
		delete(r.said, key)
		return 0, last != nil // an alert that nobody was told of needs no recovery
	}
	cooldown := n.Cooldown
	if cooldown == 0 {
		cooldown = defaultCooldown
	}
	if last != nil && now().Sub(last.at) < cooldown {
		last.held++
		return 0, false
	}
	if last != nil {
		held = last.held
	}
	r.said[key] = &said{at: now()}
	return held, true
}

func (r *Router) deliver(ctx context.Context, n core.Notifier, e core.Event, held int) error {
	m := compose(e, held)
	var err error
	for i := 0; ; i++ {
		if err = r.Send(ctx, n, m); err == nil {
			r.report(n, e, "notify.sent", core.Info, "told "+n.Type+" "+n.Name+": "+e.Summary)
			return nil
		}
		if i == len(r.Retries) || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(r.Retries[i]):
		}
	}
	err = fmt.Errorf("tell %s %s: %w", n.Type, n.Name, err)
	r.report(n, e, "notify.failed", core.Warning, err.Error())
	return err
}

func (r *Router) report(n core.Notifier, about core.Event, kind string, s core.Severity, summary string) {
	if r.Report == nil {
		return
	}
	now := time.Now()
	r.Report(core.Event{
		ID: core.NewID(now), Time: now, Environment: about.Environment, Run: about.Run, Source: "notify",
		Kind: kind, Severity: s, Summary: summary, Data: map[string]any{"notifier": n.Type + "." + n.Name, "event": about.ID},
	})
}

// compose writes the message for an event.
func compose(e core.Event, held int) Message {
	mark := map[core.Severity]string{core.Alert: "ALERT", core.Resolved: "RESOLVED", core.Warning: "WARNING", core.Info: "INFO"}[e.Severity]
	where := e.Environment
	if e.Host != "" {
		where = strings.TrimPrefix(where+"/"+string(e.Host), "/")
	}
	m := Message{Subject: oneLine(fmt.Sprintf("[troop] %s %s: %s", mark, where, e.Summary))}
	var b strings.Builder
	b.WriteString(e.Summary + "\n\n")
	line := func(name string, value any) {
		if s := fmt.Sprint(value); s != "" && value != nil {
			fmt.Fprintf(&b, "%-12s %s\n", name+":", s)
		}
	}
	line("time", e.Time.UTC().Format(time.RFC3339))
	line("environment", e.Environment)
	line("host", e.Host)
	line("role", e.Role)
	line("run", e.Run)
	line("source", e.Source)
	line("event", e.Kind)
	keys := make([]string, 0, len(e.Data))
	for k := range e.Data {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		line(k, e.Data[k])
	}
	if held > 0 {
		fmt.Fprintf(&b, "\nThe same was reported %d more times since it was last told.\n", held)
	}
	m.Body = b.String()
	return m
}

// oneLine keeps line ends, which a process can put into its own name, out of mail headers.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' }), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:199]) + "…"
	}
	return s
}
