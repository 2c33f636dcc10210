package ui

import (
	"fmt"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// Checking says on a terminal what is being looked at, until Check says what was found.
func (u *UI) Checking(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.options.TTY && !u.options.JSON && !u.options.Quiet {
		fmt.Fprintf(u.raw, "%s\r", u.style.cyan(mark(core.Running)+" "+clean(name)+" …"))
	}
}

// Check prints the result of one check, with its remedy on a line of its own.
func (u *UI) Check(c core.Check) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.options.JSON || (u.options.Quiet && c.Status != core.Failed) {
		return
	}
	if u.options.TTY {
		fmt.Fprint(u.raw, "\x1b[K") // over what Checking wrote
	}
	const column = 18
	fmt.Fprintf(u.out, "%s %s\n", u.style.status(c.Status, fmt.Sprintf("%s %-*s", mark(c.Status), column-3, clean(c.Name))), clean(c.Detail))
	if c.Remedy != "" {
		fmt.Fprintf(u.out, "%s%s\n", strings.Repeat(" ", column), clean(c.Remedy))
	}
}
