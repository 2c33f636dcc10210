package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

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
		t.Errorf("left on the host: %v", got)
	}
	if got := f.kinds(); !slices.Equal(got, []string{"file.moved/info"}) {
		t.Errorf("published: %v", got)
	}
	if len(a.journal.Receipts()) != 1 {
		t.Fatalf("%d receipts, want 1", len(a.journal.Receipts()))
	}
	if _, err := os.Stat(filepath.Join(f.store.dir, string(a.journal.Receipts()[0].Remote)+".json")); err != nil {
		t.Errorf("no receipt beside the file: %v", err)
	}
}

// TestCrash kills the agent at every point where it can be killed, and starts it again. The content is always in a file
// on the host or, with a receipt, on the storage host. In the end the storage host has it.
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
				if !c.dead { // it was not killed: all points are known
					total = at
				}
				f.checkNothingLost(at)
				second := f.agent(nil)
				f.ticks(second, 6)
				second.Close()
				if got := f.stored(); !slices.Equal(got, []string{longLog}) {
					t.Fatalf("point %d: storage holds %d files, want the log, once", at, len(got))
				}
				left := slices.DeleteFunc(f.local(), func(n string) bool {
					st, err := os.Stat(filepath.Join(f.logs, n))
					return err == nil && st.Size() == 0 // cut
				})
				if len(left) != 0 {
					t.Fatalf("point %d: left on the host: %v", at, left)
				}
				if slices.Contains(f.kinds(), "file.vanished/alert") {
					t.Fatalf("point %d: published %v", at, f.kinds())
				}
			}
			if total < 10 {
				t.Errorf("only %d points", total)
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
	j, err := journal.Open(f.state)
	if err != nil {
		f.t.Fatal(err)
	}
	defer j.Close()
	if len(j.Receipts()) == 1 && slices.Contains(f.stored(), longLog) {
		return
	}
	f.t.Fatalf("point %d: the content is lost", at)
}

// TestFaults makes the storage host fail: nothing is removed, an alert is published, and the file is moved when the storage
// host works again.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		breakIt func(f *fixture)
		repair  func(f *fixture)
		alerts  []string
		after   string
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
			test.breakIt(f)
			a := f.agent(nil)
			f.ticks(a, 4)
			if got := f.kinds(); !slices.Equal(got, test.alerts) {
				t.Errorf("published %v, want %v", got, test.alerts)
			}
			whole := slices.ContainsFunc(f.local(), func(n string) bool {
				b, err := os.ReadFile(filepath.Join(f.logs, n))
				return err == nil && string(b) == longLog
			})
			if !whole || len(a.journal.Receipts()) != 0 {
				t.Errorf("left on the host %v, %d receipts", f.local(), len(a.journal.Receipts()))
			}
			a.Close()
			test.repair(f)
			// The agent has a copy of the store. The next one sees the repaired store, and has the open alerts.
			b := f.agent(nil)
			t.Cleanup(b.Close)
			f.ticks(b, 6)
			if got := f.stored(); !slices.Equal(got, []string{longLog}) || len(f.local()) != 0 {
				t.Errorf("after: %d stored, left %v", len(got), f.local())
			}
			if !slices.Contains(f.kinds(), test.after) {
				t.Errorf("published %v, want %s", f.kinds(), test.after)
			}
		})
	}
}

// TestWriter keeps a renamed file open in a writer: it is sent when the writer closes it.
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
	if len(a.journal.Moves()) != 1 || len(f.stored()) != 0 {
		t.Fatalf("%d moves, %d stored: want it to wait", len(a.journal.Moves()), len(f.stored()))
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

// TestWriterKeeps has a writer that never closes the file: the file gets its old name again.
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
		t.Errorf("published %v", got)
	}
}

// TestLateWriter changes the file in quarantine, after its receipt: all of it is sent again.
func TestLateWriter(t *testing.T) {
	f := newFixture(t)
	f.config.Quarantine = sdk.Duration(time.Hour)
	f.write("app.log", longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	a.Tick(t.Context())
	if len(a.journal.Moves()) != 1 || a.journal.Moves()[0].Receipt == nil {
		t.Fatal("want a receipt and the file in quarantine")
	}
	w, err := os.OpenFile(filepath.Join(f.logs, string(a.journal.Moves()[0].Claim.Claimed)), os.O_APPEND|os.O_WRONLY, 0)
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

// TestLostJournal damages the journal: a claimed file is still moved.
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
	if got := f.kinds(); !slices.Equal(got, []string{"journal.damaged/alert", "journal.damaged/resolved", "file.moved/info"}) {
		t.Errorf("published %v", got)
	}
	if r := b.journal.Receipts(); len(r) != 1 || string(r[0].Path) != filepath.Join(f.logs, "app.log") {
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
	if len(b.journal.Receipts()) != 2 || b.damaged != nil {
		t.Errorf("%d receipts, damaged: %v", len(b.journal.Receipts()), b.damaged)
	}
}

func TestRestore(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	f.ticks(a, 3)
	id := a.journal.Receipts()[0].ID
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
	stored := filepath.Join(f.store.dir, string(a.journal.Receipts()[0].Remote))
	b, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(stored, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := a.Serve(t.Context(), request{Receipt: id, To: to + "2"}); !strings.Contains(got.Error, storage.ErrMismatch.Error()) {
		t.Errorf("damaged: %q", got.Error)
	}
	if got := a.Serve(t.Context(), request{Receipt: id}); got.Error == "" {
		t.Error("a drill of a damaged backup passed")
	}
	if got := f.local(); !slices.Equal(got, []string{"app.log.restored"}) {
		t.Errorf("left %v", got)
	}
}

// TestReplacedHostRestores: a new machine with the name of an old one restores what the old one had sent.
func TestReplacedHostRestores(t *testing.T) {
	f := newFixture(t)
	file := f.write("app.log", longLog)
	f.ticks(f.agent(nil), 10)
	if len(f.stored()) != 1 {
		t.Fatalf("stored %d files", len(f.stored()))
	}
	// Another host's receipt, one that names a file elsewhere and half a receipt are not taken for its own.
	for name, text := range map[string]string{
		"x.json": `{"id": "01X", "host": "web-2", "remote": "x", "verified": "2026-01-02T03:04:05Z"}`, "y.json": `{"id": "01Y", "host": "web-1", "remote": "../y", "verified": "2026-01-02T03:04:05Z"}`, "z.json": `{"id": "01Z", "ho`,
	} {
		if err := os.WriteFile(filepath.Join(f.store.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.state = filepath.Join(t.TempDir(), "state")
	a := f.agent(nil)
	a.Tick(t.Context())
	list := a.shown()
	if len(list) != 1 || string(list[0].Path) != file {
		t.Fatalf("receipts of the new host: %+v", list)
	}
	if got := a.Serve(t.Context(), request{Receipt: list[0].ID}); got.Error != "" {
		t.Errorf("drill: %s", got.Error)
	}
	if got := a.Serve(t.Context(), request{Receipt: list[0].ID, To: file}); got.Error != "" {
		t.Fatalf("restore: %s", got.Error)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != longLog {
		t.Errorf("restored %d bytes, %v", len(b), err)
	}
}

// TestRefusedOnce has hundreds of links that match a rule, and a hard link: two events tell of them, whatever their
// number, and in later scans there are no more.
func TestRefusedOnce(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	target := f.write("other.txt", longLog)
	for i := range 300 {
		if err := os.Symlink(target, filepath.Join(f.logs, fmt.Sprintf("link%d.log", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(target, filepath.Join(f.logs, "hard.log")); err != nil {
		t.Fatal(err)
	}
	a := f.agent(nil)
	t.Cleanup(a.Close)
	f.ticks(a, 3)
	a.Tick(t.Context())
	var refused []string
	for _, e := range f.events {
		if e.Kind == "file.refused" {
			refused = append(refused, fmt.Sprint(e.Data["reason"], " ", e.Data["files"]))
		}
	}
	slices.Sort(refused)
	if want := []string{"it has several names (hard links) 1", "it is a symbolic link 300"}; !slices.Equal(refused, want) {
		t.Errorf("published %q, want %q", refused, want)
	}
	if got := f.stored(); len(got) != 1 {
		t.Errorf("stored %d files, want app.log", len(got))
	}
}

// TestSignalledWriter has a rule that signals a writer: one that does not run holds no file, and one that must not be
// signalled keeps its own.
func TestSignalledWriter(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test gives a file to another user: run it as root")
	}
	for name, test := range map[string]struct {
		pid  string // empty: no file
		want string
	}{
		"does not run":                   {"", "file.moved/info"},
		"is root's, in a file of a user": {strconv.Itoa(os.Getpid()), "file.refused/warning"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			file := filepath.Join(f.state, "app.pid")
			f.config.Rules[0].Reopen = "signal"
			f.config.Rules[0].Signal = &rule.Signal{Send: "USR1", PIDFile: file} // SIGUSR1 would end this test
			if test.pid != "" {
				if err := errors.Join(os.WriteFile(file, []byte(test.pid), 0o600), os.Chown(file, 60001, 60001)); err != nil {
					t.Fatal(err)
				}
			}
			f.write("app.log", longLog)
			a := f.agent(nil)
			t.Cleanup(a.Close)
			f.ticks(a, 3)
			if got := f.kinds(); !slices.Equal(got, []string{test.want}) {
				t.Errorf("published %v, want %s", got, test.want)
			}
			if moved := test.pid == ""; moved != (len(f.local()) == 0) {
				t.Errorf("left on the host: %v", f.local())
			}
		})
	}
}
