package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// reportEvery is how often the agent tells the status action what it sees.
const reportEvery = 5 * time.Second

// watch is the agent's life on one host.
func watch(ctx context.Context, c *config, job *sdk.Job) error {
	a, err := newAgent(c.withDefaults(), job.Info, paths{proc: "/proc", etc: "/etc"})
	if err != nil {
		return err
	}
	defer a.Close()
	a.publish = func(e sdk.Event) {
		if err := job.Publish(ctx, e); err != nil && ctx.Err() == nil {
			job.Warnf("%s: %s: %v", e.Kind, e.Summary, err)
		}
	}
	a.warn = job.Warnf
	a.takeOver()
	// What the shared state is told must never hold up a treatment: it may be away.
	reports := make(chan report, 1)
	reporting := make(chan struct{})
	go func() {
		defer close(reporting)
		sendReports(ctx, job, reports)
	}()
	defer func() { close(reports); <-reporting }()
	tick := time.NewTicker(a.interval)
	defer tick.Stop()
	var reported time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if err := a.Tick(ctx, now); err != nil {
			return err
		}
		if now.Sub(reported) < reportEvery {
			continue
		}
		reported = now
		select {
		case reports <- a.report:
		default: // the last one is still on its way
		}
	}
}

// sendReports hands reports to the status action. An outage is logged once.
func sendReports(ctx context.Context, job *sdk.Job, reports <-chan report) {
	failed := false
	for r := range reports {
		b, err := json.Marshal(r)
		if err == nil {
			_, err = job.SetState(ctx, reportKey(string(job.Info.Stage), string(job.Info.Host)), b)
		}
		if err != nil && !failed && ctx.Err() == nil {
			job.Warnf("report status: %v", err)
		}
		failed = err != nil
	}
}

// paths are where the agent looks.
type paths struct{ proc, etc string }

// agent is the doctor on one host: it samples, asks the policy, and does what the policy says. Not for
// concurrent use.
type agent struct {
	interval time.Duration
	info     sdk.RunInfo
	paths    paths
	sampler  *sampler
	meter    *hostMeter
	windows  *windows
	policy   *policy
	guard    *guard // without what the manifest adds
	alarms   [2]alarm
	recorder *recorder
	held     map[string]*held // patients, by key
	procs    []usage
	broke    bool // the budget is spent
	report   report
	standing map[string]string // alerts, by key: their kind

	publish func(sdk.Event)
	warn    func(format string, args ...any)
}

func newAgent(c config, info sdk.RunInfo, at paths) (*agent, error) {
	meter, err := newHostMeter(at.proc)
	if err != nil {
		return nil, err
	}
	me, err := findSelf(at.proc)
	if err != nil {
		return nil, fmt.Errorf("find the agent's own processes: %w", err)
	}
	read := func() (*accounts, error) { return readAccounts(at.etc) }
	builtin := &guard{accounts: read, self: me}
	p, err := newPolicy(c, info.Role, &guard{accounts: read, self: me, extra: *c.Protect})
	if err != nil {
		return nil, err
	}
	rec, err := openRecorder(info.StateDir, info.Role)
	if err != nil {
		return nil, err
	}
	host := func(limit float64) alarm {
		return alarm{limit: limit, window: c.Host.For.Std(), cooldown: c.Host.Cooldown.Std()}
	}
	return &agent{
		interval: c.Interval.Std(), info: info, paths: at, sampler: newSampler(at.proc), meter: meter,
		windows: newWindows(c.limits(), func(id ident) (demand, error) { return readDemand(at.proc, id) }), policy: p, guard: builtin, recorder: rec, held: map[string]*held{},
		alarms: [2]alarm{host(c.Host.CPU), host(c.Host.Memory)}, report: report{Leash: c.Leash}, standing: map[string]string{},
	}, nil
}

// findSelf looks up the agent's processes and its unit. A process without a known parent is not found only
// when the host is too broken to act on.
func findSelf(proc string) (self, error) {
	pid := os.Getpid()
	st, err := readStat(filepath.Join(proc, "self"))
	if err != nil {
		return self{}, err
	}
	chain, err := readChain(proc, int(st.ppid))
	if err != nil {
		return self{}, err
	}
	cgroups, err := readCgroups(filepath.Join(proc, "self", "cgroup"))
	if err != nil {
		return self{}, err
	}
	path := cgroups["name=systemd"]
	if path == "" {
		path = cgroups[""]
	}
	me := self{pid: pid}
	// Only a unit of the agent's own: one started by hand shares the unit of the session it was started in.
	if unit := unitOf(path); strings.HasPrefix(unit, "troop-agent@") {
		me.unit = unit
	}
	for _, a := range chain {
		me.ancestors = append(me.ancestors, a.PID)
	}
	return me, nil
}

// Close lets go of every process.
func (a *agent) Close() {
	a.sampler.Close()
	for _, h := range a.held {
		_ = h.Close() // a pidfd holds no data
	}
	if err := a.recorder.Close(); err != nil && a.warn != nil {
		a.warn("close recording: %v", err)
	}
}

// Tick takes one sample and does what follows from it.
func (a *agent) Tick(ctx context.Context, now time.Time) error {
	var err error
	if a.procs, err = a.sampler.Processes(a.procs[:0]); err != nil {
		return err
	}
	s := sample{Time: now, Procs: a.procs}
	if s.Host, err = a.meter.Read(ctx, now); err != nil {
		return err
	}
	hogs := a.windows.Add(s)
	a.ring(now, 0, "host.cpu", "CPU", s.Host.CPU, s.Host)
	a.ring(now, 1, "host.memory", "memory", s.Host.Memory, s.Host)
	for _, pt := range a.policy.Due(now, hogs) {
		a.treat(ctx, now, pt)
	}
	for _, pt := range a.policy.Recovered(now, a.windows.Alive) {
		a.recovered(pt)
	}
	if a.broke && a.policy.budget.left(now) {
		a.broke = false
		a.tell(sdk.Event{Kind: "doctor.budget", Severity: sdk.Resolved, Key: "doctor.budget:" + string(a.info.Host), Summary: "the doctor may act again"})
	}
	a.report.Time, a.report.CPU, a.report.Memory, a.report.Cores = now, s.Host.CPU, s.Host.Memory, s.Host.Cores
	a.report.Processes, a.report.Hogs = len(a.procs), len(a.policy.patients)
	if err := a.recorder.Add(s, a.windows, a.look); err != nil {
		a.warn("%v", err) // a full disk must not stop the treatment
	}
	return nil
}

func (a *agent) ring(now time.Time, i int, kind, what string, value float64, h hostUsage) {
	alarm := &a.alarms[i]
	change, average := alarm.Add(now, value)
	e := sdk.Event{Kind: kind, Key: kind + ":" + string(a.info.Host), Data: map[string]any{
		"percent": round(average), "limit": alarm.limit, "seconds": alarm.window.Seconds(), "cores": h.Cores, "memory_total": h.MemoryTotal,
	}}
	switch change {
	case raised:
		e.Severity = sdk.Alert
		e.Summary = fmt.Sprintf("%s of host %s above %g %% for %s: %.0f %% of its capacity", what, a.info.Host, alarm.limit, alarm.window, average)
		e.Data["top"] = a.top(what)
	case cleared:
		e.Severity = sdk.Resolved
		e.Summary = fmt.Sprintf("%s of host %s is well below %g %% again: %.0f %%", what, a.info.Host, alarm.limit, average)
	case unchanged:
		return
	}
	a.tell(e)
}

// top names the processes that use most, for the reader of a host's alert.
func (a *agent) top(what string) []string {
	value := func(u usage) float64 { return a.windows.Percent(u.ident) }
	if what == "memory" {
		value = func(u usage) float64 { return float64(u.RSS) }
	}
	var list []string
	taken := map[int]bool{}
	for range 3 {
		best := usage{}
		for _, u := range a.procs {
			if !taken[u.PID] && value(u) > value(best) {
				best = u
			}
		}
		if best.PID == 0 {
			break
		}
		taken[best.PID] = true
		if f, _, err := a.look(best.ident); err == nil {
			list = append(list, fmt.Sprintf("%d %s of %s", f.PID, commandLine(a.paths.proc, f), f.User))
		}
	}
	return list
}

// look examines a process: its facts, and the built-in rule that protects it.
func (a *agent) look(id ident) (facts, *spared, error) {
	f, err := readFacts(a.paths.proc, id)
	if err != nil {
		return f, nil, err
	}
	if acc, err := readAccounts(a.paths.etc); err == nil && len(f.UIDs) > 1 {
		f.User = acc.names[f.UIDs[1]]
	}
	return f, a.guard.Judge(f), nil
}

// treat takes the due step of one patient. The process is held before it is looked at and until it is well.
func (a *agent) treat(ctx context.Context, now time.Time, pt *patient) {
	k := key(pt.hog)
	h := a.held[k]
	var err error
	if h == nil {
		h, err = hold(a.paths.proc, pt.hog.ident)
		if errors.Is(err, errGone) {
			return
		}
		if err == nil {
			a.held[k] = h
		}
	}
	var f facts
	if err == nil {
		f, _, err = a.look(pt.hog.ident)
	}
	// Facts that were read while the process lived are its own: its pid was not free before.
	if errors.Is(err, errGone) || h != nil && !h.Alive() {
		return
	}
	d := a.policy.Decide(now, pt, f, err)
	if !d.tell {
		return
	}
	if err != nil {
		f = facts{ident: pt.hog.ident, Comm: "unknown"}
	}
	data := evidence(ctx, a.paths.proc, pt.hog, f)
	if !d.act {
		a.spare(pt, f, d.spared, data)
		return
	}
	if d.step == stepAlert {
		a.alert(pt, f, d, data)
		return
	}
	a.act(ctx, h, pt, f, d, data)
}

func hogKey(host string, h hog) string { return "process:" + host + ":" + key(h) }

// describe names a process for people.
func describe(f facts) string {
	name := filepath.Base(f.Executable)
	if f.Executable == "" {
		name = f.Comm
	}
	user := f.User
	if user == "" {
		user = fmt.Sprintf("uid %d", effective(f.UIDs))
	}
	return fmt.Sprintf("%s (pid %d) of %s", name, f.PID, user)
}

func use(h hog) string {
	if h.Resource == "memory" {
		return fmt.Sprintf("%.0f %% of the host's memory", h.Value)
	}
	if h.Waited > 0 {
		return fmt.Sprintf("%.0f %% of one core, never sleeps and waits for the rest (%.0f %%)", h.Value, h.Waited)
	}
	return fmt.Sprintf("%.0f %% of one core", h.Value)
}

func (a *agent) alert(pt *patient, f facts, d decision, data map[string]any) {
	next := "nothing follows"
	switch {
	case d.spared != nil:
		next = "it is left alone: " + d.spared.Reason
		data["spared"], data["reason"] = string(d.spared.Rule), d.spared.Reason
	case d.next != "":
		next = "next: " + string(d.next)
		data["next"] = string(d.next)
	}
	a.tell(sdk.Event{
		Kind: "process.hog", Severity: sdk.Alert, Key: hogKey(string(a.info.Host), pt.hog), Data: data,
		Summary: fmt.Sprintf("%s uses %s for %.0f s; %s", describe(f), use(pt.hog), pt.hog.Window.Seconds(), next),
	})
}

func (a *agent) spare(pt *patient, f facts, no *spared, data map[string]any) {
	data["spared"], data["reason"] = string(no.Rule), no.Reason
	a.tell(sdk.Event{
		Kind: "process.spared", Severity: sdk.Warning, Key: hogKey(string(a.info.Host), pt.hog), Data: data,
		Summary: fmt.Sprintf("%s uses %s and is left alone: %s", describe(f), use(pt.hog), no.Reason),
	})
	if no.Rule == ruleBudget && !a.broke {
		a.broke = true
		a.tell(sdk.Event{
			Kind: "doctor.budget", Severity: sdk.Alert, Key: "doctor.budget:" + string(a.info.Host),
			Summary: "the doctor stops acting on host " + string(a.info.Host) + ": " + no.Reason,
		})
	}
}

// act does one step. The evidence was taken before it.
func (a *agent) act(ctx context.Context, h *held, pt *patient, f facts, d decision, data map[string]any) {
	var kind, done string
	var err error
	switch d.step {
	case stepRenice:
		kind, done = "process.reniced", fmt.Sprintf("runs at nice %d now", reniced)
		err = h.Renice(reniced)
	case stepTerminate:
		kind, done = "process.terminated", "was sent SIGTERM"
		err = h.Signal(unix.SIGTERM)
	case stepKill:
		kind, done = "process.killed", "was sent SIGKILL"
		err = h.Signal(unix.SIGKILL)
	case stepRestart:
		kind, done = "unit.restarted", "its unit "+f.Unit+" is restarted"
		err = a.restart(ctx, f, d.again)
	case stepAlert:
		return
	}
	if errors.Is(err, errGone) {
		return
	}
	if err != nil {
		a.spare(pt, f, &spared{ruleUnknown, fmt.Sprintf("%s did not work: %s", d.step, err)}, data)
		return
	}
	a.report.Actions++
	a.tell(sdk.Event{
		Kind: kind, Severity: sdk.Warning, Key: hogKey(string(a.info.Host), pt.hog), Data: data,
		Summary: fmt.Sprintf("%s used %s and %s", describe(f), use(pt.hog), done),
	})
}

// restart ends the main process of the hog's unit, for systemd to start it again.
func (a *agent) restart(ctx context.Context, f facts, again bool) error {
	policy, pid, err := unitProperties(ctx, f.Unit)
	if err != nil {
		return err
	}
	sig, err := restartSignal(policy, again)
	if err != nil {
		return err
	}
	st, err := readStat(filepath.Join(a.paths.proc, fmt.Sprint(pid)))
	if err != nil {
		return err
	}
	h, err := hold(a.paths.proc, ident{PID: pid, Start: st.start})
	if err != nil {
		return err
	}
	defer h.Close()
	main, no, err := a.look(h.id)
	if err != nil {
		return err
	}
	if main.Unit != f.Unit || no != nil && no.Rule != ruleSystem {
		return fmt.Errorf("the main process %d of unit %s must not be touched", pid, f.Unit)
	}
	return h.Signal(sig)
}

func (a *agent) recovered(pt *patient) {
	k := key(pt.hog)
	if h := a.held[k]; h != nil {
		_ = h.Close() // a pidfd holds no data
		delete(a.held, k)
	}
	if len(pt.done) == 0 {
		return
	}
	how := "is calm again"
	if !a.windows.Alive(pt.hog.ident) {
		how = "has ended"
	}
	a.tell(sdk.Event{
		Kind: "process.hog", Severity: sdk.Resolved, Key: hogKey(string(a.info.Host), pt.hog),
		Summary: fmt.Sprintf("%s %s; steps taken: %v", describe(pt.facts), how, pt.done),
		Data:    map[string]any{"pid": pt.hog.PID, "start": pt.hog.Start, "steps": pt.done, "user": pt.facts.User},
	})
}

// standingFile holds the alerts that stand, by key: their kind.
func (a *agent) standingFile() string { return filepath.Join(a.info.StateDir, "alerts.json") }

// takeOver takes back the alerts that an agent before this one left: what is still so is told again.
func (a *agent) takeOver() {
	b, err := os.ReadFile(a.standingFile())
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	left := map[string]string{}
	if err == nil {
		err = json.Unmarshal(b, &left)
	}
	if err != nil {
		a.warn("read standing alerts: %v", err)
		return
	}
	for key, kind := range left {
		a.tell(sdk.Event{Kind: kind, Severity: sdk.Resolved, Key: key, Summary: "the doctor of host " + string(a.info.Host) + " started anew and looks again"})
	}
}

// stand keeps on disk which alerts stand.
func (a *agent) stand(e sdk.Event) {
	switch e.Severity {
	case sdk.Alert:
		a.standing[e.Key] = e.Kind
	case sdk.Resolved:
		delete(a.standing, e.Key)
	case sdk.Info, sdk.Warning:
		return
	}
	b, err := json.Marshal(a.standing)
	if err == nil {
		err = renameio.WriteFile(a.standingFile(), b, 0o600)
	}
	if err != nil {
		a.warn("keep standing alerts: %v", err)
	}
}

func (a *agent) tell(e sdk.Event) {
	a.stand(e)
	a.recorder.Tell(e)
	a.report.Last = e.Summary
	a.publish(e)
}
