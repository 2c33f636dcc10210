package engine

import (
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// origin is the stage that events come from, in a run or in an action.
type origin struct {
	stage core.StageID
	env   string
	run   core.RunID // empty: an action
	mask  *mask.Mask
	send  func(core.Event) // completes, masks and shows an event; safe for all goroutines
}

// emit sends an event of the stage.
func (o *origin) emit(e core.Event) {
	e.Source, e.Environment = string(o.stage), o.env
	o.send(e)
}

// own fills in what an event of a plugin leaves open. Only the engine says what became of runs and stages.
func (o *origin) own(e core.Event) core.Event {
	e.Source, e.Run, e.Environment = string(o.stage), o.run, o.env
	for _, engines := range []string{"run.", "stage.", "environment."} {
		if strings.HasPrefix(e.Kind, engines) {
			e.Kind = "plugin." + e.Kind
		}
	}
	return e
}

// complete fills in what an event lacks and masks the rest.
func complete(e core.Event, m *mask.Mask) core.Event {
	e = core.Complete(e)
	e.Kind = m.String(e.Kind)
	e.Summary = m.String(e.Summary)
	e.Key = m.String(e.Key)
	e.Data = m.Map(e.Data)
	return e
}

// messages turns what a plugin says during one call into events. It is for one goroutine.
type messages struct {
	from    *origin
	flood   func() // called when the log is too much
	logged  int    // bytes
	out     mask.Lines
	err     mask.Lines
	last    time.Time // of the last progress shown
	outputs map[string]any
}

func newMessages(from *origin, flood func()) *messages {
	m := &messages{from: from, flood: flood, outputs: map[string]any{}}
	m.out = mask.Lines{Mask: from.mask, Emit: func(line string) { m.log(line, nil) }}
	m.err = mask.Lines{Mask: from.mask, Emit: func(line string) { m.log(line, map[string]any{"error": true}) }}
	return m
}

func (m *messages) log(line string, data map[string]any) {
	m.from.emit(core.Event{Kind: core.KindLog, Summary: line, Data: data})
}

// take handles one message.
func (m *messages) take(msg core.Message) {
	switch {
	case msg.Log != nil:
		m.logged += len(msg.Log.Line) + 1
		if m.logged > logMost {
			m.flood()
			return
		}
		if msg.Log.Error {
			m.err.Line(msg.Log.Line)
		} else {
			m.out.Line(msg.Log.Line)
		}
	case msg.Progress != nil:
		m.progress(*msg.Progress)
	case msg.Finding != nil:
		m.from.emit(findingEvent(*msg.Finding))
	case msg.Metric != nil:
		data := map[string]any{"name": msg.Metric.Name, "value": msg.Metric.Value, "unit": msg.Metric.Unit}
		if msg.Metric.Limit != nil {
			data["limit"] = *msg.Metric.Limit
		}
		if msg.Metric.Detail != "" {
			data["detail"] = msg.Metric.Detail
		}
		m.from.emit(core.Event{Kind: core.KindMetric, Summary: msg.Metric.Name, Data: data})
	case msg.Output != nil:
		m.outputs[msg.Output.Name] = msg.Output.Value
	case msg.Table != nil:
		m.from.emit(core.Event{Kind: core.KindTable, Data: map[string]any{"columns": msg.Table.Columns, "rows": msg.Table.Rows}})
	case msg.Event != nil:
		m.from.send(m.from.own(*msg.Event))
	}
}

// progress shows how far the job has come, but not more often than anyone can read.
func (m *messages) progress(p core.Progress) {
	now := time.Now()
	if now.Sub(m.last) < progressPause && p.Done < p.Total {
		return
	}
	m.last = now
	m.from.emit(core.Event{Kind: core.KindProgress, Summary: p.Text, Data: map[string]any{"done": p.Done, "total": p.Total}})
}

// flush ends the log.
func (m *messages) flush() {
	m.out.Flush()
	m.err.Flush()
}
