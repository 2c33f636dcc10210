package ui

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/seed-b96de936/troop/core"
)

// findingsMost is how many findings of a failed stage are repeated at the end.
const findingsMost = 10

// Summary ends a run's display: the result of each stage, then, as the last lines, why the run did not pass and
// where to look next. With --json it prints nothing: the last event holds the same.
func (u *UI) Summary(r core.Run) {
	u.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.options.JSON {
		return
	}
	fmt.Fprint(u.out, u.summary(r, u.board))
}

func (u *UI) summary(r core.Run, b *board) string {
	var out strings.Builder
	out.WriteString("\n")
	for _, row := range b.rows {
		if row.status == core.Passed {
			for _, e := range row.tables {
				out.WriteString(indent(tableOf(e).text(u.style), "  ") + "\n")
			}
		}
	}
	out.WriteString(u.stages(r, b))
	out.WriteString("\n")
	out.WriteString(u.verdict(r, b))
	return out.String()
}

func indent(s, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+by) + "\n"
}

// stages is one line for each stage, and for each environment that was prepared.
func (u *UI) stages(r core.Run, b *board) string {
	type entry struct {
		name, reason string
		status       core.Status
		took         time.Duration
	}
	var entries []entry
	for _, row := range b.rows {
		if strings.HasPrefix(row.source, "environment.") {
			entries = append(entries, entry{row.source, row.reason, row.status, row.took})
		}
	}
	for _, s := range r.Stages {
		e := entry{name: string(s.ID), reason: s.Reason, status: s.Status}
		if !s.Started.IsZero() && !s.Ended.IsZero() {
			e.took = s.Ended.Sub(s.Started)
		}
		entries = append(entries, e)
	}
	width := 0
	for _, e := range entries {
		width = max(width, len(e.name))
	}
	columns, _ := u.options.Size()
	var out strings.Builder
	for _, e := range entries {
		took := ""
		if e.took > 0 {
			took = Duration(e.took)
		}
		line := fmt.Sprintf("  %s %-*s  %-9s  %6s", mark(e.status), width, e.name, e.status, took)
		if e.reason != "" {
			line += "  " + e.reason
		}
		line = clean(line)
		if u.options.TTY {
			line = ansi.Truncate(line, columns-1, "…")
		}
		out.WriteString(u.style.status(e.status, line) + "\n")
	}
	return out.String()
}

// verdict is the end: findings, reason, and what to type next.
func (u *UI) verdict(r core.Run, b *board) string {
	var out strings.Builder
	took := Duration(r.Ended.Sub(r.Started))
	what := clean(fmt.Sprintf("%s %s", r.Pipeline, short(r.Commit)))
	if r.Status == core.Passed {
		fmt.Fprintln(&out, u.style.green(fmt.Sprintf("%s passed in %s", what, took)), u.style.dim("(run "+r.ID.Short()+")"))
		return out.String()
	}
	word := "after"
	if r.Status.Passed() {
		word = "in"
	}
	next := ""
	for _, s := range r.Stages {
		row := b.bySrc[string(s.ID)]
		if s.Status != core.Failed {
			continue
		}
		if next == "" || strings.HasPrefix(r.Reason, string(s.ID)+": ") {
			next = string(s.ID)
		}
		if row == nil {
			continue
		}
		out.WriteString(u.findings(row))
		for _, e := range row.metrics {
			if _, ok := core.Number(e.Data["limit"]); ok {
				fmt.Fprintf(&out, "  %s\n", metricText(e))
			}
		}
	}
	fmt.Fprintln(&out, u.style.status(r.Status, clean(fmt.Sprintf("%s %s %s %s: %s", what, r.Status, word, took, r.Reason))))
	if next != "" {
		fmt.Fprintf(&out, "  %s\n", u.style.dim(clean(fmt.Sprintf("see more: troop logs %s%s %s", manifest(r), r.ID.Short(), next))))
	} else {
		fmt.Fprintf(&out, "  %s\n", u.style.dim(clean("see more: troop show "+manifest(r)+r.ID.Short())))
	}
	return out.String()
}

// manifest is the argument by which a command finds the run again from this folder, with a space, or nothing.
func manifest(r core.Run) string {
	const usual = "pipeline.hcl"
	here, err := os.Getwd()
	if err != nil {
		return r.Manifest + " "
	}
	rel, err := filepath.Rel(here, r.Manifest)
	switch {
	case err != nil || strings.HasPrefix(rel, ".."):
		return r.Manifest + " "
	case rel == usual:
		return ""
	}
	return rel + " "
}

// findings lists the errors of a stage, or, when it has none, whatever it found.
func (u *UI) findings(r *row) string {
	var out strings.Builder
	all := r.findings
	if errs := errorsOf(all); len(errs) > 0 {
		all = errs
	}
	for _, e := range all[:min(len(all), findingsMost)] {
		fmt.Fprintf(&out, "  %s\n", u.style.red(findingText(e)))
	}
	if more := len(all) - findingsMost; more > 0 {
		fmt.Fprintf(&out, "  and %d more\n", more)
	}
	return out.String()
}

func errorsOf(findings []core.Event) []core.Event {
	return slices.DeleteFunc(slices.Clone(findings), func(e core.Event) bool { return text(e.Data["severity"]) != "error" })
}
