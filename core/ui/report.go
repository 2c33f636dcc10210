package ui

import (
	"fmt"
	"strings"

	"github.com/seed-b96de936/troop/core/plain"
)

// Report is a result that has lines for people; for programs it is printed as JSON.
type Report interface{ Lines() []string }

// verbose is a Report that has more to say with -v.
type verbose interface{ Verbose() []string }

// Report prints a report. A line that begins with a mark of a plan, such as + or -, has its colour.
func (u *UI) Report(r Report) {
	u.JSON(r)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.options.JSON {
		return
	}
	u.clear()
	lines := r.Lines
	if v, ok := r.(verbose); ok && u.options.Verbose {
		lines = v.Verbose
	}
	for _, line := range lines() {
		fmt.Fprintln(u.out, u.style.tint(plain.Text(line)))
	}
}

// tint colours a line by its mark.
func (s style) tint(line string) string {
	mark, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch mark {
	case "+":
		return s.green(line)
	case "~", "!", "warning:":
		return s.yellow(line)
	case "±", "-", "refused:":
		return s.red(line)
	}
	return line
}
