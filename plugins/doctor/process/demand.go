package process

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Demand is what each thread of a process has asked of the cores since it began. Threads that have never run are missing.
type Demand []Thread

// Thread is the demand of one thread.
type Thread struct {
	TID    int           `json:"tid"`
	Run    time.Duration `json:"run_ns"`
	Wait   time.Duration `json:"wait_ns"` // runnable, but waiting for a core
	Sleeps int64         `json:"sleeps"`  // voluntary context switches
}

const (
	maxThreads  = 512                   // of one process that are read
	maxDemands  = 128                   // processes whose last demand is kept
	demandDelta = 10 * time.Millisecond // a thread that asked for less since the last reading keeps its number of sleeps
)

// DemandReader reads the demand of processes. It keeps the last one of each, since the number of sleeps is expensive to
// read and changes only when a thread has run. Not for concurrent use.
type DemandReader struct {
	proc string
	last map[Ident]map[int]Thread
}

// NewDemandReader returns a reader of the processes in proc (/proc).
func NewDemandReader(proc string) *DemandReader {
	return &DemandReader{proc: proc, last: map[Ident]map[int]Thread{}}
}

// Read reads the demand of a process. ErrGone means that it has ended.
func (r *DemandReader) Read(id Ident) (Demand, error) {
	dir := folder(r.proc, id.PID)
	st, err := ReadStat(dir)
	if err != nil {
		return nil, err
	}
	if st.Start != id.Start {
		return nil, ErrGone
	}
	before := r.last[id]
	now := map[int]Thread{}
	var demand Demand
	for _, thread := range threads(dir) {
		if len(demand) == maxThreads {
			break
		}
		t, err := readThread(thread, before)
		if err != nil || t.Run == 0 { // it has just ended, or never ran
			continue
		}
		now[t.TID] = t
		demand = append(demand, t)
	}
	if len(demand) == 0 {
		return nil, ErrGone
	}
	if len(r.last) >= maxDemands {
		clear(r.last)
	}
	r.last[id] = now
	return demand, nil
}

func readThread(dir string, before map[int]Thread) (Thread, error) {
	tid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		return Thread{}, err
	}
	sched, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return Thread{}, asGone(err)
	}
	f := strings.Fields(string(sched)) // ns on a core, ns in the queue, turns
	if len(f) != 3 {
		return Thread{}, fmt.Errorf("parse schedstat of %s: %d fields, want 3", dir, len(f))
	}
	run, errRun := strconv.ParseInt(f[0], 10, 64)
	wait, errWait := strconv.ParseInt(f[1], 10, 64)
	if errRun != nil || errWait != nil {
		return Thread{}, fmt.Errorf("parse schedstat of %s: %q", dir, sched)
	}
	t := Thread{TID: tid, Run: time.Duration(run), Wait: time.Duration(wait)}
	if last, ok := before[tid]; ok && t.Run+t.Wait-last.Run-last.Wait < demandDelta {
		t.Sleeps = last.Sleeps
		return t, nil
	}
	t.Sleeps, err = readSleeps(dir)
	return t, err
}

func readSleeps(dir string) (int64, error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, asGone(err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("parse status of %s: no voluntary_ctxt_switches", dir)
}

// TopThreads lists the threads of a process that have used most CPU time since they began: id, name and seconds.
func TopThreads(proc string, pid, most int) []string {
	type use struct {
		tid int
		Stat
	}
	var list []use
	for _, dir := range threads(folder(proc, pid)) {
		tid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if st, err := ReadStat(dir); err == nil && st.CPU > 0 {
			list = append(list, use{tid, st})
		}
	}
	slices.SortFunc(list, func(a, b use) int { return cmp.Compare(b.CPU, a.CPU) })
	lines := make([]string, 0, most)
	for _, u := range list[:min(len(list), most)] {
		lines = append(lines, fmt.Sprintf("%d %s (%.1f s)", u.tid, u.Comm, u.CPU.Seconds()))
	}
	return lines
}
