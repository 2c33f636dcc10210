package proc

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	describedMost = 20  // processes
	commandMost   = 120 // bytes of a command
)

// Describe lists the processes below the tree's root, which is left out: a line for each with its command and number,
// children after their parent and indented below it.
func (t Tree) Describe() []string {
	members := slices.DeleteFunc(t.members(), func(p process) bool { return p.zombie || p.pid == t.Root })
	slices.SortFunc(members, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	in := map[int]bool{}
	for _, p := range members {
		in[p.pid] = true
	}
	var lines []string
	var add func(parent int, depth int)
	line := func(p process, depth int) {
		if len(lines) < describedMost {
			lines = append(lines, strings.Repeat("  ", depth)+fmt.Sprintf("%s (pid %d)", shownCommand(p.pid), p.pid))
		}
		add(p.pid, depth+1)
	}
	add = func(parent, depth int) {
		for _, p := range members {
			if p.ppid == parent {
				line(p, depth)
			}
		}
	}
	for _, p := range members {
		if !in[p.ppid] { // a child of the root, or a daemon that left its parent
			line(p, 0)
		}
	}
	if more := len(members) - describedMost; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// shownCommand is a process's command line, cut.
func shownCommand(pid int) string {
	words := strings.Join(strings.Split(string(bytes.Trim(commandLine(pid), "\x00")), "\x00"), " ")
	if words == "" {
		return "a process"
	}
	if len(words) > commandMost {
		words = strings.ToValidUTF8(words[:commandMost], "") + "…"
	}
	return words
}
