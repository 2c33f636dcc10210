package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// TestPoison has two files that are named like claims of one move, as everybody can make them who may write to the folder:
// both are moved, and the journal stays whole.
func TestPoison(t *testing.T) {
	f := newFixture(t)
	const id = "01J9ZZZZZZZZZZZZZZZZZZZZZZ"
	f.write(rule.ClaimPrefix+id+"-a.log", longLog)
	f.write(rule.ClaimPrefix+id+"-b.log", longLog)
	f.write("app.log", longLog)
	for range 3 {
		a := f.agent(nil)
		f.ticks(a, 4)
		if a.damaged != nil {
			t.Errorf("damaged: %v", a.damaged)
		}
		if got := len(a.journal.Receipts()); got != 3 {
			t.Errorf("%d receipts, want 3", got)
		}
		a.Close()
	}
	if slices.ContainsFunc(f.kinds(), func(k string) bool { return strings.HasSuffix(k, "/alert") }) {
		t.Errorf("published %v", f.kinds())
	}
}

// TestRebuild replaces a host, and damages a journal: the receipts come back from the storage host, and every backup can be
// restored.
func TestRebuild(t *testing.T) {
	for name, lose := range map[string]func(f *fixture){
		"replaced": func(f *fixture) { f.state = t.TempDir() },
		"damaged": func(f *fixture) {
			name := filepath.Join(f.state, "journal.jsonl")
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b[20] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			for i := range 5 {
				f.write(fmt.Sprintf("app%d.log", i), longLog)
			}
			a := f.agent(nil)
			f.ticks(a, 4)
			want := len(a.journal.Receipts())
			a.Close()
			if want != 5 {
				t.Fatalf("%d receipts, want 5", want)
			}
			// A file that only looks like a receipt, and one of another host.
			for name, text := range map[string]string{"x.json": "{}", "y.json": `{"id":"y","host":"web-2"}`} {
				if err := os.WriteFile(filepath.Join(f.store.dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			lose(f)
			b := f.agent(nil)
			t.Cleanup(b.Close)
			// Before the journal is rebuilt, a search finds what only the storage host knows.
			if got := b.Serve(t.Context(), request{Search: &search{File: "app3"}}); got.Error != "" || len(got.Receipts) != 1 {
				t.Errorf("search: %q, %d receipts", got.Error, len(got.Receipts))
			}
			f.clock = f.clock.Add(time.Hour)
			b.Tick(t.Context())
			if got := len(b.journal.Receipts()); got != want {
				t.Errorf("%d receipts after the rebuild, want %d; published %v", got, want, f.kinds())
			}
			if len(b.alerts.Open()) != 0 {
				t.Errorf("open alerts: %v", b.alerts.Open())
			}
			for i, r := range b.journal.Receipts() {
				to := filepath.Join(f.logs, fmt.Sprintf("restored%d", i))
				if got := b.Serve(t.Context(), request{Receipt: r.ID, To: to}); got.Error != "" {
					t.Errorf("restore %s: %s", r.Path, got.Error)
				}
			}
			if got := b.Serve(t.Context(), request{Rebuild: true}); got.Error != "" || got.Rebuilt != (rebuilt{Found: 5, Bad: 2}) {
				t.Errorf("rebuild: %q, %+v", got.Error, got.Rebuilt)
			}
		})
	}
}

// TestRestoreKeeps restores a file with its owner, mode, time and holes. It is not moved away again, also by the next agent.
func TestRestoreKeeps(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test gives a file to another user: run it as root")
	}
	f := newFixture(t)
	p := f.write("app.log", longLog)
	old := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	const size = 8 << 20
	if err := errors.Join(os.Truncate(p, size), os.Chown(p, 60001, 60002), os.Chmod(p, 0o640), os.Chtimes(p, old, old)); err != nil {
		t.Fatal(err)
	}
	a := f.agent(nil)
	f.ticks(a, 4)
	if got := a.Serve(t.Context(), request{Receipt: a.journal.Receipts()[0].ID, To: p}); got.Error != "" {
		t.Fatal(got.Error)
	}
	a.Close()
	var st unix.Stat_t
	if err := unix.Stat(p, &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != 60001 || st.Gid != 60002 || st.Mode&0o7777 != 0o640 || st.Mtim.Sec != old.Unix() || st.Size != size {
		t.Errorf("restored as %d:%d %o, %d, %d bytes", st.Uid, st.Gid, st.Mode, st.Mtim.Sec, st.Size)
	}
	if st.Blocks*512 > 1<<20 {
		t.Errorf("it takes %d bytes on disk, want holes", st.Blocks*512)
	}
	b := f.agent(nil)
	t.Cleanup(b.Close)
	b.Tick(t.Context())
	if got := f.local(); !slices.Equal(got, []string{"app.log"}) {
		t.Errorf("left on the host: %v", got)
	}
	f.clock = f.clock.Add(leftAlone + time.Hour)
	f.ticks(b, 4)
	if got := f.local(); len(got) != 0 {
		t.Errorf("left a day later: %v", got)
	}
}

// TestKilledRestore kills an agent while it restores a file: the next one removes what is left, and nothing else.
func TestKilledRestore(t *testing.T) {
	f := newFixture(t)
	a := f.agent(nil)
	left := f.write(restorePrefix+"01J", longLog)
	a.memory.Restoring = file.Name(left) // as restoreFile says before it creates the file
	if err := a.remember(); err != nil {
		t.Fatal(err)
	}
	a.Close()
	b := f.agent(nil)
	if got := f.local(); len(got) != 0 || b.memory.Restoring != "" {
		t.Errorf("left %v, %q", got, b.memory.Restoring)
	}
	other := f.write("precious.txt", "text")
	b.memory.Restoring = file.Name(other)
	if err := b.remember(); err != nil {
		t.Fatal(err)
	}
	b.Close()
	f.agent(nil).Close()
	if got := f.local(); !slices.Equal(got, []string{"precious.txt"}) {
		t.Errorf("left %v", got)
	}
}

// TestLongName has a file with the longest name that a file may have.
func TestLongName(t *testing.T) {
	f := newFixture(t)
	name := strings.Repeat("n", 251) + ".log"
	f.write(name, longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	f.ticks(a, 5)
	if len(a.journal.Receipts()) != 1 || len(f.local()) != 0 {
		t.Fatalf("left %v; published %v", f.local(), f.kinds())
	}
	r := a.journal.Receipts()[0]
	if filepath.Base(string(r.Path)) != name || len(filepath.Base(string(r.Remote))) > 240 {
		t.Errorf("receipt of %s, stored as %s", r.Path, r.Remote)
	}
}

// TestNameOfBytes moves a file whose name is no text, and restores it after a restart.
func TestNameOfBytes(t *testing.T) {
	f := newFixture(t)
	name := "a\xff\xfe.log"
	f.write(name, longLog)
	a := f.agent(nil)
	f.ticks(a, 4)
	a.Close()
	b := f.agent(nil)
	t.Cleanup(b.Close)
	if len(b.journal.Receipts()) != 1 || filepath.Base(string(b.journal.Receipts()[0].Path)) != name {
		t.Fatalf("receipts %+v", b.journal.Receipts())
	}
	if got := b.Serve(t.Context(), request{Receipt: b.journal.Receipts()[0].ID, To: filepath.Join(f.logs, "restored")}); got.Error != "" {
		t.Error(got.Error)
	}
}

// TestClaimPause has a file that cannot be claimed: it is tried again after a pause that grows.
func TestClaimPause(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	tries := 0
	a.mover.Ledger = failingLedger{a.journal, &tries}
	for range 60 { // a minute of scans
		a.Tick(t.Context())
		f.clock = f.clock.Add(time.Second)
	}
	if tries == 0 || tries > 5 {
		t.Errorf("tried %d times in a minute", tries)
	}
	if got := f.kinds(); !slices.Equal(got, []string{"file.stuck/alert"}) {
		t.Errorf("published %v", got)
	}
}

type failingLedger struct {
	*journal.Journal
	tries *int
}

func (l failingLedger) Append(r journal.Record) error {
	if r.Op == journal.OpClaim {
		*l.tries++
		return unix.EROFS
	}
	return l.Journal.Append(r)
}

// TestDrillOutlastsRestarts starts an agent anew more often than it drills: there is a drill all the same.
func TestDrillOutlastsRestarts(t *testing.T) {
	f := newFixture(t)
	f.config.Drill = sdk.Duration(24 * time.Hour)
	f.write("app.log", longLog)
	for range 5 {
		a := f.agent(nil)
		f.ticks(a, 4)
		a.Tick(t.Context())
		a.Close()
		f.clock = f.clock.Add(7 * time.Hour)
	}
	if n := len(slices.DeleteFunc(f.kinds(), func(k string) bool { return k != "drill.passed/info" })); n != 1 {
		t.Errorf("%d drills in 35 hours, want 1", n)
	}
}

// TestDraw draws from small backups, and a large and an old one.
func TestDraw(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var all []storage.Receipt
	for i := range 1000 {
		all = append(all, storage.Receipt{ID: fmt.Sprint(i), Verified: now, Object: storage.Object{StoredSize: 10 << 10}})
	}
	all[7].StoredSize = 5 << 20
	all[8].Verified = now.AddDate(-1, 0, 0)
	random := rand.New(rand.NewPCG(1, 2)).Float64
	seen := map[string]int{}
	for range 200 {
		list := draw(all, now, random)
		if len(list) != drillObjects {
			t.Fatalf("%d drawn", len(list))
		}
		once := map[string]bool{}
		for _, r := range list {
			if once[r.ID] {
				t.Fatalf("%s was drawn twice in a drill", r.ID)
			}
			once[r.ID] = true
			seen[r.ID]++
		}
	}
	if seen["7"] < 150 || seen["8"] < 150 || seen["9"] > 20 {
		t.Errorf("drawn in 200 drills: the large %d, the old %d, another %d times", seen["7"], seen["8"], seen["9"])
	}
	if got := draw(all[:3], now, random); len(got) != 3 {
		t.Errorf("%d of 3 drawn", len(got))
	}
}

// TestRebuildSurvivesKills damages the journal, and kills the agents that start next before the storage host can be reached:
// the missing receipts are taken from there afterwards.
func TestRebuildSurvivesKills(t *testing.T) {
	f := newFixture(t)
	f.write("app.log", longLog)
	a := f.agent(nil)
	f.ticks(a, 3)
	f.write("b.log", longLog)
	f.ticks(a, 3)
	a.Close()
	file := filepath.Join(f.state, "journal.jsonl")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[20] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.away = true
	for range 3 {
		a := f.agent(nil)
		a.Tick(t.Context())
		a.Close()
	}
	f.away = false
	b := f.agent(nil)
	t.Cleanup(b.Close)
	f.clock = f.clock.Add(time.Hour)
	b.Tick(t.Context())
	if got := len(b.journal.Receipts()); got != 2 || b.journal.Incomplete() {
		t.Errorf("%d receipts, want 2; incomplete: %v", got, b.journal.Incomplete())
	}
}

// TestRemovedThere has a backup that the storage host removed because it was old: it is no loss, and cannot be restored. One that
// is missing otherwise is an alert.
func TestRemovedThere(t *testing.T) {
	f := newFixture(t)
	f.config.Drill = sdk.Duration(24 * time.Hour)
	a := f.agent(nil)
	t.Cleanup(a.Close)
	var ids []string
	for i := range 2 {
		f.write(fmt.Sprintf("app%d.log", i), longLog)
		f.ticks(a, 3)
		r := a.journal.Receipts()[i]
		ids = append(ids, r.ID)
		for _, name := range []string{r.Remote.String(), r.Remote.String() + storage.ReceiptSuffix} {
			if err := os.Remove(filepath.Join(f.store.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(f.store.dir+".removed.txt", []byte(ids[0]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(25 * time.Hour)
	a.Tick(t.Context())
	var failed []string
	for _, e := range f.events {
		if e.Kind == "drill.failed" {
			failed = append(failed, e.Key)
		}
	}
	if want := []string{"maintenance:web-1:drill/" + ids[1]}; !slices.Equal(failed, want) {
		t.Errorf("drills failed: %v, want %v", failed, want)
	}
	if got := a.Serve(t.Context(), request{Receipt: ids[0], To: filepath.Join(f.logs, "back")}); !strings.Contains(got.Error, "because it was old") {
		t.Errorf("restore: %q", got.Error)
	}
	if list := a.journal.Receipts(); len(list) != 1 || list[0].ID != ids[1] {
		t.Errorf("receipts %v", list)
	}
}
