package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Runs lists runs.
func (u *UI) Runs(runs []core.Run) {
	if u.options.JSON {
		if runs == nil {
			runs = []core.Run{}
		}
		u.JSON(runs)
		return
	}
	t := core.Table{Columns: []string{"RUN", "STATUS", "COMMIT", "BRANCH", "ENVIRONMENT", "STARTED", "TOOK", "BY", "SUBJECT"}}
	now := time.Now()
	for _, r := range runs {
		subject := r.Subject
		if r.Status != core.Passed && r.Reason != "" {
			subject += " (" + r.Reason + ")"
		}
		took := ""
		if !r.Ended.IsZero() {
			took = Duration(r.Ended.Sub(r.Started))
		}
		t.Rows = append(t.Rows, []string{
			r.ID.Short(), string(r.Status), commitOf(r), cmp.Or(r.Branch, r.Tag), r.Environment, Ago(now, r.Started), took, r.By, subject,
		})
	}
	u.Table(t)
}

// commitOf is the commit of a run, with a mark when it is of uncommitted changes.
func commitOf(r core.Run) string {
	if r.Dirty {
		return short(r.Commit) + "+"
	}
	return short(r.Commit)
}

// Hosts lists hosts.
func (u *UI) Hosts(hosts []core.Host) {
	if u.options.JSON {
		if hosts == nil {
			hosts = []core.Host{}
		}
		u.JSON(hosts)
		return
	}
	t := core.Table{Columns: []string{"HOST", "ROLE", "ADDRESS", "PRIVATE ADDRESS", "USER", "PORT"}}
	for _, h := range hosts {
		t.Rows = append(t.Rows, []string{string(h.Name), strings.Join(h.InRoles(), ", "), h.Address, h.PrivateAddress, h.User, strconv.Itoa(h.Port)})
	}
	u.Table(t)
}

// Show prints all about one run, given its events.
func (u *UI) Show(r core.Run, events []core.Event) {
	if u.options.JSON {
		u.JSON(r)
		return
	}
	b := newBoard()
	for _, e := range events {
		b.take(e)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(u.out, "%s %s\n", u.style.dim(fmt.Sprintf("%-12s", name)), clean(value))
		}
	}
	field("run", string(r.ID))
	if r.Pipeline != "" { // a damaged record may not tell
		field("pipeline", r.Pipeline+" ("+r.Manifest+")")
	}
	field("commit", strings.TrimSpace(r.Commit+" "+r.Subject))
	if r.Dirty {
		field("", "uncommitted changes; no branch has this commit")
	}
	field("branch", r.Branch)
	field("tag", r.Tag)
	field("environment", r.Environment)
	field("started", strings.TrimSpace(r.Started.Local().Format(time.DateTime)+" "+r.By))
	for _, e := range events {
		if e.Kind == core.KindPlan {
			label := "plan"
			for _, line := range list(e.Data["lines"]) {
				field(label, line)
				label = ""
			}
		}
	}
	if r.Ended.IsZero() || r.Status == core.Damaged {
		field("status", strings.TrimSuffix(string(r.Status)+": "+r.Reason, ": "))
		fmt.Fprintf(u.out, "\n%s", u.stages(r, b))
		return
	}
	fmt.Fprint(u.out, u.summary(r, b))
}

// Log prints one event of a stage's log: the bare text, or the event with --json.
func (u *UI) Log(e core.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.options.JSON:
		u.encode(e)
	case e.Kind == core.KindTable:
		fmt.Fprint(u.out, tableOf(e).text(u.style))
	default:
		fmt.Fprintln(u.out, u.paint(e))
	}
}

// Lines prints events of several sources, each line with its source.
func (u *UI) Lines(e core.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.board.take(e)
	if u.options.JSON {
		u.encode(e)
		return
	}
	u.plain(e)
}

// Why explains the verdict of a run: every figure with its limit, and every finding.
func (u *UI) Why(r core.Run, events []core.Event) {
	b := newBoard()
	for _, e := range events {
		b.take(e)
	}
	if u.options.JSON {
		u.JSON(reasons(r, b))
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.Status == core.Damaged {
		fmt.Fprintln(u.out, u.style.status(r.Status, "! run "+string(r.ID)+" damaged: "+clean(r.Reason)))
	}
	if r.Status == core.PassedWithFailures || len(r.Stages) == 0 {
		fmt.Fprintln(u.out, u.style.status(r.Status, fmt.Sprintf("%s run %s %s: %s", mark(r.Status), r.ID.Short(), r.Status, clean(r.Reason))))
	}
	for _, s := range r.Stages {
		line := clean(fmt.Sprintf("%s %s %s", mark(s.Status), s.ID, s.Status))
		if s.Reason != "" {
			line += ": " + clean(s.Reason)
		}
		fmt.Fprintln(u.out, u.style.status(s.Status, line))
		row := b.bySrc[string(s.ID)]
		if row == nil {
			continue
		}
		var t table
		for _, e := range row.metrics {
			t.rows = append(t.rows, metricCells(e))
		}
		if len(t.rows) > 0 {
			t.columns = []string{"FIGURE", "VALUE", "LIMIT"}
			if slices.ContainsFunc(row.metrics, func(e core.Event) bool { return text(e.Data["detail"]) != "" }) {
				t.columns = append(t.columns, "DETAIL")
			}
			fmt.Fprint(u.out, indent(t.text(u.style), "    "))
		}
		for _, e := range row.findings {
			fmt.Fprintf(u.out, "    %s\n", findingText(e))
		}
	}
}

func metricCells(e core.Event) []string {
	unit := strings.TrimRight(" "+text(e.Data["unit"]), " ")
	v, _ := core.Number(e.Data["value"])
	cells := []string{text(e.Data["name"]), number(v) + unit, "", clean(text(e.Data["detail"]))}
	if l, ok := core.Number(e.Data["limit"]); ok {
		cells[2] = number(l) + unit
	}
	return cells
}

// reason is what Why says of a stage, for programs.
type reason struct {
	Stage    core.StageID     `json:"stage"`
	Status   core.Status      `json:"status"`
	Reason   string           `json:"reason,omitempty"`
	Metrics  []map[string]any `json:"metrics"`
	Findings []map[string]any `json:"findings"`
}

func reasons(r core.Run, b *board) []reason {
	out := []reason{}
	for _, s := range r.Stages {
		x := reason{Stage: s.ID, Status: s.Status, Reason: s.Reason, Metrics: []map[string]any{}, Findings: []map[string]any{}}
		if row := b.bySrc[string(s.ID)]; row != nil {
			for _, e := range row.metrics {
				x.Metrics = append(x.Metrics, e.Data)
			}
			for _, e := range row.findings {
				e.Data["message"] = e.Summary
				x.Findings = append(x.Findings, e.Data)
			}
		}
		out = append(out, x)
	}
	return out
}
