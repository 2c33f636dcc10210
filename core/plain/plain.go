// Package plain makes plain text of what programs write for terminals: what a terminal would show, with nothing in it
// that steers one. Whatever masks or prints text from elsewhere imports it.
package plain

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// widest is how far a sequence may move the cursor past the end of a line, in columns. Programs that align columns
// stay far below; without a bound, a short line could fill the memory.
const widest = 1000

// Line returns what a terminal shows of one line: colours and titles are left out, and what was overwritten after a
// carriage return, a backspace or a move of the cursor is gone. A line feed in it becomes a space.
func Line(s string) string {
	if harmless(s, false) {
		return s
	}
	d := display{cells: make([]rune, 0, len(s))}
	for len(s) > 0 {
		s = d.take(s)
	}
	return string(d.cells)
}

// Text is Line for each line of a text.
func Text(s string) string {
	if harmless(s, true) {
		return s
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = Line(strings.TrimSuffix(l, "\r"))
	}
	return strings.Join(lines, "\n")
}

// Bare leaves out all that a terminal does not show, line ends too, without moving anything: what a search for a
// text must look at, besides Line. Text that is overwritten later stays.
func Bare(s string) string {
	simple := 0
	for simple < len(s) && (s[simple] >= ' ' && s[simple] < 0x7f || s[simple] == '\t') {
		simple++
	}
	if simple == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:simple])
	for s = s[simple:]; s != ""; {
		if _, rest, ok := sequence(s); ok {
			s = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == '\t' || !unicode.IsControl(r) && !invisible(r) && !joins(r) {
			b.WriteRune(r) // which replaces bytes that are no text: two of them could become one
		}
		s = s[n:]
	}
	return b.String()
}

// harmless reports whether s shows as it is.
func harmless(s string, lines bool) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			for _, r := range s[i:] {
				if r == utf8.RuneError || invisible(r) || unicode.IsControl(r) && r != '\t' && (r != '\n' || !lines) {
					return false
				}
			}
			return true
		case c < ' ' && c != '\t' && (c != '\n' || !lines), c == 0x7f:
			return false
		}
	}
	return true
}

// invisible are the runes that take no place and change how others are shown, such as those that turn the direction of
// writing.
func invisible(r rune) bool {
	switch {
	case r < 0xad:
		return false
	case unicode.Is(unicode.Bidi_Control, r), r == 0xad, r == 0x200b, r >= 0x2028 && r <= 0x2029, r >= 0x2060 && r <= 0x206f,
		r == 0xfeff, r >= 0xfff9 && r <= 0xfffb, r == 0xe0001:
		return true
	}
	return false
}

// joins are the runes that take no place but belong to a script or to an emoji.
func joins(r rune) bool {
	return r == 0x200c || r == 0x200d || r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0020 && r <= 0xe007f
}

// display is one line of a terminal.
type display struct {
	cells []rune
	at    int // of the cursor
}

// take handles what s begins with and returns the rest.
func (d *display) take(s string) string {
	if s[0] >= ' ' && s[0] < 0x7f {
		d.put(rune(s[0]))
		return s[1:]
	}
	if seq, rest, ok := sequence(s); ok {
		d.obey(seq)
		return rest
	}
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == '\b':
		d.at = max(d.at-1, 0)
	case r == '\r':
		d.at = 0
	case r == '\n':
		d.put(' ')
	case r == '\t', !unicode.IsControl(r) && !invisible(r):
		d.put(r)
	}
	return s[n:]
}

func (d *display) put(r rune) {
	for len(d.cells) < d.at {
		d.cells = append(d.cells, ' ')
	}
	if d.at < len(d.cells) {
		d.cells[d.at] = r
	} else {
		d.cells = append(d.cells, r)
	}
	d.at++
}

// obey does what a control sequence, as in ESC [ 2 K, says of the line.
func (d *display) obey(seq string) {
	if seq == "" {
		return
	}
	first, second, _ := strings.Cut(seq[:len(seq)-1], ";")
	n := max(count(first), 1)
	end := len(d.cells)
	switch seq[len(seq)-1] {
	case 'C':
		d.at = min(d.at+n, max(end, widest))
	case 'D':
		d.at = max(d.at-n, 0)
	case 'G', '`':
		d.at = min(n-1, max(end, widest))
	case 'H', 'f':
		d.at = min(max(count(second), 1)-1, max(end, widest))
	case 'K': // what clears more than a line would leave nothing to read of a log
		d.erase(count(first))
	case 'P':
		if d.at < end {
			d.cells = append(d.cells[:d.at], d.cells[min(d.at+n, end):]...)
		}
	case 'X':
		for i := d.at; i < min(d.at+n, end); i++ {
			d.cells[i] = ' '
		}
	}
}

// erase clears the line: after the cursor, before it, or all.
func (d *display) erase(what int) {
	switch at := min(d.at, len(d.cells)); what {
	case 0:
		d.cells = d.cells[:at]
	case 1:
		for i := range at {
			d.cells[i] = ' '
		}
	default:
		d.cells = d.cells[:0]
	}
}

func count(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// sequence finds the escape sequence that s begins with. What it holds is returned when it is a control sequence. One
// that does not end takes the rest of the line.
func sequence(s string) (control, rest string, ok bool) {
	kind, body := byte(0), ""
	switch {
	case strings.HasPrefix(s, "\x1b") && len(s) == 1:
		return "", "", true
	case strings.HasPrefix(s, "\x1b"):
		kind, body = s[1], s[2:]
	case len(s) > 1 && s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0: // U+0080 to U+009F: ESC and a letter in one
		kind, body = s[1]-0x40, s[2:]
	default:
		return "", "", false
	}
	switch {
	case kind == '[':
		i := 0
		for i < len(body) && body[i] >= 0x20 && body[i] < 0x40 {
			i++
		}
		if i < len(body) && body[i] >= 0x40 && body[i] < 0x7f {
			return body[:i+1], body[i+1:], true
		}
		return "", body[i:], true
	case strings.IndexByte("]PX^_", kind) >= 0: // a text for the terminal, such as a title
		for i := 0; i < len(body); i++ {
			switch c := body[i]; {
			case c == '\a' || c == 0x18 || c == 0x1a || c == '\n':
				return "", body[i+1:], true
			case c == 0x1b:
				return "", strings.TrimPrefix(body[i:], "\x1b\\"), true
			case c == 0xc2 && i+1 < len(body) && body[i+1] == 0x9c:
				return "", body[i+2:], true
			}
		}
		return "", "", true
	case kind >= 0x20 && kind < 0x30: // ESC ( B chooses a character set
		i := 0
		for i < len(body) && body[i] >= 0x20 && body[i] < 0x30 {
			i++
		}
		return "", body[min(i+1, len(body)):], true
	case kind >= 0x30 && kind < 0x7f:
		return "", body, true
	}
	return "", s[1:], true // ESC before something else
}

// Writer lets plain text of several lines through, with the colours and moves that Own matches, and makes the rest
// harmless. What it writes is valid UTF-8. It is for one goroutine; a sequence must not be spread over two writes.
type Writer struct {
	To io.Writer
	// Escape writes what is left out as JSON writes it, \u001b, instead of dropping it: a JSON text stays the same.
	Escape bool
	// Own matches the sequences, at the start of a text, that the program itself writes. Nil: none.
	Own *regexp.Regexp
}

// Write writes all of p or returns an error.
func (w *Writer) Write(p []byte) (int, error) {
	if harmless(string(p), true) {
		return w.To.Write(p)
	}
	var b bytes.Buffer
	for s := string(p); s != ""; {
		if w.Own != nil {
			if own := w.Own.FindString(s); own != "" {
				b.WriteString(own)
				s = s[len(own):]
				continue
			}
		}
		if _, rest, ok := sequence(s); ok && !w.Escape {
			s = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\n' || r == '\t' || !unicode.IsControl(r) && !invisible(r):
			b.WriteRune(r)
		case w.Escape && r <= 0xffff:
			b.WriteString(`\u` + strconv.FormatInt(0x10000+int64(r), 16)[1:])
		case r == '\r' && !w.Escape && !strings.HasPrefix(s, "\r\n"):
			b.WriteByte(' ')
		}
		s = s[n:]
	}
	if _, err := w.To.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
