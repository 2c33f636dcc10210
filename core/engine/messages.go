package engine

import (
	"context"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/mask"
)

// messages turns what a plugin says during one attempt into events. It is for one goroutine.
type messages struct {
	x       *execution
	stage   core.Stage
	say     func(core.Event)
	flood   func() // called when the log is too much
	logged  int    // bytes
	out     mask.Lines
	err     mask.Lines
	last    time.Time // of the last progress shown
	outputs map[string]any
}

func newMessages(ctx context.Context, x *execution, s core.Stage, flood func()) *messages {
	m := &messages{x: x, stage: s, flood: flood, outputs: map[string]any{}}
	m.say = func(e core.Event) {
		e.Environment = x.environment(s)
		x.emit(ctx, e)
	}
	m.out = mask.Lines{Mask: x.mask, Emit: func(line string) { m.log(line, nil) }}
	m.err = mask.Lines{Mask: x.mask, Emit: func(line string) { m.log(line, map[string]any{"error": true}) }}
	return m
}

func (m *messages) log(line string, data map[string]any) {
	m.emit(core.Event{Kind: core.KindLog, Summary: line, Data: data})
}

func (m *messages) emit(e core.Event) {
	e.Source = string(m.stage.ID())
	m.say(e)
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
		m.emit(findingEvent(*msg.Finding))
	case msg.Metric != nil:
		data := map[string]any{"name": msg.Metric.Name, "value": msg.Metric.Value, "unit": msg.Metric.Unit}
		if msg.Metric.Limit != nil {
			data["limit"] = *msg.Metric.Limit
		}
		m.emit(core.Event{Kind: core.KindMetric, Summary: msg.Metric.Name, Data: data})
	case msg.Output != nil:
		m.outputs[msg.Output.Name] = msg.Output.Value
	case msg.Table != nil:
		m.emit(core.Event{Kind: core.KindTable, Data: map[string]any{"columns": msg.Table.Columns, "rows": msg.Table.Rows}})
	case msg.Event != nil:
		m.say(ownEvent(*msg.Event, m.stage, m.x.info))
	}
}

// progress shows how far the stage has come, but not more often than anyone can read.
func (m *messages) progress(p core.Progress) {
	now := time.Now()
	if now.Sub(m.last) < progressPause && p.Done < p.Total {
		return
	}
	m.last = now
	m.emit(core.Event{Kind: core.KindProgress, Summary: p.Text, Data: map[string]any{"done": p.Done, "total": p.Total}})
}

// flush ends the attempt's log.
func (m *messages) flush() {
	m.out.Flush()
	m.err.Flush()
}

// ownEvent fills in what an event of a stage leaves open. Only the engine says what became of runs and stages.
func ownEvent(e core.Event, s core.Stage, r core.Run) core.Event {
	e.Source, e.Run = string(s.ID()), r.ID
	for _, engines := range []string{"run.", "stage.", "environment."} {
		if strings.HasPrefix(e.Kind, engines) {
			e.Kind = "plugin." + e.Kind
		}
	}
	return e
}
