package sample

import (
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

// TestAgentsByProcess has a host where the agents' slice has no cgroup: the times of their processes tell, each once.
func TestAgentsByProcess(t *testing.T) {
	m := newAgentsMeter(cgroup2{t.TempDir()}, map[string]string{"cpuacct": t.TempDir()})
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	proc := func(pid, cpu, children int, agent bool) Usage {
		return Usage{
			Ident: process.Ident{PID: pid, Start: 7}, CPU: seconds(cpu), Children: seconds(children),
			Owner: process.Owner{UID: 990, Agent: agent},
		}
	}
	for i, test := range []struct {
		procs []Usage
		want  int // seconds
	}{
		{[]Usage{proc(1, 100, 50, true), proc(9, 5, 0, false)}, 0},  // what they used before is not known to be new
		{[]Usage{proc(1, 103, 50, true), proc(9, 50, 0, false)}, 3}, // only the agent's
		{[]Usage{proc(1, 103, 50, true), proc(2, 4, 0, true)}, 4},   // a child
		{[]Usage{proc(1, 104, 50, true)}, 1},                        // it has ended
		{[]Usage{proc(1, 104, 55, true)}, 1},                        // it was waited for: 4 s of it are known
		{[]Usage{proc(1, 104, 55, true), proc(3, 2, 0, true)}, 2},   // an agent that is new
		{nil, 0}, // all have ended
		{[]Usage{proc(4, 1, 0, true), proc(1, 9999, 0, false)}, 1},   // the agent has another pid
		{[]Usage{proc(4, 1, 0, true), proc(1, 99999, 10, false)}, 0}, // and does nothing
	} {
		if got, err := m.read(test.procs); err != nil || got != seconds(test.want) {
			t.Errorf("reading %d: %s, %v, want %s", i, got, err, seconds(test.want))
		}
	}
}
