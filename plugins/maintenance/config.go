package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/bucket"
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

	S3 *s3Config `hcl:"s3,block" doc:"A bucket that files are moved to, instead of a storage host. Each host needs a storage_key in the environment block."`
}

type s3Config struct {
	Bucket    string      `hcl:"bucket" doc:"Name of the bucket."`
	Prefix    string      `hcl:"prefix,optional" doc:"Folder in the bucket; by default the names of pipeline and environment, such as shop/production. Each host has a folder of its name in it."`
	Region    string      `hcl:"region,optional" doc:"Region of the bucket; default: us-east-1."`
	Endpoint  string      `hcl:"endpoint,optional" doc:"URL of the S3 server; by default AWS'."`
	PathStyle bool        `hcl:"path_style,optional" doc:"Address the bucket in the path, as most servers other than AWS want."`
	Lock      *lockConfig `hcl:"lock,block" doc:"Files are locked: nobody changes or removes them for some days. The bucket must have object lock."`
}

type lockConfig struct {
	Mode string `hcl:"mode" default:"\"compliance\"" doc:"compliance: nobody ends a lock early; governance: whoever may bypass it does."`
	Days int    `hcl:"days" doc:"How long a file is locked, from when it is written."`
}

// objects is where the files of a host are.
func (c s3Config) objects(info sdk.RunInfo, key sdk.StorageKey) storage.Objects {
	o := storage.Objects{
		Options: bucket.Options{Bucket: c.Bucket, Prefix: path.Join(cmp.Or(c.Prefix, path.Join(info.Pipeline, info.Environment)), string(info.Host)), Region: c.Region, Endpoint: c.Endpoint, PathStyle: c.PathStyle},
		Host:    string(info.Host), KeyID: key.AccessKeyID, Secret: key.SecretAccessKey,
	}
	if c.Lock != nil {
		o.Lock = bucket.Lock{Mode: strings.ToUpper(c.Lock.Mode), For: time.Duration(c.Lock.Days) * 24 * time.Hour}
	}
	return o
}

func (c s3Config) check(bad func(path, format string, args ...any)) {
	if c.Bucket == "" || strings.ContainsAny(c.Bucket, "/ ") {
		bad("storage.s3.bucket", "want the name of a bucket, got %q; a folder in it belongs in prefix", c.Bucket)
	}
	if c.Prefix != "" && (!fs.ValidPath(c.Prefix) || c.Prefix == ".") {
		bad("storage.s3.prefix", "want a relative path such as \"backups/shop\", got %q", c.Prefix)
	}
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		bad("storage.s3.endpoint", "want a URL such as \"https://s3.example.com\", got %q", c.Endpoint)
	}
	if l := c.Lock; l != nil {
		if !slices.Contains([]string{"", "compliance", "governance"}, l.Mode) {
			bad("storage.s3.lock.mode", `want "compliance" or "governance", got %q`, l.Mode)
		}
		if l.Days < 1 || l.Days > mostDays {
			bad("storage.s3.lock.days", "want 1 to %d, got %d", mostDays, l.Days)
		}
	}
}

// mostDays is the longest lock that S3 knows.
const mostDays = 36500

func (c config) withDefaults() config {
	if c.Storage == nil {
		c.Storage = &storageConfig{Role: "storage", Port: 22, Path: "/files"}
	}
	return c
}

var stage = sdk.Stage[config]{
	Name:         "maintenance",
	Version:      "0.1.0",
	Summary:      "moves logs and dumps to the storage host or a bucket before the disk fills",
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
			Name: "drill", Summary: "read random backups of every host back and hash them; restore dumps of accessories for a test", Run: drill,
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
		if s.S3 != nil {
			s.S3.check(bad)
			if s.Address != "" || s.User != "" {
				bad("storage.s3", "want either a bucket or a storage host: take out address and user")
			}
		}
	}
	return errors.Join(errs...)
}

// hasAgent reports whether a host has files to move: it runs the application, or databases of it.
func hasAgent(h sdk.Host) bool { return h.Has("production") || h.Has("canary") || h.Has("data") }

// run puts the agent on every host that has files to move.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	hosts, err := job.Hosts(ctx)
	if err != nil {
		return err
	}
	d := c.withDefaults()
	var names []string
	to := d.Storage.Address
	if d.Storage.S3 != nil {
		to = "the bucket " + d.Storage.S3.Bucket
	}
	for _, h := range hosts {
		if hasAgent(h) {
			names = append(names, string(h.Name))
		}
		if h.Has(d.Storage.Role) && to == "" {
			to = string(h.Name)
		}
	}
	if len(names) == 0 {
		return sdk.Skipf("environment %s has no host of role production, canary or data", job.Info.Environment)
	}
	if to == "" {
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
	job.Logf("maintenance on %s: %d rules, files are moved to %s", strings.Join(names, ", "), len(d.Rules), to)
	return nil
}
