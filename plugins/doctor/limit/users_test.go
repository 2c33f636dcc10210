package limit

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
)

// host plays a user's processes: use of each in per cent of one core a second, and of processes that nobody sees.
type host struct {
	t      *testing.T
	w      *Windows
	at     time.Time
	used   map[int]time.Duration
	user   time.Duration
	demand map[int]process.Demand
}

func newHost(t *testing.T) *host {
	h := &host{t: t, at: time.Unix(1000, 0), used: map[int]time.Duration{}, demand: map[int]process.Demand{}}
	h.w = NewWindows(Limits{CPU: 80, CPUFor: 10 * time.Second}, Readers{Demand: func(id process.Ident) (process.Demand, error) {
		return h.demand[id.PID], nil
	}})
	return h
}

// second plays a second and returns the keys of the hogs. wait says that a process waits for a core all the time that it
// does not run.
func (h *host) second(percents map[int]float64, unseen float64, wait bool) []string {
	h.at = h.at.Add(time.Second)
	s := sample.Sample{Time: h.at}
	h.user += time.Duration(unseen * float64(time.Second) / 100)
	for pid, p := range percents {
		d := time.Duration(p * float64(time.Second) / 100)
		h.used[pid] += d
		h.user += d
		if wait {
			before := process.Thread{TID: pid}
			if len(h.demand[pid]) > 0 {
				before = h.demand[pid][0]
			}
			h.demand[pid] = process.Demand{{TID: pid, Run: h.used[pid], Wait: before.Wait + time.Second - d}}
		}
		s.Procs = append(s.Procs, sample.Usage{Ident: process.Ident{PID: pid, Start: 1}, CPU: h.used[pid], Owner: process.Owner{UID: 1001, Session: true}})
	}
	s.Users = []sample.UserUsage{{UID: 1001, CPU: h.user}}
	var keys []string
	for _, hog := range h.w.Add(s) {
		keys = append(keys, hog.Key())
	}
	return keys
}

func shares(n int, percent float64) map[int]float64 {
	m := map[int]float64{}
	for pid := range n {
		m[pid+10] = percent
	}
	return m
}

// TestUsers has swarms of one user that are no hogs one by one, and processes that are.
func TestUsers(t *testing.T) {
	for name, test := range map[string]struct {
		percents map[int]float64
		unseen   float64
		wait     bool
		want     string
	}{
		"children of 200 ms, a core":      {shares(1, 1), 97, false, "[user-1001/cpu]"},
		"the same, half a core":           {shares(1, 1), 50, false, "[]"},
		"60 processes of a fork bomb":     {shares(60, 3), 0, false, "[user-1001/cpu]"},
		"six spinners on one core":        {shares(6, 16), 0, true, "[user-1001/cpu]"},
		"fourteen spinners on one core":   {shares(14, 7), 0, true, "[user-1001/cpu]"},
		"six spinners on a busy host":     {shares(6, 9), 0, true, "[user-1001/cpu]"},
		"six spinners on six cores":       {shares(6, 100), 0, false, "[user-1001/cpu]"},
		"one process":                     {shares(1, 100), 0, false, "[10@1/cpu]"},
		"one process and a quiet user":    {map[int]float64{10: 100, 11: 30}, 0, false, "[10@1/cpu]"},
		"spins on a host that is shared":  {shares(1, 20), 0, true, "[10@1/cpu]"},
		"many processes that sleep a lot": {shares(30, 2), 0, false, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.second(test.percents, 0, test.wait)
			var got []string
			for range 13 {
				got = h.second(test.percents, test.unseen, test.wait)
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("hogs %v, want %s", got, test.want)
			}
		})
	}
}

// TestWaiting has six processes that spin beside one that works, on a host that gives all too little: they are one hog, of
// those that spin.
func TestWaiting(t *testing.T) {
	h := newHost(t)
	procs := shares(7, 9)
	for range 14 {
		h.second(procs, 0, true)
		h.demand[16] = nil // it does not spin
	}
	var pids []int
	for _, x := range h.w.Waiting(1001) {
		pids = append(pids, x.PID)
	}
	slices.Sort(pids)
	if want := []int{10, 11, 12, 13, 14, 15}; !slices.Equal(pids, want) {
		t.Errorf("%v wait, want %v", pids, want)
	}
	if len(h.w.hogs) != 1 || h.w.hogs[0].UID != 1001 || h.w.hogs[0].Value < 50 || h.w.hogs[0].Waited < 500 {
		t.Errorf("hogs %+v", h.w.hogs)
	}
}

// TestSetApart has a hog among processes that are none. Neither while it runs nor after its end are they a hog with it.
func TestSetApart(t *testing.T) {
	h := newHost(t)
	procs := map[int]float64{10: 95, 11: 25, 12: 25}
	for i := range 40 {
		for _, key := range h.second(procs, 0, false) {
			if key != "10@1/cpu" {
				t.Fatalf("second %d: %s is a hog", i, key)
			}
		}
		if i == 20 {
			delete(procs, 10)
		}
	}
	// A second one comes, and more than the limit beside it.
	procs = map[int]float64{10: 100}
	h = newHost(t)
	for range 15 {
		h.second(procs, 0, false)
	}
	procs = map[int]float64{10: 100, 11: 50, 12: 50}
	for range 15 {
		h.second(procs, 0, false)
	}
	if got := fmt.Sprint(h.second(procs, 0, false)); got != "[10@1/cpu user-1001/cpu]" {
		t.Errorf("hogs %s, want the process and the others together", got)
	}
}

// TestStaggered has six processes that begin to spin a second after each other: they are one hog.
func TestStaggered(t *testing.T) {
	h := newHost(t)
	h.second(nil, 0, false)
	procs := map[int]float64{}
	for i := range 30 {
		if i < 6 {
			procs[10+i] = 100
		}
		for _, key := range h.second(procs, 0, false) {
			if key != "user-1001/cpu" {
				t.Fatalf("second %d: %s is a hog", i, key)
			}
		}
	}
	if h.w.Percent(process.Ident{PID: 15, Start: 1}) < 99 || h.w.Apart(process.Ident{PID: 10, Start: 1}) {
		t.Error("want the processes followed, and none set apart")
	}
}

// TestThreads has a process with threads that wait for a core most of the time: two burn, and the main thread sleeps.
func TestThreads(t *testing.T) {
	w := NewWindows(Limits{CPU: 80, CPUFor: 10 * time.Second}, Readers{})
	var now process.Demand
	w.read.Demand = func(process.Ident) (process.Demand, error) { return now, nil }
	var got []Hog
	for s := range 15 {
		run := time.Duration(s) * 260 * time.Millisecond
		now = process.Demand{
			{TID: 7, Run: time.Duration(s) * time.Millisecond, Sleeps: int64(100 * s)},
			{TID: 8, Run: run, Wait: time.Duration(s)*time.Second - run},
			{TID: 9, Run: run, Wait: time.Duration(s)*time.Second - run},
		}
		got = w.Add(sample.Sample{Time: time.Unix(int64(1000+s), 0), Procs: []sample.Usage{{Ident: process.Ident{PID: 7, Start: 1}, CPU: 2 * run}}})
	}
	if len(got) != 1 || got[0].Value < 50 || got[0].Value > 54 || got[0].Waited < 140 {
		t.Errorf("got %+v, want a hog that uses 52 %% of 200 %%", got)
	}
}

// TestHurry has a hog that came back: its window is shorter.
func TestHurry(t *testing.T) {
	for returns, want := range map[int]int{0: 10, 1: 5, 2: 3, 9: 3} {
		h := newHost(t)
		h.second(shares(1, 0), 0, false)
		first := -1
		for s := 1; s <= 12 && first < 0; s++ {
			h.w.Hurry(Hog{Ident: process.Ident{PID: 10, Start: 1}}, returns)
			if len(h.second(shares(1, 100), 0, false)) > 0 {
				first = s
			}
		}
		if first != want {
			t.Errorf("after %d returns a hog in second %d, want %d", returns, first, want)
		}
	}
}
