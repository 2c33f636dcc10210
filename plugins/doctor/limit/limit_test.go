package limit

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
)

// play feeds the use of one process, in per cent of one core per second. It returns the second in which the process is
// a hog first, -1 if it never is.
func play(l Limits, host sample.Host, percents []float64) int {
	w := NewWindows(l, Readers{})
	at := time.Unix(1000, 0)
	var used time.Duration
	for i, p := range append([]float64{0}, percents...) {
		if i > 0 {
			at = at.Add(time.Second)
			used += time.Duration(p * float64(time.Second) / 100)
		}
		s := sample.Sample{Time: at, Host: host, Procs: []sample.Usage{{Ident: process.Ident{PID: 7, Start: 1}, CPU: used, RSS: int64(p) << 20}}}
		if len(w.Add(s)) > 0 {
			return i
		}
	}
	return -1
}

func times(n int, v ...float64) []float64 {
	var list []float64
	for range n {
		list = append(list, v...)
	}
	return list
}

func TestWindowsCPU(t *testing.T) {
	l := Limits{CPU: 80, CPUFor: 10 * time.Second}
	for name, test := range map[string]struct {
		percents []float64
		cores    float64
		want     int
	}{
		"a busy loop":                      {times(20, 100), 2, 10},
		"after a quiet time":               {append(times(30, 2), times(20, 100)...), 2, 40},
		"nine seconds are no window":       {times(9, 100), 2, -1},
		"below the limit":                  {times(60, 79), 2, -1},
		"one slow second acquits none":     {append(append(times(5, 100), 45), times(20, 100)...), 2, 10},
		"one pause acquits none":           {append(append(times(5, 100), 0), times(20, 100)...), 2, 10},
		"busy for 83 % of the time":        {times(10, 100, 100, 100, 100, 100, 0), 2, 10},
		"busy for 60 % of the time":        {times(20, 100, 100, 100, 0, 0), 2, -1},
		"in short bursts, half a core":     {times(30, 200, 0, 0, 0), 4, -1},
		"four threads, half of the time":   {times(10, 400, 400, 0, 0), 4, 10},
		"one burst of four threads":        {append(times(3, 400), times(30, 0)...), 4, -1},
		"busy, then done":                  {append(times(9, 100), times(30, 0)...), 2, -1},
		"half a core of capacity is all":   {times(20, 49), 0.5, 10},
		"half a core, and it takes a part": {times(60, 30), 0.5, -1},
		"rises late":                       {append(times(30, 50), times(20, 100)...), 2, 36},
	} {
		t.Run(name, func(t *testing.T) {
			if got := play(l, sample.Host{Cores: test.cores}, test.percents); got != test.want {
				t.Errorf("a hog after %d s, want %d", got, test.want)
			}
		})
	}
}

// TestWindowsAgents has an agent of troop beside a process that does the same: only that one is a hog. Its memory is
// judged like any other's.
func TestWindowsAgents(t *testing.T) {
	w := NewWindows(Limits{CPU: 80, CPUFor: 3 * time.Second, Memory: 50, MemoryFor: 3 * time.Second}, Readers{})
	var got []string
	for i := range 6 {
		used := time.Duration(i) * time.Second
		s := sample.Sample{Time: time.Unix(1000+int64(i), 0), Host: sample.Host{Cores: 2, MemoryTotal: 1000}, Procs: []sample.Usage{
			{Ident: process.Ident{PID: 7, Start: 1}, CPU: used, RSS: 1, Owner: process.Owner{UID: 990, Agent: true}},
			{Ident: process.Ident{PID: 8, Start: 1}, CPU: used, RSS: 1, Owner: process.Owner{UID: 991}},
			{Ident: process.Ident{PID: 9, Start: 1}, RSS: 600, Owner: process.Owner{UID: 990, Agent: true}},
		}}
		got = got[:0]
		for _, h := range w.Add(s) {
			got = append(got, h.Key())
		}
	}
	if want := []string{"8@1/cpu", "9@1/memory"}; !slices.Equal(got, want) {
		t.Errorf("hogs %v, want %v", got, want)
	}
	if p := w.Percent(process.Ident{PID: 7, Start: 1}); p != 100 {
		t.Errorf("the agent used %g %%, want 100", p)
	}
}

// TestWindowsStarved has a host that gives a process a fifth of a core, whatever it wants.
func TestWindowsStarved(t *testing.T) {
	for name, test := range map[string]struct {
		wait   time.Duration // a second
		sleeps int64         // a second
		used   float64
		want   bool
	}{
		"spins":                         {800 * time.Millisecond, 0, 20, true},
		"works and sleeps":              {700 * time.Millisecond, 50, 20, false},
		"sleeps half of the time":       {300 * time.Millisecond, 1, 20, false},
		"gets next to nothing":          {950 * time.Millisecond, 0, 5, false},
		"spins, and once in a while IO": {790 * time.Millisecond, 1, 20, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := process.Thread{TID: 7}
			w := NewWindows(Limits{CPU: 80, CPUFor: 10 * time.Second}, Readers{Demand: func(process.Ident) (process.Demand, error) { return process.Demand{now}, nil }})
			at := time.Unix(1000, 0)
			var used time.Duration
			first := -1
			for s := range 30 {
				at = at.Add(time.Second)
				used += time.Duration(test.used * float64(time.Second) / 100)
				now.Run = used
				now.Wait += test.wait
				now.Sleeps += test.sleeps
				if hogs := w.Add(sample.Sample{Time: at, Procs: []sample.Usage{{Ident: process.Ident{PID: 7, Start: 1}, CPU: used}}}); len(hogs) > 0 && first < 0 {
					first = s
					if hogs[0].Waited < 50 {
						t.Errorf("waited %.0f %%", hogs[0].Waited)
					}
				}
			}
			if got := first >= 0; got != test.want || got && first > 12 {
				t.Errorf("a hog in sample %d, want one: %v", first, test.want)
			}
		})
	}
}

func TestWindowsMemory(t *testing.T) {
	l := Limits{Memory: 50, MemoryFor: 5 * time.Second}
	host := sample.Host{MemoryTotal: 100 << 20} // play's per cent are MiB
	for name, test := range map[string]struct {
		percents []float64
		want     int
	}{
		"keeps half":    {times(10, 60), 6},
		"lets go once":  {append(append(times(4, 60), 10), times(10, 60)...), 11},
		"takes a third": {times(30, 33), -1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := play(l, host, test.percents); got != test.want {
				t.Errorf("a hog after %d s, want %d", got, test.want)
			}
		})
	}
}

// TestGrowth has a process that takes 25 MiB a second of a host of 1 GiB, on which it would be full after 33 s, and one that stops
// in time.
func TestGrowth(t *testing.T) {
	const total = 1000
	for name, test := range map[string]struct {
		grows func(second int) int // MiB
		want  int                  // second in which it is a hog first; -1: never
	}{
		"25 MiB a second": {func(s int) int { return 25 * s }, 14},
		"5 MiB a second":  {func(s int) int { return 5 * s }, 110}, // half of the memory for the window
		"stops early":     {func(s int) int { return min(25*s, 240) }, -1},
		"a large start":   {func(int) int { return 400 }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWindows(Limits{Memory: 50, MemoryFor: 10 * time.Second}, Readers{})
			got := -1
			for second := range 150 {
				mib := test.grows(second)
				h := sample.Host{MemoryTotal: total << 20, Memory: 100 * float64(mib+170) / total}
				s := sample.Sample{Time: time.Unix(int64(1000+second), 0), Host: h, Procs: []sample.Usage{{Ident: process.Ident{PID: 7, Start: 1}, RSS: int64(mib) << 20}}}
				if hogs := w.Add(s); len(hogs) > 0 && got < 0 {
					got = second
					if full := hogs[0].Full; name == "25 MiB a second" && (full < 10*time.Second || full > 20*time.Second) {
						t.Errorf("full in %s", full)
					}
				}
			}
			if got != test.want {
				t.Errorf("a hog after %d s, want %d", got, test.want)
			}
		})
	}
}

// TestUserMemory has processes of a user that take too much memory together only.
func TestUserMemory(t *testing.T) {
	for name, test := range map[string]struct {
		each, shared int // MiB of each of ten processes, and how much of it all share
		session      bool
		want         []string
	}{
		"together":         {6, 0, true, []string{"user-1001/memory"}},
		"shared":           {6, 5, true, nil},
		"less":             {4, 0, true, nil},
		"a system service": {6, 0, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWindows(Limits{Memory: 50, MemoryFor: 5 * time.Second}, Readers{Share: func(process.Ident) (int64, error) {
				return int64(test.each-test.shared)<<20 + int64(test.shared)<<20/10, nil
			}})
			var got []string
			for second := range 10 {
				s := sample.Sample{Time: time.Unix(int64(1000+second), 0), Host: sample.Host{MemoryTotal: 100 << 20, Memory: 70}}
				for pid := range 10 {
					s.Procs = append(s.Procs, sample.Usage{
						Ident: process.Ident{PID: pid + 10, Start: 1}, RSS: int64(test.each) << 20, Owner: process.Owner{UID: 1001, Session: test.session},
					})
				}
				if test.session {
					s.Users = []sample.UserUsage{{UID: 1001}}
				}
				got = nil
				for _, h := range w.Add(s) {
					got = append(got, h.Key())
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("hogs %v, want %v", got, test.want)
			}
		})
	}
}

// TestWindowsReusedPID gives a pid to a new process every two seconds: none of them is a hog.
func TestWindowsReusedPID(t *testing.T) {
	w := NewWindows(Limits{CPU: 80, CPUFor: 3 * time.Second}, Readers{})
	at := time.Unix(1000, 0)
	for i := range 20 {
		at = at.Add(time.Second)
		// Every two seconds another process has the pid; each is busy.
		u := sample.Usage{Ident: process.Ident{PID: 7, Start: uint64(i / 2)}, CPU: time.Duration(i%2) * time.Second}
		if hogs := w.Add(sample.Sample{Time: at, Procs: []sample.Usage{u}}); len(hogs) > 0 {
			t.Fatalf("second %d: %v is a hog", i, hogs[0].Ident)
		}
	}
	if len(w.tracks) != 1 {
		t.Errorf("%d processes followed, want 1", len(w.tracks))
	}
}

func TestAlarm(t *testing.T) {
	for name, test := range map[string]struct {
		values []float64
		want   string // one letter a second: . unchanged, R raised, C cleared
	}{
		"stays above":       {times(8, 70), "...R...."},
		"stays below":       {times(8, 59), "........"},
		"a spike":           {[]float64{0, 100, 0, 0, 0, 0, 0}, "......."},
		"between":           {append(times(5, 70), times(6, 57)...), "...R......."},
		"recovers":          {append(times(5, 70), times(6, 10)...), "...R...C..."},
		"not before cooled": {append(append(times(5, 70), times(4, 10)...), times(9, 70)...), "...R...C.........R"},
		"unknown":           {times(6, -1), "......"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Alarm{Limit: 60, Window: 3 * time.Second, Cooldown: 10 * time.Second}
			got := ""
			at := time.Unix(1000, 0)
			for _, v := range test.values {
				at = at.Add(time.Second)
				c, _ := a.Add(at, v)
				got += string(".RC"[c])
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	off := Alarm{Window: time.Second}
	if c, _ := off.Add(time.Now(), 100); c != Unchanged {
		t.Error("an alarm without a limit was raised")
	}
}
