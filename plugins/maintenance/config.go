package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

type config struct {
	Rules      []ruleConfig   `hcl:"rule,block" doc:"What may go, and when. Everything else stays."`
	Storage    *storageConfig `hcl:"storage,block" doc:"Where it goes; without the block: the host of role storage."`
	Interval   sdk.Duration   `hcl:"interval" default:"\"10s\"" doc:"Time between two looks at the files."`
	Quarantine sdk.Duration   `hcl:"quarantine" default:"\"0s\"" doc:"How long a file is kept here after its receipt; its space is free only then."`
	Compress   string         `hcl:"compress" default:"\"zstd\"" doc:"zstd or none."`
	Drill      sdk.Duration   `hcl:"drill" default:"\"24h\"" doc:"Time between two drills: one receipt by chance is read back and hashed. 0s: none."`
}

type ruleConfig struct {
	Name   string        `hcl:"name,label"`
	Paths  []string      `hcl:"paths" doc:"Files, as absolute paths; * stands for any text within a folder's name, ** for any folders."`
	Above  sdk.Size      `hcl:"above,optional" doc:"A file larger than this goes."`
	Older  sdk.Duration  `hcl:"older_than,optional" doc:"A file not written to for this long goes."`
	Free   *freeGoal     `hcl:"free,optional" doc:"Files go, the oldest first, while the file system has less free than this: \"20%\" or \"2GiB\"."`
	Keep   int           `hcl:"keep" default:"0" doc:"So many of the newest files stay, whatever their size or age."`
	Reopen string        `hcl:"reopen" default:"\"rename\"" doc:"How a writer lets go of a file: rename (it notices itself), signal, or copytruncate (lines written in that moment are lost)."`
	Signal *signalConfig `hcl:"signal,block" doc:"With reopen = \"signal\": who is told."`
}

type signalConfig struct {
	Send    string `hcl:"send" default:"\"HUP\"" doc:"HUP, USR1 or USR2."`
	Unit    string `hcl:"unit,optional" doc:"The service whose main process gets it."`
	PIDFile string `hcl:"pid_file,optional" doc:"Or a file that holds its pid."`
}

type storageConfig struct {
	Role    string `hcl:"role" default:"\"storage\"" doc:"The storage host is the first of this role."`
	Address string `hcl:"address,optional" doc:"Instead: its address."`
	User    string `hcl:"user" default:"\"troop-backup\"" doc:"Who logs in to it, with the agent's own key."`
	Port    int    `hcl:"port" default:"22" doc:"Where its SSH server listens."`
	Path    string `hcl:"path" default:"\"/\"" doc:"Folder on it that holds one for each host, as its SFTP server shows it."`
}

// freeGoal is the free space that a file system should have: a share of it, or bytes.
type freeGoal struct {
	percent float64
	bytes   int64
}

// UnmarshalText reads "20%" or a size.
func (g *freeGoal) UnmarshalText(text []byte) error {
	if p, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "%"); ok {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil || v <= 0 || v >= 100 {
			return fmt.Errorf(`want more than 0%% and less than 100%%, got %q`, text)
		}
		g.percent = v
		return nil
	}
	var s sdk.Size
	if err := s.UnmarshalText(text); err != nil {
		return fmt.Errorf(`want a share such as "20%%" or a size such as "2GiB", got %q`, text)
	}
	g.bytes = int64(s)
	return nil
}

// missing returns how many bytes must be freed on a file system of a size with so much free; 0: none.
func (g *freeGoal) missing(size, free int64) int64 {
	goal := g.bytes
	if g.percent > 0 {
		goal = int64(float64(size) * g.percent / 100)
	}
	return max(0, goal-free)
}

func (c config) withDefaults() config {
	if c.Storage == nil {
		c.Storage = &storageConfig{Role: "storage", User: "troop-backup", Port: 22, Path: "/"}
	}
	return c
}

var signals = map[string]unix.Signal{"HUP": unix.SIGHUP, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2}

var stage = sdk.Stage[config]{
	Name:         "maintenance",
	Version:      "0.1.0",
	Summary:      "moves logs and dumps to the storage host before the disk fills",
	Capabilities: []sdk.Capability{sdk.Inventory, sdk.Agents, sdk.Events, sdk.State, sdk.Secrets},
	Check:        check,
	Run:          run,
	Agent: &sdk.Agent[config]{
		Watch: watch,
		// Logs belong to their writers: reading, renaming and removing them, asking the kernel whether someone
		// writes (leases), giving a restored file back, and telling a writer to reopen.
		LinuxCapabilities: []string{"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_CHOWN", "CAP_LEASE", "CAP_KILL", "CAP_SYS_PTRACE"},
		WritablePaths:     slices.Concat(hostPlaces.secondary, hostPlaces.teams),
	},
	Actions: []sdk.Action[config]{
		{
			Name: "status", Summary: "show what waits, what went and whether the storage host answers", Run: status,
		},
		{
			Name: "restore", Summary: "list what was moved, or bring one file back to its host", Run: restore,
			Args: []sdk.Arg{
				{Name: "receipt", Doc: "id of a receipt; none: list them"},
				{Name: "host", Doc: "only this host's receipts", Flag: true},
				{Name: "file", Doc: "only receipts of paths that hold this text", Flag: true},
				{Name: "to", Doc: "path on the host that does not exist yet; default: the old path with .restored", Flag: true},
			},
		},
		{
			Name: "drill", Summary: "read back and hash some receipts by chance on every host", Run: drill,
			Args: []sdk.Arg{{Name: "count", Doc: "receipts for each host", Default: "1", Flag: true}},
		},
	},
}

func check(c *config) error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, sdk.BadAttr(path, format, args...)) }
	if len(c.Rules) == 0 {
		bad("", "want at least one rule block: it names what may go")
	}
	names := map[string]bool{}
	for i, r := range c.Rules {
		at := fmt.Sprintf("rule[%d]", i)
		if r.Name == "" || strings.ContainsAny(r.Name, "/\\ \x00") || strings.HasPrefix(r.Name, ".") {
			bad(at, "want a name without / and spaces, got %q", r.Name)
		}
		if names[r.Name] {
			bad(at, "there are two rules %q; give each its own name", r.Name)
		}
		names[r.Name] = true
		for n, p := range r.Paths {
			if p == "" {
				continue // not known before the run
			}
			if err := hostPlaces.checkPattern(p); err != nil {
				bad(fmt.Sprintf("%s.paths[%d]", at, n), "%s", err)
			}
		}
		if r.Paths != nil && len(r.Paths) == 0 {
			bad(at+".paths", "want at least one path")
		}
		if r.Above == 0 && r.Older == 0 && r.Free == nil {
			bad(at, "want above, older_than or free: it says when files go")
		}
		if r.Keep < 0 {
			bad(at+".keep", "want 0 or more, got %d", r.Keep)
		}
		checkReopen(at, r, bad)
	}
	if d := c.Interval.Std(); d != 0 && (d < time.Second || d > time.Hour) {
		bad("interval", "want 1s to 1h, got %s", d)
	}
	if !slices.Contains([]string{"", "zstd", "none"}, c.Compress) {
		bad("compress", `want "zstd" or "none", got %q`, c.Compress)
	}
	if s := c.Storage; s != nil {
		if s.Port < 0 || s.Port > 65535 {
			bad("storage.port", "want 1 to 65535, got %d", s.Port)
		}
		if s.Path != "" && (!path.IsAbs(s.Path) || path.Clean(s.Path) != s.Path) {
			bad("storage.path", "want an absolute path, got %q", s.Path)
		}
	}
	return errors.Join(errs...)
}

func checkReopen(at string, r ruleConfig, bad func(path, format string, args ...any)) {
	switch r.Reopen {
	case "", "rename", "copytruncate":
		if r.Signal != nil {
			bad(at+".signal", `it is used only with reopen = "signal"`)
		}
	case "signal":
		switch s := r.Signal; {
		case s == nil:
			bad(at+".reopen", `want a signal block with unit or pid_file beside it`)
		case (s.Unit == "") == (s.PIDFile == ""):
			bad(at+".signal", "want one of unit and pid_file")
		case s.Send != "" && signals[s.Send] == 0:
			bad(at+".signal.send", "want HUP, USR1 or USR2, got %q", s.Send)
		}
	default:
		bad(at+".reopen", `want "rename", "signal" or "copytruncate", got %q`, r.Reopen)
	}
}

// run puts the agent on every host that runs the application.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	d := c.withDefaults()
	var names []string
	storage := d.Storage.Address
	for _, h := range hosts {
		switch {
		case h.Role == "production" || h.Role == "canary":
			names = append(names, string(h.Name))
		case h.Role == d.Storage.Role && storage == "":
			storage = string(h.Name)
		}
	}
	if len(names) == 0 {
		return sdk.Skipf("environment %s has no host of role production or canary", job.Info.Environment)
	}
	if storage == "" {
		return fmt.Errorf("environment %s has no host of role %s to move files to", job.Info.Environment, d.Storage.Role)
	}
	slices.Sort(names)
	for _, r := range d.Rules {
		if r.Reopen == "copytruncate" {
			job.Warnf("rule %q: copytruncate loses the lines that are written between the copy and the cut", r.Name)
		}
	}
	if err := job.InstallAgent(ctx, sdk.HostNames(names...)...); err != nil {
		return err
	}
	job.Logf("maintenance on %s: %d rules, files go to %s", strings.Join(names, ", "), len(d.Rules), storage)
	return nil
}
