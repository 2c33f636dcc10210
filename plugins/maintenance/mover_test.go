package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// errCrash ends an agent in a test, as SIGKILL would: from then on nothing that it calls does anything.
var errCrash = errors.New("killed")

// crash counts the places where an agent can die, and lets it die at one of them.
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

// folderStore is a storage host in a folder of this machine, with faults.
type folderStore struct {
	dir     string
	crash   *crash
	cut     int64 // bytes after which Put fails; 0: never
	corrupt bool  // Put damages what it stores
	readErr error // of Get
	full    bool
}

func (s *folderStore) Put(name string, src io.Reader) error {
	if err := s.crash.point(); err != nil {
		return err
	}
	full := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	b, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	if s.cut > 0 && int64(len(b)) > s.cut {
		return errors.Join(errors.New("connection lost"), os.WriteFile(full+".part", b[:s.cut], 0o600))
	}
	if s.corrupt && !strings.HasSuffix(name, ".json") {
		b = slices.Clone(b)
		b[len(b)/2] ^= 1
	}
	if err := os.WriteFile(full, b, 0o600); err != nil {
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

func (s *folderStore) Remove(name string) error { return os.Remove(filepath.Join(s.dir, name)) }
func (s *folderStore) Close() error             { return nil }
func (s *folderStore) Free() (int64, bool) {
	if s.full {
		return 0, true
	}
	return 1 << 40, true
}

// crashLedger dies before or after a record is on disk.
type crashLedger struct {
	*journal
	crash *crash
}

func (l crashLedger) Append(r record) error {
	if err := l.crash.point(); err != nil {
		return err
	}
	if err := l.journal.Append(r); err != nil {
		return err
	}
	return l.crash.point()
}

// fixture is a host with a log folder, a state folder and a storage host.
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
	f.config.Rules = []ruleConfig{{Name: "app", Paths: []string{filepath.Join(f.logs, "*.log")}, Above: 1000, Reopen: "rename"}}
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

func (f *fixture) places() places { return places{secondary: []string{f.logs}} }

// agent starts an agent, as a restart of the unit would.
func (f *fixture) agent(c *crash) *agent {
	f.t.Helper()
	a, err := newAgent(f.config.withDefaults(), sdk.RunInfo{Environment: "lab", Host: "web-1", Stage: "maintenance.logs", StateDir: f.state}, f.places(),
		func(e sdk.Event) error { f.events = append(f.events, e); return nil }, f.t.Logf)
	if err != nil {
		f.t.Fatal(err)
	}
	store := *f.store
	store.crash = c
	a.mover.ledger = crashLedger{a.journal, c}
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

// ticks lets an agent work until nothing is open.
func (f *fixture) ticks(a *agent, most int) {
	f.t.Helper()
	for range most {
		a.Tick(f.t.Context())
		f.clock = f.clock.Add(15 * time.Minute) // beyond every pause
		if len(a.journal.moves) == 0 && a.backlog.Files == 0 {
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

// stored unpacks what the storage host holds under a complete name, by the path it came from.
func (f *fixture) stored() []string {
	f.t.Helper()
	var list []string
	err := filepath.WalkDir(f.store.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".zst") {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := unpack(&out, bytes.NewReader(b), "zstd"); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		list = append(list, out.String())
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

var longLog = strings.Repeat("GET / 200 1.2ms\n", 1000)

func TestMove(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	f.write("small.log", "short")
	f.write("other.txt", longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	f.ticks(a, 5)
	if got := f.stored(); len(got) != 1 || got[0] != longLog {
		t.Errorf("storage holds %d files", len(got))
	}
	if got := f.local(); !slices.Equal(got, []string{"other.txt", "small.log"}) {
		t.Errorf("left here: %v", got)
	}
	if got := f.kinds(); !slices.Equal(got, []string{"file.moved/info"}) {
		t.Errorf("told: %v", got)
	}
	if len(a.journal.receipts) != 1 {
		t.Fatalf("%d receipts, want 1", len(a.journal.receipts))
	}
	if _, err := os.Stat(filepath.Join(f.store.dir, a.journal.receipts[0].Remote+".json")); err != nil {
		t.Errorf("no receipt beside the file: %v", err)
	}
}

// TestCrash kills the agent at every place where it can die, and starts it again. At no time is the content
// anywhere but in a file here or, with a receipt, on the storage host; in the end it is there once.
func TestCrash(t *testing.T) {
	for _, reopen := range []string{"rename", "copytruncate"} {
		t.Run(reopen, func(t *testing.T) {
			total := -1
			for at := 0; total < 0 || at < total; at++ {
				f := newFixture(t)
				f.config.Rules[0].Reopen = reopen
				f.write("app.log", longLog)
				c := &crash{at: at}
				first := f.agent(c)
				f.ticks(first, 2)
				first.Close()
				if !c.dead { // it got through: all places are known
					total = at
				}
				f.checkNothingLost(at)
				second := f.agent(nil)
				f.ticks(second, 6)
				second.Close()
				if got := f.stored(); !slices.Contains(got, longLog) {
					t.Fatalf("place %d: storage holds %d files, none whole", at, len(got))
				}
				left := slices.DeleteFunc(f.local(), func(n string) bool {
					st, err := os.Stat(filepath.Join(f.logs, n))
					return err == nil && st.Size() == 0 // cut
				})
				if len(left) != 0 {
					t.Fatalf("place %d: left here: %v", at, left)
				}
				if slices.Contains(f.kinds(), "file.vanished/alert") {
					t.Fatalf("place %d: told %v", at, f.kinds())
				}
			}
			if total < 10 {
				t.Errorf("only %d places to die", total)
			}
		})
	}
}

func (f *fixture) checkNothingLost(at int) {
	f.t.Helper()
	for _, name := range f.local() {
		b, err := os.ReadFile(filepath.Join(f.logs, name))
		if err == nil && string(b) == longLog {
			return
		}
	}
	j, err := openJournal(f.state)
	if err != nil {
		f.t.Fatal(err)
	}
	defer j.Close()
	if len(j.receipts) == 1 && slices.Contains(f.stored(), longLog) {
		return
	}
	f.t.Fatalf("place %d: the content is lost", at)
}

// TestFaults lets the storage host fail in every way: nothing is removed here, people are told, and when it
// works again the file goes.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		harm  func(f *fixture)
		mend  func(f *fixture)
		told  []string
		after string
	}{
		"away": {
			func(f *fixture) { f.away = true }, func(f *fixture) { f.away = false },
			[]string{"storage.unreachable/alert"},
			"storage.unreachable/resolved",
		},
		"cut in the middle": {
			func(f *fixture) { f.store.cut = 50 }, func(f *fixture) { f.store.cut = 0 },
			[]string{"file.stuck/alert"},
			"file.stuck/resolved",
		},
		"disk full there": {
			func(f *fixture) { f.store.cut, f.store.full = 50, true }, func(f *fixture) { f.store.cut, f.store.full = 0, false },
			[]string{"storage.full/alert"},
			"storage.full/resolved",
		},
		"a byte changes": {
			func(f *fixture) { f.store.corrupt = true }, func(f *fixture) { f.store.corrupt = false },
			[]string{"file.mismatch/alert"},
			"file.mismatch/resolved",
		},
		"reading back fails": {
			func(f *fixture) { f.store.readErr = errors.New("input/output error") }, func(f *fixture) { f.store.readErr = nil },
			[]string{"file.stuck/alert"},
			"file.stuck/resolved",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.write("app.log", longLog)
			test.harm(f)
			a := f.agent(nil)
			f.ticks(a, 4)
			if got := f.kinds(); !slices.Equal(got, test.told) {
				t.Errorf("told %v, want %v", got, test.told)
			}
			whole := slices.ContainsFunc(f.local(), func(n string) bool {
				b, err := os.ReadFile(filepath.Join(f.logs, n))
				return err == nil && string(b) == longLog
			})
			if !whole || len(a.journal.receipts) != 0 {
				t.Errorf("left here %v, %d receipts", f.local(), len(a.journal.receipts))
			}
			a.Close()
			test.mend(f)
			// The same agent would keep its store; the next one sees the mended one, and takes over what was told.
			b := f.agent(nil)
			t.Cleanup(b.Close)
			f.ticks(b, 6)
			if got := f.stored(); !slices.Equal(got, []string{longLog}) || len(f.local()) != 0 {
				t.Errorf("after: %d stored, left %v", len(got), f.local())
			}
			if !slices.Contains(f.kinds(), test.after) {
				t.Errorf("told %v, want %s", f.kinds(), test.after)
			}
		})
	}
}

// TestWriter has a writer keep a renamed file open: it stays until the writer lets go.
func TestWriter(t *testing.T) {
	f := newFixture(t)
	p := f.write("app.log", longLog)
	w, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := f.agent(nil)
	t.Cleanup(a.Close)
	a.Tick(t.Context())
	if len(a.journal.moves) != 1 || len(f.stored()) != 0 {
		t.Fatalf("%d moves, %d stored: want it to wait", len(a.journal.moves), len(f.stored()))
	}
	if _, err := w.WriteString("the last line\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(10 * time.Second)
	a.Tick(t.Context())
	if got := f.stored(); !slices.Equal(got, []string{longLog + "the last line\n"}) {
		t.Errorf("stored %d files, not the last line", len(got))
	}
}

// TestWriterKeeps has a writer that never lets go: it gets its file back.
func TestWriterKeeps(t *testing.T) {
	f := newFixture(t)
	p := f.write("app.log", longLog)
	w, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	a := f.agent(nil)
	t.Cleanup(a.Close)
	a.Tick(t.Context())
	f.clock = f.clock.Add(2 * time.Minute)
	a.Tick(t.Context())
	if got := f.local(); !slices.Equal(got, []string{"app.log"}) || len(f.stored()) != 0 {
		t.Errorf("left %v, %d stored", got, len(f.stored()))
	}
	if got := f.kinds(); !slices.Equal(got, []string{"file.held/warning"}) {
		t.Errorf("told %v", got)
	}
}

// TestLateWriter changes the file after its receipt, while it is in quarantine: the receipt is void, and all of
// it is sent anew.
func TestLateWriter(t *testing.T) {
	f := newFixture(t)
	f.config.Quarantine = sdk.Duration(time.Hour)
	f.write("app.log", longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	a.Tick(t.Context())
	if len(a.journal.moves) != 1 || a.journal.moves[0].receipt == nil {
		t.Fatal("want a receipt and the file in quarantine")
	}
	w, err := os.OpenFile(filepath.Join(f.logs, a.journal.moves[0].claim.Claimed), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("late\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(2 * time.Hour)
	a.Tick(t.Context())
	f.clock = f.clock.Add(2 * time.Hour)
	a.Tick(t.Context())
	if got := f.stored(); !slices.Equal(got, []string{longLog + "late\n"}) || len(f.local()) != 0 {
		t.Errorf("stored %d, left %v", len(got), f.local())
	}
}

// TestLostJournal moves a claimed file on although the journal is damaged.
func TestLostJournal(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	f.store.readErr = errors.New("input/output error")
	a := f.agent(nil)
	a.Tick(t.Context())
	a.Close()
	if err := os.WriteFile(filepath.Join(f.state, "journal.jsonl"), []byte("{}}\nrubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.store.readErr = nil
	b := f.agent(nil)
	t.Cleanup(b.Close)
	f.ticks(b, 5)
	if got := f.stored(); len(f.local()) != 0 || !slices.Contains(got, longLog) {
		t.Errorf("stored %d, left %v", len(got), f.local())
	}
	if got := f.kinds(); !slices.Equal(got, []string{"journal.damaged/alert", "file.moved/info"}) {
		t.Errorf("told %v", got)
	}
	if r := b.journal.receipts; len(r) != 1 || r[0].Path != filepath.Join(f.logs, "app.log") {
		t.Errorf("receipts %+v", r)
	}
}

func TestHalfRecord(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	a := f.agent(nil)
	f.ticks(a, 3)
	a.Close()
	file := filepath.Join(f.state, "journal.jsonl")
	j, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.WriteString(`{"id":"01J","op":"cla`); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f.write("b.log", longLog)
	b := f.agent(nil)
	t.Cleanup(b.Close)
	f.ticks(b, 3)
	if len(b.journal.receipts) != 2 || b.damaged != nil {
		t.Errorf("%d receipts, damaged: %v", len(b.journal.receipts), b.damaged)
	}
}

func TestRestore(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	f.ticks(a, 3)
	id := a.journal.receipts[0].ID
	to := filepath.Join(f.logs, "app.log.restored")
	if got := a.Serve(t.Context(), request{Receipt: id, To: to}); got.Error != "" {
		t.Fatal(got.Error)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != longLog {
		t.Errorf("restored %d bytes: %v", len(b), err)
	}
	for name, r := range map[string]request{
		"exists":   {Receipt: id, To: to},
		"outside":  {Receipt: id, To: filepath.Join(f.state, "x")},
		"relative": {Receipt: id, To: "x"},
		"unknown":  {Receipt: "01J", To: to + "2"},
	} {
		if got := a.Serve(t.Context(), r); got.Error == "" {
			t.Errorf("%s: no error", name)
		}
	}
	stored := filepath.Join(f.store.dir, a.journal.receipts[0].Remote)
	b, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(stored, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := a.Serve(t.Context(), request{Receipt: id, To: to + "2"}); !strings.Contains(got.Error, errMismatch.Error()) {
		t.Errorf("damaged: %q", got.Error)
	}
	if got := a.Serve(t.Context(), request{Receipt: id}); got.Error == "" {
		t.Error("a drill of a damaged backup passed")
	}
	if got := f.local(); !slices.Equal(got, []string{"app.log.restored"}) {
		t.Errorf("left %v", got)
	}
}
