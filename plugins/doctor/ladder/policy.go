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

// Config is what a policy follows.
type Config struct {
	Steps        []Step
	Pause        time.Duration // between two steps
	Grace        time.Duration // after Terminate
	Leash        bool          // observe and report only
	RestartUnits []string      // units of the application that may be restarted
	Canary       bool          // the host serves the canary release
	Actions      int           // budget: at most so many within Per
	Per          time.Duration
	Calm         map[string]time.Duration // by resource: as long below the limit is a recovery
}

// Judge says why a process must not be touched, nil when it may be.
type Judge interface {
	Judge(f process.Facts) *protect.Spared
}

// Rules beside those of package protect, by which a hog is left alone.
const (
	RuleLeash    protect.Rule = "leash"
	RuleBudget   protect.Rule = "budget"
	RuleReturned protect.Rule = "came back"
	RuleCanary   protect.Rule = "canary"
)

// maxReturns is how often the same program of the same user is treated within the budget's time. After that people are
// only told: whoever starts it again wants it, and has to be spoken to.
const maxReturns = 3

// Policy follows hogs from the first alert to their recovery. For each sample, call Due with its hogs, Decide for every
// patient that Due returns, and Recovered. The caller reads the facts, does what is decided, and keeps the handle. Not
// for concurrent use.
type Policy struct {
	config   Config
	judge    Judge
	patients map[string]*Patient // by the hog's key
	memory   Memory
}

// Memory is what a policy remembers of its acts, for as long as the budget counts them. An agent keeps it on disk, so
// that a restart neither renews the budget nor lets a hog begin at the first step again.
type Memory struct {
	Spent   []time.Time            `json:"spent,omitempty"`   // acts
	Treated map[string][]time.Time `json:"treated,omitempty"` // by user and program
	Past    map[string]Past        `json:"past,omitempty"`    // by the hog's key
}

// Past is how far the treatment of a process has come. It outlasts a phase in which the process is below its limit.
type Past struct {
	Done []Step    `json:"done"`
	At   time.Time `json:"at"` // of the last step
}

// New makes a policy that remembers m.
func New(c Config, j Judge, m Memory) *Policy {
	if m.Treated == nil {
		m.Treated = map[string][]time.Time{}
	}
	if m.Past == nil {
		m.Past = map[string]Past{}
	}
	return &Policy{config: c, judge: j, patients: map[string]*Patient{}, memory: m}
}

// Memory returns what the policy remembers now. The caller must not change it, nor keep it beyond the next call.
func (p *Policy) Memory() Memory { return p.memory }

// Patient is a hog under treatment.
type Patient struct {
	Hog   limit.Hog
	Facts process.Facts // at the last look
	Done  []Step        // steps that were taken

	lastHog time.Time
	next    int          // index of the next step on the ladder
	due     time.Time    // not before
	told    protect.Rule // the protection that was published last
	past    []Step       // steps of an earlier treatment of the same process
}

// Decision is what is done with one patient now.
type Decision struct {
	Step   Step
	Act    bool            // false: the process is left alone, because of Spared
	Again  bool            // the step was taken before: a restart that did not help
	Next   Step            // with Alert: the step that will follow; empty: none
	Spared *protect.Spared // why nothing is done; with Alert: why nothing will follow
	Tell   bool            // the decision is new: tell it
}

// Patients is the number of hogs under treatment.
func (p *Policy) Patients() int { return len(p.patients) }

// BudgetLeft reports whether the budget allows another act now.
func (p *Policy) BudgetLeft(now time.Time) bool {
	p.memory.Spent = slices.DeleteFunc(p.memory.Spent, func(t time.Time) bool { return now.Sub(t) >= p.config.Per })
	return len(p.memory.Spent) < p.config.Actions
}

// Due takes the hogs of one sample, and returns the patients whose next step is due.
func (p *Policy) Due(now time.Time, hogs []limit.Hog) []*Patient {
	var due []*Patient
	for _, h := range hogs {
		k := h.Key()
		pt := p.patients[k]
		if pt == nil {
			pt = &Patient{due: now, past: p.past(k, now)}
			p.patients[k] = pt
		}
		pt.Hog, pt.lastHog = h, now
		if pt.next < len(p.config.Steps) && !now.Before(pt.due) {
			due = append(due, pt)
		}
	}
	return due
}

// Adopt takes in a hog whose alert is open since before this policy was made. It counts as a hog for one and a half
// times as long as it takes to see whether it still is one.
func (p *Policy) Adopt(now time.Time, h limit.Hog, f process.Facts) {
	pt := &Patient{Hog: h, Facts: f, lastHog: now.Add(p.config.Calm[h.Resource] / 2), due: now, past: p.past(h.Key(), now)}
	p.took(now, pt, Alert)
	p.patients[h.Key()] = pt
}

// Decide says what the due step of a patient is, given what the process is now. When the facts cannot be read, the
// process is left alone.
func (p *Policy) Decide(now time.Time, pt *Patient, f process.Facts, factsErr error) Decision {
	pt.due = now.Add(p.config.Pause)
	if factsErr == nil {
		pt.Facts = f
		if p.config.Steps[pt.next] == Renice && f.Nice >= Niced { // that would be no act
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
		d.Tell = pt.told != d.Spared.Rule
		pt.told = d.Spared.Rule
		return d
	}
	d.Act, d.Tell = true, true
	d.Again = slices.Contains(pt.Done, d.Step)
	pt.told = ""
	p.memory.Spent = append(p.memory.Spent, now)
	if d.Step == Terminate || d.Step == Restart {
		pt.due = now.Add(p.config.Grace)
		if !d.Again {
			who := program(f)
			p.memory.Treated[who] = append(p.recent(who, now), now)
		}
	}
	p.took(now, pt, d.Step)
	return d
}

// took advances a patient past a step. After the alert, a process that was treated before goes on where it was.
func (p *Policy) took(now time.Time, pt *Patient, s Step) {
	if s == Alert {
		pt.Done = append([]Step{Alert}, pt.past...)
	} else {
		pt.Done = append(pt.Done, s)
		p.memory.Past[pt.Hog.Key()] = Past{Done: slices.Clone(pt.Done[1:]), At: now}
	}
	pt.next = p.after(pt.Done)
	if n := len(p.config.Steps); s == Alert && len(pt.past) > 0 && pt.next == n { // every step was taken: begin with the last
		pt.Done, pt.next = []Step{Alert}, n-1
	}
}

// after is the index of the step that follows those that were taken. A restart stands for terminate, the second one for
// kill.
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
		if i < 0 && s == Kill { // two restarts, and there is no kill
			i = len(p.config.Steps) - 1
		}
		next = max(next, i+1)
	}
	return next
}

// past returns the steps of an earlier treatment, and forgets what is too old to count.
func (p *Policy) past(key string, now time.Time) []Step {
	maps.DeleteFunc(p.memory.Past, func(_ string, x Past) bool { return now.Sub(x.At) >= p.config.Per })
	maps.DeleteFunc(p.memory.Treated, func(who string, _ []time.Time) bool { return len(p.recent(who, now)) == 0 })
	return p.memory.Past[key].Done
}

// choose returns the step that is taken in place of s, or why none is.
func (p *Policy) choose(now time.Time, s Step, pt *Patient, f process.Facts, factsErr error) (Step, *protect.Spared) {
	if factsErr != nil {
		return s, &protect.Spared{Rule: protect.RuleUnknown, Reason: fmt.Sprintf("it cannot be examined: %s", factsErr)}
	}
	if no := p.judge.Judge(f); no != nil {
		switch {
		case no.Rule != protect.RuleSystem || !slices.Contains(p.config.RestartUnits, f.Unit) || !slices.Contains(p.config.Steps, Terminate):
			return s, no
		case p.config.Canary:
			return s, &protect.Spared{Rule: RuleCanary, Reason: fmt.Sprintf("unit %s serves the canary release: the alert takes its traffic away", f.Unit)}
		}
		s = Restart
	}
	begun := slices.Contains(pt.Done, Terminate) || slices.Contains(pt.Done, Restart)
	switch {
	case !begun && len(p.recent(program(f), now)) >= maxReturns:
		return s, &protect.Spared{Rule: RuleReturned, Reason: fmt.Sprintf("it was treated %d times within %s and came back", maxReturns, p.config.Per)}
	case p.config.Leash:
		return s, &protect.Spared{Rule: RuleLeash, Reason: fmt.Sprintf("the doctor is on the leash; the step would be: %s", s)}
	case !p.BudgetLeft(now):
		return s, &protect.Spared{Rule: RuleBudget, Reason: fmt.Sprintf("the budget of %d actions per %s is spent", p.config.Actions, p.config.Per)}
	}
	return s, nil
}

// recent returns when the program was treated within the budget's time.
func (p *Policy) recent(who string, now time.Time) []time.Time {
	return slices.DeleteFunc(p.memory.Treated[who], func(t time.Time) bool { return now.Sub(t) >= p.config.Per })
}

// program is what comes back: a user's executable. Arguments and command name are the user's to change.
func program(f process.Facts) string { return fmt.Sprintf("%v %s", f.UIDs, f.Executable) }

// Recovered removes and returns the patients that have ended, or were no hogs for as long as it takes to become one.
func (p *Policy) Recovered(now time.Time, alive func(process.Ident) bool) []*Patient {
	var list []*Patient
	for k, pt := range p.patients {
		if !alive(pt.Hog.Ident) || now.Sub(pt.lastHog) >= p.config.Calm[pt.Hog.Resource] {
			delete(p.patients, k)
			if !alive(pt.Hog.Ident) {
				delete(p.memory.Past, k)
			}
			list = append(list, pt)
		}
	}
	return list
}
