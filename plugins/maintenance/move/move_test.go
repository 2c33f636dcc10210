package move

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// writingLedger is a ledger during whose records an application writes a line.
type writingLedger struct {
	t    *testing.T
	log  *os.File
	last journal.Record
}

func (l *writingLedger) Append(r journal.Record) error {
	l.t.Helper()
	if r.Op == journal.OpClaim {
		l.last = r
	}
	if _, err := l.log.WriteString(r.Op + "\n"); err != nil {
		l.t.Error(err)
	}
	return nil
}

func (*writingLedger) Of(file.ID) (storage.Receipt, bool) { return storage.Receipt{}, false }

// TestCopyTakesLateLines has lines written while a file is copied and cut: they are in the copy.
func TestCopyTakesLateLines(t *testing.T) {
	dir := t.TempDir()
	log, err := os.OpenFile(filepath.Join(dir, "app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	if _, err := log.WriteString("first\n"); err != nil {
		t.Fatal(err)
	}
	r := rule.Rule{Name: "app", Paths: []string{dir + "/*.log"}, Reopen: "copytruncate"}
	places := rule.Places{Secondary: []string{dir}}
	l, err := rule.List(r, places)
	if err != nil || len(l.Files) != 1 {
		t.Fatalf("found %v, %v", l.Files, err)
	}
	ledger := &writingLedger{t: t, log: log}
	if err := (&Mover{Ledger: ledger, Places: places}).Claim(t.Context(), r, l.Files[0]); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, string(ledger.last.Claim.Claimed)))
	if want := "first\nclaim\ncopied\n"; err != nil || string(b) != want {
		t.Errorf("the copy holds %q, %v; want %q", b, err, want)
	}
	if left, err := os.ReadFile(log.Name()); err != nil || string(left) != "cut\n" {
		t.Errorf("the file holds %q, %v", left, err)
	}
}

// TestCutLosesNothing cuts a file under a writer that never pauses: no line is lost, none is there twice.
func TestCutLosesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "app.log")
	writer := exec.CommandContext(t.Context(), "/bin/sh", "-c", `i=0; while :; do echo $((i=i+1)); done >> "$0"`, name)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = writer.Process.Kill(); _ = writer.Wait() })
	r := rule.Rule{Name: "app", Paths: []string{dir + "/*.log"}, Reopen: "copytruncate"}
	places := rule.Places{Secondary: []string{dir}}
	ledger := &quietLedger{}
	mover := &Mover{Ledger: ledger, Places: places}
	for range 10 {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if st, err := os.Stat(name); err == nil && st.Size() > 20_000 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the writer writes nothing")
			}
		}
		l, err := rule.List(r, places)
		if err != nil || len(l.Files) != 1 {
			t.Fatalf("found %v, %v", l.Files, err)
		}
		if err := mover.Claim(t.Context(), r, l.Files[0]); err != nil {
			t.Fatal(err)
		}
	}
	_ = writer.Process.Kill()
	_ = writer.Wait()
	line := 0
	for _, part := range append(ledger.claimed, "app.log") {
		b, err := os.ReadFile(filepath.Join(dir, part))
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(string(b)) {
			if line++; strings.TrimSpace(text) != strconv.Itoa(line) {
				t.Fatalf("%s: line %q, want %d", part, text, line)
			}
		}
	}
	t.Logf("%d lines", line)
}

type quietLedger struct{ claimed []string }

func (*quietLedger) Of(file.ID) (storage.Receipt, bool) { return storage.Receipt{}, false }

func (l *quietLedger) Append(r journal.Record) error {
	if r.Op == journal.OpClaim {
		l.claimed = append(l.claimed, string(r.Claim.Claimed))
	}
	return nil
}

// TestOneSignal claims ten files of one writer: it is signalled once.
func TestOneSignal(t *testing.T) {
	dir := t.TempDir()
	count := filepath.Join(dir, "count")
	ready := filepath.Join(dir, "ready")
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", `trap 'echo x >> "$0"' USR1; : > "$1"; while :; do sleep 0.01; done`, count, ready)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	logs := t.TempDir()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(logs, fmt.Sprintf("%d.log", i)), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pidFile := filepath.Join(dir, "pid")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(c.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	wait := func(file string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if _, err := os.Stat(file); err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("no %s", file)
			}
		}
	}
	wait(ready)
	r := rule.Rule{Name: "app", Paths: []string{logs + "/*.log"}, Reopen: "signal", Signal: &rule.Signal{Send: "USR1", PIDFile: pidFile}} // under nohup, HUP cannot be trapped
	places := rule.Places{Secondary: []string{logs}}
	l, err := rule.List(r, places)
	if err != nil || len(l.Files) != 10 {
		t.Fatalf("found %v, %v", l.Files, err)
	}
	mover := &Mover{Ledger: &quietLedger{}, Places: places}
	for _, f := range l.Files {
		if err := mover.Claim(t.Context(), r, f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(count); err == nil {
		t.Error("it was signalled before all files were claimed")
	}
	if err := mover.Tell(); err != nil {
		t.Fatal(err)
	}
	wait(count)
	if err := mover.Tell(); err != nil || len(mover.writers) != 0 {
		t.Errorf("a second time: %v", err)
	}
	if b, err := os.ReadFile(count); err != nil || string(b) != "x\n" {
		t.Errorf("signals %q, %v", b, err)
	}
}
