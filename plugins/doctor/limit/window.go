// Package limit detects excessive use: by a process over a window of samples, or of the host itself. It has no side effects,
// so that a recording can be replayed. The doctor's agent and its action rehearse run it; the doctor plugin and its packages
// ladder and record import it.
package limit

import (
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
)

// Hog is a process that stayed above a limit for the whole window.
type Hog struct {
	process.Ident
	Resource string        // cpu or memory
	Value    float64       // cpu: per cent of one core over the window; memory: per cent of the host's
	Limit    float64       // per cent, as Value
	Window   time.Duration // length of the window
	Waited   float64       // cpu: per cent of the window that it waited for a core, if that decided
}

// Key identifies the hog: a process may exceed several limits.
func (h Hog) Key() string { return h.String() + "/" + h.Resource }

// Limits are the limits for a process. A limit of zero is off.
type Limits struct {
	CPU       float64 // per cent of one core
	CPUFor    time.Duration
	Memory    float64 // per cent of the host's memory
	MemoryFor time.Duration
}

// Windows tracks every process from sample to sample. A process is a hog if its total use over the whole window is above the
// CPU limit; pauses do not matter. Each half of the window and the last interval must reach half of the limit, so that one
// burst, or use that has just ended, does not count. The window starts with the first interval of that use.
//
// If many processes share a core, none reaches the limit although the host is overloaded. So a spinning process is a hog,
// too: it never sleeps voluntarily, and it runs or waits for a core for the limit's share of the window. A process that also
// sleeps is not a hog, however long it waits.
type Windows struct {
	limits Limits
	demand func(process.Ident) (process.Demand, error) // nil: unknown
	tracks map[process.Ident]*track
	last   time.Time
	hogs   []Hog
}

type track struct {
	last    time.Duration // CPU at the last sample
	points  []point       // of the window, and the youngest before it; empty: the process is idle
	spin    *spinning     // since it last slept; nil: it does not spin
	memory  time.Time     // since when it is above the memory limit; zero: it is not
	seen    time.Time
	percent float64 // of one core, since the last sample
}

type point struct {
	at  time.Time
	cpu time.Duration
}

// spinning is the state of a process when it began to spin.
type spinning struct {
	point
	process.Demand
	last   time.Duration // CPU and wait at the last sample
	lastAt time.Time
}

const (
	spinShare  = 10 // a process that gets less than this part of the limit is not judged
	spinSleeps = 1  // most sleeps per second of a process that spins
)

// NewWindows returns empty windows. d returns the demand of a process; nil: only usage counts.
func NewWindows(l Limits, d func(process.Ident) (process.Demand, error)) *Windows {
	return &Windows{limits: l, demand: d, tracks: map[process.Ident]*track{}}
}

// Add adds the next sample and returns the hogs, valid until the next call.
func (w *Windows) Add(s sample.Sample) []Hog {
	w.hogs = w.hogs[:0]
	step := s.Time.Sub(w.last)
	limit := w.cpuLimit(s.Host)
	for i := range s.Procs {
		u := &s.Procs[i]
		if u.Kernel {
			continue
		}
		t := w.tracks[u.Ident]
		if t == nil {
			t = &track{last: u.CPU}
			w.tracks[u.Ident] = t
		} else if step > 0 {
			t.percent = 100 * float64(u.CPU-t.last) / float64(step)
			if !w.cpu(u, t, s.Time, limit) {
				w.spins(u, t, s.Time, limit)
			}
		}
		t.last, t.seen = u.CPU, s.Time
		w.memory(u, t, s)
	}
	for id, t := range w.tracks {
		if !t.seen.Equal(s.Time) {
			delete(w.tracks, id)
		}
	}
	w.last = s.Time
	return w.hogs
}

// cpuLimit is the limit in per cent of one core. On a host with less than one core it is a share of what the host has.
func (w *Windows) cpuLimit(h sample.Host) float64 {
	if h.Cores > 0 && h.Cores < 1 {
		return w.limits.CPU * h.Cores
	}
	return w.limits.CPU
}

// cpu judges what a process used, and reports whether it is a hog for it.
func (w *Windows) cpu(u *sample.Usage, t *track, now time.Time, limit float64) bool {
	if limit <= 0 {
		return false
	}
	if len(t.points) == 0 {
		if t.percent < limit/2 {
			return false
		}
		t.points = append(t.points, point{at: w.last, cpu: t.last}) // the interval that ends now is the first
	}
	t.points = append(t.points, point{at: now, cpu: u.CPU})
	from := lastBefore(t.points, now.Add(-w.limits.CPUFor))
	t.points = append(t.points[:0], t.points[from:]...)
	first, last := t.points[0], t.points[len(t.points)-1]
	if last.at.Sub(first.at) < w.limits.CPUFor {
		return false
	}
	middle := t.points[lastBefore(t.points, now.Add(-w.limits.CPUFor/2))]
	v := rate(first, last)
	if v < limit/2 {
		t.points = t.points[:0]
	}
	if v < limit || rate(first, middle) < limit/2 || rate(middle, last) < limit/2 || t.percent < limit/2 {
		return false
	}
	w.hogs = append(w.hogs, Hog{Ident: u.Ident, Resource: "cpu", Value: v, Limit: limit, Window: last.at.Sub(first.at)})
	return true
}

// lastBefore is the index of the youngest point that is not younger than at; 0 when all are.
func lastBefore(points []point, at time.Time) int {
	i := 0
	for i+1 < len(points) && !points[i+1].at.After(at) {
		i++
	}
	return i
}

// rate is the usage between two points, in per cent of one core.
func rate(a, b point) float64 {
	if d := b.at.Sub(a.at); d > 0 {
		return 100 * float64(b.cpu-a.cpu) / float64(d)
	}
	return 0
}

// spins judges what a process wanted.
func (w *Windows) spins(u *sample.Usage, t *track, now time.Time, limit float64) {
	if w.demand == nil || limit <= 0 || t.percent < limit/spinShare {
		t.spin = nil
		return
	}
	d, err := w.demand(u.Ident)
	if err != nil { // the process is judged by its usage only
		t.spin = nil
		return
	}
	sum := u.CPU + d.Wait
	s := t.spin
	if s != nil {
		step, age := now.Sub(s.lastAt), now.Sub(s.at)
		wanted := 100 * float64(sum-s.last) / float64(step)
		if step <= 0 || wanted < limit/2 || float64(d.Sleeps-s.Sleeps) > spinSleeps*age.Seconds() {
			s = nil
		}
	}
	if s == nil {
		t.spin = &spinning{point: point{at: now, cpu: u.CPU}, Demand: d, last: sum, lastAt: now}
		return
	}
	s.last, s.lastAt = sum, now
	age := now.Sub(s.at)
	if age < w.limits.CPUFor || 100*float64(sum-s.cpu-s.Wait)/float64(age) < limit {
		return
	}
	w.hogs = append(w.hogs, Hog{
		Ident: u.Ident, Resource: "cpu", Value: 100 * float64(u.CPU-s.cpu) / float64(age), Limit: limit, Window: age,
		Waited: 100 * float64(d.Wait-s.Wait) / float64(age),
	})
}

func (w *Windows) memory(u *sample.Usage, t *track, s sample.Sample) {
	if w.limits.Memory <= 0 || s.Host.MemoryTotal <= 0 {
		return
	}
	v := s.Host.Share(u.RSS)
	if v < w.limits.Memory {
		t.memory = time.Time{}
		return
	}
	if t.memory.IsZero() {
		t.memory = s.Time
	}
	if age := s.Time.Sub(t.memory); age >= w.limits.MemoryFor {
		w.hogs = append(w.hogs, Hog{Ident: u.Ident, Resource: "memory", Value: v, Limit: w.limits.Memory, Window: age})
	}
}

// Percent returns the usage of a process between the last two samples, in per cent of one core.
func (w *Windows) Percent(id process.Ident) float64 {
	if t := w.tracks[id]; t != nil {
		return t.percent
	}
	return 0
}

// Alive reports whether the process was in the last sample.
func (w *Windows) Alive(id process.Ident) bool { return w.tracks[id] != nil }

// Demand returns the demand of a process, and whether it is known.
func (w *Windows) Demand(id process.Ident) (process.Demand, bool) {
	if w.demand == nil {
		return process.Demand{}, false
	}
	d, err := w.demand(id)
	return d, err == nil
}
