package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// plain prints an event as one line: its source, a bar, and what happened. Lines of the engine begin with a
// star, findings with an exclamation mark, so that they can be told from a stage's log.
func (u *UI) plain(e core.Event) {
	if e.Kind == core.KindProgress && !u.options.Verbose {
		return
	}
	if e.Kind == core.KindTable {
		for l := range strings.SplitSeq(strings.TrimRight(tableOf(e).text(u.style), "\n"), "\n") {
			u.line(e.Source, l)
		}
		return
	}
	if e.Kind == core.KindTask && !u.options.Verbose {
		if s := text(e.Data["status"]); s == "ok" || s == "skipped" {
			return
		}
	}
	u.line(e.Source, u.paint(e))
}

func (u *UI) line(source, text string) {
	fmt.Fprintf(u.out, "%s %s %s\n", u.style.dim(fmt.Sprintf("%-*s", u.board.width(), clean(source))), u.style.dim("|"), text)
}

// width of the column of sources.
func (b *board) width() int {
	w := 16
	for _, r := range b.rows {
		w = max(w, len(r.source))
	}
	return min(w, 32)
}

// paint is the sentence of an event with its colour.
func (u *UI) paint(e core.Event) string {
	s := Sentence(e)
	switch e.Kind {
	case core.KindRunStarted:
		return u.style.bold(s)
	case core.KindRunPassed, core.KindStagePassed, core.KindEnvironmentReady:
		return u.style.green(s)
	case core.KindRunFailed, core.KindStageFailed, core.KindEnvironmentFailed:
		return u.style.red(s)
	case core.KindRunPassedWithFailures, core.KindRunCancelled, core.KindStageCancelled, core.KindStageRetrying:
		return u.style.yellow(s)
	case core.KindStageSkipped:
		return u.style.dim(s)
	case core.KindFinding:
		if text(e.Data["severity"]) == "error" {
			return u.style.red(s)
		}
		return u.style.yellow(s)
	}
	switch e.Severity {
	case core.Warning:
		return u.style.yellow(s)
	case core.Alert:
		return u.style.red(s)
	}
	return s
}

// Sentence is an event in one line.
func Sentence(e core.Event) string {
	summary := clean(e.Summary)
	switch e.Kind {
	case core.KindRunStarted:
		return "* " + runTitle(e)
	case core.KindStageStarted:
		if n, ok := core.Number(e.Data["attempt"]); ok && n > 1 {
			return fmt.Sprintf("* attempt %.0f", n)
		}
		return "* started"
	case core.KindEnvironmentPreparing:
		return "* preparing"
	case core.KindStagePassed, core.KindRunPassed:
		return "* passed" + after(" in ", e)
	case core.KindRunPassedWithFailures:
		return "* passed with failures" + after(" in ", e) + ": " + summary
	case core.KindStageSilent:
		return "* " + summary
	case core.KindEnvironmentReady:
		return "* ready" + after(" in ", e)
	case core.KindStageFailed, core.KindRunFailed, core.KindEnvironmentFailed:
		s := "* failed" + after(" after ", e) + ": " + summary
		if text(e.Data["on_failure"]) == string(core.Continue) {
			s += " (the run continues)"
		}
		return s
	case core.KindStageCancelled, core.KindRunCancelled:
		return "* cancelled" + after(" after ", e) + ": " + summary
	case core.KindStageSkipped:
		return "* skipped: " + summary
	case core.KindStageRetrying:
		return "* " + summary
	case core.KindFinding:
		return "! " + findingText(e)
	case core.KindMetric:
		return "* " + metricText(e)
	case core.KindTask:
		return taskText(e)
	case core.KindProgress:
		return progressText(e)
	case core.KindLog:
		return summary
	}
	s := "* " + e.Kind + ": " + summary
	if e.Host != "" {
		s = fmt.Sprintf("* %s: %s: %s", e.Host, e.Kind, summary)
	}
	return clean(s)
}

func runTitle(e core.Event) string {
	s := clean(fmt.Sprintf("%s %s %s", text(e.Data["pipeline"]), short(text(e.Data["commit"])), text(e.Data["subject"])))
	if dirty, _ := e.Data["dirty"].(bool); dirty {
		s += " (uncommitted)"
	}
	if b := text(e.Data["branch"]); b != "" {
		s += " (" + clean(b) + ")"
	}
	if tag := text(e.Data["tag"]); tag != "" {
		s += " (tag " + clean(tag) + ")"
	}
	if e.Environment != "" {
		s += " in " + clean(e.Environment)
	}
	return s + ", run " + clean(e.Run.Short())
}

func after(word string, e core.Event) string {
	if s, ok := core.Number(e.Data["seconds"]); ok && s > 0 {
		return word + Duration(time.Duration(s*float64(time.Second)))
	}
	return ""
}

// findingText is file:line:column: severity: message (rule), with what is not known left out.
func findingText(e core.Event) string {
	var b strings.Builder
	if p := text(e.Data["path"]); p != "" {
		b.WriteString(p)
		for _, k := range []string{"line", "column"} {
			n, _ := core.Number(e.Data[k])
			if n == 0 {
				break
			}
			fmt.Fprintf(&b, ":%.0f", n)
		}
		b.WriteString(": ")
	}
	if s := text(e.Data["severity"]); s != "" && s != "error" {
		b.WriteString(s + ": ")
	}
	b.WriteString(e.Summary)
	if r := text(e.Data["rule"]); r != "" {
		b.WriteString(" (" + r + ")")
	}
	return clean(b.String())
}

// metricText is a figure with its unit and its limit.
func metricText(e core.Event) string {
	unit := text(e.Data["unit"])
	if unit != "" {
		unit = " " + unit
	}
	v, _ := core.Number(e.Data["value"])
	s := fmt.Sprintf("%s: %s%s", text(e.Data["name"]), number(v), unit)
	if l, ok := core.Number(e.Data["limit"]); ok {
		s += fmt.Sprintf(" (limit %s%s)", number(l), unit)
	}
	return clean(s)
}

// taskText is host: task: status, with what a failed one said and where it is written.
func taskText(e core.Event) string {
	s := e.Summary + ": " + text(e.Data["status"])
	if e.Host != "" {
		s = string(e.Host) + ": " + s
	}
	if e.Severity == core.Warning || e.Severity == core.Alert {
		if m := text(e.Data["message"]); m != "" {
			s += ": " + m
		}
		if p := text(e.Data["path"]); p != "" {
			s += " (" + p + ")"
		}
	}
	return clean(s)
}

func progressText(e core.Event) string {
	done, _ := core.Number(e.Data["done"])
	total, _ := core.Number(e.Data["total"])
	s := clean(e.Summary)
	switch {
	case total > 0:
		return strings.TrimSpace(fmt.Sprintf("%.0f %% %s", 100*done/total, s))
	case done > 0:
		return strings.TrimSpace(number(done) + " " + s)
	}
	return s
}
