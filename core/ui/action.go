package ui

import (
	"fmt"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// Action shows an event of an operator's action. Results go where those of every command go; what goes on meanwhile is
// noted beside them.
func (u *UI) Action(e core.Event) {
	switch e.Kind {
	case core.KindLog, core.KindProgress:
		u.Note(e.Summary)
	case core.KindTask:
		u.Note(Sentence(e))
	case core.KindTable:
		t := tableOf(e)
		u.Table(core.Table{Columns: t.columns, Rows: t.rows})
	case core.KindFinding:
		u.JSON(findingOf(e))
		u.Printf("%s", findingText(e))
	case core.KindMetric: // actions have no limits to hold
	default:
		u.Event(e)
	}
}

// findingOf is the finding of which an event tells.
func findingOf(e core.Event) core.Finding {
	f := core.Finding{Path: text(e.Data["path"]), Severity: text(e.Data["severity"]), Rule: text(e.Data["rule"]), Message: e.Summary}
	line, _ := core.Number(e.Data["line"])
	column, _ := core.Number(e.Data["column"])
	f.Line, f.Column = int(line), int(column)
	return f
}

// Event prints one event of an environment.
func (u *UI) Event(e core.Event) {
	u.JSON(e)
	where := string(e.Host)
	if where == "" {
		where = e.Source
	}
	u.Printf("%s", clean(fmt.Sprintf("%s  %-8s  %-10s  %-20s  %s", e.Time.Local().Format(time.DateTime), e.Severity, where, e.Kind, e.Summary)))
}
