// Package limit detects excessive use: by a process or by a user over a window of samples, or of the host itself. It has no
// side effects, so that a recording can be replayed. The doctor's agent and its action rehearse run it; the doctor plugin
// and its packages ladder and record import it.
package limit

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
)

// Hog is a process, or all processes of a user's sessions together, that stayed above a limit for the whole window.
type Hog struct {
	process.Ident
	UID      uint32        // of the user whose processes it is together; 0: it is one process
	Resource string        // cpu or memory
	Value    float64       // cpu: per cent of one core over the window; memory: per cent of the host's
	Limit    float64       // per cent, as Value
	Window   time.Duration // length of the window
	Full     time.Duration // memory: in what time the host is full if the process grows on like that; 0: not soon
	Waited   float64       // cpu: per cent of the window that its threads waited for a core, if that decided
}

// Key identifies the hog: a process may exceed several limits.
func (h Hog) Key() string {
	if h.UID != 0 {
		return "user-" + strconv.FormatUint(uint64(h.UID), 10) + "/" + h.Resource
	}
	return h.String() + "/" + h.Resource
}

// Limits are the limits for a process, and for all processes of a user's sessions together. A limit of zero is off.
type Limits struct {
	CPU       float64 // per cent of one core
	CPUFor    time.Duration
	Memory    float64 // per cent of the host's memory
	MemoryFor time.Duration
}

// Readers read more about a process than a sample has. They are called for few processes.
type Readers struct {
	Demand func(process.Ident) (process.Demand, error) // nil: only usage counts
	Share  func(process.Ident) (int64, error)          // proportional share of memory in bytes; nil: the resident size counts
}

// Windows tracks every process from sample to sample. A process is a hog if its total use over the whole window is above the
// CPU limit; pauses do not matter. Each half of the window and the last interval must reach half of the limit, so that one
// burst, or use that has just ended, does not count. The window starts with the first interval of that use.
//
// The same holds for the processes of a user's sessions together: a swarm of processes, each of which lives or uses too
// little to be a hog, is one hog. A process that is a hog alone is set apart: its use does not count for its user. When
// several processes of a user become hogs within a window, they are not set apart, but are one hog together; so are several
// that spin, of which each gets too little of a core.
//
// troop's own agents are not judged by their CPU use.
//
// If many processes share a core, none reaches the limit although the host is overloaded. So a spinning process is a hog,
// too: threads that never sleep voluntarily together run or wait for a core for the limit's share of the window. A thread
// that also sleeps does not count, however long it waits.
type Windows struct {
	limits Limits
	read   Readers
	tracks map[process.Ident]*track
	users  map[uint32]*userTrack
	last   time.Time
	hogs   []Hog
	slow   map[process.Ident]bool // held to a quota
	fresh  map[uint32][]Hog       // hogs of this sample that have not been set apart, by user
}

type track struct {
	series
	uid    uint32            // of the user whose account it is in; 0: none
	apart  bool              // it is judged by itself only
	spin   map[int]*spinning // threads that have not slept, by id
	memory time.Time         // since when it is above the memory limit; zero: it is not
	rss    int64             // at the last sample
	growth float64           // of rss, bytes per second
	grew   int               // intervals in a row in which it grew like that
}

type userTrack struct {
	series
	gone   time.Duration // CPU of processes that were set apart and have ended
	hogged time.Time     // when it was a hog last
	memory time.Time     // since when its processes are above the memory limit; zero: they are not
}

// spinning is the state of a thread when it began to spin.
type spinning struct {
	process.Thread
	at     time.Time
	last   time.Duration // run and wait at the last sample
	lastAt time.Time
}

const (
	// userStill is the share of the limit that a user's last interval must reach. It is high: what other processes of the
	// user use must not be taken for a hog that has just ended.
	userStill = 0.75

	spinShare  = 10 // a process that gets less than this part of the limit is not judged by what it wants
	spinSleeps = 1  // most sleeps per second of a thread that spins
)

// NewWindows returns empty windows.
func NewWindows(l Limits, r Readers) *Windows {
	return &Windows{limits: l, read: r, tracks: map[process.Ident]*track{}, users: map[uint32]*userTrack{}, fresh: map[uint32][]Hog{}}
}

// Add adds the next sample and returns the hogs, valid until the next call.
func (w *Windows) Add(s sample.Sample) []Hog {
	w.hogs = w.hogs[:0]
	clear(w.fresh)
	step := s.Time.Sub(w.last)
	limit := w.cpuLimit(s.Host)
	accounts := make(map[uint32]bool, len(s.Users))
	for _, u := range s.Users {
		accounts[u.UID] = true
	}
	for i := range s.Procs {
		u := &s.Procs[i]
		if u.Kernel {
			continue
		}
		t := w.tracks[u.Ident]
		if t == nil {
			t = &track{series: series{last: u.CPU}}
			w.tracks[u.Ident] = t
		} else if step > 0 {
			w.follow(u, t, s.Time, step, limit, accounts)
		}
		t.last, t.seen = u.CPU, s.Time
		w.memory(u, t, s)
	}
	w.forget(s.Time)
	w.judgeUsers(s, step, limit)
	w.userMemory(s)
	w.last = s.Time
	return w.hogs
}

// follow judges the CPU use of one process.
func (w *Windows) follow(u *sample.Usage, t *track, now time.Time, step time.Duration, limit float64, accounts map[uint32]bool) {
	t.uid = 0
	if u.Owner.Session && accounts[u.Owner.UID] {
		t.uid = u.Owner.UID
	}
	t.percent = 100 * float64(u.CPU-t.last) / float64(step)
	if u.Owner.Agent { // its slice has little weight: whoever else wants the CPU gets it
		return
	}
	h, is := t.add(now, w.last, u.CPU, limit, 0.5, w.limits.CPUFor)
	if !is {
		h, is = w.spins(u, t, now, limit)
	}
	switch {
	case !is:
	case t.uid == 0 || t.apart:
		h.Ident = u.Ident
		w.hogs = append(w.hogs, h)
	default:
		h.Ident = u.Ident
		w.fresh[t.uid] = append(w.fresh[t.uid], h)
	}
}

// forget drops processes that have ended.
func (w *Windows) forget(now time.Time) {
	for id, t := range w.tracks {
		if t.seen.Equal(now) {
			continue
		}
		if u := w.users[t.uid]; u != nil && t.apart {
			u.gone += t.last
		}
		delete(w.tracks, id)
	}
}

// judgeUsers judges users, after those of their processes that are hogs alone were set apart.
func (w *Windows) judgeUsers(s sample.Sample, step time.Duration, limit float64) {
	apart := map[uint32]time.Duration{}
	for _, t := range w.tracks {
		if t.apart {
			apart[t.uid] += t.last
		}
	}
	for _, u := range s.Users {
		t := w.users[u.UID]
		if t == nil {
			t = &userTrack{series: series{last: u.CPU}}
			w.users[u.UID] = t
		}
		fresh := w.fresh[u.UID]
		together := len(fresh) > 0 && w.rising(u.UID, limit) > 1 || !t.hogged.IsZero() && s.Time.Sub(t.hogged) < w.limits.CPUFor
		if len(fresh) > 0 && !together && fresh[0].Waited == 0 {
			apart[u.UID] += w.setApart(t, fresh[0], w.last)
			fresh = nil
		}
		cpu := u.CPU - apart[u.UID] - t.gone
		var h Hog
		is := false
		if step > 0 && !t.seen.IsZero() {
			t.percent = 100 * float64(cpu-t.last) / float64(step)
			h, is = t.add(s.Time, w.last, cpu, limit, userStill, w.limits.CPUFor)
		}
		t.last, t.seen = cpu, s.Time
		if is {
			h.UID = u.UID
			t.hogged = s.Time
			w.hogs = append(w.hogs, h)
			continue
		}
		// Hogs, although all together use too little: they wait for a core.
		if waiting := w.Waiting(u.UID); len(waiting) > 1 || len(waiting) == 1 && w.spinners(u.UID, s.Time) > 1 {
			t.hogged = s.Time
			w.hogs = append(w.hogs, joined(u.UID, waiting))
			fresh = slices.DeleteFunc(slices.Clone(fresh), func(h Hog) bool { return h.Waited > 0 })
		}
		for _, f := range fresh {
			w.setApart(t, f, s.Time)
		}
	}
	for uid, t := range w.users {
		if !t.seen.Equal(s.Time) {
			delete(w.users, uid)
		}
	}
}

// Waiting returns the processes of a user that spin in the last sample and get too little to be hogs by what they use,
// without those that are set apart.
func (w *Windows) Waiting(uid uint32) (list []Hog) {
	for _, h := range w.fresh[uid] {
		if h.Waited > 0 {
			list = append(list, h)
		}
	}
	return list
}

// joined makes one hog of the processes of a user that wait for a core.
func joined(uid uint32, waiting []Hog) Hog {
	h := Hog{UID: uid, Resource: "cpu", Limit: waiting[0].Limit}
	for _, x := range waiting {
		h.Value, h.Waited, h.Window = h.Value+x.Value, h.Waited+x.Waited, max(h.Window, x.Window)
	}
	return h
}

// spinners counts the processes of a user that have spun for half of the window, and may be hogs when it is over.
func (w *Windows) spinners(uid uint32, now time.Time) (n int) {
	for _, t := range w.tracks {
		if t.uid != uid || t.apart {
			continue
		}
		for _, s := range t.spin {
			if now.Sub(s.at) >= w.limits.CPUFor/2 {
				n++
				break
			}
		}
	}
	return n
}

// rising counts the processes of a user that are hogs, or will be when their window is over if they go on.
func (w *Windows) rising(uid uint32, limit float64) int {
	n := 0
	for _, t := range w.tracks {
		if t.uid == uid && !t.apart && len(t.points) > 1 && t.percent >= limit/2 && rate(t.points[0], t.points[len(t.points)-1]) >= limit {
			n++
		}
	}
	return n
}

// setApart takes a process out of its user's account, also from the past, and makes it a hog by itself. at is when the
// user's account was last brought up to date. It returns what the process has used.
func (w *Windows) setApart(user *userTrack, h Hog, at time.Time) time.Duration {
	t := w.tracks[h.Ident]
	t.apart = true
	used := func(at time.Time) time.Duration {
		if len(t.points) == 0 {
			return t.last
		}
		return t.points[lastBefore(t.points, at)].cpu
	}
	for i := range user.points {
		user.points[i].cpu -= used(user.points[i].at)
	}
	user.last -= used(at)
	w.hogs = append(w.hogs, h)
	return t.last
}

// cpuLimit is the limit in per cent of one core. On a host with less than one core it is a share of what the host has.
func (w *Windows) cpuLimit(h sample.Host) float64 {
	if h.Cores > 0 && h.Cores < 1 {
		return w.limits.CPU * h.Cores
	}
	return w.limits.CPU
}

// spins judges what a process wanted.
func (w *Windows) spins(u *sample.Usage, t *track, now time.Time, limit float64) (Hog, bool) {
	if w.read.Demand == nil || limit <= 0 || t.percent < limit/spinShare || w.slow[u.Ident] {
		t.spin = nil
		return Hog{}, false
	}
	demand, err := w.read.Demand(u.Ident)
	if err != nil { // the process is judged by its usage only
		t.spin = nil
		return Hog{}, false
	}
	h := Hog{Resource: "cpu", Limit: limit}
	next := make(map[int]*spinning, len(t.spin))
	for _, d := range demand {
		s := t.spin[d.TID].next(d, now, limit)
		next[d.TID] = s
		if age := now.Sub(s.at); age >= w.limits.CPUFor {
			h.Value += 100 * float64(d.Run-s.Run) / float64(age)
			h.Waited += 100 * float64(d.Wait-s.Wait) / float64(age)
			h.Window = max(h.Window, age)
		}
	}
	t.spin = next
	return h, h.Value+h.Waited >= limit
}

// next is the state of a thread after one more sample: it goes on spinning, or begins anew.
func (s *spinning) next(d process.Thread, now time.Time, limit float64) *spinning {
	sum := d.Run + d.Wait
	if s != nil {
		step, age := now.Sub(s.lastAt), now.Sub(s.at)
		wanted := 100 * float64(sum-s.last) / float64(max(step, 1))
		if step <= 0 || wanted < min(limit, 100)/2 || float64(d.Sleeps-s.Sleeps) > spinSleeps*age.Seconds() {
			s = nil
		}
	}
	if s == nil {
		return &spinning{Thread: d, at: now, last: sum, lastAt: now}
	}
	s.last, s.lastAt = sum, now
	return s
}

// The growth of a process's memory is told before the host is full, if the process has half of the limit.
const (
	growthShare  = 0.5
	growthNotice = 10 * time.Second // before the host is full, beside the window
	growthSmooth = 0.5              // part of the last interval in the rate
	growthSteps  = 3                // intervals in a row in which it grew: one jump is no growth
)

// grow follows how fast a process's memory grows, and returns in what time the host is full if that goes on; 0: not soon.
func (w *Windows) grow(t *track, rss int64, s sample.Sample) time.Duration {
	step := s.Time.Sub(w.last)
	if t.rss > 0 && step > 0 {
		rate := float64(rss-t.rss) / step.Seconds()
		t.growth += growthSmooth * (rate - t.growth)
		if t.grew++; rate < t.growth/2 {
			t.grew = 0
		}
	}
	t.rss = rss
	free := float64(s.Host.MemoryTotal) * (100 - min(s.Host.Memory, 100)) / 100
	if t.grew < growthSteps || t.growth <= 0 || free/t.growth > (w.limits.MemoryFor+growthNotice).Seconds() {
		return 0
	}
	return max(time.Duration(free/t.growth*float64(time.Second)), time.Second)
}

func (w *Windows) memory(u *sample.Usage, t *track, s sample.Sample) {
	if w.limits.Memory <= 0 || s.Host.MemoryTotal <= 0 {
		return
	}
	full := w.grow(t, u.RSS, s)
	bar := w.limits.Memory
	if full > 0 {
		bar *= growthShare
	}
	v := w.ownMemory(u, s.Host, bar)
	if v < bar {
		t.memory = time.Time{}
		return
	}
	if t.memory.IsZero() {
		t.memory = s.Time
	}
	if age := s.Time.Sub(t.memory); age >= w.limits.MemoryFor || full > 0 {
		w.hogs = append(w.hogs, Hog{Ident: u.Ident, Resource: "memory", Value: v, Limit: w.limits.Memory, Window: age, Full: full})
	}
}

// ownMemory is what a process has of the host's memory, in per cent. If that is less than bar, it may be too much: pages that
// it shares with others are not its own.
func (w *Windows) ownMemory(u *sample.Usage, h sample.Host, bar float64) float64 {
	v := h.Share(u.RSS)
	if v < bar || w.read.Share == nil {
		return v
	}
	share, err := w.read.Share(u.Ident)
	if err != nil {
		return 0 // what it uses is not known
	}
	return h.Share(share)
}

// userMemory judges the memory of a user's processes together, without those that are hogs alone.
func (w *Windows) userMemory(s sample.Sample) {
	if w.limits.Memory <= 0 || s.Host.MemoryTotal <= 0 {
		return
	}
	rss := map[uint32]int64{}
	each := func(do func(u *sample.Usage, uid uint32)) {
		for i := range s.Procs {
			u := &s.Procs[i]
			if t := w.tracks[u.Ident]; t != nil && t.uid != 0 && t.memory.IsZero() {
				do(u, t.uid)
			}
		}
	}
	each(func(u *sample.Usage, uid uint32) { rss[uid] += u.RSS })
	own := map[uint32]float64{}
	each(func(u *sample.Usage, uid uint32) {
		if s.Host.Share(rss[uid]) >= w.limits.Memory {
			own[uid] += w.ownMemory(u, s.Host, 0)
		}
	})
	for uid, t := range w.users {
		v := own[uid]
		if v < w.limits.Memory {
			t.memory = time.Time{}
			continue
		}
		if t.memory.IsZero() {
			t.memory = s.Time
		}
		if age := s.Time.Sub(t.memory); age >= w.limits.MemoryFor {
			w.hogs = append(w.hogs, Hog{UID: uid, Resource: "memory", Value: v, Limit: w.limits.Memory, Window: age})
		}
	}
}

// Slow says which processes are held to a quota now. They are judged by what they use only: all the time they wait.
func (w *Windows) Slow(list []process.Ident) {
	w.slow = make(map[process.Ident]bool, len(list))
	for _, id := range list {
		w.slow[id] = true
	}
}

// Percent returns the usage of a process between the last two samples, in per cent of one core.
func (w *Windows) Percent(id process.Ident) float64 {
	if t := w.tracks[id]; t != nil {
		return t.percent
	}
	return 0
}

// UserPercent returns the usage of a user between the last two samples, in per cent of one core, without processes that
// are set apart.
func (w *Windows) UserPercent(uid uint32) float64 {
	if t := w.users[uid]; t != nil {
		return t.percent
	}
	return 0
}

// Apart reports whether a process is judged by itself, and not with its user's other processes.
func (w *Windows) Apart(id process.Ident) bool {
	t := w.tracks[id]
	return t != nil && t.apart
}

// Alive reports whether the process, or a process of the user's sessions, was in the last sample.
func (w *Windows) Alive(h Hog) bool {
	if h.UID != 0 {
		return w.users[h.UID] != nil
	}
	return w.tracks[h.Ident] != nil
}

// Hurry shortens the window for a hog that has come back: each time to half, at the most to a quarter.
func (w *Windows) Hurry(h Hog, returns int) {
	if s := w.seriesOf(h); s != nil {
		s.hurry = min(returns, 2)
	}
}

func (w *Windows) seriesOf(h Hog) *series {
	if h.UID != 0 {
		if t := w.users[h.UID]; t != nil {
			return &t.series
		}
	} else if t := w.tracks[h.Ident]; t != nil {
		return &t.series
	}
	return nil
}

// Sparkline draws the CPU use of a hog over its window, an interval a character; the highest one is 100 % of a core, or
// what the hog used at most if that is more.
func (w *Windows) Sparkline(h Hog) string {
	s := w.seriesOf(h)
	if s == nil {
		return ""
	}
	var rates []float64
	most := 100.0
	for i := 1; i < len(s.points); i++ {
		r := rate(s.points[i-1], s.points[i])
		rates, most = append(rates, r), max(most, r)
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, r := range rates {
		b.WriteRune(bars[int(max(0, r)/most*float64(len(bars)-1)+0.5)])
	}
	return b.String()
}

// Demand returns the demand of a process, and whether it is known.
func (w *Windows) Demand(id process.Ident) (process.Demand, bool) {
	if w.read.Demand == nil {
		return nil, false
	}
	d, err := w.read.Demand(id)
	return d, err == nil
}
