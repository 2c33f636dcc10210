package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/move"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

const (
	memoryLimit = 48 << 20        // bytes; the collector works harder before the agent takes more
	probeEvery  = time.Minute     // between two connections when there is nothing to move
	unreachable = 2               // failed connections in a row before there is an alert
	firstPause  = 5 * time.Second // after a failure, doubled with every further one
	longestWait = 10 * time.Minute
	heldPause   = time.Second      // between two scans while a writer is expected to close its file
	givenBack   = 10 * time.Minute // how long a file is left alone after it was given back
	stuckAfter  = 3                // failures of one file before there is an alert
	shownFiles  = 200              // receipts that the restore action can list, per host

	shownRefused = 5 // files in the event of a reason
)

// The agent's reports, for the actions.
const (
	reportName   = "report"
	receiptsName = "receipts" // large: set only when there is a new one
	reportEvery  = 5 * time.Second
)

// watch runs the agent on one host until ctx ends.
func watch(ctx context.Context, c *config, job *sdk.Job) error {
	return watchIn(ctx, c, job, rule.HostPlaces())
}

func watchIn(ctx context.Context, c *config, job *sdk.Job, allowed rule.Places) error {
	debug.SetMemoryLimit(memoryLimit)
	d := c.withDefaults()
	publish := func(e sdk.Event) error { return job.Publish(ctx, e) }
	a, err := newAgent(d, job.Info, allowed, publish, job.Warnf)
	if err != nil {
		return err
	}
	defer a.Close()
	a.dial = func(ctx context.Context) (remoteStore, error) { return dial(ctx, *d.Storage, job) }
	a.start()
	requests := make(chan request)
	watching, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		followRequests(watching, job, requests)
	}()
	defer func() { stop(); <-done }()
	report := sdk.NewReport(ctx, job, reportName, reportEvery)
	defer report.Close()
	receipts := sdk.NewReport(ctx, job, receiptsName, reportEvery)
	defer receipts.Close()
	reported := 0
	for {
		a.Tick(ctx)
		report.Set(a.report())
		if n := a.journal.Added(); n != reported {
			receipts.Set(a.shown())
			reported = n
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(a.pause()):
		case r := <-requests:
			answerRequest(ctx, job, r, a.Serve(ctx, r))
		}
	}
}

// dial connects to where the files of this host are moved to.
func dial(ctx context.Context, c storageConfig, job *sdk.Job) (remoteStore, error) {
	key, err := job.StorageKey(ctx)
	if err != nil {
		return nil, err
	}
	if c.S3 != nil {
		return storage.OpenS3(ctx, c.S3.objects(job.Info, key))
	}
	t, err := findTarget(ctx, c, job)
	if err != nil {
		return nil, err
	}
	t.PrivateKey, t.KnownHosts = key.PrivateKey, key.KnownHosts
	return storage.Connect(ctx, t)
}

// findTarget gets the storage host's address from the core.
func findTarget(ctx context.Context, c storageConfig, job *sdk.Job) (storage.Target, error) {
	t := storage.Target{User: c.User, Path: c.Path}
	if t.User == "" {
		t.User = account(job.Info.Host)
	}
	if c.Address != "" {
		t.Names = []string{c.Address}
		t.Address = net.JoinHostPort(c.Address, strconv.Itoa(c.Port))
	} else {
		hosts, err := job.Hosts(ctx)
		if err != nil {
			return t, err
		}
		i := slices.IndexFunc(hosts, func(h sdk.Host) bool { return h.Has(c.Role) })
		if i < 0 {
			return t, fmt.Errorf("the environment has no host of role %s", c.Role)
		}
		h := hosts[i]
		address := h.PrivateAddress
		if address == "" {
			address = h.Address
		}
		t.Names = []string{string(h.Name), h.Address, h.PrivateAddress}
		t.Address = net.JoinHostPort(address, strconv.Itoa(c.Port))
	}
	return t, nil
}

// account is the name of a host's account on the storage host, as the role storage makes it: a user name has at most 32
// characters.
func account(host sdk.HostName) string {
	const most = 25
	name := string(host)
	if len(name) > most {
		sum := sha256.Sum256([]byte(name))
		name = hex.EncodeToString(sum[:])[:most]
	}
	return "backup-" + name
}

// remoteStore is an open connection to a storage host or a bucket.
type remoteStore interface {
	storage.Store
	storage.Shelf
	Full() string
	// Removed returns the IDs of those of the known backups that it has removed because they were old. It may return others.
	Removed(known []storage.Receipt) ([]string, error)
	Close() error
}

// agent moves the files of one host. Not for concurrent use.
type agent struct {
	config  config
	info    sdk.RunInfo
	places  rule.Places
	dumps   restorer
	journal *journal.Journal
	mover   *move.Mover
	remote  remoteStore // nil: not connected
	damaged error       // what could not be read from the state folder

	failed   int                  // connections in a row
	tried    time.Time            // the last time the agent tried to connect
	rests    map[string]rest      // moves that wait, by ID
	heldBack map[string]time.Time // files that were given back, by path
	refused  map[refused]bool     // already published
	alerts   *sdk.Alerts
	unsent   bool // publishing failed, logged once
	memory   memory
	rebuilds bool   // the journal lacks receipts: they are taken from the storage host as soon as it can be reached
	backlog  amount // due or being moved
	gone     amount // since the agent started

	now     func() time.Time
	publish func(sdk.Event) error
	warn    func(format string, args ...any)
	dial    func(ctx context.Context) (remoteStore, error)
}

// rest is a move's pause after a failure.
type rest struct {
	until    time.Time
	failures int
	told     bool // that a writer holds it
}

type amount struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func newAgent(c config, info sdk.RunInfo, allowed rule.Places, publish func(sdk.Event) error, warn func(string, ...any)) (*agent, error) {
	j, err := journal.Open(info.StateDir)
	if j == nil {
		return nil, err
	}
	a := &agent{
		config: c, info: info, places: allowed, dumps: hostRestorer, journal: j, damaged: err, rests: map[string]rest{}, heldBack: map[string]time.Time{},
		refused: map[refused]bool{}, now: time.Now, publish: publish, warn: warn,
	}
	a.mover = &move.Mover{
		Ledger: j, Places: allowed, Environment: info.Environment, Host: string(info.Host), Compress: c.Compress,
		Quarantine: c.Quarantine.Std(), Now: func() time.Time { return a.now() },
	}
	// A host that was replaced, and one whose journal was lost, have backups that the journal does not know.
	a.rebuilds = err != nil || j.Incomplete() || len(j.Receipts()) == 0
	if a.memory, err = readMemory(info.StateDir); err != nil {
		a.damaged = errors.Join(a.damaged, fmt.Errorf("read memory: %w", err))
	}
	if a.memory.Drilled.IsZero() {
		a.memory.Drilled = a.now()
		err = a.remember()
	}
	if err = errors.Join(err, a.removeLeftover()); err != nil {
		warn("%v", err)
	}
	if a.alerts, err = sdk.OpenAlerts(info.StateDir, publish); err != nil {
		a.damaged = errors.Join(a.damaged, err)
	}
	return a, nil
}

// start raises an alert for what could not be read.
func (a *agent) start() {
	if a.damaged != nil {
		a.alert("journal.damaged", string(a.info.Host), "maintenance on "+string(a.info.Host)+": "+a.damaged.Error(), nil)
	}
}

// Close ends the connection and the journal.
func (a *agent) Close() {
	a.disconnect()
	_ = a.journal.Close() // every record is on disk
}

func (a *agent) disconnect() {
	if a.remote != nil {
		_ = a.remote.Close() // all data was synced
	}
	a.remote, a.mover.Store = nil, nil
}

// Tick scans all rules once and takes every file as far as possible. A failure of one file or rule is published and does
// not stop the others.
func (a *agent) Tick(ctx context.Context) {
	defer a.disconnect()
	defer a.retryAlerts()
	due := a.scan()
	a.backlog = amount{}
	for _, f := range due {
		a.backlog.add(f.ID.Size)
	}
	for _, m := range a.journal.Moves() {
		a.backlog.add(m.Claim.File.Size)
	}
	undelivered := slices.ContainsFunc(a.journal.Moves(), func(m *journal.Move) bool { return m.Receipt == nil })
	if len(due) > 0 || undelivered || a.now().Sub(a.tried) >= probeEvery {
		a.connect(ctx)
	}
	if a.rebuilds && a.remote != nil {
		a.recover()
	}
	a.advance(ctx)
	if a.remote == nil {
		return // a file is claimed only when it can be sent
	}
	for _, f := range due {
		if ctx.Err() != nil || a.remote == nil {
			break
		}
		a.claim(ctx, f)
	}
	if err := a.mover.Tell(); err != nil {
		a.warn("%v", err)
	}
	a.advance(ctx)
	if d := a.config.Drill.Std(); d > 0 && a.now().Sub(a.memory.Drilled) >= d && len(a.journal.Receipts()) > 0 {
		a.memory.Drilled = a.now()
		if err := a.remember(); err != nil {
			a.warn("%v", err)
		}
		if err := a.forget(); err != nil {
			a.warn("%v", err)
			return
		}
		for _, r := range draw(a.journal.Receipts(), a.now(), rand.Float64) {
			if ctx.Err() != nil || a.remote == nil {
				return
			}
			_, _ = a.drill(ctx, r) // it publishes the result
		}
	}
}

// recover takes the receipts that the journal lacks from the storage host. When that fails, the next scan tries it again.
func (a *agent) recover() {
	done, err := a.rebuild()
	if err != nil {
		a.warn("rebuild the journal: %v", err)
		return
	}
	if err := a.journal.Complete(); err != nil {
		a.warn("%v", err)
		return
	}
	a.rebuilds = false
	if done.New > 0 {
		a.emit(sdk.Event{
			Kind: "journal.rebuilt", Severity: sdk.Info, Summary: fmt.Sprintf("%d receipts of %s were taken from %s", done.New, a.info.Host, a.where()),
			Data: map[string]any{"found": done.Found, "new": done.New, "bad": done.Bad},
		})
	}
	a.resolve(string(a.info.Host), fmt.Sprintf("the journal of %s is complete again: %d receipts were taken from %s", a.info.Host, done.New, a.where()))
}

// pause is the time until the next scan: short while a writer is expected to close its file.
func (a *agent) pause() time.Duration {
	for _, m := range a.journal.Moves() {
		if m.Receipt == nil && a.rests[m.ID].failures == 0 && a.now().Sub(m.Begun) < move.HoldTime && a.failed == 0 {
			return min(heldPause, a.config.Interval.Std())
		}
	}
	return a.config.Interval.Std()
}

func (a *amount) add(bytes int64) { a.Files++; a.Bytes += bytes }

// connect connects to the storage host.
func (a *agent) connect(ctx context.Context) {
	a.tried = a.now()
	s, err := a.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		if a.failed++; a.failed >= unreachable {
			a.alert("storage.unreachable", "storage", fmt.Sprintf("%s cannot be reached from %s; nothing is deleted, %d files (%s) are waiting: %v",
				a.where(), a.info.Host, a.backlog.Files, human(a.backlog.Bytes), err), map[string]any{"files": a.backlog.Files, "bytes": a.backlog.Bytes})
		}
		return
	}
	a.failed = 0
	a.remote, a.mover.Store = s, s
	a.resolve("storage", fmt.Sprintf("%s can be reached from %s again; %d files (%s) are moved now", a.where(), a.info.Host, a.backlog.Files, human(a.backlog.Bytes)))
}

// where names what files are moved to.
func (a *agent) where() string {
	if s := a.config.Storage; s != nil && s.S3 != nil {
		return "the bucket " + s.S3.Bucket
	}
	return "the storage host"
}

// alert raises an alert unless it is open. The key is unique on this host.
func (a *agent) alert(kind, key, summary string, data map[string]any) {
	a.alerts.Raise(sdk.Event{Kind: kind, Key: a.alertKey(key), Summary: summary, Data: data})
}

// resolve ends an alert, if it is open.
func (a *agent) resolve(key, summary string) {
	a.alerts.Resolve(sdk.Event{Key: a.alertKey(key), Summary: summary})
}

func (a *agent) alertKey(key string) string { return "maintenance:" + string(a.info.Host) + ":" + key }

// retryAlerts publishes the alerts that are held. An outage is logged once.
func (a *agent) retryAlerts() {
	err := a.alerts.Retry()
	if err != nil && !a.unsent {
		a.warn("%v", err)
	}
	a.unsent = err != nil
}

// emit publishes an event that is no alert.
func (a *agent) emit(e sdk.Event) {
	if err := a.publish(e); err != nil {
		a.warn("%s: %s: %v", e.Kind, e.Summary, err)
	}
}

// hostReport is the agent's view of its host, for the action status.
type hostReport struct {
	Backlog  amount           `json:"backlog"`
	Moved    amount           `json:"moved"`    // since the agent started
	Receipts int              `json:"receipts"` // in the journal
	Last     *storage.Receipt `json:"last,omitempty"`
	Problems []string         `json:"problems,omitempty"`
}

func (a *agent) report() hostReport {
	r := hostReport{Backlog: a.backlog, Moved: a.gone, Receipts: len(a.journal.Receipts())}
	if r.Receipts > 0 {
		r.Last = &a.journal.Receipts()[r.Receipts-1]
	}
	for _, e := range a.alerts.Open() {
		r.Problems = append(r.Problems, e.Kind)
	}
	slices.Sort(r.Problems)
	return r
}

// shown are the receipts that the restore action can list.
func (a *agent) shown() []storage.Receipt {
	return a.journal.Receipts()[max(0, len(a.journal.Receipts())-shownFiles):]
}

// human formats a number of bytes for people.
func human(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(bytes), 0
	for v >= 1024 && i+1 < len(units) {
		v, i = v/1024, i+1
	}
	return strconv.FormatFloat(v, 'f', min(i, 1), 64) + " " + units[i]
}
