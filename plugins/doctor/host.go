package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// hostAlarm is an alarm for one figure of the host.
type hostAlarm struct {
	limit.Alarm
	kind  string
	value func(sample.Host) float64
	// raised and cleared describe the change; average is over the window.
	raised, cleared func(a *hostAlarm, host string, average float64) string
	byMemory        bool // the greatest users of memory are named, not of CPU; nobody is named if the host is not the cause
	elsewhere       bool
}

// hostAlarms returns the alarms of the configuration. Those whose alerts are open are raised.
func hostAlarms(c config, host string, alerts *sdk.Alerts) []*hostAlarm {
	list := []*hostAlarm{
		{
			Alarm: limit.Alarm{Limit: c.Host.CPU}, kind: "host.cpu", value: func(h sample.Host) float64 { return h.CPU },
			raised: above("CPU"), cleared: below("CPU"),
		},
		{
			Alarm: limit.Alarm{Limit: c.Host.Memory}, kind: "host.memory", byMemory: true, value: func(h sample.Host) float64 { return h.Memory },
			raised: above("memory"), cleared: below("memory"),
		},
		{
			Alarm: limit.Alarm{Limit: c.Host.Steal}, kind: "provider.steal", elsewhere: true, value: func(h sample.Host) float64 { return h.Steal },
			raised: func(a *hostAlarm, host string, average float64) string {
				return fmt.Sprintf("the provider gives host %s less CPU than it sells: it took %.0f %% of the capacity away for %s", host, average, a.Window)
			},
			cleared: func(_ *hostAlarm, host string, average float64) string {
				return fmt.Sprintf("host %s has its CPU again: the provider takes %.0f %% away", host, average)
			},
		},
		{
			Alarm: limit.Alarm{Limit: c.Host.Pressure}, kind: "host.pressure", byMemory: true, value: func(h sample.Host) float64 { return h.MemoryPressure },
			raised: func(a *hostAlarm, host string, average float64) string {
				return fmt.Sprintf("processes on host %s waited for memory in %.0f %% of the time for %s", host, average, a.Window)
			},
			cleared: func(_ *hostAlarm, host string, average float64) string {
				return fmt.Sprintf("processes on host %s do not wait for memory any more: %.0f %% of the time", host, average)
			},
		},
		{
			Alarm: limit.Alarm{Limit: c.Host.Waiting}, kind: "host.cpu_pressure", value: func(h sample.Host) float64 { return h.CPUPressure },
			raised: func(a *hostAlarm, host string, average float64) string {
				return fmt.Sprintf("processes on host %s waited for a core in %.0f %% of the time for %s", host, average, a.Window)
			},
			cleared: func(_ *hostAlarm, host string, average float64) string {
				return fmt.Sprintf("processes on host %s wait for a core in %.0f %% of the time only", host, average)
			},
		},
	}
	for _, x := range list {
		x.Window, x.Cooldown, x.Up = c.Host.For.Std(), c.Host.Cooldown.Std(), alerts.IsOpen(x.kind+":"+host)
	}
	return list
}

func above(what string) func(*hostAlarm, string, float64) string {
	return func(a *hostAlarm, host string, average float64) string {
		return fmt.Sprintf("%s of host %s above %g %% for %s: %.0f %% of its capacity", what, host, a.Limit, a.Window, average)
	}
}

func below(what string) func(*hostAlarm, string, float64) string {
	return func(a *hostAlarm, host string, average float64) string {
		return fmt.Sprintf("%s of host %s is below 90 %% of its limit of %g %% again: %.0f %%", what, host, a.Limit, average)
	}
}

// ring feeds the host's alarms, and publishes what has changed.
func (a *agent) ring(ctx context.Context, now time.Time, h sample.Host) {
	for _, alarm := range a.alarms {
		change, average := alarm.Add(now, alarm.value(h))
		if change == limit.Unchanged {
			continue
		}
		e := sdk.Event{Kind: alarm.kind, Key: alarm.kind + ":" + string(a.info.Host), Data: map[string]any{
			"percent": round(average), "limit": alarm.Limit, "seconds": alarm.Window.Seconds(), "cores": h.Cores, "memory_total": h.MemoryTotal,
			"agents": round(h.Agents), "steal": round(h.Steal), "throttled": round(h.Throttled), "cpu_pressure": round(h.CPUPressure), "memory_pressure": round(h.MemoryPressure),
		}}
		if change == limit.Cleared {
			e.Severity, e.Summary = sdk.Resolved, alarm.cleared(alarm, string(a.info.Host), average)
			a.emit(e)
			continue
		}
		e.Severity, e.Summary = sdk.Alert, alarm.raised(alarm, string(a.info.Host), average)
		if !alarm.elsewhere {
			value := func(u sample.Usage) float64 {
				if u.Owner.Agent { // not the host's load
					return 0
				}
				return a.windows.Percent(u.Ident)
			}
			if alarm.byMemory {
				value = func(u sample.Usage) float64 { return float64(u.RSS) }
			}
			var cgroup string
			e.Data["top"], cgroup = a.top(value)
			if unit := process.UnitOf(cgroup); unit != "" {
				e.Data["unit"], e.Data["cgroup"] = unit, cgroup
				e.Summary += "; most of it by " + unit
			}
			if strings.HasPrefix(alarm.kind, "host.cpu") && h.Throttled >= throttledMuch {
				e.Summary += fmt.Sprintf("; its CPU quota holds it back in %.0f %% of the time", h.Throttled)
			}
		}
		a.emit(e)
	}
	key := "host.killed:" + string(a.info.Host)
	switch {
	case h.Killed > 0:
		a.killedAt = now
		a.killed(ctx, key, h.Killed)
	case a.alerts.IsOpen(key) && now.Sub(a.killedAt) >= quietAfter:
		a.emit(sdk.Event{Kind: "host.killed", Severity: sdk.Resolved, Key: key, Summary: fmt.Sprintf("the kernel has killed no process on host %s for %s", a.info.Host, quietAfter)})
	}
}

// quietAfter is how long after the kernel has killed a process that alert is resolved.
const quietAfter = 2 * time.Minute

// throttledMuch is from when on an alert says that a quota holds the host back, in per cent of the time.
const throttledMuch = 10

// killed publishes that the kernel has killed processes, with its own record if the host has a journal.
func (a *agent) killed(ctx context.Context, key string, count int64) {
	data := map[string]any{"processes": count}
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "journalctl", "--dmesg", "--lines", "200", "--no-pager", "--quiet", "--output", "cat", "--since", "-1min").Output()
	var lines []string
	if err == nil {
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); strings.Contains(line, "oom-kill:") || strings.Contains(line, "Killed process") {
				lines = append(lines, strings.ToValidUTF8(line[:min(len(line), logBytes)], "\uFFFD"))
			}
		}
	}
	summary := fmt.Sprintf("memory of host %s was full: the kernel killed %d processes", a.info.Host, count)
	if cgroups := a.meter.KilledIn(); len(cgroups) > 0 {
		data["cgroups"] = cgroups
		if unit := process.UnitOf(cgroups[0]); unit != "" {
			data["unit"] = unit
		}
		summary += " in " + strings.Join(cgroups[:min(len(cgroups), topProcesses)], ", ")
	}
	if len(lines) > 0 {
		data["kernel"] = lines
		summary += ": " + lines[len(lines)-1]
	}
	a.emit(sdk.Event{Kind: "host.killed", Severity: sdk.Alert, Key: key, Summary: summary, Data: data})
}

const (
	topProcesses = 3
	topLooked    = 20 // processes whose cgroups are added up
)

// top names the processes that use most, and the unit's cgroup whose processes together do, for the alert of a host.
func (a *agent) top(value func(sample.Usage) float64) (list []string, cgroup string) {
	procs := slices.Clone(a.procs)
	slices.SortFunc(procs, func(x, y sample.Usage) int { return cmp.Compare(value(y), value(x)) })
	sums := map[string]float64{}
	for i, u := range procs[:min(len(procs), topLooked)] {
		if value(u) <= 0 {
			break
		}
		f, _, err := a.look(u.Ident)
		if err != nil {
			continue
		}
		if f.Unit != "" {
			sums[f.Cgroup] += value(u)
		}
		if i < topProcesses {
			list = append(list, fmt.Sprintf("%d %s of %s", f.PID, process.CommandLine(a.at.proc, f), cmp.Or(f.User, "an unknown user")))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if cgroup == "" || sums[name] > sums[cgroup] {
			cgroup = name
		}
	}
	return list, cgroup
}
