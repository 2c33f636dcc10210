package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/seed-b96de936/troop/core"
)

// frame is the time between two pictures.
const frame = 100 * time.Millisecond

const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

// live redraws the lines of a board in place. It changes nothing of the terminal but the lines it writes: no
// mode, no cursor, no second screen. So there is nothing to restore, however the program ends.
type live struct {
	u     *UI
	ended chan struct{}
	gone  chan struct{}
	drawn []int // the widths of the lines of the last picture
	frame int
}

func startLive(u *UI) *live {
	l := &live{u: u, ended: make(chan struct{}), gone: make(chan struct{})}
	go l.loop()
	return l
}

func (l *live) loop() {
	defer close(l.gone)
	t := time.NewTicker(frame)
	defer t.Stop()
	for {
		l.u.mu.Lock()
		l.draw(time.Now())
		l.u.mu.Unlock()
		select {
		case <-l.ended:
			l.u.mu.Lock()
			l.erase()
			l.u.mu.Unlock()
			return
		case <-t.C:
		}
	}
}

// stop erases the lines; what they said is in the summary.
func (l *live) stop() {
	select {
	case <-l.ended:
	default:
		close(l.ended)
	}
	<-l.gone
}

func (l *live) erase() {
	fmt.Fprint(l.u.raw, l.home()+"\x1b[J")
	l.drawn = nil
}

// home moves to the first line of the last picture. A terminal that became narrower has broken its lines.
func (l *live) home() string {
	columns, _ := l.u.options.Size()
	up := 0
	for _, w := range l.drawn {
		up += 1 + max(0, w-1)/max(columns, 1)
	}
	if up == 0 {
		return "\r"
	}
	return fmt.Sprintf("\r\x1b[%dA", up)
}

func (l *live) draw(now time.Time) {
	columns, rows := l.u.options.Size()
	lines := l.picture(now, max(columns, 20), max(rows, 4))
	var b strings.Builder
	b.WriteString("\x1b[?2026h" + l.home()) // one update, where the terminal knows how
	l.drawn = l.drawn[:0]
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
		l.drawn = append(l.drawn, ansi.StringWidth(line))
	}
	b.WriteString("\x1b[J\x1b[?2026l")
	fmt.Fprint(l.u.raw, b.String())
	l.frame++
}

// picture is the title and a line for each row, all within the terminal: when there are more rows than fit,
// those that have ended go first.
func (l *live) picture(now time.Time, columns, height int) []string {
	b := l.u.board
	rows := visible(b.rows, height-2)
	width := 0
	for _, r := range rows {
		width = max(width, ansi.StringWidth(r.source))
	}
	width = min(width, columns/2)
	var lines []string
	if b.title != "" {
		lines = append(lines, l.u.style.bold(ansi.Truncate(b.title, columns-1, "…")))
	}
	for _, r := range rows {
		lines = append(lines, l.line(r, now, width, columns))
	}
	return lines
}

func visible(rows []*row, most int) []*row {
	extra := len(rows) - most
	var out []*row
	for _, r := range rows {
		if extra > 0 && r.status != core.Running && r.status != core.Failed {
			extra--
			continue
		}
		out = append(out, r)
	}
	return out[:min(len(out), max(most, 0))]
}

func (l *live) line(r *row, now time.Time, width, columns int) string {
	m, took, words := mark(r.status), "", r.reason
	switch r.status {
	case core.Running:
		frames := []rune(spinner)
		m = string(frames[l.frame%len(frames)])
		took = Duration(now.Sub(r.started))
		words = r.last
	case core.Pending, core.Skipped:
	default:
		if r.took > 0 {
			took = Duration(r.took)
		}
	}
	name := ansi.Truncate(r.source, width, "…")
	head := fmt.Sprintf("%s %s%s %6s", m, name, strings.Repeat(" ", width-ansi.StringWidth(name)), took)
	words = ansi.Truncate(words, max(0, columns-ansi.StringWidth(head)-3), "…")
	line := l.u.style.status(r.status, strings.TrimRight(head, " "))
	if words != "" {
		line = l.u.style.status(r.status, head) + "  " + l.u.style.dim(words)
	}
	return line
}
