package client

import (
	"io"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// tailLines is the number of last lines kept for the message about a process's death.
const tailLines = 10

// output is the direct output of a plugin's process: prints, stack traces, output of libraries. During a call, lines belong
// to that call, and a slow reader blocks the process. Between calls, the last lines are kept to explain a death.
type output struct {
	lines chan contract.Log

	mu    sync.Mutex
	calls int
	idle  chan struct{} // closed while no call is in progress
	tail  []string
	panic string // the panic line of a Go program
}

func newOutput() *output {
	o := &output{lines: make(chan contract.Log, 64), idle: make(chan struct{})}
	close(o.idle)
	return o
}

// writer receives one stream of the process.
func (o *output) writer(isError bool) io.Writer {
	return &proc.Lines{Each: func(line string) { o.add(contract.Log{Line: line, Error: isError}) }}
}

func (o *output) add(l contract.Log) {
	o.mu.Lock()
	if o.tail = append(o.tail, l.Line); len(o.tail) > tailLines {
		o.tail = o.tail[1:]
	}
	if o.panic == "" && (strings.HasPrefix(l.Line, "panic: ") || strings.HasPrefix(l.Line, "fatal error: ")) {
		o.panic = l.Line
	}
	idle := o.idle
	o.mu.Unlock()
	select {
	case <-idle:
		return
	default:
	}
	select {
	case o.lines <- l:
	case <-idle:
	}
}

func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls++; o.calls == 1 {
		o.idle = make(chan struct{})
	}
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls--; o.calls == 0 {
		close(o.idle)
	}
}

// lastLines is the suffix of the message that the process died.
func (o *output) lastLines() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.panic != "":
		return ": " + o.panic
	case len(o.tail) == 0:
		return ""
	case len(o.tail) == 1:
		return ": " + o.tail[0]
	}
	return "; its last lines:\n  " + strings.Join(o.tail, "\n  ")
}
