package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

type config struct {
	Rules      []rule.Rule    `hcl:"rule,block" doc:"What may go, and when. Everything else stays."`
	Storage    *storageConfig `hcl:"storage,block" doc:"Where it goes; without the block: the host of role storage."`
	Interval   sdk.Duration   `hcl:"interval" default:"\"10s\"" doc:"Time between two looks at the files."`
	Quarantine sdk.Duration   `hcl:"quarantine" default:"\"0s\"" doc:"How long a file is kept here after its receipt; its space is free only then."`
	Compress   string         `hcl:"compress" default:"\"zstd\"" doc:"zstd or none."`
	Drill      sdk.Duration   `hcl:"drill" default:"\"24h\"" doc:"Time between two drills: one receipt by chance is read back and hashed. 0s: none."`
}

type storageConfig struct {
	Role    string `hcl:"role" default:"\"storage\"" doc:"The storage host is the first of this role."`
	Address string `hcl:"address,optional" doc:"Instead: its address."`
	User    string `hcl:"user" default:"\"troop-backup\"" doc:"Who logs in to it, with the agent's own key."`
	Port    int    `hcl:"port" default:"22" doc:"Where its SSH server listens."`
	Path    string `hcl:"path" default:"\"/\"" doc:"Folder on it that holds one for each host, as its SFTP server shows it."`
}

func (c config) withDefaults() config {
	if c.Storage == nil {
		c.Storage = &storageConfig{Role: "storage", User: "troop-backup", Port: 22, Path: "/"}
	}
	return c
}

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
		WritablePaths:     rule.HostPlaces().Folders(),
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
	rule.Check(c.Rules, rule.HostPlaces(), bad)
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
			names = append(names, h.Name)
		case h.Role == d.Storage.Role && storage == "":
			storage = h.Name
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
	if err := job.InstallAgent(ctx, names...); err != nil {
		return err
	}
	job.Logf("maintenance on %s: %d rules, files go to %s", strings.Join(names, ", "), len(d.Rules), storage)
	return nil
}
