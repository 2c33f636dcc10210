package sdk

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"google.golang.org/grpc"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// maxLine is the longest line, in bytes, that Exec hands on; the rest of a longer one is cut.
const maxLine = 64 << 10

// Job is what one call may report and ask. Its methods may be called from several goroutines until the call returns.
// Reports reach the core in order; while the core is slow, the methods that report wait.
type Job struct {
	Info RunInfo
	// Capabilities are the services of the core, as far as the stage declares them.
	Capabilities

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
		j.report(contract.Message{Log: &contract.Log{Line: strings.TrimRight(line, "\r\n"), Error: warn}})
	}
}

// Progress tells how far the job has come, in any unit. A total of 0 is unknown.
func (j *Job) Progress(done, total float64, text string) {
	j.report(contract.Message{Progress: &contract.Progress{Done: done, Total: total, Text: text}})
}

// Finding reports a place in the source.
func (j *Job) Finding(f Finding) { j.report(contract.Message{Finding: &f}) }

// Metric reports a measured figure.
func (j *Job) Metric(m Metric) { j.report(contract.Message{Metric: &m}) }

// Output hands on a value, of a type that JSON has, to the stages that refer to stage.TYPE.NAME.name.
// A value that JSON cannot hold is a mistake of the plugin and panics.
func (j *Job) Output(name string, v any) {
	j.report(contract.Message{Output: &contract.Output{Name: name, Value: v}})
}

// Table shows the result of an action.
func (j *Job) Table(t Table) { j.report(contract.Message{Table: &t}) }

// report sends one message. An error means that the core no longer listens: the call's context is ending.
func (j *Job) report(m contract.Message) {
	w, err := wire.EncodeMessage(m)
	if err != nil {
		panic(err.Error())
	}
	_ = j.send(w)
}

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
