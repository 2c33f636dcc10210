package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/ladder"
	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

type config struct {
	Interval    sdk.Duration  `hcl:"interval" default:"\"1s\"" doc:"Time between two samples, 250ms to 1m."`
	CPU         *cpuLimit     `hcl:"cpu,block" doc:"When a process or a user uses too much CPU; default: above 80 for 10s."`
	Memory      *memoryLimit  `hcl:"memory,block" doc:"When a process uses too much memory; default: above 50 for 10s."`
	Host        *hostLimits   `hcl:"host,block" doc:"When the host itself is overloaded; default: cpu 60, memory 90, steal 20, pressure 50."`
	Treat       []string      `hcl:"treat" default:"[\"alert\", \"renice\", \"terminate\", \"kill\"]" doc:"Steps against a process that uses too much, in this order: alert, renice, limit, terminate, kill."`
	Pause       sdk.Duration  `hcl:"pause" default:"\"2s\"" doc:"Time between two steps."`
	Grace       sdk.Duration  `hcl:"grace" default:"\"5s\"" doc:"Time between terminate and kill, for the process to end by itself."`
	Leash       bool          `hcl:"leash" default:"false" doc:"Only observe and report."`
	Budget      *budgetConfig `hcl:"budget,block" doc:"How often the doctor may act on one host; default: 20 actions per 10m."`
	RestartUnit []string      `hcl:"restart_unit" default:"[]" doc:"Units of the application that may be restarted when they use too much, such as shop@a.service."`
	Protect     *protectExtra `hcl:"protect,block" doc:"Processes that are never touched, in addition to the built-in rules."`
}

type cpuLimit struct {
	Above float64      `hcl:"above" default:"80" doc:"Per cent of one core: of one process, and of all processes of a user's sessions together."`
	For   sdk.Duration `hcl:"for" default:"\"10s\"" doc:"Over this time."`
}

type memoryLimit struct {
	Above float64      `hcl:"above" default:"50" doc:"Per cent of the host's memory. What it shares with others counts in part. 0: not checked."`
	For   sdk.Duration `hcl:"for" default:"\"10s\"" doc:"Over this time."`
}

type hostLimits struct {
	CPU      float64      `hcl:"cpu" default:"60" doc:"Per cent of the host's own CPU capacity."`
	Memory   float64      `hcl:"memory" default:"90" doc:"Per cent of the host's own memory."`
	Steal    float64      `hcl:"steal" default:"20" doc:"Per cent of the CPU capacity that the provider gives to other hosts. 0: not checked."`
	Pressure float64      `hcl:"pressure" default:"50" doc:"Per cent of the time in which a process waits for memory (PSI). 0: not checked."`
	Waiting  float64      `hcl:"cpu_pressure" default:"0" doc:"Per cent of the time in which a process waits for a core (PSI), also because of a quota. 0: not checked."`
	For      sdk.Duration `hcl:"for" default:"\"15s\"" doc:"Over this time; recovers after the same time below 90 % of the limit."`
	Cooldown sdk.Duration `hcl:"cooldown" default:"\"1m\"" doc:"Minimum time between a recovery and the next alert."`
}

type budgetConfig struct {
	Actions int          `hcl:"actions" default:"20" doc:"Maximum number of steps, whatever the number of processes that a step affects."`
	Per     sdk.Duration `hcl:"per" default:"\"10m\"" doc:"Within this time."`
}

type protectExtra struct {
	Users       []string `hcl:"users" default:"[]" doc:"Names of users."`
	Units       []string `hcl:"units" default:"[]" doc:"Names of systemd units; * matches any text."`
	Executables []string `hcl:"executables" default:"[]" doc:"Absolute paths; * matches any text within one folder name."`
}

// withDefaults returns c with the documented defaults of absent blocks.
func (c config) withDefaults() config {
	if c.CPU == nil {
		c.CPU = &cpuLimit{Above: 80, For: sdk.Duration(10 * time.Second)}
	}
	if c.Memory == nil {
		c.Memory = &memoryLimit{Above: 50, For: sdk.Duration(10 * time.Second)}
	}
	if c.Host == nil {
		c.Host = &hostLimits{CPU: 60, Memory: 90, Steal: 20, Pressure: 50, For: sdk.Duration(15 * time.Second), Cooldown: sdk.Duration(time.Minute)}
	}
	if c.Budget == nil {
		c.Budget = &budgetConfig{Actions: 20, Per: sdk.Duration(10 * time.Minute)}
	}
	if c.Protect == nil {
		c.Protect = &protectExtra{}
	}
	return c
}

// limits returns the limits for processes.
func (c config) limits() limit.Limits {
	return limit.Limits{CPU: c.CPU.Above, CPUFor: c.CPU.For.Std(), Memory: c.Memory.Above, MemoryFor: c.Memory.For.Std()}
}

// policy returns the policy on a host with a role.
func (c config) policy(role string) ladder.Config {
	steps, _ := ladder.Parse(c.Treat) // already checked
	return ladder.Config{
		Steps: steps, Pause: c.Pause.Std(), Grace: c.Grace.Std(), Leash: c.Leash, RestartUnits: c.RestartUnit, Canary: role == "canary",
		Actions: c.Budget.Actions, Per: c.Budget.Per.Std(), Calm: map[string]time.Duration{"cpu": c.CPU.For.Std(), "memory": c.Memory.For.Std()},
	}
}

var stage = sdk.Stage[config]{
	Name:         "doctor",
	Version:      "0.1.0",
	Summary:      "finds processes that use too much of a host, alerts, and treats them",
	Capabilities: []sdk.Capability{sdk.Inventory, sdk.Agents},
	Check:        check,
	Run:          run,
	Agent: &sdk.Agent[config]{
		Watch:        watch,
		Capabilities: []sdk.Capability{sdk.Events, sdk.State},
		// CAP_DAC_READ_SEARCH is for the rules of sudo and polkit, which say who is an administrator, and for the logs of units.
		LinuxCapabilities: []string{"CAP_KILL", "CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_DAC_READ_SEARCH"},
	},
	Actions: []sdk.Action[config]{
		{
			Name: "status", Summary: "show what the doctor sees and has done on every host", Run: status, ReadOnly: true,
			Capabilities: []sdk.Capability{sdk.Inventory, sdk.State},
		},
		{
			Name: "top", Summary: "show what every host and its greatest processes use, again and again", Run: top,
			Capabilities: []sdk.Capability{sdk.Inventory, sdk.State},
			Args: []sdk.Arg{
				{Name: "every", Doc: "time between two tables, 1s or more", Default: "5s", Flag: true},
				{Name: "count", Doc: "number of tables; 0: until Ctrl-C", Default: "0", Flag: true},
			},
		},
		{
			Name: "rehearse", Summary: "replay recorded samples and list what the doctor would have done", Run: rehearse,
			Capabilities: []sdk.Capability{},
			Args:         []sdk.Arg{{Name: "file", Doc: "a recording: samples.jsonl in an agent's state folder", Required: true}},
		},
	},
}

func check(c *config) error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, sdk.BadAttr(path, format, args...)) }
	// Zero: the value is not known before the run, or its default is filled in later.
	if d := c.Interval.Std(); d != 0 && (d < 250*time.Millisecond || d > time.Minute) {
		bad("interval", "want 250ms to 1m, got %s", d)
	}
	percent := func(path string, v, most float64) {
		if v < 0 || v > most {
			bad(path, "want more than 0 and at most %g per cent, got %g", most, v)
		}
	}
	window := func(path string, d sdk.Duration) {
		if d != 0 && (d < 2*c.Interval || d.Std() > time.Hour) {
			bad(path, "want at least two intervals (%s) and at most 1h, got %s", 2*c.Interval, d)
		}
	}
	if c.CPU != nil {
		percent("cpu.above", c.CPU.Above, 100*1024)
		window("cpu.for", c.CPU.For)
	}
	if c.Memory != nil {
		percent("memory.above", c.Memory.Above, 100)
		window("memory.for", c.Memory.For)
	}
	if c.Host != nil {
		percent("host.cpu", c.Host.CPU, 100)
		percent("host.memory", c.Host.Memory, 100)
		percent("host.steal", c.Host.Steal, 100)
		percent("host.pressure", c.Host.Pressure, 100)
		percent("host.cpu_pressure", c.Host.Waiting, 100)
		window("host.for", c.Host.For)
	}
	if c.Budget != nil && c.Budget.Actions < 0 {
		bad("budget.actions", "want 0 or more, got %d", c.Budget.Actions)
	}
	if _, err := ladder.Parse(c.Treat); err != nil {
		bad("treat", "%s", err)
	}
	for i, u := range c.RestartUnit {
		if !strings.HasSuffix(u, ".service") || strings.ContainsAny(u, "/*? ") {
			bad(fmt.Sprintf("restart_unit[%d]", i), "want the full name of one service such as shop@a.service, got %q", u)
		}
	}
	if c.Protect != nil {
		for i, x := range c.Protect.Executables {
			if !strings.HasPrefix(x, "/") {
				bad(fmt.Sprintf("protect.executables[%d]", i), "want an absolute path, got %q", x)
			}
		}
	}
	return errors.Join(errs...)
}

// run installs the agent on every host that runs the application.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, h := range hosts {
		if h.Has("production") || h.Has("canary") {
			names = append(names, string(h.Name))
		}
	}
	if len(names) == 0 {
		return sdk.Skipf("environment %s has no host of role production or canary", job.Info.Environment)
	}
	slices.Sort(names)
	if err := job.InstallAgent(ctx, sdk.HostNames(names...)...); err != nil {
		return err
	}
	d := c.withDefaults()
	mode := strings.Join(d.Treat, ", ")
	if d.Leash {
		mode = "on the leash: observes only"
	}
	job.Logf("doctor watches %s: a process above %g %% of one core for %s (%s); a host above %g %% CPU or %g %% memory for %s",
		strings.Join(names, ", "), d.CPU.Above, d.CPU.For, mode, d.Host.CPU, d.Host.Memory, d.Host.For)
	return nil
}
