package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/plain"
)

// style colours text when it is true.
type style bool

func (s style) paint(code, text string) string {
	if !s || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) red(text string) string    { return s.paint("31", text) }
func (s style) green(text string) string  { return s.paint("32", text) }
func (s style) yellow(text string) string { return s.paint("33", text) }
func (s style) cyan(text string) string   { return s.paint("36", text) }
func (s style) dim(text string) string    { return s.paint("2", text) }
func (s style) bold(text string) string   { return s.paint("1", text) }

// status paints a text in the colour of a status.
func (s style) status(st core.Status, text string) string {
	switch st {
	case core.Passed:
		return s.green(text)
	case core.Failed, core.Damaged:
		return s.red(text)
	case core.Cancelled, core.PassedWithFailures:
		return s.yellow(text)
	case core.Running:
		return s.cyan(text)
	default:
		return s.dim(text)
	}
}

// mark is a status in one column.
func mark(s core.Status) string {
	switch s {
	case core.Passed:
		return "✓"
	case core.Failed:
		return "✗"
	case core.Cancelled, core.Damaged, core.PassedWithFailures:
		return "!"
	case core.Skipped:
		return "-"
	case core.Running:
		return ">"
	default:
		return "·"
	}
}

// clean makes one harmless line of a text: what a plugin says must not steer the terminal.
func clean(s string) string {
	return strings.TrimRight(strings.ReplaceAll(plain.Line(strings.TrimRight(s, "\r\n ")), "\t", " "), " ")
}

// cleanLines is clean for each line of a text.
func cleanLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}

// Duration is short: 0.4s, 12s, 3m05s, 2h07m.
func Duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", math.Floor(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// Ago is how long ago something was, for lists.
func Ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// number writes a figure without needless digits.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
}

// short is the beginning of a commit's hash.
func short(commit string) string { return commit[:min(len(commit), 9)] }

func text(v any) string {
	s, _ := v.(string)
	return s
}
