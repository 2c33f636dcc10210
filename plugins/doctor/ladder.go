package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// step is one rung of the treatment.
type step string

// The steps. A restart is not on the ladder: it takes the place of terminate and kill for a unit that the
// manifest names.
const (
	stepAlert     step = "alert"
	stepRenice    step = "renice"
	stepTerminate step = "terminate"
	stepKill      step = "kill"
	stepRestart   step = "restart"
)

var allSteps = []step{stepAlert, stepRenice, stepTerminate, stepKill}

// ladderOf checks the manifest's list: known steps, in order, people told first, SIGTERM before SIGKILL. An
// empty list is not known yet.
func ladderOf(names []string) ([]step, error) {
	var ladder []step
	at := -1
	for _, n := range names {
		i := slices.Index(allSteps, step(n))
		if i < 0 {
			return nil, fmt.Errorf("want steps of %v, got %q", allSteps, n)
		}
		if i <= at {
			return nil, fmt.Errorf("%q stands too late: the order is %v", n, allSteps)
		}
		at = i
		ladder = append(ladder, step(n))
	}
	if len(ladder) > 0 && ladder[0] != stepAlert {
		return nil, errors.New(`the first step must be "alert": evidence is told before anything is done`)
	}
	if slices.Contains(ladder, stepKill) && !slices.Contains(ladder, stepTerminate) {
		return nil, errors.New(`"kill" needs "terminate" before it: a process gets the chance to end itself`)
	}
	return ladder, nil
}

// maxReturns is how often the same program of the same user is treated within the budget's time; then it is
// only told of: whoever starts it again wants it, and must be spoken to.
const maxReturns = 3

// judge says why a process must not be touched, nil when it may be.
type judge interface{ Judge(facts) *spared }

// policy decides what is done with a hog, and when. It touches nothing: the caller reads the facts, does what
// is decided and keeps the handle. Not for concurrent use.
type policy struct {
	ladder   []step
	pause    time.Duration
	grace    time.Duration
	leash    bool
	restart  []string
	canary   bool
	judges   judge
	budget   budget
	calm     map[string]time.Duration // by resource: as long below the limit is a recovery
	patients map[string]*patient      // by ident and resource
	treated  map[string][]time.Time   // by user and program
}

// newPolicy makes the policy of a configuration, with defaults filled in, for a host of a role.
func newPolicy(c config, role string, j judge) (*policy, error) {
	ladder, err := ladderOf(c.Treat)
	if err != nil {
		return nil, err
	}
	p := &policy{
		ladder: ladder, pause: c.Pause.Std(), grace: c.Grace.Std(), leash: c.Leash, restart: c.RestartUnit,
		canary: role == "canary", judges: j, budget: budget{actions: c.Budget.Actions, per: c.Budget.Per.Std()},
		calm:     map[string]time.Duration{"cpu": c.CPU.For.Std()},
		patients: map[string]*patient{}, treated: map[string][]time.Time{},
	}
	if c.Memory != nil {
		p.calm["memory"] = c.Memory.For.Std()
	}
	return p, nil
}

// patient is a hog under treatment.
type patient struct {
	hog     hog
	lastHog time.Time
	next    int       // index of the next step on the ladder
	due     time.Time // not before
	told    rule      // the protection that was told last
	done    []step    // that were taken
	facts   facts     // at the last look
}

// decision is what is to be done with one hog now.
type decision struct {
	hog    hog
	step   step
	act    bool    // false: left alone, because of spared
	again  bool    // the step was taken before: a restart that did not help
	next   step    // with an alert: the step that will follow; empty: none
	spared *spared // why nothing is done; with an alert: why nothing will follow
	tell   bool    // the decision is new: tell it
}

// Rules beside those of the guard, by which a hog is left alone.
const (
	ruleLeash    rule = "leash"
	ruleBudget   rule = "budget"
	ruleReturned rule = "came back"
	ruleCanary   rule = "canary"
)

func key(h hog) string { return h.String() + "/" + h.Resource }

// Due returns the patients whose next step is due, after it has taken in the hogs of one sample.
func (p *policy) Due(now time.Time, hogs []hog) []*patient {
	var due []*patient
	for _, h := range hogs {
		k := key(h)
		pt := p.patients[k]
		if pt == nil {
			pt = &patient{due: now}
			p.patients[k] = pt
		}
		pt.hog, pt.lastHog = h, now
		if pt.next < len(p.ladder) && !now.Before(pt.due) {
			due = append(due, pt)
		}
	}
	return due
}

// Adopt takes in a hog whose alert is open since before this policy was made. It counts as a hog for one and a half
// times as long as it takes to see whether it still is one.
func (p *policy) Adopt(now time.Time, h hog, f facts) {
	calm := p.calm[h.Resource]
	pt := &patient{hog: h, facts: f, lastHog: now.Add(calm / 2), due: now}
	p.took(pt, stepAlert)
	p.patients[key(h)] = pt
}

// Decide says what the due step of a patient is, given what the process is now. An error that stands for the
// facts leaves the process alone.
func (p *policy) Decide(now time.Time, pt *patient, f facts, factsErr error) decision {
	d := decision{hog: pt.hog, step: p.ladder[pt.next]}
	pt.due = now.Add(p.pause)
	if factsErr == nil {
		pt.facts = f
	}
	if d.step == stepAlert {
		d.act, d.tell = true, true
		p.took(pt, stepAlert)
		if pt.next < len(p.ladder) {
			d.next, d.spared = p.judge(now, p.ladder[pt.next], pt, f, factsErr)
		}
		return d
	}
	if d.step, d.spared = p.judge(now, d.step, pt, f, factsErr); d.spared != nil {
		d.tell = pt.told != d.spared.Rule
		pt.told = d.spared.Rule
		return d
	}
	d.act, d.tell = true, true
	d.again = slices.Contains(pt.done, d.step)
	pt.told = ""
	p.budget.spend(now)
	if d.step == stepTerminate || d.step == stepRestart {
		pt.due = now.Add(p.grace)
		if !d.again {
			who := program(f)
			p.treated[who] = append(p.recent(who, now), now)
		}
	}
	p.took(pt, d.step)
	return d
}

// took advances a patient past a step. A restart stands for terminate, and then for kill.
func (p *policy) took(pt *patient, s step) {
	if s == stepRestart {
		s = stepTerminate
		if slices.Contains(pt.done, stepRestart) {
			s = stepKill
		}
		pt.done = append(pt.done, stepRestart)
	} else {
		pt.done = append(pt.done, s)
	}
	if i := slices.Index(p.ladder, s); i >= 0 {
		pt.next = i + 1
	} else {
		pt.next = len(p.ladder)
	}
}

// judge returns the step that is taken in the place of s, or why none is.
func (p *policy) judge(now time.Time, s step, pt *patient, f facts, factsErr error) (step, *spared) {
	if factsErr != nil {
		return s, &spared{ruleUnknown, fmt.Sprintf("it cannot be examined: %s", factsErr)}
	}
	if no := p.judges.Judge(f); no != nil {
		switch {
		case no.Rule != ruleSystem || !slices.Contains(p.restart, f.Unit) || !slices.Contains(p.ladder, stepTerminate):
			return s, no
		case p.canary:
			return s, &spared{ruleCanary, fmt.Sprintf("unit %s serves the canary release: the alert takes its traffic away", f.Unit)}
		}
		s = stepRestart
	}
	begun := slices.Contains(pt.done, stepTerminate) || slices.Contains(pt.done, stepRestart)
	switch {
	case !begun && len(p.recent(program(f), now)) >= maxReturns:
		return s, &spared{ruleReturned, fmt.Sprintf("it was treated %d times within %s and came back", maxReturns, p.budget.per)}
	case p.leash:
		return s, &spared{ruleLeash, fmt.Sprintf("the doctor is on the leash; the step would be: %s", s)}
	case !p.budget.left(now):
		return s, &spared{ruleBudget, fmt.Sprintf("the budget of %d actions per %s is spent", p.budget.actions, p.budget.per)}
	}
	return s, nil
}

// recent returns when the program was treated within the budget's time.
func (p *policy) recent(who string, now time.Time) []time.Time {
	return slices.DeleteFunc(p.treated[who], func(t time.Time) bool { return now.Sub(t) >= p.budget.per })
}

// program is what comes back: a user's executable. Its arguments and its command name are the user's to change.
func program(f facts) string { return fmt.Sprintf("%v %s", f.UIDs, f.Executable) }

// Recovered takes away and returns the patients that have ended, or were no hogs for as long as it takes to
// become one.
func (p *policy) Recovered(now time.Time, alive func(ident) bool) []*patient {
	var list []*patient
	for k, pt := range p.patients {
		if !alive(pt.hog.ident) || now.Sub(pt.lastHog) >= p.calm[pt.hog.Resource] {
			delete(p.patients, k)
			list = append(list, pt)
		}
	}
	return list
}

// budget limits how often the doctor acts.
type budget struct {
	actions int
	per     time.Duration
	spent   []time.Time
}

func (b *budget) left(now time.Time) bool {
	b.spent = slices.DeleteFunc(b.spent, func(t time.Time) bool { return now.Sub(t) >= b.per })
	return len(b.spent) < b.actions
}

func (b *budget) spend(now time.Time) { b.spent = append(b.spent, now) }
