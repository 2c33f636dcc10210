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

// maxLine is the maximum length of a line from Exec in bytes; longer lines are truncated.
const maxLine = 64 << 10

// Job is the interface of one call to the core: reports and capabilities. Its methods may be called from several
// goroutines until the call returns. Reports arrive in order; if the core is slow, reporting methods block.
type Job struct {
	Info RunInfo
	// Capabilities are the services of the core that the stage declares.
	Capabilities

	mu     sync.Mutex
	stream grpc.ServerStreamingServer[wire.Message]
	closed bool
}

// Logf writes to the stage's log. Multi-line text becomes several lines.
func (j *Job) Logf(format string, args ...any) { j.log(false, fmt.Sprintf(format, args...)) }

// Warnf writes to the stage's log, marked as a warning.
func (j *Job) Warnf(format string, args ...any) { j.log(true, fmt.Sprintf(format, args...)) }

func (j *Job) log(warn bool, text string) {
	for line := range strings.Lines(text) {
		j.report(contract.Message{Log: &contract.Log{Line: strings.TrimRight(line, "\r\n"), Error: warn}})
	}
}

// Progress reports the job's progress in any unit. A total of 0 means unknown.
func (j *Job) Progress(done, total float64, text string) {
	j.report(contract.Message{Progress: &contract.Progress{Done: done, Total: total, Text: text}})
}

// Finding reports a place in the source.
func (j *Job) Finding(f Finding) { j.report(contract.Message{Finding: &f}) }

// Metric reports a measurement.
func (j *Job) Metric(m Metric) { j.report(contract.Message{Metric: &m}) }

// Output sets an output for stages that refer to stage.TYPE.NAME.name. It panics if JSON cannot encode the value.
func (j *Job) Output(name string, v any) {
	j.report(contract.Message{Output: &contract.Output{Name: name, Value: v}})
}

// Table shows the result of an action.
func (j *Job) Table(t Table) { j.report(contract.Message{Table: &t}) }

// report sends one message. An error means that the call's context is ending.
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

// close drops later messages of leaked goroutines: the stream must not be used after the call.
func (j *Job) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
}
