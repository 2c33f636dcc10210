package sample

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/process"
)

// UserUsage is what the processes of one user's sessions have used together, those included that have ended.
type UserUsage struct {
	UID uint32
	CPU time.Duration // since the ledger began
}

// Member is a process's part in what its user used lately.
type Member struct {
	process.Ident
	CPU time.Duration // its own, and that of its ended children
}

// Ledger accounts for CPU time by user. Processes that live shorter than a sample are seen in two ways: in the times of
// the parent that waited for them, and in the user's slice of systemd. Only sessions count: a service of the system with a
// user of its own is judged process by process. Not for concurrent use.
type Ledger struct {
	window time.Duration
	slices string // folder of user.slice in cgroup v2; empty: unknown
	counts func(uid uint32) bool
	procs  map[process.Ident]*entry
	byPID  map[int]*entry
	users  map[uint32]*account
	tick   uint64
	now    time.Time
	turned time.Time // when the parts of members were last moved on
}

type entry struct {
	Usage
	seen   uint64
	born   time.Time     // first seen; zero: when the ledger began
	debt   time.Duration // of ended children: was counted while they lived, and is in their parent's times as well
	debtAt uint64        // when the last one ended
	// excused says that a step ended the process: what it used no longer counts against the user.
	excused bool
	part    recent // own, and of ended children
}

type account struct {
	cpu    time.Duration
	slice  time.Duration // of the user's slice at the last sample; -1: unknown
	unseen recent        // by processes that lived for a moment, and that nobody waited for
	seen   uint64
}

// NewLedger returns an empty ledger. Members have a part in about one window. counts says which users are accounted
// for; slices is the folder of user.slice in cgroup v2, if there is one.
func NewLedger(window time.Duration, slices string, counts func(uid uint32) bool) *Ledger {
	return &Ledger{
		window: window, slices: slices, counts: counts,
		procs: map[process.Ident]*entry{}, byPID: map[int]*entry{}, users: map[uint32]*account{},
	}
}

// slots is the number of parts of a window. What members used is known for a window, and up to a part more.
const slots = 5

// recent is what was used in the window, the present part first.
type recent [slots + 1]time.Duration

func (r *recent) turn() {
	copy(r[1:], r[:slots])
	r[0] = 0
}

func (r *recent) sum() (sum time.Duration) {
	for _, d := range r {
		sum += d
	}
	return sum
}

// late is what was used in the last parts: who is a hog uses much now.
func (r *recent) late() (sum time.Duration) {
	for _, d := range r[:lateSlots+1] {
		sum += d
	}
	return sum
}

const lateSlots = 2

// interval is what one user did between two samples.
type interval struct {
	live    time.Duration // by processes that live
	ended   time.Duration // by children that have ended
	inSlice time.Duration // part of live and ended of processes in the user's slice
	foreign bool          // a process of another user was started from the user's slice
}

// Add accounts for the next sample, and returns the users with a process in a session.
func (l *Ledger) Add(procs []Usage, now time.Time) []UserUsage {
	l.tick++
	began := l.now.IsZero()
	if before := l.now; before.Sub(l.turned) >= l.window/slots {
		l.turn(before) // the interval that ends now is in the new part
	}
	l.now = now
	var fresh []*entry
	old := make(map[*entry]Usage, 16)
	for i := range procs {
		u := &procs[i]
		if u.Kernel {
			continue
		}
		e := l.procs[u.Ident]
		if e == nil {
			e = &entry{Usage: *u}
			if !began {
				e.born = now
			}
			l.procs[u.Ident], l.byPID[u.PID] = e, e
			fresh = append(fresh, e)
		} else if e.CPU != u.CPU || e.Children != u.Children {
			old[e] = e.Usage
		}
		e.Usage, e.seen = *u, l.tick
	}
	l.collectDebts()
	steps := map[uint32]*interval{}
	for _, e := range l.procs {
		if e.Owner.Session && e.Owner.UID != 0 && steps[e.Owner.UID] == nil && l.counts(e.Owner.UID) {
			steps[e.Owner.UID] = &interval{}
		}
	}
	for e, before := range old {
		l.charge(e, steps, e.CPU-before.CPU, e.Children-before.Children)
	}
	for _, e := range fresh {
		if !e.born.IsZero() {
			l.charge(e, steps, e.CPU, e.Children)
		}
	}
	l.markForeign(steps)
	return l.book(steps)
}

// charge books the CPU time of a process in an interval, and that of its ended children.
func (l *Ledger) charge(e *entry, steps map[uint32]*interval, own, children time.Duration) {
	if l.tick-e.debtAt > 1 { // its parent does not wait for its children
		e.debt = 0
	}
	paid := min(e.debt, children)
	e.debt -= paid
	own, children = max(0, own), max(0, children-paid)
	e.part[0] += own + children + paid
	if a := l.users[e.Owner.UID]; a != nil && e.Owner.Session {
		a.unseen[0] = max(0, a.unseen[0]-paid) // the parent has it now
	}
	s := steps[e.Owner.UID]
	if s == nil || !e.Owner.Session {
		return
	}
	s.live += own
	s.ended += children
	if e.Owner.Slice == e.Owner.UID {
		s.inSlice += own + children
	}
}

// collectDebts forgets ended processes. What they were charged for comes back in the times of the parent that waited for
// them, so the parent owes it.
func (l *Ledger) collectDebts() {
	var gone []*entry
	for id, e := range l.procs {
		if e.seen != l.tick {
			gone = append(gone, e)
			delete(l.procs, id)
		}
	}
	// Children first: what an ended parent owed for them passes on to its own parent.
	slices.SortFunc(gone, func(a, b *entry) int { return cmp.Compare(b.Start, a.Start) })
	for _, e := range gone {
		brief := !e.born.IsZero() && l.now.Sub(e.born) < l.window/2
		if a := l.users[e.Owner.UID]; a != nil && e.Owner.Session && brief && !e.excused {
			a.unseen[0] += e.part.sum()
		}
		p := l.byPID[e.PPID]
		if p == nil || p == e || p.Start > e.Start {
			continue
		}
		if l.tick-p.debtAt > 1 {
			p.debt = 0
		}
		p.debt, p.debtAt = p.debt+e.CPU+e.Children+e.debt, l.tick
	}
	for _, e := range gone {
		if l.byPID[e.PID] == e {
			delete(l.byPID, e.PID)
		}
	}
}

// markForeign finds users from whose slice a process of somebody else was started, as sudo does: the slice's figure is
// not the user's alone.
func (l *Ledger) markForeign(steps map[uint32]*interval) {
	for _, e := range l.procs {
		s := steps[e.Owner.Slice]
		if s == nil || e.Owner.UID == e.Owner.Slice {
			continue
		}
		if p := l.byPID[e.PPID]; p != nil && p.Owner.Slice == e.Owner.Slice {
			s.foreign = true
		}
	}
}

// book adds the intervals to the users' accounts.
func (l *Ledger) book(steps map[uint32]*interval) []UserUsage {
	list := make([]UserUsage, 0, len(steps))
	for uid, s := range steps {
		a := l.users[uid]
		if a == nil {
			a = &account{slice: -1}
			l.users[uid] = a
		}
		a.seen = l.tick
		used := s.live + s.ended
		slice := l.slice(uid)
		if slice >= 0 && a.slice >= 0 && !s.foreign {
			unseen := max(0, slice-a.slice-s.inSlice)
			used += unseen
			a.unseen[0] += unseen
		}
		a.slice = slice
		a.cpu += used
		list = append(list, UserUsage{UID: uid, CPU: a.cpu})
	}
	for uid, a := range l.users {
		if a.seen != l.tick {
			delete(l.users, uid)
		}
	}
	return list
}

// slice reads what a user's slice has used; -1: unknown.
func (l *Ledger) slice(uid uint32) time.Duration {
	if l.slices == "" {
		return -1
	}
	values, err := keyValues(filepath.Join(l.slices, "user-"+strconv.FormatUint(uint64(uid), 10)+".slice", "cpu.stat"))
	if err != nil {
		return -1
	}
	return time.Duration(values["usage_usec"]) * time.Microsecond
}

// turn begins a new window for the members' parts.
func (l *Ledger) turn(now time.Time) {
	l.turned = now
	for _, e := range l.procs {
		e.part.turn()
	}
	for _, a := range l.users {
		a.unseen.turn()
	}
}

// Excuse says that a process is being ended.
func (l *Ledger) Excuse(id process.Ident) {
	if e := l.procs[id]; e != nil {
		e.excused = true
	}
}

// Busy reports whether a process, or the children that it waited for, used at least so many per cent of one core in the
// window.
func (l *Ledger) Busy(id process.Ident, percent float64) bool {
	e := l.procs[id]
	if e == nil {
		return false
	}
	return 100*float64(e.part.sum()) >= percent*float64(l.span())
}

// span is the time that the parts of members are of.
func (l *Ledger) span() time.Duration { return l.window + l.now.Sub(l.turned) }

// Members returns the processes that make a user's use exceed a limit, in per cent of one core, the greatest first: those
// of the fewest programs without which the rest is well below the limit, and of programs that use nearly as much. program
// says what a process runs, empty if it has ended; copies of one program count together. If processes that have ended used
// more than that, all that began in the window are suspect as well. There is none if those that used so much have ended.
// Processes in apart are left out, with what they used.
func (l *Ledger) Members(uid uint32, limit float64, apart func(process.Ident) bool, program func(process.Ident) string) []Member {
	a := l.users[uid]
	if a == nil {
		return nil
	}
	var all []Member
	var rest time.Duration
	sums := map[string]time.Duration{}
	programs := map[process.Ident]string{}
	suspect := map[process.Ident]bool{}
	for id, e := range l.procs {
		part := e.part.late()
		young := !e.born.IsZero() && l.now.Sub(e.born) < l.window
		if e.Owner.UID != uid || !e.Owner.Session || part == 0 && !young || apart(id) {
			continue
		}
		all = append(all, Member{id, part})
		suspect[id] = young
		programs[id] = program(id)
		sums[programs[id]] += part
		rest += part
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Or(cmp.Compare(b.CPU, a.CPU), cmp.Compare(a.PID, b.PID)) })
	allowed := time.Duration(limit * wellBelow / 100 * float64(lateSlots*l.window/slots+l.now.Sub(l.turned)))
	if a.unseen.late()+sums[""] <= allowed {
		clear(suspect)
	}
	order := slices.SortedFunc(maps.Keys(sums), func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	chosen := map[string]bool{}
	for n, p := range order {
		if rest <= allowed && (n == 0 || sums[p]*alikeOf < sums[order[n-1]]*alike) {
			break
		}
		chosen[p] = true
		rest -= sums[p]
	}
	return slices.DeleteFunc(all, func(m Member) bool { return !chosen[programs[m.Ident]] && !suspect[m.Ident] })
}

// wellBelow is the share of the limit that may be left.
const wellBelow = 0.75

// A program uses nearly as much as another from this share on.
const alike, alikeOf = 4, 5

// Ran returns the processes of a user that used the CPU in the window, the greatest first.
func (l *Ledger) Ran(uid uint32) (list []Member) {
	for id, e := range l.procs {
		if part := e.part.sum(); e.Owner.UID == uid && e.Owner.Session && part > 0 {
			list = append(list, Member{id, part})
		}
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(b.CPU, a.CPU), cmp.Compare(a.PID, b.PID)) })
	return list
}

// Most returns the process of a user that used most lately.
func (l *Ledger) Most(uid uint32) (most process.Ident, ok bool) {
	var part time.Duration
	for id, e := range l.procs {
		if p := e.part.sum(); e.Owner.UID == uid && e.Owner.Session && (!ok || p > part || p == part && id.PID < most.PID) {
			most, part, ok = id, p, true
		}
	}
	return most, ok
}

// Job returns the user's other processes in the process groups of members, such as the script that starts them.
func Job(procs []Usage, uid uint32, members map[process.Ident]bool) (job []process.Ident) {
	groups := map[int]bool{}
	for i := range procs {
		if members[procs[i].Ident] {
			groups[procs[i].Group] = true
		}
	}
	for i := range procs {
		if u := &procs[i]; u.Owner.UID == uid && u.Owner.Session && groups[u.Group] && !members[u.Ident] {
			job = append(job, u.Ident)
		}
	}
	return job
}

// Family returns the living descendants of members, and the user's other processes that began after since, in clock ticks
// since boot: an orphan has no ancestor but PID 1.
func Family(procs []Usage, uid uint32, members map[process.Ident]bool, since uint64) (descendants, younger []process.Ident) {
	pids := map[int]bool{}
	for id := range members {
		pids[id.PID] = true
	}
	for grown := true; grown; {
		grown = false
		for i := range procs {
			u := &procs[i]
			if u.Owner.UID == uid && !pids[u.PID] && pids[u.PPID] {
				pids[u.PID] = true
				descendants = append(descendants, u.Ident)
				grown = true
			}
		}
	}
	for i := range procs {
		if u := &procs[i]; u.Owner.UID == uid && u.Owner.Session && !pids[u.PID] && u.Start > since {
			younger = append(younger, u.Ident)
		}
	}
	return descendants, younger
}
