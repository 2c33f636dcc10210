package client

import (
	"io"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// tailLines is how many of a process's last lines are kept for the message about its death.
const tailLines = 10

// voice is what a plugin's process writes by itself: prints, stacks, the output of libraries. While a call is
// in progress its lines belong to that call, and a slow listener makes the process wait; between calls they
// are only kept as last words.
type voice struct {
	lines chan Log

	mu    sync.Mutex
	calls int
	idle  chan struct{} // closed while no call is in progress
	tail  []string
	panic string // the line that says why a Go program died
}

func newVoice() *voice {
	v := &voice{lines: make(chan Log, 64), idle: make(chan struct{})}
	close(v.idle)
	return v
}

// writer takes one stream of the process.
func (v *voice) writer(isError bool) io.Writer {
	return &proc.Lines{Each: func(line string) { v.say(Log{Line: line, Error: isError}) }}
}

func (v *voice) say(l Log) {
	v.mu.Lock()
	if v.tail = append(v.tail, l.Line); len(v.tail) > tailLines {
		v.tail = v.tail[1:]
	}
	if v.panic == "" && (strings.HasPrefix(l.Line, "panic: ") || strings.HasPrefix(l.Line, "fatal error: ")) {
		v.panic = l.Line
	}
	idle := v.idle
	v.mu.Unlock()
	select {
	case <-idle:
		return
	default:
	}
	select {
	case v.lines <- l:
	case <-idle:
	}
}

func (v *voice) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.calls++; v.calls == 1 {
		v.idle = make(chan struct{})
	}
}

func (v *voice) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.calls--; v.calls == 0 {
		close(v.idle)
	}
}

// lastWords is what to append to the news of a death.
func (v *voice) lastWords() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.panic != "":
		return ": " + v.panic
	case len(v.tail) == 0:
		return ""
	case len(v.tail) == 1:
		return ": " + v.tail[0]
	}
	return "; its last words:\n  " + strings.Join(v.tail, "\n  ")
}
