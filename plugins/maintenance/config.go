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
	Rules      []rule.Rule    `hcl:"rule,block" doc:"Which files are moved, and when. All others are left alone."`
	Storage    *storageConfig `hcl:"storage,block" doc:"Where files are moved to; default: the host with role storage."`
	Interval   sdk.Duration   `hcl:"interval" default:"\"10s\"" doc:"Time between two scans."`
	Quarantine sdk.Duration   `hcl:"quarantine" default:"\"0s\"" doc:"How long a file is kept on its host after its backup was verified. Its space is freed only then."`
	Compress   string         `hcl:"compress" default:"\"zstd\"" doc:"zstd or none."`
	Drill      sdk.Duration   `hcl:"drill" default:"\"24h\"" doc:"Time between two drills, which read up to ten random backups back, large and old ones more often, and hash them. 0s: no drills."`
}

type storageConfig struct {
	Role    string `hcl:"role" default:"\"storage\"" doc:"The storage host is the first host with this role."`
	Address string `hcl:"address,optional" doc:"Address of the storage host, instead of a role."`
	User    string `hcl:"user,optional" doc:"User on the storage host; by default the account of the agent's host, backup-HOST."`
	Port    int    `hcl:"port" default:"22" doc:"Port of its SSH server."`
	Path    string `hcl:"path" default:"\"/files\"" doc:"Folder on the storage host, as its SFTP server shows it. It must exist."`
}

func (c config) withDefaults() config {
	if c.Storage == nil {
		c.Storage = &storageConfig{Role: "storage", Port: 22, Path: "/files"}
	}
	return c
}

var stage = sdk.Stage[config]{
	Name:         "maintenance",
	Version:      "0.1.0",
	Summary:      "moves logs and dumps to the storage host before the disk fills",
	Capabilities: []sdk.Capability{sdk.Inventory, sdk.Agents},
	Check:        check,
	Run:          run,
	Agent: &sdk.Agent[config]{
		Watch:        watch,
		Capabilities: []sdk.Capability{sdk.Inventory, sdk.Events, sdk.State, sdk.Storage},
		// Logs belong to their writers. The capabilities are for reading, renaming and removing them, for leases, which
		// show whether a process writes, for the owner of a restored file, and for the signal to reopen.
		LinuxCapabilities: []string{"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_CHOWN", "CAP_LEASE", "CAP_KILL", "CAP_SYS_PTRACE"},
		WritablePaths:     rule.HostPlaces().Folders(),
	},
	Actions: []sdk.Action[config]{
		{
			Name: "status", Summary: "show what is waiting, what was moved and what is wrong", Run: status, ReadOnly: true,
			Capabilities: []sdk.Capability{sdk.Inventory, sdk.State},
		},
		{
			Name: "restore", Summary: "list backups, or restore one to its host", Run: restore,
			Capabilities: []sdk.Capability{sdk.Inventory, sdk.State},
			Args: []sdk.Arg{
				{Name: "receipt", Doc: "id of a receipt; without one: list receipts"},
				{Name: "host", Doc: "only receipts of this host", Flag: true},
				{Name: "file", Doc: "only receipts whose path contains this text", Flag: true},
				{Name: "since", Doc: "only receipts from this time on, such as 2026-01-31", Flag: true},
				{Name: "until", Doc: "only receipts from before this time", Flag: true},
				{Name: "to", Doc: "a path on the host that does not exist yet; default: the old path with .restored", Flag: true},
			},
		},
		{
			Name: "rebuild", Summary: "take the receipts that a host's journal lacks from the storage host", Run: rebuildJournals,
			Capabilities: []sdk.Capability{sdk.Inventory, sdk.State},
			Args:         []sdk.Arg{{Name: "host", Doc: "only this host", Flag: true}},
		},
		{
			Name: "drill", Summary: "read random backups of every host back and hash them", Run: drill,
			Capabilities: []sdk.Capability{sdk.Inventory, sdk.State},
			Args:         []sdk.Arg{{Name: "count", Doc: "receipts for each host", Default: "1", Flag: true}},
		},
	},
}

func check(c *config) error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, sdk.BadAttr(path, format, args...)) }
	if len(c.Rules) == 0 {
		bad("", "want at least one rule block: rules say which files are moved")
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
		if h.Has("production") || h.Has("canary") {
			names = append(names, string(h.Name))
		}
		if h.Has(d.Storage.Role) && storage == "" {
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
			job.Warnf("rule %q: copytruncate stops the writers for a few milliseconds; lines of a writer that cannot be stopped are lost if it writes them between the last read and the truncation", r.Name)
		}
	}
	if err := job.InstallAgent(ctx, sdk.HostNames(names...)...); err != nil {
		return err
	}
	job.Logf("maintenance on %s: %d rules, files are moved to %s", strings.Join(names, ", "), len(d.Rules), storage)
	return nil
}
