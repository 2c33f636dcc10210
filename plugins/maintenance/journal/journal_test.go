package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// state writes down what a journal knows.
func state(j *Journal) string {
	var b strings.Builder
	for _, m := range j.Moves() {
		fmt.Fprintf(&b, "%s %s copied=%v sent=%v receipt=%v\n", m.ID, m.Claim.Path, m.Copied, m.Sent != nil, m.Receipt != nil)
	}
	for _, r := range j.Receipts() {
		fmt.Fprintf(&b, "receipt %s %s\n", r.ID, r.Remote)
	}
	return b.String()
}

// history is the records of four moves: one is done, one was given back, two are on their way.
func history() []Record {
	object := &storage.Object{Remote: "web-1/x"}
	claim := func(id string, copied bool) Record {
		return Record{ID: id, Op: OpClaim, Claim: &Claim{Path: "/var/log/" + id, Copy: copied}}
	}
	receipt := func(id string) Record {
		return Record{ID: id, Op: OpReceipt, Receipt: &storage.Receipt{ID: id, Object: *object}}
	}
	return []Record{
		claim("a", false),
		{ID: "a", Op: OpSent, Sent: object},
		claim("b", true),
		receipt("a"),
		{ID: "b", Op: OpCopied},
		{ID: "a", Op: OpDone},
		claim("c", false),
		{ID: "b", Op: OpSent, Sent: object},
		{ID: "c", Op: OpBack},
		claim("d", false),
		{ID: "b", Op: OpSent},
		{ID: "b", Op: OpSent, Sent: object},
		receipt("b"),
	}
}

func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// TestReopen opens the journal anew after every record: it knows what it knew.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for i, r := range history() {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
		want := state(j)
		j = open(t, dir) // the one before was killed
		if got := state(j); got != want {
			t.Fatalf("after record %d:\n%swant\n%s", i, got, want)
		}
	}
	if got := state(j); strings.Count(got, "receipt ") != 2 || len(j.Moves()) != 2 {
		t.Errorf("in the end:\n%s", got)
	}
}

// TestTorn cuts the file off within and around every line: what is known is what the whole lines say, and the next
// record has a line of its own.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	states := []string{state(j)}
	for _, r := range history() {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
		states = append(states, state(j))
	}
	whole, err := os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	cuts := []int{0}
	for line := range bytes.Lines(whole) {
		begin := cuts[len(cuts)-1]
		cuts = append(cuts, begin+1, begin+len(line)/2, begin+len(line)-1, begin+len(line))
	}
	for _, n := range cuts {
		torn := t.TempDir()
		if err := os.WriteFile(filepath.Join(torn, "journal.jsonl"), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, torn)
		want := states[bytes.Count(whole[:n], []byte{'\n'})]
		if got := state(j); got != want {
			t.Fatalf("cut at byte %d:\n%swant\n%s", n, got, want)
		}
		if err := j.Append(Record{ID: "new", Op: OpClaim, Claim: &Claim{Path: "/var/log/new"}}); err != nil {
			t.Fatal(err)
		}
		if again := open(t, torn); state(again) != state(j) {
			t.Fatalf("cut at byte %d, a record more, and opened anew:\n%swant\n%s", n, state(again), state(j))
		}
	}
}

// TestDamaged has a line that is no record: the file is kept aside, and the journal can be used.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journal.jsonl"), []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := Open(dir)
	if err == nil || j == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("got %v, %v", j, err)
	}
	t.Cleanup(func() { _ = j.Close() })
	if err := j.Append(history()[0]); err != nil {
		t.Error(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "journal.jsonl.damaged-*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("kept aside: %v, %v", names, err)
	}
	if b, err := os.ReadFile(names[0]); err != nil || !slices.Equal(b, []byte("rubbish\n")) {
		t.Errorf("it holds %q, %v", b, err)
	}
}
