package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
)

const (
	// maxSweeps limits how often the doctor looks for further processes of a user in one step. Every process that it finds
	// is stopped first, so that a fork bomb has fewer processes to fork with each time.
	maxSweeps = 32
	// shownMembers is the number of processes that the evidence against a user lists.
	shownMembers = 10
)

// target is a process that a step affects, held from before it was examined.
type target struct {
	*process.Handle
	facts process.Facts
}

// treatUser takes the due step against the processes that use most of what a user uses: one decision for all of them.
func (a *agent) treatUser(ctx context.Context, now time.Time, pt *ladder.Patient) {
	members := a.members(pt.Hog)
	targets, spared := a.aim(members)
	if len(targets) == 0 && spared == nil { // all of them have ended: each lives for a moment only
		members = a.newcomers(pt.Hog.UID)
		targets, spared = a.aim(members)
	}
	defer func() { release(targets) }()
	if len(targets) == 0 && spared == nil {
		return // all of them have ended
	}
	if q := a.quotas[pt.Hog.Key()]; q != nil && a.limitMore(q, targets) {
		a.policy.Postpone(now, pt)
		return
	}
	var f process.Facts
	if len(targets) > 0 {
		f = targets[0].facts
	} else {
		f = *spared
	}
	d := a.policy.Decide(now, pt, f, nil)
	if !d.Tell {
		return
	}
	data := a.userEvidence(ctx, pt, f, members, targets)
	switch {
	case !d.Act:
		a.spare(pt, f, d.Spared, data)
		return
	case d.Step == ladder.Alert:
		a.alert(pt, f, d, data)
		return
	case len(targets) == 0: // protected since
		return
	}
	var done string
	var err error
	switch d.Step {
	case ladder.Renice:
		done = fmt.Sprintf("now run at nice %d", ladder.Niced)
		targets, err = a.reniceAll(pt, targets)
	case ladder.Limit:
		done = fmt.Sprintf("are held to %s together", share(pt.Hog))
		err = a.limit(ctx, pt, targets)
	case ladder.Terminate:
		done = "were sent SIGTERM"
		targets, err = a.sweep(pt.Hog.UID, targets, unix.SIGTERM, false)
		a.excuse(targets)
		pt.Swept = a.began
	case ladder.Kill:
		done = "were sent SIGKILL"
		targets, err = a.sweep(pt.Hog.UID, targets, unix.SIGSTOP, pt.Returns > 0 || renewed(pt, targets))
		if err == nil && pt.Returns > 0 {
			targets = a.trace(pt.Hog.UID, targets)
		}
		if err == nil {
			err = signalAll(targets, unix.SIGKILL)
		}
		a.excuse(targets)
	case ladder.Alert, ladder.Restart: // a user has no unit to restart
		return
	}
	if err != nil {
		a.spare(pt, f, &protect.Spared{Rule: protect.RuleUnknown, Reason: fmt.Sprintf("%s failed: %s", d.Step, err)}, data)
		return
	}
	data["affected"] = len(targets)
	a.acted(stepKinds[d.Step], pt, fmt.Sprintf("%s used %s together: %d of them %s", a.who(pt, f), use(pt.Hog), len(targets), done), data)
}

// members lists the processes that make a user a hog.
func (a *agent) members(h limit.Hog) []sample.Member {
	if h.Resource == "memory" {
		return a.largest(h)
	}
	if h.Waited == 0 {
		return a.ledger.Members(h.UID, h.Limit, a.windows.Apart, a.program)
	}
	// Those that wait for a core use little, and others of the user may use more.
	var list []sample.Member
	for _, x := range a.windows.Waiting(h.UID) {
		list = append(list, sample.Member{Ident: x.Ident, CPU: time.Duration(x.Value / 100 * float64(x.Window))})
	}
	return list
}

// largest lists the processes of a user's sessions that have most memory, without which the rest is well below the limit.
func (a *agent) largest(h limit.Hog) []sample.Member {
	var all []sample.Usage
	var sum int64
	for _, u := range a.procs {
		if u.Owner.UID == h.UID && u.Owner.Session {
			all, sum = append(all, u), sum+u.RSS
		}
	}
	slices.SortFunc(all, func(x, y sample.Usage) int { return cmp.Or(cmp.Compare(y.RSS, x.RSS), cmp.Compare(x.PID, y.PID)) })
	rest := sum
	var list []sample.Member
	for _, u := range all {
		if float64(rest) < float64(sum)*wellBelow*h.Limit/max(h.Value, h.Limit) {
			break
		}
		rest -= u.RSS
		list = append(list, sample.Member{Ident: u.Ident, CPU: u.CPU})
	}
	return list
}

// wellBelow is the share of the limit that a user may keep.
const wellBelow = 0.75

// program says what a process runs: its executable and arguments. Those that have ended are one program: what they ran is not
// known any more, and each by itself would be less than a program that has used little all the time.
func (a *agent) program(id process.Ident) string {
	dir := filepath.Join(a.at.proc, strconv.Itoa(id.PID))
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return ""
	}
	args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return ""
	}
	return exe + "\x00" + string(args)
}

// newcomers lists the processes of a user that began since this tick did.
func (a *agent) newcomers(uid uint32) []sample.Member {
	procs, err := a.sampler.Processes(nil)
	if err != nil {
		return nil // the next tick says so
	}
	_, younger := sample.Family(procs, uid, nil, a.began)
	list := make([]sample.Member, 0, len(younger))
	for _, id := range younger {
		list = append(list, sample.Member{Ident: id})
	}
	return list
}

// aim holds and examines members. It returns those that may be touched, and the first that may not.
func (a *agent) aim(members []sample.Member) (targets []target, spared *process.Facts) {
	for _, m := range members {
		t, no, err := a.hold(m.Ident)
		if errors.Is(err, process.ErrGone) {
			continue
		}
		if err == nil && no == nil {
			targets = append(targets, t)
			continue
		}
		if spared == nil {
			f := t.facts
			spared = &f
		}
		if t.Handle != nil {
			_ = t.Close() // a pidfd holds no data
		}
	}
	return targets, spared
}

// hold opens a process, and examines it afterwards.
func (a *agent) hold(id process.Ident) (target, *protect.Spared, error) {
	h, err := process.Hold(a.at.proc, id)
	if err != nil {
		return target{facts: process.Facts{Ident: id}}, nil, err
	}
	f, _, err := a.look(id)
	t := target{h, f}
	if !h.Alive() {
		err = process.ErrGone
	}
	if err != nil {
		_ = h.Close() // a pidfd holds no data
		t.Handle = nil
		return t, nil, err
	}
	return t, a.policy.Judge(f), nil
}

func release(targets []target) {
	for _, t := range targets {
		_ = t.Close() // a pidfd holds no data
	}
}

// sweep sends a signal to the targets and to their descendants, and to the user's younger processes of the same program
// and cgroup, until there are no more. With job, for a swarm that came back or was renewed, it is all of the user's in their
// process groups: what starts a swarm may use little itself. It returns all of them.
func (a *agent) sweep(uid uint32, targets []target, sig unix.Signal, job bool) ([]target, error) {
	if err := signalAll(targets, sig); err != nil {
		return targets, err
	}
	known, like := kinds(targets)
	for range maxSweeps {
		procs, err := a.sampler.Processes(nil)
		if err != nil {
			return targets, err
		}
		found := a.relatives(procs, uid, a.began, known, like, job)
		targets = append(targets, found...)
		for _, t := range found {
			if err := t.Signal(sig); err != nil && !errors.Is(err, process.ErrGone) {
				return targets, err
			}
		}
		if len(found) == 0 {
			return targets, nil
		}
	}
	return targets, nil
}

// kinds returns the processes of targets, and what copies of them are like.
func kinds(targets []target) (known map[process.Ident]bool, like map[string]bool) {
	known, like = map[process.Ident]bool{}, map[string]bool{}
	for _, t := range targets {
		known[t.ID] = true
		like[t.likeness()] = true
	}
	return known, like
}

const (
	tracePoll     = 20 * time.Millisecond
	traceWait     = time.Second     // for newcomers
	traceArrivals = 3               // newcomers that show how often they come
	traceQuiet    = 2               // times as long without one, and nobody starts them any more
	traceMost     = 5 * time.Second // in all
)

// trace looks for what goes on starting processes like the targets, which are stopped, from a process group of its own: it
// stops the user's other processes one after another, beginning with the one that uses most, and lets them go on: it is the
// one with which newcomers cease and come again.
func (a *agent) trace(uid uint32, targets []target) []target {
	known, like := kinds(targets)
	arrivals := func(most int, wait time.Duration) (n int) {
		for until := time.Now().Add(wait); n < most && time.Now().Before(until); time.Sleep(tracePoll) {
			procs, err := a.sampler.Processes(nil)
			if err != nil {
				return most // not known: it was nobody
			}
			found := a.relatives(procs, uid, a.began, known, like, false)
			for _, t := range found {
				_ = t.Signal(unix.SIGSTOP) // or it has ended
			}
			targets = append(targets, found...)
			n += len(found)
		}
		return n
	}
	begin := time.Now()
	if arrivals(traceArrivals, traceWait) < traceArrivals {
		return targets
	}
	quiet := traceQuiet * time.Since(begin)
	defer a.noteLimited()
	for _, m := range a.ledger.Ran(uid) {
		if time.Since(begin) > traceMost {
			break
		}
		if known[m.Ident] {
			continue
		}
		t, no, err := a.hold(m.Ident)
		if err != nil {
			continue // it has ended, or cannot be judged
		}
		if no == nil {
			a.policy.Limited(append(slices.Clone(a.policy.Memory().Limited), t.ID)) // the next agent lets it go on
			a.keepMemory()
			_ = t.Signal(unix.SIGSTOP) // or it has ended
			arrivals(maxSweeps, quiet) // those that were on their way
			none := arrivals(1, quiet) == 0
			_ = t.Signal(unix.SIGCONT)
			if none && arrivals(1, 2*quiet) > 0 && t.Signal(unix.SIGSTOP) == nil { // they come with it only
				arrivals(maxSweeps, quiet)
				return append(targets, t)
			}
		}
		_ = t.Close() // a pidfd holds no data
	}
	return targets
}

// renewed reports whether something started further processes after SIGTERM.
func renewed(pt *ladder.Patient, targets []target) bool {
	return pt.Swept > 0 && slices.ContainsFunc(targets, func(t target) bool { return t.ID.Start > pt.Swept })
}

// likeness is what copies of a program in one unit have in common.
func (t target) likeness() string { return t.facts.Executable + " " + t.facts.Cgroup }

// relatives finds and holds a user's processes that belong to those that are known, and adds them: descendants, and what
// is alike and began after since.
func (a *agent) relatives(procs []sample.Usage, uid uint32, since uint64, known map[process.Ident]bool, like map[string]bool, job bool) (found []target) {
	descendants, younger := sample.Family(procs, uid, known, since)
	if job {
		descendants = append(descendants, sample.Job(procs, uid, known)...)
	}
	for i, id := range slices.Concat(descendants, younger) {
		if known[id] {
			continue
		}
		t, no, err := a.hold(id)
		if err != nil {
			continue // it has ended, or cannot be judged
		}
		if no != nil || i >= len(descendants) && !like[t.likeness()] {
			_ = t.Close() // a pidfd holds no data
			continue
		}
		known[id] = true
		found = append(found, t)
	}
	return found
}

// excuse says that these processes are being ended: they are not looked for any more.
func (a *agent) excuse(targets []target) {
	for _, t := range targets {
		a.ledger.Excuse(t.ID)
	}
}

// signalAll sends a signal to every target that lives. It fails only if none could be sent.
func signalAll(targets []target, sig unix.Signal) error {
	var failed error
	sent := false
	for _, t := range targets {
		err := t.Signal(sig)
		switch {
		case err == nil, errors.Is(err, process.ErrGone):
			sent = true
		case failed == nil:
			failed = err
		}
	}
	if sent {
		return nil
	}
	return failed
}

func (a *agent) reniceAll(pt *ladder.Patient, targets []target) ([]target, error) {
	var failed error
	done := 0
	for _, t := range targets {
		switch err := t.Renice(ladder.Niced); {
		case err == nil:
			a.policy.Niced(pt.Hog, t.ID, t.facts.Nice)
			done++
		case !errors.Is(err, process.ErrGone) && failed == nil:
			failed = err
		}
	}
	if done > 0 {
		failed = nil
	}
	return targets, failed
}

// userEvidence describes a user's processes before a step.
func (a *agent) userEvidence(ctx context.Context, pt *ladder.Patient, f process.Facts, members []sample.Member, targets []target) map[string]any {
	data := a.evidence(ctx, pt.Hog, f)
	data["uid"], data["processes"], data["touchable"] = pt.Hog.UID, len(members), len(targets)
	var list []string
	for _, m := range members[:min(len(members), shownMembers)] {
		what := "[ended, or protected]"
		for _, t := range targets {
			if t.ID == m.Ident {
				what = process.CommandLine(a.at.proc, t.facts)
			}
		}
		list = append(list, fmt.Sprintf("%d %s (%.1f s)", m.PID, what, m.CPU.Seconds()))
	}
	data["members"] = list
	return data
}

// who names a patient for messages: a process, or the processes of a user by the one that uses most.
func (a *agent) who(pt *ladder.Patient, f process.Facts) string {
	if pt.Hog.UID == 0 {
		return describe(f)
	}
	user := f.User
	if user == "" {
		user = fmt.Sprintf("uid %d", pt.Hog.UID)
	}
	text := "the processes of " + user
	if f.Executable != "" {
		text += " (most: " + filepath.Base(f.Executable) + ")"
	}
	if f.Unit != "" {
		text += " in " + f.Unit
	}
	return text
}

// giveBack gives processes their nice values from before Renice.
func (a *agent) giveBack(pt *ladder.Patient) (done int) {
	for text, nice := range pt.Nice {
		var id process.Ident
		if _, err := fmt.Sscanf(text, "%d@%d", &id.PID, &id.Start); err != nil {
			continue
		}
		h, err := process.Hold(a.at.proc, id)
		if err != nil { // it has ended
			continue
		}
		if err := h.Renice(nice); err == nil {
			done++
		} else if !errors.Is(err, process.ErrGone) {
			a.warn("give back the priority of process %d: %v", id.PID, err)
		}
		_ = h.Close() // a pidfd holds no data
	}
	return done
}

// stepKinds are the kinds of the events of steps.
var stepKinds = map[ladder.Step]string{
	ladder.Renice: "process.reniced", ladder.Limit: "process.limited", ladder.Terminate: "process.terminated", ladder.Kill: "process.killed", ladder.Restart: "unit.restarted",
}

// parseHog reads the hog's key in the key of an alert.
func parseHog(text string) (h limit.Hog, ok bool) {
	if rest, user := strings.CutPrefix(text, "user-"); user {
		_, err := fmt.Sscanf(rest, "%d/%s", &h.UID, &h.Resource)
		return h, err == nil
	}
	_, err := fmt.Sscanf(text, "%d@%d/%s", &h.PID, &h.Start, &h.Resource)
	return h, err == nil
}
