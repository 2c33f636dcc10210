package main

import (
	"fmt"
	"slices"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

type process struct {
	Name        string       `hcl:"name,label"`
	Command     []string     `hcl:"command" doc:"Program and arguments, started in the folder of the release."`
	Hosts       string       `hcl:"hosts" default:"\"all\"" doc:"Where it runs: all, production, canary, or one, which is the first production host."`
	Count       int          `hcl:"count" default:"1" doc:"How many run on each of these hosts."`
	StopSignal  string       `hcl:"stop_signal" default:"\"SIGTERM\"" doc:"Signal that asks it to end, when its release is replaced."`
	StopTimeout sdk.Duration `hcl:"stop_timeout" default:"\"15s\"" doc:"How long it may take to end, before it is killed."`
}

type task struct {
	Name    string       `hcl:"name,label"`
	Command []string     `hcl:"command" doc:"Program and arguments, started in the folder of the release."`
	Before  string       `hcl:"before" default:"\"canary\"" doc:"What waits for it: canary, so that it runs before anything of the release serves, or production, so that it runs after the verdict."`
	Timeout sdk.Duration `hcl:"timeout" default:"\"10m\"" doc:"How long it may take."`
}

type schedule struct {
	Name     string       `hcl:"name,label"`
	Command  []string     `hcl:"command" doc:"Program and arguments, started in the folder of the release."`
	Calendar string       `hcl:"calendar" doc:"When it runs, as systemd writes it: daily, Mon 03:00, *:0/15."`
	Timeout  sdk.Duration `hcl:"timeout" default:"\"1h\"" doc:"How long it may take."`
}

// programs are what the manifest has beside the service.
func (c *config) programs() []state.Program {
	var all []state.Program
	for _, p := range c.Processes {
		all = append(all, state.Program{
			Kind: state.Process, Name: p.Name, Command: p.Command, Hosts: p.Hosts, Count: p.Count,
			StopSignal: p.StopSignal, StopTimeout: int64(p.StopTimeout.Std().Seconds()),
		})
	}
	for _, t := range c.Tasks {
		all = append(all, state.Program{Kind: state.Task, Name: t.Name, Command: t.Command, Before: t.Before, Timeout: int64(t.Timeout.Std().Seconds())})
	}
	for _, s := range c.Schedules {
		all = append(all, state.Program{Kind: state.Schedule, Name: s.Name, Command: s.Command, Calendar: s.Calendar, Timeout: int64(s.Timeout.Std().Seconds())})
	}
	return all
}

// checkPrograms checks what the manifest has beside the service.
func (c *config) checkPrograms(bad func(path, format string, args ...any)) {
	seen := map[string]bool{}
	common := func(path, name string, command []string) {
		if !unixName.MatchString(name) {
			bad(path, "want a name of a-z, 0-9 and -, at most 31 characters, beginning with a letter; got %q", name)
		}
		if seen[name] {
			bad(path, "there are two programs %q; each becomes a unit and needs a name of its own", name)
		}
		seen[name] = true
		if command != nil && (len(command) == 0 || command[0] == "") {
			bad(path+".command", "name a program, such as [\"node\", \"%s.js\"]", name)
		}
	}
	for i, p := range c.Processes {
		path := fmt.Sprintf("process[%d]", i)
		common(path, p.Name, p.Command)
		if !slices.Contains([]string{"", "all", "one", state.PoolProduction, state.PoolCanary}, p.Hosts) {
			bad(path+".hosts", "want all, one, production or canary, got %q", p.Hosts)
		}
		if p.Count < 0 || p.Count > maxCount {
			bad(path+".count", "want 1 to %d, got %d", maxCount, p.Count)
		}
		if p.StopSignal != "" && !signalName.MatchString(p.StopSignal) {
			bad(path+".stop_signal", "want a signal such as SIGTERM or SIGINT, got %q", p.StopSignal)
		}
	}
	for i, t := range c.Tasks {
		path := fmt.Sprintf("task[%d]", i)
		common(path, t.Name, t.Command)
		if !slices.Contains([]string{"", state.PoolProduction, state.PoolCanary}, t.Before) {
			bad(path+".before", "want canary or production, got %q", t.Before)
		}
	}
	for i, s := range c.Schedules {
		path := fmt.Sprintf("schedule[%d]", i)
		common(path, s.Name, s.Command)
		if s.Calendar != "" && !calendar.MatchString(s.Calendar) {
			bad(path+".calendar", "want a calendar event of systemd, such as daily, \"Mon 03:00\" or \"*:0/15\", got %q", s.Calendar)
		}
	}
}

const maxCount = 64

// due are the tasks of a release that must run before it goes on to the hosts of an installation: in the phase canary
// those before the canary, and in a promotion all that have not run.
func (d *deployer) due(r state.Release) []string {
	var names []string
	done := d.want.Releases[r.ID].Done
	for _, p := range r.Programs {
		now := d.want.Phase == state.PhasePromoting || d.want.Phase == state.PhaseCanary && p.Before == state.PoolCanary
		if p.Kind == state.Task && now && !slices.Contains(done, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// did remembers tasks that have run. They do not run again when the deploy of the release goes on after a break.
func (d *deployer) did(tasks []string, id string) {
	if r, ok := d.want.Releases[id]; ok && len(tasks) > 0 {
		r.Done = slices.Concat(r.Done, tasks)
		d.want.Releases[id] = r
	}
}

// units are the programs of a release in some seats as the role release wants them, each with the hosts on which it runs: a
// task on the first of them, if it is due, and a schedule on the first of production.
func (d *deployer) units(seats []state.Seat, r state.Release) []map[string]any {
	units, due, production := []map[string]any{}, d.due(r), d.present(d.production)
	one := production[:min(1, len(production))]
	for _, p := range r.Programs {
		on := one
		switch {
		case p.Kind == state.Task && slices.Contains(due, p.Name):
			on = seats[:min(1, len(seats))]
		case p.Kind == state.Task:
			continue
		case p.Kind == state.Process:
			on = map[string][]state.Seat{"all": seats, "one": one, state.PoolProduction: d.production, state.PoolCanary: d.canary}[p.Hosts]
		}
		here := hosts(slices.DeleteFunc(slices.Clone(on), func(s state.Seat) bool { return !slices.Contains(seats, s) }))
		if len(here) == 0 {
			continue
		}
		for _, name := range p.Names() {
			units = append(units, map[string]any{
				"kind": p.Kind, "name": name, "command": p.Command, "hosts": here, "stop_signal": orElse(p.StopSignal, "SIGTERM"),
				"stop_timeout": p.StopTimeout, "timeout": p.Timeout, "calendar": p.Calendar,
			})
		}
	}
	return units
}
