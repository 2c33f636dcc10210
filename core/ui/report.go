package ui

import "strings"

// Report is a result that has lines for people; for programs it is printed as JSON.
type Report interface{ Lines() []string }

// Report prints a report. A line that begins with a mark of a plan, such as + or -, has its colour.
func (u *UI) Report(r Report) {
	u.JSON(r)
	for _, line := range r.Lines() {
		u.Printf("%s", u.style.tint(line))
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
