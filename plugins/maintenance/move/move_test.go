package move

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
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
	b, err := os.ReadFile(filepath.Join(dir, ledger.last.Claim.Claimed))
	if want := "first\nclaim\ncopied\n"; err != nil || string(b) != want {
		t.Errorf("the copy holds %q, %v; want %q", b, err, want)
	}
	if left, err := os.ReadFile(log.Name()); err != nil || strings.TrimSpace(string(left)) != "" {
		t.Errorf("the file holds %q, %v", left, err)
	}
}
