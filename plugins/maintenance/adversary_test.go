package main

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// TestAdversaries has a user who sets traps in the folder of the logs. A log beside them is moved nevertheless, a file of
// somebody else stays as it is, and no trap does more than it should.
func TestAdversaries(t *testing.T) {
	signal.Ignore(unix.SIGIO) // what the kernel tells the holder of a lease
	t.Cleanup(func() { signal.Reset(unix.SIGIO) })
	const trap = "trap.log"
	for name, test := range map[string]struct {
		set   func(t *testing.T, f *fixture, victim string) error
		moved bool // the trap is moved as well
	}{
		"holds a lease on its log": {func(t *testing.T, f *fixture, _ string) error {
			file, err := os.OpenFile(f.write(trap, longLog), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = file.Close() })
			_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
			return err
		}, false},
		"a log of tomorrow": {func(_ *testing.T, f *fixture, _ string) error {
			later := time.Now().AddDate(80, 0, 0)
			return os.Chtimes(f.write(trap, longLog), later, later)
		}, true},
		"a log from before the epoch": {func(_ *testing.T, f *fixture, _ string) error {
			early := time.Unix(-1e9, 0)
			return os.Chtimes(f.write(trap, longLog), early, early)
		}, true},
		"a log that root would run": {func(_ *testing.T, f *fixture, _ string) error {
			return os.Chmod(f.write(trap, longLog), 0o777|os.ModeSetuid|os.ModeSetgid)
		}, true},
		"a name with line breaks and colours": {func(_ *testing.T, f *fixture, _ string) error {
			return os.Rename(f.write(trap, longLog), filepath.Join(f.logs, "\x1b[31m\n\r.log"))
		}, true},
		"a name like an option": {func(_ *testing.T, f *fixture, _ string) error {
			return os.Rename(f.write(trap, longLog), filepath.Join(f.logs, "--help.log"))
		}, true},
		"a log that is a folder": {func(_ *testing.T, f *fixture, _ string) error {
			return os.Mkdir(filepath.Join(f.logs, trap), 0o755)
		}, false},
		"a link to somebody's file": {func(_ *testing.T, f *fixture, victim string) error {
			return os.Symlink(victim, filepath.Join(f.logs, trap))
		}, false},
		"another name of that file": {func(_ *testing.T, f *fixture, victim string) error {
			return os.Link(victim, filepath.Join(f.logs, trap))
		}, false},
		"a link to its folder": {func(_ *testing.T, f *fixture, victim string) error {
			return os.Symlink(filepath.Dir(victim), filepath.Join(f.logs, "folder"))
		}, false},
		"a link to itself": {func(_ *testing.T, f *fixture, _ string) error { return os.Symlink(trap, filepath.Join(f.logs, trap)) }, false},
		"a FIFO":           {func(_ *testing.T, f *fixture, _ string) error { return unix.Mkfifo(filepath.Join(f.logs, trap), 0o666) }, false},
		"a device": {func(_ *testing.T, f *fixture, _ string) error {
			return unix.Mknod(filepath.Join(f.logs, trap), unix.S_IFCHR|0o666, 0x0101)
		}, false},
		"folders below folders": {func(_ *testing.T, f *fixture, _ string) error {
			return os.MkdirAll(filepath.Join(f.logs, strings.Repeat("d/", 200)), 0o755)
		}, false},
		"a name like that of a claim": {func(_ *testing.T, f *fixture, victim string) error {
			return os.Symlink(victim, filepath.Join(f.logs, ".troop-01J9ZZZZZZZZZZZZZZZZZZZZZZ-app.log"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.config.Rules[0].Paths = []string{filepath.Join(f.logs, "**", "*.log")}
			victim := filepath.Join(t.TempDir(), "victim.log")
			if err := errors.Join(os.WriteFile(victim, []byte(longLog+longLog), 0o600), test.set(t, f, victim)); err != nil {
				t.Fatal(err)
			}
			f.write("app.log", longLog)
			a := f.agent(nil)
			t.Cleanup(a.Close)
			f.ticks(a, 4)
			want := 1
			if test.moved {
				want = 2
			}
			if got := f.stored(); len(got) != want || slices.ContainsFunc(got, func(s string) bool { return s != longLog }) {
				t.Errorf("%d files are stored, want %d; left %q; published %v", len(got), want, f.local(), f.kinds())
			}
			if b, err := os.ReadFile(victim); err != nil || string(b) != longLog+longLog {
				t.Errorf("somebody's file: %d bytes, %v", len(b), err)
			}
			for i, r := range a.journal.Receipts() {
				to := filepath.Join(f.logs, "restored", string(rune('a'+i)))
				if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
					t.Fatal(err)
				}
				if got := a.Serve(t.Context(), request{Receipt: r.ID, To: to}); got.Error != "" {
					t.Errorf("restore %q: %s", r.Path, got.Error)
				}
				if st, err := os.Stat(to); err != nil || st.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 || !st.ModTime().Equal(r.File.MTime) {
					t.Errorf("restored %v, %v; want no set-user-ID and the time %s", st, err, r.File.MTime)
				}
			}
		})
	}
}

// TestCrowdOfClaims has a user who names many small files like claimed ones: as long as the journal is whole, they are files
// like any other, and too small for the rule.
func TestCrowdOfClaims(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	f.ticks(a, 4) // the journal has a receipt: it is no new host
	for range 50 {
		f.write(rule.ClaimPrefix+ulid.Make().String()+"-app.log", "small")
	}
	f.write(rule.ClaimPrefix+ulid.Make().String()+"-large.log", longLog)
	f.write("app.log", longLog)
	f.ticks(a, 4)
	if got := f.stored(); len(got) != 3 || len(f.local()) != 50 {
		t.Errorf("%d files are stored, %d left; published %v", len(got), len(f.local()), f.kinds())
	}
}

// TestSwappedClaim has a user who puts something else in the place of a file that waits in quarantine, after its receipt.
// What is there then is not removed.
func TestSwappedClaim(t *testing.T) {
	for name, swap := range map[string]func(claimed, victim string) error{
		"another file":           func(claimed, victim string) error { return os.Rename(victim, claimed) },
		"another name of a file": func(claimed, victim string) error { return errors.Join(os.Remove(claimed), os.Link(victim, claimed)) },
		"a link": func(claimed, victim string) error {
			return errors.Join(os.Remove(claimed), os.Symlink(victim, claimed))
		},
		"the same with other lines": func(claimed, _ string) error { return os.WriteFile(claimed, []byte("other"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.config.Quarantine = sdk.Duration(time.Hour)
			f.write("app.log", longLog)
			victim := f.write("victim.txt", "somebody's")
			a := f.agent(nil)
			t.Cleanup(a.Close)
			a.Tick(t.Context())
			moves := a.journal.Moves()
			if len(moves) != 1 || moves[0].Receipt == nil {
				t.Fatalf("moves %+v; published %v", moves, f.kinds())
			}
			claimed := filepath.Join(f.logs, string(moves[0].Claim.Claimed))
			if err := swap(claimed, victim); err != nil {
				t.Fatal(err)
			}
			for range 6 {
				f.clock = f.clock.Add(time.Hour)
				a.Tick(t.Context())
			}
			kept := slices.Contains(f.stored(), "other")
			for _, p := range []string{claimed, victim} {
				if b, err := os.ReadFile(p); err == nil && (string(b) == "somebody's" || string(b) == "other") {
					kept = true
				}
			}
			if !kept {
				t.Errorf("it is gone; left %q; published %v", f.local(), f.kinds())
			}
		})
	}
}

// TestRestoreTraps restores to paths behind which somebody has put something else: nothing is written there.
func TestRestoreTraps(t *testing.T) {
	f := newFixture(t)
	elsewhere := t.TempDir()
	f.write("app.log", longLog)
	taken := f.write("taken.txt", "somebody's")
	a := f.agent(nil)
	t.Cleanup(a.Close)
	f.ticks(a, 4)
	if err := errors.Join(os.Symlink(elsewhere, filepath.Join(f.logs, "link")), os.Symlink(filepath.Join(elsewhere, "new"), filepath.Join(f.logs, "name"))); err != nil {
		t.Fatal(err)
	}
	id := a.journal.Receipts()[0].ID
	for _, to := range []string{
		taken, filepath.Join(f.logs, "link", "x"), filepath.Join(f.logs, "name"), f.logs + "/../x", f.logs + "/link/../x", filepath.Join(elsewhere, "x"), "x", f.logs,
	} {
		if got := a.Serve(t.Context(), request{Receipt: id, To: to}); got.Error == "" {
			t.Errorf("restored to %s", to)
		}
	}
	left, err := os.ReadDir(elsewhere)
	b, errTaken := os.ReadFile(taken)
	if err != nil || len(left) != 0 || errTaken != nil || string(b) != "somebody's" {
		t.Errorf("elsewhere %v, %v; the file in the way %q, %v", left, err, b, errTaken)
	}
	if slices.ContainsFunc(f.local(), func(name string) bool { return strings.HasPrefix(name, restorePrefix) }) {
		t.Errorf("left: %q", f.local())
	}
}
