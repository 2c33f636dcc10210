package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// look reads the facts of a process and finds the built-in rule that protects it, if any.
func (a *agent) look(id process.Ident) (process.Facts, *protect.Spared, error) {
	f, err := process.Read(a.at.proc, id)
	if acc, errAccounts := a.accounts(); errAccounts == nil && len(f.UIDs) > 1 {
		f.User = acc.Name(f.UIDs[1])
	}
	if err != nil {
		return f, nil, err
	}
	f.Busy, f.Age = a.ledger.Busy(id, a.busy), id.Age(a.began)
	return f, a.guard.Judge(f), nil
}

// treat takes the due step of one patient. The process is held by a pidfd from before it is examined until it recovers.
func (a *agent) treat(ctx context.Context, now time.Time, pt *ladder.Patient) {
	k := pt.Hog.Key()
	h := a.held[k]
	var err error
	if h == nil {
		h, err = process.Hold(a.at.proc, pt.Hog.Ident)
		if errors.Is(err, process.ErrGone) {
			return
		}
		if err == nil {
			a.held[k] = h
		}
	}
	f := process.Facts{Ident: pt.Hog.Ident}
	if err == nil {
		f, _, err = a.look(pt.Hog.Ident)
		f.Ident = pt.Hog.Ident
	}
	// The process is still alive, so its PID was never reused and the facts are its own.
	if errors.Is(err, process.ErrGone) || h != nil && !h.Alive() {
		return
	}
	d := a.policy.Decide(now, pt, f, err)
	if !d.Tell {
		return
	}
	data := a.evidence(ctx, pt.Hog, f)
	if !d.Act {
		a.spare(pt, f, d.Spared, data)
		return
	}
	if d.Step == ladder.Alert {
		a.alert(pt, f, d, data)
		return
	}
	a.act(ctx, h, pt, f, d, data)
}

func hogKey(host string, h limit.Hog) string { return "process:" + host + ":" + h.Key() }

func verb(h limit.Hog) string {
	if h.UID != 0 {
		return "together use"
	}
	return "uses"
}

func (a *agent) alert(pt *ladder.Patient, f process.Facts, d ladder.Decision, data map[string]any) {
	next := "nothing follows"
	switch {
	case d.Spared != nil:
		next = "it is left alone: " + d.Spared.Reason
		data["spared"], data["reason"] = string(d.Spared.Rule), d.Spared.Reason
	case d.Next != "":
		next = "next: " + string(d.Next)
		data["next"] = string(d.Next)
	}
	a.emit(sdk.Event{
		Kind: "process.hog", Severity: sdk.Alert, Key: hogKey(string(a.info.Host), pt.Hog), Data: data,
		Summary: fmt.Sprintf("%s %s %s for %.0f s; %s", a.who(pt, f), verb(pt.Hog), use(pt.Hog), pt.Hog.Window.Seconds(), next),
	})
}

func (a *agent) spare(pt *ladder.Patient, f process.Facts, no *protect.Spared, data map[string]any) {
	data["spared"], data["reason"] = string(no.Rule), no.Reason
	a.emit(sdk.Event{
		Kind: "process.spared", Severity: sdk.Warning, Key: hogKey(string(a.info.Host), pt.Hog), Data: data,
		Summary: fmt.Sprintf("%s %s %s; left alone: %s", a.who(pt, f), verb(pt.Hog), use(pt.Hog), no.Reason),
	})
	if no.Rule == ladder.RuleBudget && !a.broke {
		a.broke = true
		a.emit(sdk.Event{
			Kind: "doctor.budget", Severity: sdk.Alert, Key: budgetKey(string(a.info.Host)),
			Summary: "the doctor stops acting on host " + string(a.info.Host) + ": " + no.Reason,
		})
	}
}

// act takes one step. data was collected before.
func (a *agent) act(ctx context.Context, h *process.Handle, pt *ladder.Patient, f process.Facts, d ladder.Decision, data map[string]any) {
	var done string
	var err error
	switch d.Step {
	case ladder.Renice:
		done = fmt.Sprintf("now runs at nice %d", ladder.Niced)
		if err = h.Renice(ladder.Niced); err == nil {
			a.policy.Niced(pt.Hog, f.Ident, f.Nice)
		}
	case ladder.Limit:
		done = "is held to " + share(pt.Hog)
		err = a.limit(ctx, pt, []target{{Handle: h, facts: f}})
	case ladder.Terminate:
		done = "was sent SIGTERM"
		err = h.Signal(unix.SIGTERM)
	case ladder.Kill:
		done = "was sent SIGKILL"
		err = h.Signal(unix.SIGKILL)
	case ladder.Restart:
		done = "its unit " + f.Unit + " is restarted"
		err = a.restart(ctx, f, d.Again)
	case ladder.Alert:
		return
	}
	if errors.Is(err, process.ErrGone) {
		return
	}
	if err != nil {
		a.spare(pt, f, &protect.Spared{Rule: protect.RuleUnknown, Reason: fmt.Sprintf("%s failed: %s", d.Step, err)}, data)
		return
	}
	a.acted(stepKinds[d.Step], pt, fmt.Sprintf("%s used %s and %s", describe(f), use(pt.Hog), done), data)
}

// acted publishes a step that was taken.
func (a *agent) acted(kind string, pt *ladder.Patient, summary string, data map[string]any) {
	a.report.Actions++
	a.emit(sdk.Event{Kind: kind, Severity: sdk.Warning, Key: hogKey(string(a.info.Host), pt.Hog), Data: data, Summary: summary})
}

// restart ends the main process of the hog's unit, so that systemd starts it again.
func (a *agent) restart(ctx context.Context, f process.Facts, again bool) error {
	policy, pid, err := unitProperties(ctx, f.Unit)
	if err != nil {
		return err
	}
	sig, err := restartSignal(policy, again)
	if err != nil {
		return err
	}
	st, err := process.ReadStat(filepath.Join(a.at.proc, fmt.Sprint(pid)))
	if err != nil {
		return err
	}
	h, err := process.Hold(a.at.proc, process.Ident{PID: pid, Start: st.Start})
	if err != nil {
		return err
	}
	defer h.Close()
	main, no, err := a.look(h.ID)
	if err != nil {
		return err
	}
	if main.Unit != f.Unit || no != nil && no.Rule != protect.RuleSystem {
		return fmt.Errorf("the main process %d of unit %s must not be touched", pid, f.Unit)
	}
	return h.Signal(sig)
}

func (a *agent) recovered(pt *ladder.Patient) {
	k := pt.Hog.Key()
	if h := a.held[k]; h != nil {
		_ = h.Close() // a pidfd holds no data
		delete(a.held, k)
	}
	back := a.giveBack(pt)
	free := a.unlimit(k)
	if len(pt.Done) == 0 {
		return
	}
	be, have := "is", "has"
	if pt.Hog.UID != 0 {
		be, have = "are", "have"
	}
	how := be + " below the limit again"
	if !a.windows.Alive(pt.Hog) {
		how = have + " ended"
	} else if back > 0 {
		how += " and " + have + " the old priority back"
	}
	if free && a.windows.Alive(pt.Hog) {
		how += ", without a limit from now on"
	}
	a.emit(sdk.Event{
		Kind: "process.hog", Severity: sdk.Resolved, Key: hogKey(string(a.info.Host), pt.Hog),
		Summary: fmt.Sprintf("%s %s; steps taken: %v", a.who(pt, pt.Facts), how, pt.Done),
		Data:    map[string]any{"pid": pt.Facts.PID, "start": pt.Facts.Start, "steps": pt.Done, "user": pt.Facts.User},
	})
}
