package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

const (
	memoryLimit = 48 << 20        // bytes; the collector works harder before the agent takes more
	probeEvery  = time.Minute     // that the storage host is asked when there is nothing to move
	unreachable = 2               // connections that fail in a row before it is told
	firstPause  = 5 * time.Second // after a failure, doubled with every further one
	longestWait = 10 * time.Minute
	heldPause   = time.Second      // between two looks at a file that its writer is about to let go
	givenBack   = 10 * time.Minute // that a file is left alone after it was given back
	stuckAfter  = 3                // failures of one file before it is told
	shownFiles  = 200              // receipts that the restore action can list, per host
)

// watch is the agent's life on one host.
func watch(ctx context.Context, c *config, job *sdk.Job) error {
	return watchIn(ctx, c, job, hostPlaces)
}

func watchIn(ctx context.Context, c *config, job *sdk.Job, allowed places) error {
	debug.SetMemoryLimit(memoryLimit)
	d := c.withDefaults()
	a, err := newAgent(d, job.Info, allowed)
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
	a.dial = func(ctx context.Context) (remoteStore, error) {
		t, err := findTarget(ctx, *d.Storage, job)
		if err != nil {
			return nil, err
		}
		return connect(ctx, t)
	}
	a.start()
	requests := make(chan request)
	watching, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		followRequests(watching, job, requests)
	}()
	defer func() { stop(); <-done }()
	reported := true
	for {
		a.Tick(ctx)
		err := a.report(ctx, job)
		if err != nil && reported && ctx.Err() == nil { // an outage is logged once
			job.Warnf("report status: %v", err)
		}
		reported = err == nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(a.pause()):
		case r := <-requests:
			answerRequest(ctx, job, r, a.Serve(ctx, r))
		}
	}
}

// findTarget asks the core where the storage host is and how it knows it.
func findTarget(ctx context.Context, c storageConfig, job *sdk.Job) (target, error) {
	t := target{user: c.User, path: c.Path}
	if c.Address != "" {
		t.names = []string{c.Address}
		t.address = hostPort(c.Address, c.Port)
	} else {
		hosts, err := job.Hosts(ctx)
		if err != nil {
			return t, err
		}
		i := slices.IndexFunc(hosts, func(h sdk.Host) bool { return h.Role == c.Role })
		if i < 0 {
			return t, fmt.Errorf("the environment has no host of role %s", c.Role)
		}
		h := hosts[i]
		address := h.PrivateAddress
		if address == "" {
			address = h.Address
		}
		t.names = []string{string(h.Name), h.Address, h.PrivateAddress}
		t.address = hostPort(address, c.Port)
	}
	var err error
	if t.privateKey, err = job.Secret(ctx, "storage_private_key"); err != nil {
		return t, err
	}
	t.knownHosts, err = job.Secret(ctx, "storage_known_hosts")
	return t, err
}

// remoteStore is an open connection to a storage host.
type remoteStore interface {
	store
	Free() (bytes int64, known bool)
	Close() error
}

// agent keeps the files of one host. Not for concurrent use.
type agent struct {
	config  config
	info    sdk.RunInfo
	places  places
	journal *journal
	mover   *mover
	remote  remoteStore // nil: not connected
	damaged error       // the journal was, at the start

	failed   int       // connections in a row
	asked    time.Time // when the storage host was last connected to or tried
	heldBack map[string]time.Time
	refused  map[string]bool   // told
	alerts   map[string]string // that stand, by key: their kind
	left     map[string]string // that the agent before this one left
	drilled  time.Time
	reported string // the last receipt that the state has
	backlog  amount // what should go, or is on its way
	gone     amount // since the agent started

	now     func() time.Time
	publish func(sdk.Event)
	warn    func(format string, args ...any)
	dial    func(ctx context.Context) (remoteStore, error)
}

type amount struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func newAgent(c config, info sdk.RunInfo, allowed places) (*agent, error) {
	j, err := openJournal(info.StateDir)
	if j == nil {
		return nil, err
	}
	a := &agent{
		config: c, info: info, places: allowed, journal: j, damaged: err, heldBack: map[string]time.Time{},
		refused: map[string]bool{}, alerts: map[string]string{}, now: time.Now,
	}
	a.mover = &mover{
		ledger: j, places: allowed, environment: info.Environment, host: string(info.Host), compress: c.Compress,
		quarantine: c.Quarantine.Std(), now: func() time.Time { return a.now() }, notify: notifyWriter,
	}
	a.drilled = a.now()
	if err := readStanding(a.standing(), &a.left); err != nil {
		a.damaged = errors.Join(a.damaged, err)
	}
	return a, nil
}

// standing is the file that holds the alerts which stand: a recovery must be told by whoever comes after.
func (a *agent) standing() string { return filepath.Join(a.info.StateDir, "alerts.json") }

func readStanding(file string, to *map[string]string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		return fmt.Errorf("read standing alerts: %w", err)
	}
	return nil
}

// keepStanding writes the alerts that stand. On a full disk they are told again after a restart, at worst.
func (a *agent) keepStanding() {
	b, err := json.Marshal(a.alerts)
	if err == nil {
		err = renameio.WriteFile(a.standing(), b, 0o600)
	}
	if err != nil {
		a.warn("keep standing alerts: %v", err)
	}
}

// start tells what was found when the agent started. Alerts of the agent before it are taken over: what is still
// so keeps its alert, the rest recovers as ever.
func (a *agent) start() {
	if len(a.left) > 0 {
		a.alerts = a.left
	}
	if a.damaged != nil {
		a.alert("journal.damaged", string(a.info.Host), "maintenance on "+string(a.info.Host)+": "+a.damaged.Error(), nil)
	}
}

// Close ends the connection and the journal.
func (a *agent) Close() {
	a.hangUp()
	_ = a.journal.Close() // every record is on disk
}

func (a *agent) hangUp() {
	if a.remote != nil {
		_ = a.remote.Close() // what must last was synced
	}
	a.remote, a.mover.store = nil, nil
}

// Tick looks at all rules once and takes every file as far as it goes. Nothing that goes wrong with one file or
// rule stops the others; all of it is told.
func (a *agent) Tick(ctx context.Context) {
	defer a.hangUp()
	due := a.scan()
	a.backlog = amount{}
	for _, f := range due {
		a.backlog.add(f.id.Size)
	}
	for _, m := range a.journal.moves {
		a.backlog.add(m.claim.File.Size)
	}
	undelivered := slices.ContainsFunc(a.journal.moves, func(m *move) bool { return m.receipt == nil })
	if len(due) > 0 || undelivered || a.now().Sub(a.asked) >= probeEvery {
		a.call(ctx)
	}
	a.advance(ctx)
	if a.remote == nil {
		return // a file keeps its name until it can go
	}
	for _, f := range due {
		if ctx.Err() != nil || a.remote == nil {
			return
		}
		a.claim(ctx, f)
	}
	a.advance(ctx)
	if d := a.config.Drill.Std(); d > 0 && a.now().Sub(a.drilled) >= d && len(a.journal.receipts) > 0 {
		a.drilled = a.now()
		_ = a.drill(a.journal.receipts[rand.IntN(len(a.journal.receipts))]) // it tells
	}
}

// pause is the time until the next look: short while a writer is expected to let go of a file.
func (a *agent) pause() time.Duration {
	for _, m := range a.journal.moves {
		if m.receipt == nil && m.failures == 0 && a.now().Sub(m.claimed) < holdTime && a.failed == 0 {
			return min(heldPause, a.config.Interval.Std())
		}
	}
	return a.config.Interval.Std()
}

func (a *amount) add(bytes int64) { a.Files++; a.Bytes += bytes }

// wanted is a file that should go, with the rule that says so.
type wanted struct {
	found
	rule ruleConfig
}

// scan lists the files that should go now.
func (a *agent) scan() []wanted {
	var due []wanted
	taken := map[string]bool{}
	open := map[string]int64{} // bytes on their way, by claimed path
	for _, m := range a.journal.moves {
		open[path.Join(path.Dir(m.claim.Path), m.claim.Claimed)] = m.claim.File.Size
	}
	for _, r := range a.config.Rules {
		l, err := list(r, a.places)
		key := "rule/" + r.Name
		if err != nil {
			a.alert("rule.unreadable", key, fmt.Sprintf("rule %q on %s: %v", r.Name, a.info.Host, err), nil)
		} else {
			a.resolve(key, fmt.Sprintf("rule %q on %s works again", r.Name, a.info.Host))
		}
		for name, err := range l.refused {
			a.refuse(name, err)
		}
		for _, f := range l.orphans {
			if _, ok := open[f.path]; !ok {
				if err := a.mover.Adopt(f, r.Name); err != nil {
					a.alert("journal.full", "journal", err.Error(), nil)
				}
				open[f.path] = f.id.Size
			}
		}
		files := slices.DeleteFunc(l.files, func(f found) bool { return taken[f.path] || a.now().Before(a.heldBack[f.path]) })
		var pending int64
		for name, size := range open {
			if slices.ContainsFunc(r.Paths, func(p string) bool { root, _ := splitPattern(p); return below(name, root) }) {
				pending += size
			}
		}
		var fs space
		if r.Free != nil && len(r.Paths) > 0 {
			root, _ := splitPattern(r.Paths[0])
			if fs, err = spaceOf(root); err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					a.alert("rule.unreadable", key, fmt.Sprintf("rule %q on %s: %v", r.Name, a.info.Host, err), nil)
				}
				continue
			}
		}
		ready, short := choose(r, files, fs, pending, a.now())
		for _, f := range ready {
			taken[f.path] = true
			due = append(due, wanted{f, r})
		}
		a.tellShort(r, fs, short)
	}
	return due
}

func (a *agent) tellShort(r ruleConfig, fs space, short int64) {
	key := "space/" + r.Name
	if short > 0 {
		a.alert("space.short", key, fmt.Sprintf("rule %q on %s cannot reach its free space: %s of %s are free, %s are missing even without all of its files",
			r.Name, a.info.Host, human(fs.free), human(fs.size), human(short)),
			map[string]any{"free": fs.free, "size": fs.size, "missing": short})
	} else {
		a.resolve(key, fmt.Sprintf("rule %q on %s can reach its free space again", r.Name, a.info.Host))
	}
}

// refuse tells once that a file which a rule names stays.
func (a *agent) refuse(name string, err error) {
	if a.refused[name] {
		return
	}
	a.refused[name] = true
	a.publish(sdk.Event{
		Kind: "file.refused", Severity: sdk.Warning, Key: "file:" + string(a.info.Host) + ":" + name, Summary: fmt.Sprintf("%s on %s stays: %v", name, string(a.info.Host), err),
		Data: map[string]any{"path": name, "reason": err.Error()},
	})
}

// call connects to the storage host.
func (a *agent) call(ctx context.Context) {
	a.asked = a.now()
	s, err := a.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		if a.failed++; a.failed >= unreachable {
			a.alert("storage.unreachable", "storage", fmt.Sprintf("the storage host cannot be reached from %s; nothing is deleted, %d files (%s) wait: %v",
				a.info.Host, a.backlog.Files, human(a.backlog.Bytes), err), map[string]any{"files": a.backlog.Files, "bytes": a.backlog.Bytes})
		}
		return
	}
	a.failed = 0
	a.remote, a.mover.store = s, s
	a.resolve("storage", fmt.Sprintf("the storage host answers %s again; %d files (%s) go now", a.info.Host, a.backlog.Files, human(a.backlog.Bytes)))
}

func (a *agent) claim(ctx context.Context, f wanted) {
	err := a.mover.Claim(ctx, f.rule, f.found)
	switch {
	case err == nil || errors.Is(err, os.ErrNotExist):
	case errors.Is(err, errUnsafe):
		a.refuse(f.path, err)
	default:
		a.alert("file.stuck", "file/"+f.path, fmt.Sprintf("%s on %s cannot be taken: %v", f.path, a.info.Host, err), map[string]any{"path": f.path})
	}
}

// advance takes every open move as far as it goes.
func (a *agent) advance(ctx context.Context) {
	for _, m := range slices.Clone(a.journal.moves) {
		if ctx.Err() != nil {
			return
		}
		if a.now().Before(m.notBefore) {
			continue
		}
		done, err := a.mover.Advance(m)
		key := "file/" + m.claim.Path
		switch {
		case errors.Is(err, errHeld):
			m.notBefore = a.now().Add(heldPause / 2)
		case err != nil:
			a.fault(m, err)
		case done == moved:
			a.gone.add(m.claim.File.Size)
			a.tellMoved(m)
			a.resolve(key, fmt.Sprintf("%s on %s went", m.claim.Path, a.info.Host))
			a.resolve("storage.full", "the storage host has space again for "+string(a.info.Host))
		case done == returned:
			a.heldBack[m.claim.Path] = a.now().Add(givenBack)
			a.publish(sdk.Event{
				Kind: "file.held", Severity: sdk.Warning, Key: "file:" + string(a.info.Host) + ":" + m.claim.Path,
				Summary: fmt.Sprintf(`%s on %s was given back: its writer (%s) does not let go of it; use reopen = "signal" or "copytruncate" in rule %q`,
					m.claim.Path, a.info.Host, strings.Join(writers("/proc", m.claim.File), ", "), m.claim.Rule),
				Data: map[string]any{"path": m.claim.Path, "rule": m.claim.Rule},
			})
		case done == vanished:
			a.alert("file.vanished", key, fmt.Sprintf("%s on %s was removed by somebody else before it was sent", m.claim.Path, a.info.Host), map[string]any{"path": m.claim.Path})
		}
	}
}

func (a *agent) tellMoved(m *move) {
	r := m.receipt
	a.publish(sdk.Event{
		Kind: "file.moved", Severity: sdk.Info, Key: "file:" + string(a.info.Host) + ":" + r.Path,
		Summary: fmt.Sprintf("%s (%s) on %s went to the storage host, was read back there and is removed here", r.Path, human(r.File.Size), a.info.Host),
		Data: map[string]any{
			"receipt": r.ID, "rule": r.Rule, "path": r.Path, "remote": r.Remote, "bytes": r.File.Size,
			"stored_bytes": r.StoredSize, "sha256": r.SHA256, "inode": r.File.Inode,
		},
	})
}

// fault notes what went wrong with a move and lets it rest. A connection that failed once is not used again: the
// next look asks the storage host anew.
func (a *agent) fault(m *move, err error) {
	m.failures++
	m.problem = err.Error()
	pause := min(firstPause<<min(m.failures-1, 10), longestWait)
	m.notBefore = a.now().Add(pause)
	key, data := "file/"+m.claim.Path, map[string]any{"path": m.claim.Path, "failures": m.failures}
	switch {
	case errors.Is(err, errMismatch):
		a.alert("file.mismatch", key, fmt.Sprintf("%s on %s stays and is sent again: %v", m.claim.Path, a.info.Host, err), data)
	case a.storageFull():
		a.alert("storage.full", "storage.full", fmt.Sprintf("the storage host has no space left; nothing is deleted on %s: %v", a.info.Host, err), data)
	case m.failures >= stuckAfter:
		a.alert("file.stuck", key, fmt.Sprintf("%s on %s does not go (%d failures): %v", m.claim.Path, a.info.Host, m.failures, err), data)
	}
	if !errors.Is(err, errUnsafe) && !errors.Is(err, errChanged) {
		a.hangUp()
	}
}

// fullBelow is how many free bytes on the storage host count as none.
const fullBelow = 16 << 20

func (a *agent) storageFull() bool {
	if a.remote == nil {
		return false
	}
	free, known := a.remote.Free()
	return known && free < fullBelow
}

// alert raises an alert unless it stands already; key is unique on this host.
func (a *agent) alert(kind, key, summary string, data map[string]any) {
	if _, stands := a.alerts[key]; stands {
		return
	}
	a.alerts[key] = kind
	a.keepStanding()
	a.publish(sdk.Event{Kind: kind, Severity: sdk.Alert, Key: "maintenance:" + string(a.info.Host) + ":" + key, Summary: summary, Data: data})
}

// resolve takes an alert back, if it stands.
func (a *agent) resolve(key, summary string) {
	kind, stands := a.alerts[key]
	if !stands {
		return
	}
	delete(a.alerts, key)
	a.keepStanding()
	a.publish(sdk.Event{Kind: kind, Severity: sdk.Resolved, Key: "maintenance:" + string(a.info.Host) + ":" + key, Summary: summary})
}

// hostReport is what an agent says of its host for the status action.
type hostReport struct {
	Time     time.Time `json:"time"`
	Backlog  amount    `json:"backlog"`
	Moved    amount    `json:"moved"`    // since the agent started
	Receipts int       `json:"receipts"` // in the journal
	Last     *receipt  `json:"last,omitempty"`
	Problems []string  `json:"problems,omitempty"`
}

func stateKey(parts ...string) string { return strings.Join(parts, "/") }

func (a *agent) report(ctx context.Context, job *sdk.Job) error {
	r := hostReport{Time: a.now(), Backlog: a.backlog, Moved: a.gone, Receipts: len(a.journal.receipts)}
	shown := a.journal.receipts[max(0, len(a.journal.receipts)-shownFiles):]
	if len(shown) > 0 {
		r.Last = &shown[len(shown)-1]
	}
	for _, kind := range a.alerts {
		r.Problems = append(r.Problems, kind)
	}
	slices.Sort(r.Problems)
	values := map[string]any{"report": r}
	if r.Last != nil && r.Last.ID != a.reported {
		values["receipts"] = shown
	}
	for key, v := range values {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := job.SetState(ctx, stateKey(key, string(a.info.Stage), string(a.info.Host)), b); err != nil {
			return err
		}
	}
	if r.Last != nil {
		a.reported = r.Last.ID
	}
	return nil
}

// human writes a number of bytes for people.
func human(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(bytes), 0
	for v >= 1024 && i+1 < len(units) {
		v, i = v/1024, i+1
	}
	return strconv.FormatFloat(v, 'f', min(i, 1), 64) + " " + units[i]
}
