package proc

import (
	"bytes"
	"fmt"
	"strings"
)

// Lines is a writer that hands on what it gets line by line. The line is without its end. It is not safe for
// use from several goroutines.
type Lines struct {
	Max  int // bytes of a line that are kept; the rest is counted and cut. 0: 64 KiB
	Each func(line string)

	buf []byte
	cut int
}

// Write never fails.
func (l *Lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		l.keep(line)
		if !ended {
			return n, nil
		}
		l.emit()
		p = rest
	}
}

func (l *Lines) keep(b []byte) {
	limit := l.Max
	if limit == 0 {
		limit = 64 << 10
	}
	room := max(limit-len(l.buf), 0)
	if room < len(b) {
		l.cut += len(b) - room
		b = b[:room]
	}
	l.buf = append(l.buf, b...)
}

func (l *Lines) emit() {
	line := strings.TrimSuffix(strings.ToValidUTF8(string(l.buf), "\uFFFD"), "\r")
	if l.cut > 0 {
		line += fmt.Sprintf("… (%d bytes more)", l.cut)
	}
	l.buf, l.cut = l.buf[:0], 0
	l.Each(line)
}

// Flush hands on a last line that has no end.
func (l *Lines) Flush() {
	if len(l.buf) > 0 {
		l.emit()
	}
}
