package ladder

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
)

// Config configures a policy.
type Config struct {
	Steps        []Step
	Pause        time.Duration // between two steps
	Grace        time.Duration // after Terminate
	Leash        bool          // observe and report only
	RestartUnits []string      // units of the application that may be restarted
	Canary       bool          // the host serves the canary release
	Actions      int           // budget: maximum number within Per
	Per          time.Duration
	Calm         map[string]time.Duration // by resource: time below the limit until recovery
}

// Judge returns why a process must not be touched, or nil.
type Judge interface {
	Judge(f process.Facts) *protect.Spared
}

// Rules in addition to those of package protect.
const (
	RuleLeash    protect.Rule = "leash"
	RuleBudget   protect.Rule = "budget"
	RuleReturned protect.Rule = "came back"
	RuleCanary   protect.Rule = "canary"
)

// maxReturns is how often a user's program is treated within the budget's time. After that, only alerts follow: somebody
// restarts it on purpose.
const maxReturns = 3

// Policy tracks hogs from the first alert to their recovery. For each sample, call Due with its hogs, Decide for every
// patient that Due returns, and Recovered. The caller reads the facts, carries out decisions, and holds the processes. Not
// safe for concurrent use.
type Policy struct {
	config   Config
	judge    Judge
	patients map[string]*Patient // by the hog's key
	memory   Memory
}

// Memory records a policy's actions for as long as the budget counts them. An agent stores it on disk, so that a restart
// neither resets the budget nor the steps taken against a hog.
type Memory struct {
	Spent   []time.Time               `json:"spent,omitempty"`   // acts
	Treated map[string][]time.Time    `json:"treated,omitempty"` // by user and program
	Past    map[string]Past           `json:"past,omitempty"`    // by the hog's key
	Niced   map[string]map[string]int `json:"niced,omitempty"`   // nice values before Renice, by the hog's key and the process
	Limited []process.Ident           `json:"limited,omitempty"` // processes that may be stopped because of a limit
}

// Past is the progress of a process's treatment. It is kept while the process is temporarily below its limit.
type Past struct {
	Done    []Step    `json:"done"`
	Returns int       `json:"returns,omitempty"` // how often it was below its limit and came back
	At      time.Time `json:"at"`                // of the last step
}

// New returns a policy that continues from m.
func New(c Config, j Judge, m Memory) *Policy {
	if m.Treated == nil {
		m.Treated = map[string][]time.Time{}
	}
	if m.Past == nil {
		m.Past = map[string]Past{}
	}
	if m.Niced == nil {
		m.Niced = map[string]map[string]int{}
	}
	return &Policy{config: c, judge: j, patients: map[string]*Patient{}, memory: m}
}

// Memory returns the policy's present memory, valid until the next call. The caller must not change it.
func (p *Policy) Memory() Memory { return p.memory }

// Patient is a hog under treatment.
type Patient struct {
	Hog     limit.Hog
	Facts   process.Facts  // last read; of a user: those of the process that used most
	Done    []Step         // steps taken
	Returns int            // how often it was below its limit and came back
	Nice    map[string]int // after Recovered: nice values to give back, by process
	Swept   uint64         // the caller's: when it sent SIGTERM, in clock ticks since boot; 0: not yet

	lastHog  time.Time
	below    bool         // a sample found it below its limit since
	next     int          // index of the next step on the ladder
	due      time.Time    // not before
	reported protect.Rule // the last published protection
	past     []Step       // steps of an earlier treatment of the same process
	took     time.Time    // when the last step was taken
}

// Decision is what to do with one patient now.
type Decision struct {
	Step   Step
	Act    bool            // false: do not touch the process, because of Spared
	Again  bool            // the step was taken before: a restart did not help
	Next   Step            // with Alert: the step that will follow; empty: none
	Spared *protect.Spared // why no action is taken; with Alert: why none will follow
	Tell   bool            // the decision is new: publish it
}

// Patients returns the number of hogs under treatment.
func (p *Policy) Patients() int { return len(p.patients) }

// Each calls do with every patient.
func (p *Policy) Each(do func(*Patient)) {
	for _, pt := range p.patients {
		do(pt)
	}
}

// BudgetLeft reports whether the budget allows another action now.
func (p *Policy) BudgetLeft(now time.Time) bool {
	p.memory.Spent = slices.DeleteFunc(p.memory.Spent, func(t time.Time) bool { return now.Sub(t) >= p.config.Per })
	return len(p.memory.Spent) < p.config.Actions
}

// Due adds the hogs of one sample and returns the patients whose next step is due. Every return of a hog that was below its
// limit makes the next step due at once.
func (p *Policy) Due(now time.Time, hogs []limit.Hog) []*Patient {
	var due []*Patient
	is := map[string]bool{}
	for _, h := range hogs {
		is[h.Key()] = true
	}
	for k, pt := range p.patients { // a late sample is no calm one
		pt.below = pt.below || !is[k]
	}
	for _, h := range hogs {
		k := h.Key()
		pt := p.patients[k]
		switch {
		case pt == nil:
			past := p.past(k, now)
			pt = &Patient{due: now, past: past.Done, Returns: past.Returns}
			if len(past.Done) > 0 {
				pt.Returns++
			}
			p.patients[k] = pt
		case len(pt.Done) > 1 && pt.below && now.Sub(pt.lastHog) > p.config.Pause:
			p.returned(now, pt)
		case h.UID != 0 && pt.next == len(p.config.Steps) && begun(pt.Done) && now.Sub(pt.took) >= h.Window:
			p.returned(now, pt) // others took the place of those that were ended, without a pause
		}
		pt.Hog, pt.lastHog, pt.below = h, now, false
		if pt.next < len(p.config.Steps) && !now.Before(pt.due) {
			due = append(due, pt)
		}
	}
	return due
}

// returned handles a patient that was treated and is a hog again, or of a user, a hog still by what was used since. When all
// steps were taken, the last one is repeated.
func (p *Policy) returned(now time.Time, pt *Patient) {
	pt.Returns++
	pt.due = now
	if n := len(p.config.Steps); pt.next == n {
		pt.Done, pt.next = []Step{Alert}, n-1
	}
}

// Adopt adds a hog whose alert was opened before this policy was made. It counts as a hog for one and a half windows, until
// it is clear whether it still is one.
func (p *Policy) Adopt(now time.Time, h limit.Hog, f process.Facts) {
	past := p.past(h.Key(), now)
	pt := &Patient{
		Hog: h, Facts: f, lastHog: now.Add(p.config.Calm[h.Resource] / 2), due: now, past: past.Done, Returns: past.Returns,
	}
	p.took(now, pt, Alert)
	p.patients[h.Key()] = pt
}

// Wants says that a patient that is limited would use more if it could: it does not recover.
func (p *Policy) Wants(now time.Time, key string) {
	if pt := p.patients[key]; pt != nil {
		pt.lastHog, pt.below = now, false
	}
}

// Postpone puts off the next step of a patient that was limited: whether that helps, the next window shows.
func (p *Policy) Postpone(now time.Time, pt *Patient) {
	pt.due = now.Add(max(p.config.Pause, 2*p.config.Calm[pt.Hog.Resource]))
}

// Limited remembers which processes may be stopped because of a limit, instead of those before.
func (p *Policy) Limited(list []process.Ident) { p.memory.Limited = list }

// Niced remembers the nice value that a process had before Renice, until Recovered.
func (p *Policy) Niced(h limit.Hog, id process.Ident, nice int) {
	k := h.Key()
	if p.memory.Niced[k] == nil {
		p.memory.Niced[k] = map[string]int{}
	}
	if _, ok := p.memory.Niced[k][id.String()]; !ok {
		p.memory.Niced[k][id.String()] = nice
	}
}

// Decide returns the due step of a patient, given the present facts. If the facts cannot be read, the process is not
// touched.
func (p *Policy) Decide(now time.Time, pt *Patient, f process.Facts, factsErr error) Decision {
	pt.due = now.Add(p.config.Pause)
	if factsErr == nil {
		pt.Facts = f
		for pt.next < len(p.config.Steps) && p.useless(now, pt, f) {
			pt.next++
		}
		if pt.next == len(p.config.Steps) {
			return Decision{}
		}
	}
	d := Decision{Step: p.config.Steps[pt.next]}
	if d.Step == Alert {
		d.Act, d.Tell = true, true
		p.took(now, pt, Alert)
		if pt.next < len(p.config.Steps) {
			d.Next, d.Spared = p.choose(now, p.config.Steps[pt.next], pt, f, factsErr)
		}
		return d
	}
	if d.Step, d.Spared = p.choose(now, d.Step, pt, f, factsErr); d.Spared != nil {
		d.Tell = pt.reported != d.Spared.Rule
		pt.reported = d.Spared.Rule
		return d
	}
	d.Act, d.Tell = true, true
	d.Again = slices.Contains(pt.Done, d.Step)
	pt.reported = ""
	p.memory.Spent = append(p.memory.Spent, now)
	if d.Step != Renice && d.Step != Limit && !begun(pt.Done) {
		who := program(f)
		p.memory.Treated[who] = append(p.recent(who, now), now)
	}
	switch d.Step {
	case Terminate, Restart:
		pt.due = now.Add(p.config.Grace)
	case Limit:
		p.Postpone(now, pt)
	case Alert, Renice, Kill:
	}
	p.took(now, pt, d.Step)
	return d
}

// useless reports whether the next step would change nothing, or did not help before.
func (p *Policy) useless(now time.Time, pt *Patient, f process.Facts) bool {
	switch p.config.Steps[pt.next] {
	case Renice:
		return pt.Hog.Resource != "cpu" || f.Nice >= Niced || pt.Returns > 0 && len(p.config.Steps) > pt.next+1
	case Limit:
		return pt.Hog.Resource != "cpu"
	case Terminate:
		return pt.Hog.UID == 0 && !begun(pt.Done) && len(p.config.Steps) > pt.next+1 && p.succeeds(now, f)
	case Alert, Kill, Restart:
	}
	return false
}

// succeeds reports whether a process began when one of the same program of the user was treated, as one does that answers
// SIGTERM with a copy of itself: its treatment goes on.
func (p *Policy) succeeds(now time.Time, f process.Facts) bool {
	treated := p.recent(program(f), now)
	if len(treated) == 0 || f.Age <= 0 {
		return false
	}
	after := now.Add(-f.Age).Sub(treated[len(treated)-1])
	return after >= 0 && after <= p.config.Grace
}

// took advances a patient past a step. After the alert, the treatment of a previously treated process continues.
func (p *Policy) took(now time.Time, pt *Patient, s Step) {
	if s == Alert {
		pt.Done = append([]Step{Alert}, pt.past...)
	} else {
		pt.Done, pt.took = append(pt.Done, s), now
		// A limit ends with the agent that keeps it, and with the treatment.
		done := slices.DeleteFunc(slices.Clone(pt.Done[1:]), func(s Step) bool { return s == Limit })
		p.memory.Past[pt.Hog.Key()] = Past{Done: done, Returns: pt.Returns, At: now}
	}
	pt.next = p.after(pt.Done)
	if n := len(p.config.Steps); s == Alert && len(pt.past) > 0 && pt.next == n { // all steps were taken: repeat the last
		pt.Done, pt.next = []Step{Alert}, n-1
	}
}

// after returns the index of the next step after those taken. The first restart counts as terminate, the second as kill.
func (p *Policy) after(done []Step) int {
	next, restarted := 0, false
	for _, s := range done {
		if s == Restart {
			s = Terminate
			if restarted {
				s = Kill
			}
			restarted = true
		}
		i := slices.Index(p.config.Steps, s)
		if i < 0 && s == Kill { // two restarts without kill
			i = len(p.config.Steps) - 1
		}
		next = max(next, i+1)
	}
	return next
}

// past returns an earlier treatment and forgets those that are too old.
func (p *Policy) past(key string, now time.Time) Past {
	maps.DeleteFunc(p.memory.Past, func(_ string, x Past) bool { return now.Sub(x.At) >= p.config.Per })
	maps.DeleteFunc(p.memory.Treated, func(who string, _ []time.Time) bool { return len(p.recent(who, now)) == 0 })
	return p.memory.Past[key]
}

// choose returns the step to take instead of s, or why none is taken.
func (p *Policy) choose(now time.Time, s Step, pt *Patient, f process.Facts, factsErr error) (Step, *protect.Spared) {
	if factsErr != nil {
		return s, &protect.Spared{Rule: protect.RuleUnknown, Reason: fmt.Sprintf("it cannot be examined: %s", factsErr)}
	}
	if no := p.judge.Judge(f); no != nil {
		switch {
		case no.Rule != protect.RuleSystem || !slices.Contains(p.config.RestartUnits, f.Unit) || !slices.Contains(p.config.Steps, Terminate):
			return s, no
		case p.config.Canary:
			return s, &protect.Spared{Rule: RuleCanary, Reason: fmt.Sprintf("unit %s serves the canary release: the alert removes its traffic", f.Unit)}
		}
		s = Restart
	}
	switch {
	case !begun(pt.Done) && len(p.recent(program(f), now)) >= maxReturns:
		return s, &protect.Spared{Rule: RuleReturned, Reason: fmt.Sprintf("it was treated %d times within %s and came back", maxReturns, p.config.Per)}
	case p.config.Leash:
		return s, &protect.Spared{Rule: RuleLeash, Reason: fmt.Sprintf("the doctor is on the leash; the step would be: %s", s)}
	case !p.BudgetLeft(now):
		return s, &protect.Spared{Rule: RuleBudget, Reason: fmt.Sprintf("the budget of %d actions per %s is spent", p.config.Actions, p.config.Per)}
	}
	return s, nil
}

// begun reports whether a step of these was to end the process.
func begun(done []Step) bool {
	return slices.ContainsFunc(done, func(s Step) bool { return s == Terminate || s == Restart || s == Kill })
}

// Judge returns why a process must not be touched, or nil.
func (p *Policy) Judge(f process.Facts) *protect.Spared { return p.judge.Judge(f) }

// recent returns the times at which the program was treated within the budget's time.
func (p *Policy) recent(who string, now time.Time) []time.Time {
	return slices.DeleteFunc(p.memory.Treated[who], func(t time.Time) bool { return now.Sub(t) >= p.config.Per })
}

// program identifies a user's executable, without arguments and command name, which the user can change.
func program(f process.Facts) string { return fmt.Sprintf("%v %s", f.UIDs, f.Executable) }

// Recovered removes and returns patients that have ended, or that stayed below their limit for the required time: it is
// multiplied by the number of steps taken, since a hog that was treated may only be waiting.
func (p *Policy) Recovered(now time.Time, alive func(limit.Hog) bool) (list []*Patient) {
	for k, pt := range p.patients {
		lives := alive(pt.Hog)
		calm := p.config.Calm[pt.Hog.Resource] * time.Duration(max(1, len(pt.Done)))
		if lives && now.Sub(pt.lastHog) < calm {
			continue
		}
		delete(p.patients, k)
		if !lives {
			delete(p.memory.Past, k)
		}
		pt.Nice = p.memory.Niced[k]
		delete(p.memory.Niced, k)
		list = append(list, pt)
	}
	return list
}
