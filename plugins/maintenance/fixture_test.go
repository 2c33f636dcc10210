package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// errCrash stands for SIGKILL in a test: after it, nothing that the agent calls has an effect.
var errCrash = errors.New("killed")

// crash counts the points where an agent can be killed, and kills it at one of them.
type crash struct {
	at, n int
	dead  bool
}

func (c *crash) point() error {
	if c == nil {
		return nil
	}
	if c.dead || c.n == c.at {
		c.dead = true
		return errCrash
	}
	c.n++
	return nil
}

// folderStore is a storage host in a folder, with faults.
type folderStore struct {
	dir     string
	crash   *crash
	cut     int64 // bytes after which Put fails; 0: never
	corrupt bool  // Put damages what it stores
	readErr error // of Get
	full    bool
}

func (s *folderStore) Put(name string, src io.Reader, back io.Writer) error {
	if err := s.crash.point(); err != nil {
		return err
	}
	full := filepath.Join(s.dir, name)
	if _, err := os.Lstat(full); err == nil {
		return fs.ErrExist
	}
	b, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	if s.cut > 0 && int64(len(b)) > s.cut {
		return errors.Join(errors.New("connection lost"), os.WriteFile(full, b[:s.cut], 0o600))
	}
	if s.corrupt && !strings.HasSuffix(name, ".json") {
		b = slices.Clone(b)
		b[len(b)/2] ^= 1
	}
	if err := os.WriteFile(full, b, 0o600); err != nil {
		return err
	}
	if s.readErr != nil {
		return s.readErr
	}
	if _, err := back.Write(b); err != nil {
		return err
	}
	return s.crash.point()
}

func (s *folderStore) Get(name string, dst io.Writer) error {
	if err := s.crash.point(); err != nil {
		return err
	}
	if s.readErr != nil {
		return s.readErr
	}
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	if _, err = dst.Write(b); err != nil {
		return err
	}
	return s.crash.point()
}

func (s *folderStore) Close() error { return nil }

func (s *folderStore) Names() (names []string, err error) {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (s *folderStore) Removed([]storage.Receipt) ([]string, error) {
	b, err := os.ReadFile(s.dir + ".removed.txt")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return strings.Fields(string(b)), err
}

func (s *folderStore) Full() string {
	if s.full {
		return "its disk is full"
	}
	return ""
}

// crashLedger is killed before or after a record is on disk.
type crashLedger struct {
	*journal.Journal
	crash *crash
}

func (l crashLedger) Append(r journal.Record) error {
	if err := l.crash.point(); err != nil {
		return err
	}
	if err := l.Journal.Append(r); err != nil {
		return err
	}
	return l.crash.point()
}

// fixture is a host with a log folder and a state folder, and a storage host.
type fixture struct {
	t      testing.TB
	logs   string
	state  string
	store  *folderStore
	config config
	away   bool
	events []sdk.Event
	clock  time.Time
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{
		t: t, logs: filepath.Join(dir, "logs"), state: filepath.Join(dir, "state"),
		store: &folderStore{dir: filepath.Join(dir, "storage")}, clock: time.Now(),
		config: config{Compress: "zstd", Interval: sdk.Duration(10 * time.Second)},
	}
	for _, d := range []string{f.logs, f.state, f.store.dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.config.Rules = []rule.Rule{{Name: "app", Paths: []string{filepath.Join(f.logs, "*.log")}, Above: 1000, Reopen: "rename"}}
	return f
}

func (f *fixture) write(name, content string) string {
	f.t.Helper()
	p := filepath.Join(f.logs, name)
	if err := os.WriteFile(p, []byte(content), 0o640); err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (f *fixture) places() rule.Places { return rule.Places{Secondary: []string{f.logs}} }

// agent starts an agent, as systemd does after a restart.
func (f *fixture) agent(c *crash) *agent {
	f.t.Helper()
	a, err := newAgent(f.config.withDefaults(), sdk.RunInfo{Environment: "lab", Host: "web-1", Stage: "maintenance.logs", StateDir: f.state}, f.places(),
		func(e sdk.Event) error {
			f.events = append(f.events, e)
			return keep(f.t.Name(), e)
		}, f.t.Logf)
	if err != nil {
		f.t.Fatal(err)
	}
	store := *f.store
	store.crash = c
	a.mover.Ledger = crashLedger{a.journal, c}
	a.now = func() time.Time { return f.clock }
	a.dial = func(context.Context) (remoteStore, error) {
		if f.away {
			return nil, errors.New("no route to host")
		}
		return &store, nil
	}
	a.start()
	return a
}

// keep appends an alert, or its end, to the file that KEEP_ALERTS names, if it is set. It renews the day of core/notify's
// TestDay. A thousand random rounds are no day.
func keep(test string, e sdk.Event) error {
	name := os.Getenv("KEEP_ALERTS")
	if name == "" || strings.HasPrefix(test, "TestRandomFaults") || e.Severity != sdk.Alert && e.Severity != sdk.Resolved {
		return nil
	}
	line, err := json.Marshal(map[string]any{"test": test, "kind": e.Kind, "severity": e.Severity, "key": e.Key, "summary": e.Summary})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// ticks runs an agent until nothing is open.
func (f *fixture) ticks(a *agent, most int) {
	f.t.Helper()
	for range most {
		a.Tick(f.t.Context())
		f.clock = f.clock.Add(15 * time.Minute) // longer than every pause
		if len(a.journal.Moves()) == 0 && a.backlog.Files == 0 {
			return
		}
	}
}

func (f *fixture) kinds() []string {
	var list []string
	for _, e := range f.events {
		list = append(list, e.Kind+"/"+string(e.Severity))
	}
	return list
}

func (f *fixture) local() []string {
	f.t.Helper()
	entries, err := os.ReadDir(f.logs)
	if err != nil {
		f.t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// stored unpacks the complete files on the storage host, those with a receipt: of each move the last one.
func (f *fixture) stored() []string {
	f.t.Helper()
	last := map[string]storage.Receipt{}
	names, err := f.store.Names()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(f.store.dir, name))
		if err != nil {
			f.t.Fatal(err)
		}
		var r storage.Receipt
		if !strings.HasSuffix(name, storage.ReceiptSuffix) || json.Unmarshal(text, &r) != nil {
			continue // the receipt was cut off, and is there once more
		}
		if r.Verified.After(last[r.ID].Verified) {
			last[r.ID] = r
		}
	}
	var list []string
	for _, id := range slices.Sorted(maps.Keys(last)) {
		var out bytes.Buffer
		if err := storage.Fetch(f.store, last[id].Object, &out); err != nil {
			f.t.Fatal(err)
		}
		list = append(list, out.String())
	}
	return list
}

// longLog is a log whose lines differ.
var longLog = func() string {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "GET /%d 200 1.2ms\n", i)
	}
	return b.String()
}()
