package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/seed-b96de936/troop/core"
)

const (
	wrapAt   = 100 // columns of a remedy
	maxLines = 6   // of a snippet
	maxWidth = 160 // columns of a line in a snippet
)

// Format renders diagnostics for people: title, place, the lines in question with the range underlined, remedy.
func Format(diags core.Diagnostics, sources Sources, color bool) string {
	var b strings.Builder
	for i, d := range diags {
		if i > 0 {
			b.WriteByte('\n')
		}
		formatOne(&b, d, sources, paint(color))
	}
	return b.String()
}

// paint returns a text in a color of ECMA-48, or as it is.
func paint(color bool) func(code, text string) string {
	if !color {
		return func(_, text string) string { return text }
	}
	return func(code, text string) string { return "\x1b[" + code + "m" + text + "\x1b[0m" }
}

func formatOne(b *strings.Builder, d core.Diagnostic, sources Sources, paint func(code, text string) string) {
	severity, code := "Error", "1;31"
	if d.Warning {
		severity, code = "Warning", "1;33"
	}
	fmt.Fprintf(b, "%s %s\n", paint(code, severity+":"), paint("1", printable(d.Summary)))
	if d.Range.File != "" {
		src, known := sources[d.Range.File]
		if known {
			d.Range = exact(d.Range, src)
		}
		fmt.Fprintf(b, "\n  on %s:%d,%d", display(d.Range.File), d.Range.Start.Line, d.Range.Start.Column)
		if context := enclosing(src, d.Range.Start.Byte); known && context != "" && d.Range.End.Byte > 0 {
			fmt.Fprintf(b, ", in %s", printable(context))
		}
		if known && utf8.Valid(src) && d.Range.End.Byte > 0 {
			b.WriteString(":\n")
			snippet(b, src, d.Range, code, paint)
		} else {
			b.WriteByte('\n')
		}
	}
	if d.Detail != "" {
		b.WriteByte('\n')
		for line := range strings.SplitSeq(d.Detail, "\n") {
			wrap(b, printable(line))
		}
	}
}

// exact counts the columns of r again, from its bytes: those of a plugin are off when the core computed an expression
// with letters beyond ASCII in the same line, since it keeps the bytes of a block's text but not its letters.
func exact(r core.Range, src []byte) core.Range {
	for _, p := range []*core.Pos{&r.Start, &r.End} {
		if p.Byte > 0 && p.Byte <= len(src) && utf8.Valid(src) {
			line := bytes.LastIndexByte(src[:p.Byte], '\n') + 1
			p.Column = 1 + uniseg.GraphemeClusterCount(string(src[line:p.Byte]))
		}
	}
	return r
}

// snippet writes the lines of r with the range underlined.
func snippet(b *strings.Builder, src []byte, r core.Range, code string, paint func(code, text string) string) {
	start, end := clamp(r.Start.Byte, src), clamp(r.End.Byte, src)
	number := r.Start.Line
	gutter := len(fmt.Sprint(number + min(maxLines, bytes.Count(src[start:max(start, end)], []byte{'\n'}))))
	lineStart := bytes.LastIndexByte(src[:start], '\n') + 1
	for shown := 0; ; shown++ {
		line := lineAt(src, lineStart)
		from := max(start-lineStart, 0)
		to := min(end-lineStart, len(strings.TrimRight(line, "\r")))
		if shown == maxLines {
			fmt.Fprintf(b, "  %*s │ …\n", gutter, "")
			return
		}
		before, marked, after := cut(line, min(from, len(line)), max(to, from))
		fmt.Fprintf(b, "  %s %s\n", paint("2", fmt.Sprintf("%*d │", gutter, number)), before+marked+after)
		if pad, rest := leading(marked); shown == 0 || rest != "" {
			under := strings.Repeat("^", max(1, uniseg.StringWidth(rest)))
			fmt.Fprintf(b, "  %s %s%s\n", paint("2", fmt.Sprintf("%*s │", gutter, "")), blank(before+pad), paint(code, under))
		}
		lineStart += len(line) + 1
		number++
		if lineStart >= end || lineStart >= len(src) {
			return
		}
	}
}

// leading splits off the white space that need not be underlined.
func leading(s string) (pad, rest string) {
	rest = strings.TrimLeft(s, " \t")
	return s[:len(s)-len(rest)], rest
}

// cut splits a line into what is before, in and after the range, each fit to be shown; too long ends are left out.
func cut(line string, from, to int) (before, marked, after string) {
	line = strings.TrimRight(line, "\r")
	from, to = min(from, len(line)), min(to, len(line))
	before, marked, after = printable(line[:from]), printable(line[from:to]), printable(line[to:])
	if r := []rune(before); len(r) > maxWidth/2 {
		before = "…" + string(r[len(r)-maxWidth/2:])
	}
	if r := []rune(marked); len(r) > maxWidth {
		marked = string(r[:maxWidth]) + "…"
	}
	if r := []rune(after); len(r) > maxWidth/2 {
		after = string(r[:maxWidth/2]) + "…"
	}
	return before, marked, after
}

// blank is as wide as s, with the tabs kept.
func blank(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(s, "\t") {
		if i > 0 {
			b.WriteByte('\t')
		}
		b.WriteString(strings.Repeat(" ", uniseg.StringWidth(part)))
	}
	return b.String()
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// wrap writes a line of a remedy, broken at spaces. Lines that start with a space are examples and stay whole.
func wrap(b *strings.Builder, line string) {
	if strings.HasPrefix(line, " ") || uniseg.StringWidth(line) <= wrapAt {
		b.WriteString("  " + line + "\n")
		return
	}
	width := 0
	for i, word := range strings.Fields(line) {
		w := uniseg.StringWidth(word)
		switch {
		case i == 0:
			b.WriteString("  ")
		case width+1+w > wrapAt:
			b.WriteString("\n  ")
			width = 0
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += w
	}
	b.WriteByte('\n')
}

var headerPattern = regexp.MustCompile(`(?m)^([a-z_]+(?:[ \t]+(?:"[^"\n]*"|[A-Za-z0-9_-]+))*)[ \t]*\{`)

// enclosing returns the header of the top-level block around a place. It looks at the text, so that it also works for
// a file that cannot be parsed.
func enclosing(src []byte, at int) string {
	at = clamp(at, src)
	lineEnd := len(src)
	if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
		lineEnd = at + i
	}
	found := headerPattern.FindAllSubmatchIndex(src[:lineEnd], -1)
	if len(found) == 0 {
		return ""
	}
	last := found[len(found)-1]
	if opened := last[1]; opened < at && bytes.Contains(src[opened:at], []byte("\n}")) {
		return "" // closed before the place
	}
	return string(src[last[2]:last[3]])
}
