// Package record keeps the last samples of a host and the doctor's events, so that they can be replayed with another
// policy. The doctor's agent writes; its rehearse action reads. The doctor plugin imports it.
package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

const (
	recordBytes = 8 << 20 // of one file; there are two
	// Processes that use less are not recorded. A rehearsal with limits below twice these values is incomplete.
	recordCPU    = 5 // per cent of one core
	recordMemory = 5 // per cent of the host's memory
	quietEvery   = 10 * time.Second
	pauseFor     = 30 * time.Second // a pausing process is recorded for this time
)

// Entry is one line of a recording: a sample, and the events since the previous one.
type Entry struct {
	Time   time.Time   `json:"time"`
	Role   string      `json:"role,omitempty"`
	Host   sample.Host `json:"host"`
	Procs  []Process   `json:"procs,omitempty"`
	Users  []User      `json:"users,omitempty"`
	Events []Event     `json:"events,omitempty"`
}

// Process is what one process used.
type Process struct {
	process.Ident
	CPU   time.Duration  `json:"cpu_ns"`
	RSS   int64          `json:"rss"`
	Wants process.Demand `json:"demand,omitempty"`

	Service bool           `json:"service,omitempty"` // in no session of its user
	Facts   *process.Facts `json:"facts,omitempty"`   // once for each process and file
	Rule    protect.Rule   `json:"rule,omitempty"`    // built-in rule that protects it
	Why     string         `json:"why,omitempty"`
}

// User is what the processes of a user's sessions used together.
type User struct {
	UID   uint32         `json:"uid"`
	CPU   time.Duration  `json:"cpu_ns"`
	Facts *process.Facts `json:"facts,omitempty"` // of the process that used most
	Rule  protect.Rule   `json:"rule,omitempty"`  // built-in rule that protects it
	Why   string         `json:"why,omitempty"`
}

// Event is an event of the agent.
type Event struct {
	Kind    string         `json:"kind"`
	Summary string         `json:"summary"`
	Data    map[string]any `json:"data,omitempty"`
}

// Recorder writes samples and events to two files in the state folder: samples.jsonl and, when it is full,
// samples.1.jsonl.
type Recorder struct {
	path   string
	role   string
	file   *os.File
	size   int64
	torn   bool // the file may end within a line
	known  map[process.Ident]bool
	busy   map[process.Ident]time.Time // when it last used enough
	users  map[uint32]time.Time
	last   time.Time
	events []Event
}

// Open opens the recording in a state folder; role is the host's.
func Open(dir, role string) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	r := &Recorder{busy: map[process.Ident]time.Time{}, users: map[uint32]time.Time{}, path: filepath.Join(dir, "samples.jsonl"), role: role}
	return r, r.open()
}

func (r *Recorder) open() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file, r.size, r.torn, r.known = f, st.Size(), st.Size() > 0, map[process.Ident]bool{}
	return nil
}

// Close closes the recording.
func (r *Recorder) Close() error { return r.file.Close() }

// Tell adds an event to the next line.
func (r *Recorder) Tell(e sdk.Event) {
	r.events = append(r.events, Event{Kind: e.Kind, Summary: e.Summary, Data: e.Data})
}

// Source describes what is recorded.
type Source struct {
	Windows *limit.Windows
	Look    func(process.Ident) (process.Facts, *protect.Spared, error) // examines a process that the file does not describe yet
	Most    func(uid uint32) (process.Ident, bool)                      // the process of a user that uses most
}

// Add records a sample. If no process and no user uses much, only one sample in ten seconds is recorded.
func (r *Recorder) Add(s sample.Sample, from Source) error {
	e := Entry{Time: s.Time, Role: r.role, Host: s.Host, Events: r.events}
	for _, u := range s.Procs {
		if u.Kernel || !r.wanted(s, u, from.Windows) {
			continue
		}
		p := Process{Ident: u.Ident, CPU: u.CPU, RSS: u.RSS, Service: !u.Owner.Session}
		if d, ok := from.Windows.Demand(u.Ident); ok {
			p.Wants = d
		}
		if !r.known[u.Ident] {
			if f, no, err := from.Look(u.Ident); err == nil {
				p.Facts = &f
				if no != nil {
					p.Rule, p.Why = no.Rule, no.Reason
				}
				r.known[u.Ident] = true
			}
		}
		e.Procs = append(e.Procs, p)
	}
	r.addUsers(&e, s, from)
	if len(e.Procs) == 0 && len(e.Users) == 0 && len(e.Events) == 0 && s.Time.Sub(r.last) < quietEvery {
		return nil
	}
	for id, at := range r.busy {
		if s.Time.Sub(at) > pauseFor {
			delete(r.busy, id)
		}
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("record sample: %w", err)
	}
	if r.torn { // the entry before was written in part
		line = append([]byte{'\n'}, line...)
	}
	n, err := r.file.Write(append(line, '\n'))
	r.size += int64(n)
	r.torn = err != nil && (n > 0 || r.torn)
	if err != nil {
		return fmt.Errorf("record sample: %w", err)
	}
	r.last, r.events = s.Time, nil
	if r.size >= recordBytes {
		return r.rotate()
	}
	return nil
}

// addUsers adds the users that use enough, or did lately.
func (r *Recorder) addUsers(e *Entry, s sample.Sample, from Source) {
	for _, u := range s.Users {
		if from.Windows.UserPercent(u.UID) >= recordCPU {
			r.users[u.UID] = s.Time
		}
		if at, ok := r.users[u.UID]; !ok || s.Time.Sub(at) > pauseFor {
			delete(r.users, u.UID)
			continue
		}
		x := User{UID: u.UID, CPU: u.CPU}
		if id, ok := from.Most(u.UID); ok {
			if f, no, err := from.Look(id); err == nil {
				x.Facts = &f
				if no != nil {
					x.Rule, x.Why = no.Rule, no.Reason
				}
			}
		}
		e.Users = append(e.Users, x)
	}
}

// wanted reports whether a process uses enough to be recorded, or did lately: a rehearsal must see its pauses.
func (r *Recorder) wanted(s sample.Sample, u sample.Usage, w *limit.Windows) bool {
	if w.Percent(u.Ident) >= recordCPU || s.Host.Share(u.RSS) >= recordMemory {
		r.busy[u.Ident] = s.Time
		return true
	}
	at, ok := r.busy[u.Ident]
	return ok && s.Time.Sub(at) <= pauseFor
}

func (r *Recorder) rotate() error {
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("rotate recording: %w", err)
	}
	if err := os.Rename(r.path, filepath.Join(filepath.Dir(r.path), "samples.1.jsonl")); err != nil {
		return fmt.Errorf("rotate recording: %w", err)
	}
	return r.open()
}

// Left says what Read left out.
type Left struct {
	Lines int // that are no entries: a crash tore them, or the disk was full
	First int // number of the first of them
}

// Read calls each with every entry, in order. Lines that are no entries are left out.
func Read(in io.Reader, each func(Entry)) (Left, error) {
	r := bufio.NewReaderSize(in, 1<<16)
	var left Left
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return left, fmt.Errorf("read recording: %w", err)
		}
		var e Entry
		switch {
		case len(bytes.TrimSpace(line)) == 0:
		case json.Unmarshal(line, &e) == nil && !e.Time.IsZero():
			each(e)
		default:
			if left.Lines++; left.Lines == 1 {
				left.First = n
			}
		}
		if end {
			return left, nil
		}
	}
}
