package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/doctor/record"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// The agent's report for the status action.
const (
	reportName  = "report"
	reportEvery = 5 * time.Second
)

// watch runs the agent on one host until ctx ends.
func watch(ctx context.Context, c *config, job *sdk.Job) error {
	me, err := protect.FindSelf("/proc")
	if err != nil {
		return fmt.Errorf("find the agent's own processes: %w", err)
	}
	publish := func(e sdk.Event) error { return job.Publish(ctx, e) }
	a, err := newAgent(c.withDefaults(), job.Info, place{proc: "/proc", etc: "/etc", share: "/usr/share", self: me}, publish, job.Warnf)
	if err != nil {
		return err
	}
	defer a.Close()
	report := sdk.NewReport(ctx, job, reportName, reportEvery)
	defer report.Close()
	tick := time.NewTicker(a.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if err := a.Tick(ctx, now); err != nil {
				return err
			}
			report.Set(a.report)
		}
	}
}

// place holds the paths from which the agent reads the host's state, and the agent's own identity.
type place struct {
	proc, etc, share string
	self             protect.Self
}

// agent is the doctor on one host: it takes samples and carries out the policy's decisions. Not safe for concurrent use.
type agent struct {
	interval time.Duration
	info     sdk.RunInfo
	at       place
	sampler  sampling
	meter    *sample.Meter
	ledger   *sample.Ledger
	windows  *limit.Windows
	policy   *ladder.Policy
	guard    *protect.Guard // without what the manifest adds
	accounts func() (*protect.Accounts, error)
	alarms   []*hostAlarm
	killedAt time.Time // when the kernel killed a process last
	recorder *record.Recorder
	began    uint64                     // when this tick began, in clock ticks since boot
	window   time.Duration              // of CPU use
	busy     float64                    // per cent of one core: a shell whose commands use so much does not wait
	held     map[string]*process.Handle // patients that are one process, by their hog's key
	quotas   map[string]*quota          // of patients that are limited, by their hog's key
	procs    []sample.Usage
	broke    bool // the budget is spent
	report   report
	ranked   time.Time // when the report's greatest processes were looked for
	alerts   *sdk.Alerts
	kept     string // the policy's memory, as it is on disk
	unkept   bool   // writing failed, logged once
	unsent   bool   // publishing failed, logged once

	publish func(sdk.Event) error
	warn    func(format string, args ...any)
}

// accountsFor is how long the host's accounts are trusted.
const accountsFor = 2 * time.Second

// cached reads accounts once in a while: a fork bomb has thousands of processes to judge.
func cached(read func() (*protect.Accounts, error)) func() (*protect.Accounts, error) {
	var at time.Time
	var last *protect.Accounts
	var err error
	return func() (*protect.Accounts, error) {
		if now := time.Now(); at.IsZero() || now.Sub(at) >= accountsFor {
			last, err = read()
			at = now
		}
		return last, err
	}
}

// sampling lists all processes with their usage. It is called for each sample.
type sampling interface {
	Processes(procs []sample.Usage) ([]sample.Usage, error)
	Close()
}

func newAgent(c config, info sdk.RunInfo, at place, publish func(sdk.Event) error, warn func(string, ...any)) (*agent, error) {
	meter, err := sample.NewMeter(at.proc)
	if err != nil {
		return nil, err
	}
	read := cached(func() (*protect.Accounts, error) { return protect.ReadAccounts(at.etc, at.share) })
	ordinary := func(uid uint32) bool {
		accounts, err := read()
		return err == nil && accounts.Ordinary(uid)
	}
	rec, err := record.Open(info.StateDir, info.Role)
	if err != nil {
		return nil, err
	}
	alerts, err := sdk.OpenAlerts(info.StateDir, publish)
	if err != nil {
		warn("%v", err)
	}
	readers := limit.Readers{
		Demand: process.NewDemandReader(at.proc).Read,
		Share:  func(id process.Ident) (int64, error) { return process.Share(at.proc, id) },
	}
	a := &agent{
		interval: c.Interval.Std(), info: info, at: at, sampler: sample.NewSampler(at.proc), meter: meter,
		windows: limit.NewWindows(c.limits(), readers), ledger: sample.NewLedger(c.CPU.For.Std(), meter.UserSlices(), ordinary),
		policy: ladder.New(c.policy(info.Role), &protect.Guard{Accounts: read, Self: at.self, Extra: protect.Extra(*c.Protect)}, readMemory(info.StateDir, warn)),
		guard:  &protect.Guard{Accounts: read, Self: at.self}, accounts: read, recorder: rec, held: map[string]*process.Handle{},
		quotas: map[string]*quota{},
		alarms: hostAlarms(c, string(info.Host), alerts), report: report{Leash: c.Leash},
		window: c.CPU.For.Std(), busy: c.CPU.Above / 2, alerts: alerts, publish: publish, warn: warn, broke: alerts.IsOpen(budgetKey(string(info.Host))),
	}
	a.letGoOn(a.policy.Memory().Limited)
	a.policy.Limited(nil)
	a.adopt(time.Now())
	return a, nil
}

// adopt makes patients of processes whose alerts were opened before this agent started, so that their treatment continues
// and their recovery is published.
func (a *agent) adopt(now time.Time) {
	for _, e := range a.alerts.Open() {
		text, ok := strings.CutPrefix(e.Key, "process:"+string(a.info.Host)+":")
		if !ok {
			continue
		}
		h, ok := parseHog(text)
		if !ok {
			continue
		}
		f := process.Facts{Ident: h.Ident}
		f.Executable, _ = e.Data["executable"].(string)
		f.User, _ = e.Data["user"].(string)
		a.policy.Adopt(now, h, f)
	}
}

func budgetKey(host string) string { return "doctor.budget:" + host }

// Close releases every process and closes the recording.
func (a *agent) Close() {
	a.sampler.Close()
	for k := range a.quotas {
		a.unlimit(k)
	}
	for _, h := range a.held {
		_ = h.Close() // a pidfd holds no data
	}
	if err := a.recorder.Close(); err != nil {
		a.warn("close recording: %v", err)
	}
}

// Tick takes one sample and acts on it.
func (a *agent) Tick(ctx context.Context, now time.Time) error {
	var err error
	if a.began, err = process.Uptime(); err != nil {
		return err
	}
	if a.procs, err = a.sampler.Processes(a.procs[:0]); err != nil {
		return err
	}
	s := sample.Sample{Time: now, Procs: a.procs, Users: a.ledger.Add(a.procs, now)}
	if s.Host, err = a.meter.Read(ctx, now, a.procs); err != nil {
		return err
	}
	hogs := a.windows.Add(s)
	a.ring(ctx, now, s.Host)
	for _, pt := range a.policy.Due(now, hogs) {
		if pt.Hog.UID != 0 {
			a.treatUser(ctx, now, pt)
		} else {
			a.treat(ctx, now, pt)
		}
	}
	a.policy.Each(func(pt *ladder.Patient) {
		a.windows.Hurry(pt.Hog, pt.Returns)
		a.keepLimit(now, pt)
	})
	for _, pt := range a.policy.Recovered(now, a.windows.Alive) {
		a.recovered(pt)
	}
	if a.broke && a.policy.BudgetLeft(now) {
		a.broke = false
		a.emit(sdk.Event{Kind: "doctor.budget", Severity: sdk.Resolved, Key: budgetKey(string(a.info.Host)), Summary: "the doctor may act on host " + string(a.info.Host) + " again"})
	}
	a.report.CPU, a.report.Memory, a.report.Cores = s.Host.CPU, s.Host.Memory, s.Host.Cores
	a.report.Processes, a.report.Hogs = len(a.procs), a.policy.Patients()
	if now.Sub(a.ranked) >= reportEvery {
		a.ranked, a.report.Top = now, a.greatest(s.Host)
	}
	a.keepMemory()
	err = a.alerts.Retry()
	if err != nil && !a.unsent { // an outage is logged once
		a.warn("%v", err)
	}
	a.unsent = err != nil
	if err := a.recorder.Add(s, record.Source{Windows: a.windows, Look: a.look, Most: a.ledger.Most}); err != nil {
		a.warn("%v", err) // a full disk must not stop the doctor
	}
	return nil
}

// emit publishes an event. An alert that is already open, and a recovery without an alert, are not published.
func (a *agent) emit(e sdk.Event) {
	published := true
	switch e.Severity {
	case sdk.Alert:
		published = a.alerts.Raise(e)
	case sdk.Resolved:
		published = a.alerts.Resolve(e)
	case sdk.Info, sdk.Warning:
		if err := a.publish(e); err != nil {
			a.warn("%s: %s: %v", e.Kind, e.Summary, err)
		}
	}
	if published {
		a.recorder.Tell(e)
		a.report.Last = e.Summary
	}
}
