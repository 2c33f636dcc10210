package engine

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// silenceFirst is how long a stage may say nothing before people are told what it waits for. They are told again after
// twice that time, and so on.
const silenceFirst = 2 * time.Minute

// busy is a plugin that knows what it has started.
type busy interface {
	// Processes lists what the plugin has started and still runs, each with its command, children after their parent and
	// indented below it.
	Processes() []string
}

// silence watches a stage for the time since it last said anything.
type silence struct {
	plugin core.Plugin
	from   *origin

	mu    sync.Mutex
	since time.Time
	next  time.Duration // of silence, until people are told
	timer *time.Timer
	waits string // what was told last
}

// watchSilence begins to watch. The caller reports every message with spoke, and ends with stop.
func watchSilence(plugin core.Plugin, from *origin) *silence {
	s := &silence{plugin: plugin, from: from, since: time.Now(), next: silenceFirst}
	s.mu.Lock()
	defer s.mu.Unlock() // the timer may be quicker than this assignment
	s.timer = time.AfterFunc(silenceFirst, s.tell)
	return s
}

func (s *silence) spoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != silenceFirst && s.timer != nil {
		s.timer.Reset(silenceFirst) // it was set for a longer silence
	}
	s.since, s.next, s.waits = time.Now(), silenceFirst, ""
}

// stop returns what the stage waits for, if it was silent for long.
func (s *silence) stop() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
	s.timer = nil
	return s.waits
}

// tell says that the stage is silent, or waits on when it has said something since.
func (s *silence) tell() {
	s.mu.Lock()
	quiet := time.Since(s.since)
	if s.timer == nil {
		s.mu.Unlock()
		return
	}
	if quiet < s.next {
		s.timer.Reset(s.next - quiet)
		s.mu.Unlock()
		return
	}
	s.next *= 2
	s.timer.Reset(s.next - quiet)
	var processes []string
	if b, ok := s.plugin.(busy); ok {
		processes = b.Processes()
	}
	s.waits = "the plugin itself, which has started nothing"
	if len(processes) > 0 {
		var each []string
		for _, p := range processes {
			each = append(each, strings.TrimSpace(p))
		}
		s.waits = strings.Join(each, " > ")
	}
	waits := s.waits
	s.mu.Unlock()
	s.from.emit(core.Event{
		Kind: core.KindStageSilent, Severity: core.Warning,
		Summary: fmt.Sprintf("no output for %s; waiting for %s", brief(quiet.Round(time.Second)), waits),
		Data:    map[string]any{"seconds": quiet.Seconds(), "processes": processes},
	})
}

// timeoutError says that an attempt took too long, and what it was waiting for.
type timeoutError struct {
	after time.Duration
	waits string
}

func (e *timeoutError) Error() string {
	text := "timed out after " + brief(e.after)
	if e.after == core.DefaultTimeout {
		text += ", which is what a stage has without timeout in its block"
	}
	if e.waits != "" {
		text += "; it was silent, waiting for " + e.waits
	}
	return text
}
