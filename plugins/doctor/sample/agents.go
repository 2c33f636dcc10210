package sample

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

// agentsMeter measures what troop's own agents use, which is not the host's load. Their slice of systemd knows it, also
// of processes that have ended. On a host where it has no cgroup, as in some containers, their processes are added up.
type agentsMeter struct {
	slice []cpuStat // the first that exists is read
	last  map[string]time.Duration
	procs map[process.Ident]Usage // at the last call; nil: there was none
	debt  time.Duration           // of processes that have ended: their parents' times have it, too
}

// cpuStat is a file with the CPU time of a cgroup.
type cpuStat struct {
	file string
	read func(file string) (time.Duration, error)
}

func newAgentsMeter(v2 cgroup2, v1 map[string]string) *agentsMeter {
	m := &agentsMeter{last: map[string]time.Duration{}}
	if v2.dir != "" {
		m.slice = append(m.slice, cpuStat{filepath.Join(v2.dir, process.AgentSlice, "cpu.stat"), func(file string) (time.Duration, error) {
			us, err := keyValue(file, "usage_usec")
			return time.Duration(us) * time.Microsecond, err
		}})
	}
	if dir := v1["cpuacct"]; dir != "" {
		m.slice = append(m.slice, cpuStat{filepath.Join(dir, process.AgentSlice, "cpuacct.usage"), func(file string) (time.Duration, error) {
			ns, err := readInt(file)
			return time.Duration(ns), err
		}})
	}
	return m
}

// read returns what the agents have used since the last call.
func (m *agentsMeter) read(procs []Usage) (time.Duration, error) {
	used := m.add(procs)
	for _, s := range m.slice {
		now, err := s.read(s.file)
		if process.Gone(err) || errors.Is(err, errors.ErrUnsupported) {
			delete(m.last, s.file)
			continue
		}
		if err != nil {
			return 0, err
		}
		before, known := m.last[s.file]
		m.last[s.file] = now
		if known && now >= before { // else the slice is new: the processes tell
			used = now - before
		}
		break
	}
	return used, nil
}

// add returns what the agents' processes have used since the last call, and their children that have ended.
func (m *agentsMeter) add(procs []Usage) (used time.Duration) {
	next := make(map[process.Ident]Usage, len(m.procs))
	for i := range procs {
		if u := procs[i]; u.Owner.Agent {
			next[u.Ident] = u
		}
	}
	for id, u := range m.procs {
		if _, lives := next[id]; !lives {
			m.debt += u.CPU + u.Children
		}
	}
	for id, u := range next {
		before := m.procs[id] // zero: it has begun since
		if m.procs == nil {
			before = u
		}
		children := u.Children - before.Children
		paid := min(m.debt, children)
		m.debt -= paid
		used += u.CPU - before.CPU + children - paid
	}
	m.procs = next
	return max(0, used)
}
