package sdk

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc"

	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// maxLine is the longest line, in bytes, that a log carries; the rest of a longer one is cut.
const maxLine = 64 << 10

// Job is what one call may say and ask. Its methods may be called from several goroutines until the call
// returns. What it says reaches the core in order; when the core is slow, saying waits.
type Job struct {
	Info RunInfo

	declared []Capability
	core     wire.CapabilitiesClient // nil: this call has no capabilities

	mu     sync.Mutex
	stream grpc.ServerStreamingServer[wire.Message]
	closed bool
}

// Logf writes a line to the log of the stage. Text of several lines becomes several lines.
func (j *Job) Logf(format string, args ...any) { j.log(false, fmt.Sprintf(format, args...)) }

// Warnf writes a line to the log of the stage, marked as one that someone should read.
func (j *Job) Warnf(format string, args ...any) { j.log(true, fmt.Sprintf(format, args...)) }

func (j *Job) log(warn bool, text string) {
	for line := range strings.Lines(text) {
		line = cutLine(strings.TrimRight(line, "\r\n"))
		j.say(&wire.Message{Kind: &wire.Message_Log{Log: &wire.Log{Line: line, Error: warn}}})
	}
}

// cutLine makes a line that the protocol can carry: valid UTF-8 of bounded length.
func cutLine(line string) string {
	if n := len(line); n > maxLine {
		line = fmt.Sprintf("%s… (%d bytes more)", line[:maxLine], n-maxLine)
	}
	if !utf8.ValidString(line) {
		line = strings.ToValidUTF8(line, "\uFFFD")
	}
	return line
}

// Progress says how far the job has come, in any unit. A total of 0 is unknown.
func (j *Job) Progress(done, total float64, text string) {
	j.say(&wire.Message{Kind: &wire.Message_Progress{Progress: &wire.Progress{Done: done, Total: total, Text: cutLine(text)}}})
}

// Finding reports a place in the source.
func (j *Job) Finding(f Finding) {
	j.say(&wire.Message{Kind: &wire.Message_Finding{Finding: &wire.Finding{
		Path: cutLine(f.Path), Line: int32(f.Line), Column: int32(f.Column),
		Severity: cutLine(f.Severity), Rule: cutLine(f.Rule), Message: cutLine(f.Message),
	}}})
}

// Metric reports a measured figure.
func (j *Job) Metric(m Metric) {
	w := &wire.Metric{Name: cutLine(m.Name), Value: m.Value, Unit: cutLine(m.Unit)}
	if m.Limit != nil {
		w.Limit, w.HasLimit = *m.Limit, true
	}
	j.say(&wire.Message{Kind: &wire.Message_Metric{Metric: w}})
}

// Output hands on a value, of a type that JSON has, to the stages that refer to stage.TYPE.NAME.name.
// A value that JSON cannot hold is a mistake of the plugin and panics.
func (j *Job) Output(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("output %s: %v", name, err))
	}
	j.say(&wire.Message{Kind: &wire.Message_Output{Output: &wire.OutputValue{Name: name, Json: b}}})
}

// Table shows the result of an action.
func (j *Job) Table(t Table) {
	w := &wire.Table{}
	for _, c := range t.Columns {
		w.Columns = append(w.Columns, cutLine(c))
	}
	for _, r := range t.Rows {
		row := &wire.Row{}
		for _, c := range r {
			row.Cells = append(row.Cells, cutLine(c))
		}
		w.Rows = append(w.Rows, row)
	}
	j.say(&wire.Message{Kind: &wire.Message_Table{Table: w}})
}

// say sends one message. An error means that the core no longer listens: the call's context is ending.
func (j *Job) say(m *wire.Message) { _ = j.send(m) }

func (j *Job) send(m *wire.Message) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return io.ErrClosedPipe
	}
	return j.stream.Send(m)
}

// close makes later messages of forgotten goroutines harmless: the stream must not be used after the call.
func (j *Job) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
}
