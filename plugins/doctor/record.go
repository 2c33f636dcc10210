package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

const (
	recordBytes = 8 << 20 // of one file; there are two
	// Processes that use less of one core are not recorded, nor less of the memory: a rehearsal of limits under
	// twice of this says less than the agent would have done.
	recordCPU    = 5 // per cent of one core
	recordMemory = 5 // per cent of the host's memory
	quietEvery   = 10 * time.Second
)

// entry is one line of a recording: a sample, and what the agent told since the one before.
type entry struct {
	Time   time.Time    `json:"time"`
	Role   string       `json:"role,omitempty"`
	Host   hostUsage    `json:"host"`
	Procs  []recorded   `json:"procs,omitempty"`
	Events []eventEntry `json:"events,omitempty"`
}

type recorded struct {
	ident
	CPU   time.Duration `json:"cpu_ns"`
	RSS   int64         `json:"rss"`
	Wait  time.Duration `json:"wait_ns,omitempty"` // see demand
	Sleep int64         `json:"sleeps,omitempty"`
	Facts *facts        `json:"facts,omitempty"` // once for each process and file
	Rule  rule          `json:"rule,omitempty"`  // by which it is protected, beyond the manifest
	Why   string        `json:"why,omitempty"`
}

type eventEntry struct {
	Kind    string         `json:"kind"`
	Summary string         `json:"summary"`
	Data    map[string]any `json:"data,omitempty"`
}

// recorder keeps the last samples and all that the agent told in a ring of two files in its state folder:
// samples.jsonl and, before it, samples.1.jsonl.
type recorder struct {
	path   string
	role   string
	file   *os.File
	size   int64
	known  map[ident]bool
	last   time.Time
	events []eventEntry
}

func openRecorder(dir, role string) (*recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	r := &recorder{path: filepath.Join(dir, "samples.jsonl"), role: role}
	return r, r.open()
}

func (r *recorder) open() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file, r.size, r.known = f, st.Size(), map[ident]bool{}
	return nil
}

func (r *recorder) Close() error { return r.file.Close() }

// Tell keeps an event for the next line.
func (r *recorder) Tell(e sdk.Event) {
	r.events = append(r.events, eventEntry{Kind: e.Kind, Summary: e.Summary, Data: e.Data})
}

// Add records a sample. look examines a process that is new to the file. A quiet sample, in which nothing uses
// much, is recorded every ten seconds only.
func (r *recorder) Add(s sample, w *windows, look func(ident) (facts, *spared, error)) error {
	e := entry{Time: s.Time, Role: r.role, Host: s.Host, Events: r.events}
	for _, u := range s.Procs {
		memory := percent(float64(u.RSS), float64(s.Host.MemoryTotal))
		if u.Kernel || w.Percent(u.ident) < recordCPU && memory < recordMemory {
			continue
		}
		p := recorded{ident: u.ident, CPU: u.CPU, RSS: u.RSS}
		if w.demand != nil {
			if d, err := w.demand(u.ident); err == nil {
				p.Wait, p.Sleep = d.Wait, d.Sleeps
			}
		}
		if !r.known[u.ident] {
			if f, no, err := look(u.ident); err == nil {
				p.Facts = &f
				if no != nil {
					p.Rule, p.Why = no.Rule, no.Reason
				}
				r.known[u.ident] = true
			}
		}
		e.Procs = append(e.Procs, p)
	}
	if len(e.Procs) == 0 && len(e.Events) == 0 && s.Time.Sub(r.last) < quietEvery {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("record sample: %w", err)
	}
	n, err := r.file.Write(append(line, '\n'))
	r.size += int64(n)
	if err != nil {
		return fmt.Errorf("record sample: %w", err)
	}
	r.last, r.events = s.Time, nil
	if r.size >= recordBytes {
		return r.rotate()
	}
	return nil
}

func (r *recorder) rotate() error {
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("rotate recording: %w", err)
	}
	if err := os.Rename(r.path, filepath.Join(filepath.Dir(r.path), "samples.1.jsonl")); err != nil {
		return fmt.Errorf("rotate recording: %w", err)
	}
	return r.open()
}

// readRecording calls each with every entry. A last line that was cut off is left out: the agent may have died
// while it wrote.
func readRecording(in io.Reader, each func(entry)) error {
	r := bufio.NewReaderSize(in, 1<<16)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read recording: %w", err)
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read recording: line %d: %w", n, err)
		}
		each(e)
	}
}
