package ui

import (
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// board is what is known of a run from its events. It prints nothing.
type board struct {
	title   string
	started time.Time
	rows    []*row
	bySrc   map[string]*row
}

// row is one stage or environment.
type row struct {
	source   string
	status   core.Status
	reason   string
	started  time.Time
	took     time.Duration // once it has ended
	last     string        // line of its log, task or progress
	findings []core.Event
	metrics  []core.Event
	tables   []core.Event
}

func newBoard() *board { return &board{bySrc: map[string]*row{}} }

// row returns the row of a source, and makes it.
func (b *board) row(source string) *row {
	if r, ok := b.bySrc[source]; ok {
		return r
	}
	r := &row{source: clean(source), status: core.Pending}
	b.bySrc[source] = r
	b.rows = append(b.rows, r)
	return r
}

// take notes one event.
func (b *board) take(e core.Event) {
	switch e.Kind {
	case core.KindRunStarted:
		b.started = e.Time
		b.title = runTitle(e)
		for _, s := range list(e.Data["stages"]) {
			b.row(s)
		}
		return
	case core.KindRunPassed, core.KindRunPassedWithFailures, core.KindRunFailed, core.KindRunCancelled:
		return
	}
	r := b.owner(e)
	if r == nil {
		return
	}
	if s, ok := core.PartEnded(e.Kind); ok {
		r.end(e, s)
		return
	}
	switch e.Kind {
	case core.KindStageStarted, core.KindEnvironmentPreparing:
		if r.status != core.Running {
			r.status, r.started = core.Running, e.Time
		}
		r.last = ""
	case core.KindStageRetrying:
		r.findings, r.metrics, r.tables = nil, nil, nil // they were the failed attempt's
		r.last = clean(e.Summary)
	case core.KindFinding:
		r.findings = append(r.findings, e)
	case core.KindMetric:
		same := func(o core.Event) bool { return o.Data["name"] == e.Data["name"] }
		if i := slices.IndexFunc(r.metrics, same); i >= 0 {
			r.metrics[i] = e // a figure that goes on counts as it is at last
		} else {
			r.metrics = append(r.metrics, e)
		}
	case core.KindTable:
		r.tables = append(r.tables, e)
	default:
		if s := strings.TrimSpace(Sentence(e)); s != "" {
			r.last = s
		}
	}
}

func (r *row) end(e core.Event, s core.Status) {
	r.status, r.reason, r.last = s, "", ""
	if s != core.Passed {
		r.reason = clean(e.Summary)
	}
	if sec, ok := core.Number(e.Data["seconds"]); ok {
		r.took = time.Duration(sec * float64(time.Second))
	}
}

// owner is the row in which an event shows, or nil. What prepares an environment shows in the environment's.
// Outside a run, as in an apply, every source has a row.
func (b *board) owner(e core.Event) *row {
	if r, ok := b.bySrc[e.Source]; ok || strings.HasPrefix(e.Source, "environment.") {
		if !ok {
			r = b.row(e.Source)
		}
		return r
	}
	if r, ok := b.bySrc["environment."+e.Environment]; ok {
		return r
	}
	if !b.started.IsZero() {
		return nil
	}
	r := b.row(e.Source)
	r.status, r.started = core.Running, e.Time
	return r
}

// list reads strings of an event's data, which are []any once they have been through a journal.
func list(v any) []string {
	switch v := v.(type) {
	case []string:
		return v
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, text(x))
		}
		return out
	}
	return nil
}
