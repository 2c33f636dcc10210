// Package ui turns events, runs and tables into what people and programs read: live lines on a terminal, plain
// lines in a pipe, or JSON. It is the only package of the core that prints; the main program makes one UI for
// each command.
package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/plain"
)

// Options say for whom to print.
type Options struct {
	JSON     bool // one value per line, for programs
	Terminal bool // out is a terminal
	TTY      bool // and can have live lines
	Color    bool
	Quiet    bool // only what went wrong, and the end
	Verbose  bool // everything, as plain lines even on a terminal
	// Size returns the columns and rows of the terminal; nil is 80 × 24. It is asked before every frame.
	Size func() (columns, rows int)
}

// UI prints. Its methods may be called from several goroutines.
type UI struct {
	out, errOut io.Writer // let nothing through that steers a terminal, but for colours
	raw         io.Writer // out as it is, for live lines
	options     Options
	style       style

	mu    sync.Mutex
	board *board
	live  *live // nil: none
}

// New returns a UI that prints results to out and complaints to errOut.
func New(out, errOut io.Writer, o Options) *UI {
	if o.Size == nil {
		o.Size = func() (int, int) { return 80, 24 }
	}
	u := &UI{raw: out, options: o, style: style(o.Color && !o.JSON), board: newBoard()}
	u.out, u.errOut = u.harmless(out), u.harmless(errOut)
	return u
}

// colours are the sequences that style writes.
var colours = regexp.MustCompile(`^\x1b\[(?:[012]|3[1236])m`)

// harmless is the last guard before a terminal: what came from elsewhere is cleaned where its line is made, too, since
// only there is known what is a colour of our own.
func (u *UI) harmless(to io.Writer) io.Writer {
	w := &plain.Writer{To: to, Escape: u.options.JSON}
	if u.style {
		w.Own = colours
	}
	return w
}

// Emit shows an event of a run. The first one starts the live lines; Close or Summary ends them.
func (u *UI) Emit(e core.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.board.take(e)
	switch {
	case u.options.JSON:
		u.encode(e)
	case u.options.Quiet:
		if e.Severity == core.Warning || e.Severity == core.Alert {
			u.plain(e)
		}
	case u.options.TTY && !u.options.Verbose:
		if u.live == nil {
			u.live = startLive(u)
		}
	default:
		u.plain(e)
	}
}

// Close ends the live lines and leaves the terminal as it was. Closing twice is harmless.
func (u *UI) Close() {
	u.mu.Lock()
	l := u.live
	u.mu.Unlock()
	if l == nil {
		return
	}
	l.stop() // without the lock: its last frame needs it
	u.mu.Lock()
	u.live = nil
	u.mu.Unlock()
}

// clear makes room for lines that stay; the live lines come back below them.
func (u *UI) clear() {
	if u.live != nil {
		u.live.erase()
	}
}

// Printf prints a line of result, in no mode but for people.
func (u *UI) Printf(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clear()
	if !u.options.JSON {
		fmt.Fprintln(u.out, plain.Text(fmt.Sprintf(format, args...)))
	}
}

// JSON prints a value as one line, and only with --json.
func (u *UI) JSON(v any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.options.JSON {
		u.encode(v)
	}
}

func (u *UI) encode(v any) {
	e := json.NewEncoder(u.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		fmt.Fprintf(u.errOut, "troop: encode result: %v\n", err)
	}
}

// Note tells people what goes on; programs are told the outcome only.
func (u *UI) Note(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if line == "" || u.options.JSON || u.options.Quiet {
		return
	}
	u.clear()
	fmt.Fprintln(u.errOut, cleanLines(line))
}

// Ask prints a question. What is answered stands behind it.
func (u *UI) Ask(question string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clear()
	fmt.Fprintf(u.errOut, "%s ", cleanLines(question))
}

// Warnf prints a line that asks for attention.
func (u *UI) Warnf(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clear()
	fmt.Fprintf(u.errOut, "%s %s\n", u.style.yellow("troop:"), clean(fmt.Sprintf(format, args...)))
}

// Error prints why a command failed: with its remedy on a line of its own when it has one.
func (u *UI) Error(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clear()
	if u.options.JSON {
		e := json.NewEncoder(u.errOut)
		_ = e.Encode(map[string]string{"error": err.Error()}) // there is nowhere left to complain
		return
	}
	text, remedy := err.Error(), ""
	if missing := (*core.NotFoundError)(nil); errors.As(err, &missing) && missing.Remedy != "" {
		text, remedy = strings.TrimSuffix(text, "; "+missing.Remedy), missing.Remedy
	}
	fmt.Fprintf(u.errOut, "%s %s\n", u.style.red("troop:"), cleanLines(text))
	if remedy != "" {
		fmt.Fprintf(u.errOut, "       %s\n", cleanLines(remedy))
	}
}
