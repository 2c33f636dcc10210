package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// state writes down what a journal knows.
func state(j *Journal) string {
	var b strings.Builder
	for _, m := range j.Moves() {
		fmt.Fprintf(&b, "%s %s copied=%v sent=%v receipt=%v\n", m.ID, m.Claim.Path, m.Copied, m.Sent != nil, m.Receipt != nil)
	}
	receipts := slices.Clone(j.Receipts())
	slices.SortFunc(receipts, func(a, b storage.Receipt) int { return strings.Compare(a.ID, b.ID) })
	for _, r := range receipts {
		fmt.Fprintf(&b, "receipt %s %s\n", r.ID, r.Remote)
	}
	return b.String()
}

// history is the records of four moves: one is done, one was given back, two are on their way.
func history() []Record {
	object := &storage.Object{Remote: "web-1/x"}
	claim := func(id string, copied bool) Record {
		return Record{ID: id, Op: OpClaim, Claim: &Claim{Path: file.Name("/var/log/" + id), Copy: copied}}
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

// TestFlips flips every bit pattern of every byte of a journal: what the other lines say is known, the file is kept aside, and
// the journal can be used. No move of a copy is known without the record that it is complete.
func TestFlips(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for _, r := range history() {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.MkdirTemp("/dev/shm", "journal") //nolint:usetesting // in memory: thousands of journals are synced
	if err != nil {
		memory = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	for n := range whole {
		for _, mask := range []byte{1 << (n % 8), whole[n] ^ '\n'} {
			if mask == 0 {
				continue
			}
			flipped := slices.Clone(whole)
			flipped[n] ^= mask
			torn := filepath.Join(memory, fmt.Sprintf("%d-%x", n, mask))
			if err := os.Mkdir(torn, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(torn, "journal.jsonl"), flipped, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := Open(torn)
			if j == nil {
				t.Fatalf("byte %d ^ %#x: %v", n, mask, err)
			}
			damage := (*Damage)(nil)
			last := n == len(whole)-1 // without its end, the last line is a truncated one
			if errors.As(err, &damage) == last {
				t.Fatalf("byte %d ^ %#x: %v", n, mask, err)
			}
			if damage != nil {
				if kept, err := os.ReadFile(damage.Aside); err != nil || !bytes.Equal(kept, flipped) || damage.Lines > 2 {
					t.Fatalf("byte %d ^ %#x: %v; %v", n, mask, damage, err)
				}
			}
			// A line is lost; two receipts are in two lines.
			if got := len(j.Receipts()); got < 1 {
				t.Fatalf("byte %d ^ %#x: %d receipts", n, mask, got)
			}
			for _, m := range j.Moves() {
				if m.Claim.Copy && !m.Copied {
					t.Fatalf("byte %d ^ %#x: a copy would be removed: %+v", n, mask, m)
				}
			}
			if err := j.Append(Record{ID: "new", Op: OpClaim, Claim: &Claim{Path: "/var/log/new"}}); err != nil {
				t.Fatalf("byte %d ^ %#x: %v", n, mask, err)
			}
			want := state(j)
			_ = j.Close()
			if again := open(t, torn); state(again) != want {
				t.Fatalf("byte %d ^ %#x, opened anew:\n%swant\n%s", n, mask, state(again), want)
			}
		}
	}
}

// TestRefusesRecords has records that cannot be applied, such as a second claim of a name that somebody else chose: they
// are not written, so that the journal can always be read.
func TestRefusesRecords(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for _, r := range history()[:3] {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	want := state(j)
	for _, r := range []Record{
		history()[0], {ID: "x", Op: OpDone}, {ID: "a", Op: "scold"}, {ID: "a", Op: OpReceipt}, {ID: "x", Op: OpClaim}, {Op: OpClaim, Claim: &Claim{}},
	} {
		if err := j.Append(r); err == nil {
			t.Errorf("written: %+v", r)
		}
	}
	if got := state(j); got != want {
		t.Errorf("knows\n%swant\n%s", got, want)
	}
	if again := open(t, dir); state(again) != want {
		t.Errorf("opened anew:\n%swant\n%s", state(again), want)
	}
}

// TestLearn takes receipts from the storage host, in any order, and some that are known.
func TestLearn(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	at := func(id string, minute int) storage.Receipt {
		return storage.Receipt{ID: id, Verified: time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC), Object: storage.Object{Remote: file.Name("web-1/" + id)}}
	}
	b := at("b", 2)
	if err := j.Append(Record{ID: "b", Op: OpReceipt, Receipt: &b}); err != nil {
		t.Fatal(err)
	}
	// What could not be written is learned again: else the next process would not know it.
	blocked := filepath.Join(dir, "journal.jsonl.new", "x")
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if n, err := j.Learn([]storage.Receipt{at("a", 1)}); n != 0 || err == nil {
		t.Errorf("%d were learned that cannot be written, %v", n, err)
	}
	if got := state(j); got != "receipt b web-1/b\n" {
		t.Errorf("knows\n%s", got)
	}
	if err := os.RemoveAll(filepath.Dir(blocked)); err != nil {
		t.Fatal(err)
	}
	if n, err := j.Learn([]storage.Receipt{at("c", 3), at("b", 2), at("a", 1), at("c", 3)}); n != 2 || err != nil {
		t.Fatalf("%d are new, %v", n, err)
	}
	j = open(t, dir)
	if got := state(j); got != "receipt a web-1/a\nreceipt b web-1/b\nreceipt c web-1/c\n" {
		t.Errorf("knows\n%s", got)
	}
	if r, ok := j.Receipt("c"); !ok || r.Verified.Minute() != 3 {
		t.Errorf("receipt c: %+v", r)
	}
}

// TestCompactsWhileRunning appends more than a journal may grow: finished moves leave the file.
func TestCompactsWhileRunning(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	long := strings.Repeat("x", 64<<10)
	for n := range 3 * compactAfter / len(long) {
		id := fmt.Sprint(n)
		for _, r := range []Record{{ID: id, Op: OpClaim, Claim: &Claim{Path: file.Name("/var/log/" + long)}}, {ID: id, Op: OpBack}} {
			if err := j.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		if st, err := os.Stat(filepath.Join(dir, "journal.jsonl")); err != nil || st.Size() > compactAfter+1<<20 {
			t.Fatalf("%d bytes after %d moves, %v", st.Size(), n, err)
		}
	}
	if again := open(t, dir); state(again) != state(j) {
		t.Errorf("opened anew:\n%swant\n%s", state(again), state(j))
	}
}

// TestNames writes names that are no UTF-8.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	odd := file.Name("/var/log/\xffé\x00\xfe.log")
	if err := j.Append(Record{ID: "a", Op: OpClaim, Claim: &Claim{Path: odd, Claimed: "é"}}); err != nil {
		t.Fatal(err)
	}
	if c := open(t, dir).Moves()[0].Claim; c.Path != odd || c.Claimed != "é" {
		t.Errorf("got %q, %q", c.Path, c.Claimed)
	}
}
