package state

import "fmt"

// Program is what a release runs beside the process that answers requests. Times are in seconds.
type Program struct {
	Kind        ProgramKind `json:"kind"`
	Name        string      `json:"name"`
	Command     []string    `json:"command"`
	Hosts       string      `json:"hosts,omitempty"` // of a process: all, one, or a pool
	Count       int         `json:"count,omitempty"` // of a process, on each of its hosts
	StopSignal  string      `json:"stop_signal,omitempty"`
	StopTimeout int64       `json:"stop_timeout,omitempty"`
	Before      string      `json:"before,omitempty"` // of a task: the pool whose hosts wait for it
	Timeout     int64       `json:"timeout,omitempty"`
	Calendar    string      `json:"calendar,omitempty"` // of a schedule
}

// ProgramKind says when a program runs.
type ProgramKind string

// The kinds.
const (
	Process  ProgramKind = "process"  // as long as its slot
	Task     ProgramKind = "task"     // once, before the release goes to a pool
	Schedule ProgramKind = "schedule" // by the calendar, while the release is the good one
)

// Names are those of a program's units, without the service: one for each of a process.
func (p Program) Names() []string {
	if p.Kind != Process || p.Count < 2 {
		return []string{p.Name}
	}
	var names []string
	for i := range p.Count {
		names = append(names, fmt.Sprintf("%s-%d", p.Name, i+1))
	}
	return names
}
