package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"github.com/oklog/ulid/v2"
)

// Alerts are the open alerts of an agent, by key. The agent says what it sees, as often as it likes; Alerts says
// it to people once:
//
//   - An alert is published when it is raised first, and not again while it is open.
//   - A recovery is published only after its alert was, and once.
//   - Open alerts are kept in a file, which is written before anything is published. An agent that restarts has them
//     open: it goes on raising what is still wrong, and resolves the rest.
//   - Space for the file, and for the events in the spool beside it, is reserved while there is some: a disk that fills
//     up loses no alert that says so.
//   - What cannot be published, or written because the disk is full, is held in memory. Every later call tries it
//     again, in order, and an alert that has ended in the meantime is published all the same, before its recovery.
//     Should the agent end before the file could be written, the next one knows nothing of that alert.
//   - An event that may have been published when the agent died is published again under the same ID, so that
//     nobody gets it twice.
//
// Its methods may be called from several goroutines. None of them waits for the network: Job.Publish returns when
// the event is safe on the host's disk.
type Alerts struct {
	mu      sync.Mutex
	path    string
	publish func(Event) error
	list    []*alert // oldest first
	reserve string   // a file whose space is given up when the disk is full
	changed bool     // the file says something else
}

// alert is one line of the file.
type alert struct {
	Event     Event
	Published bool
	Recovery  *Event `json:",omitempty"` // is published next; then the alert is closed
}

// OpenAlerts reads the open alerts that the agent before this one left in dir, its state folder. publish is called
// for one event at a time. When the file is damaged, the alerts of its intact lines are open, the file is kept
// beside the new one for a person to look at, and the error says so; the Alerts are usable all the same.
func OpenAlerts(dir string, publish func(Event) error) (*Alerts, error) {
	a := &Alerts{path: filepath.Join(dir, "alerts.jsonl"), reserve: filepath.Join(dir, "alerts.reserve"), publish: publish}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return a, fmt.Errorf("read open alerts: %w", err)
	}
	a.keepReserve()
	b, err := os.ReadFile(a.path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return a, err
	}
	lost := 0
	for line := range bytes.Lines(b) {
		x, ok := decodeAlert(bytes.TrimSuffix(line, []byte{'\n'}))
		if !ok {
			lost++
			continue
		}
		a.list = append(a.list, x)
	}
	if lost > 0 {
		aside := a.path + ".damaged"
		err := fmt.Errorf("read open alerts: %d of them cannot be read and will not be resolved; the file is kept as %s", lost, aside)
		return a, errors.Join(err, os.WriteFile(aside, b, 0o600))
	}
	return a, nil
}

// Raise opens an alert and publishes e, whose severity is Alert, unless one with its key is open. It reports
// whether the alert is new. An empty key is the event's kind.
func (a *Alerts) Raise(e Event) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	e = complete(e, Alert)
	x := a.find(e.Key)
	switch {
	case x == nil:
		a.list = append(a.list, &alert{Event: e})
		a.changed = true
	case x.Recovery != nil: // nobody has heard of it: the alert has never ended
		x.Recovery = nil
		a.changed = true
	}
	_ = a.settleSomehow() // what is held shows in Retry
	return x == nil
}

// Resolve closes the alert with the key of e and publishes e as its recovery; without an open one it does nothing.
// It reports whether there was one. The recovery is of the alert's kind.
func (a *Alerts) Resolve(e Event) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Key == "" {
		e.Key = e.Kind
	}
	x := a.find(e.Key)
	open := x != nil && x.Recovery == nil
	if open {
		e.Kind = x.Event.Kind
		e = complete(e, Resolved)
		x.Recovery = &e
		a.changed = true
	}
	_ = a.settleSomehow() // what is held shows in Retry
	return open
}

// Retry publishes and writes what is held. It returns why something still is. An agent calls it now and then.
func (a *Alerts) Retry() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.settleSomehow()
	if err == nil {
		a.keepReserve()
	}
	return err
}

// reserveBytes are enough for the file of open alerts and for a hundred events.
const reserveBytes = 1 << 20

// settleSomehow settles, on a full disk in the space that was reserved.
func (a *Alerts) settleSomehow() error {
	err := a.settle()
	if err == nil || !full(filepath.Dir(a.path)) || os.Remove(a.reserve) != nil {
		return err
	}
	return a.settle()
}

// keepReserve reserves space, if the disk has some. Without it, events are held in memory when the disk is full.
func (a *Alerts) keepReserve() {
	f, err := os.OpenFile(a.reserve, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return // there is one, or no space for its name
	}
	err = allocate(f, reserveBytes)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(a.reserve) // the next call tries it again
	}
}

// Open returns the open alerts, oldest first, as they were raised.
func (a *Alerts) Open() []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []Event
	for _, x := range a.list {
		if x.Recovery == nil {
			list = append(list, x.Event)
		}
	}
	return list
}

// IsOpen reports whether an alert with this key is open.
func (a *Alerts) IsOpen(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.find(key)
	return x != nil && x.Recovery == nil
}

func (a *Alerts) find(key string) *alert {
	if i := slices.IndexFunc(a.list, func(x *alert) bool { return x.Event.Key == key }); i >= 0 {
		return a.list[i]
	}
	return nil
}

// settle publishes what is not yet published. The file is written before, so that an agent that dies in between
// leaves a recovery to the next one, and after. A file that cannot be written keeps no event from being published.
func (a *Alerts) settle() error {
	errs := []error{a.write()}
	var rest []*alert
	for _, x := range a.list {
		closed, err := a.tell(x)
		errs = append(errs, err)
		if !closed {
			rest = append(rest, x)
		}
	}
	a.list = rest
	if !a.changed {
		return errors.Join(errs...)
	}
	errs[0] = a.write()
	return errors.Join(errs...)
}

// tell publishes what one alert still has to say, and reports whether that was all.
func (a *Alerts) tell(x *alert) (closed bool, err error) {
	if !x.Published {
		if err := a.publish(x.Event); err != nil {
			return false, fmt.Errorf("publish alert %s: %w", x.Event.Key, err)
		}
		x.Published, a.changed = true, true
	}
	if x.Recovery == nil {
		return false, nil
	}
	if err := a.publish(*x.Recovery); err != nil {
		return false, fmt.Errorf("publish recovery of %s: %w", x.Event.Key, err)
	}
	a.changed = true
	return true, nil
}

func (a *Alerts) write() error {
	if !a.changed {
		return nil
	}
	var b bytes.Buffer
	for _, x := range a.list {
		line, err := json.Marshal(x)
		if err != nil {
			return fmt.Errorf("write open alerts: %w", err)
		}
		fmt.Fprintf(&b, "%08x %s\n", crc32.ChecksumIEEE(line), line)
	}
	if err := renameio.WriteFile(a.path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write open alerts: %w", err)
	}
	a.changed = false
	return nil
}

// decodeAlert reads a line of the file: a checksum and JSON.
func decodeAlert(line []byte) (*alert, bool) {
	sum, text, ok := bytes.Cut(line, []byte{' '})
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) {
		return nil, false
	}
	x := &alert{}
	return x, json.Unmarshal(text, x) == nil
}

// complete gives an event what must be the same each time it is published.
func complete(e Event, s Severity) Event {
	e.Severity = s
	if e.Key == "" {
		e.Key = e.Kind
	}
	if e.ID == "" {
		e.ID = ulid.Make().String()
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	return e
}
