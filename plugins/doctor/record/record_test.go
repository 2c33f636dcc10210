package record

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/doctor/limit"
	"github.com/seed-b96de936/troop/plugins/doctor/process"
	"github.com/seed-b96de936/troop/plugins/doctor/protect"
	"github.com/seed-b96de936/troop/plugins/doctor/sample"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// seconds records a process that is busy for so many seconds, and one that is not.
func seconds(t *testing.T, r *Recorder, n int) {
	t.Helper()
	busy, idle := process.Ident{PID: 7, Start: 1}, process.Ident{PID: 8, Start: 2}
	w := limit.NewWindows(limit.Limits{CPU: 80, CPUFor: 10 * time.Second}, limit.Readers{})
	look := func(id process.Ident) (process.Facts, *protect.Spared, error) {
		return process.Facts{Ident: id, Executable: "/bin/busy"}, &protect.Spared{Rule: protect.RuleRoot, Reason: "it runs as root"}, nil
	}
	for i := range n {
		s := sample.Sample{Time: time.Unix(1000+int64(i), 0), Procs: []sample.Usage{
			{Ident: busy, CPU: time.Duration(i) * time.Second, RSS: 1}, {Ident: idle, CPU: time.Second, RSS: 1},
		}}
		w.Add(s)
		if err := r.Add(s, Source{Windows: w, Look: look, Most: func(uint32) (process.Ident, bool) { return process.Ident{}, false }}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	r, err := Open(dir, "canary")
	if err != nil {
		t.Fatal(err)
	}
	seconds(t, r, 5)
	r.Tell(sdk.Event{Kind: "process.hog", Summary: "told"})
	seconds(t, r, 1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "samples.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var got []Entry
	torn := slices.Concat(b, []byte(`{"time":"2026-`)) // the agent died while it wrote
	if left, err := Read(bytes.NewReader(torn), func(e Entry) { got = append(got, e) }); err != nil || left.Lines != 1 || left.First != len(got)+1 {
		t.Fatalf("left out %+v of %d, %v", left, len(got), err)
	}
	busy := 0
	for _, e := range got {
		if e.Role != "canary" {
			t.Errorf("role %q", e.Role)
		}
		for _, p := range e.Procs {
			if p.PID != 7 {
				t.Errorf("an idle process is recorded: %v", p.Ident)
			}
			if first := busy == 0; first != (p.Facts != nil) || first && p.Rule != protect.RuleRoot {
				t.Errorf("facts of sample %d: %+v", busy, p)
			}
			busy++
		}
	}
	if busy != 5 { // the first sample knows no rate; the last is a pause
		t.Errorf("%d samples of the busy process, want 5", busy)
	}
	if last := got[len(got)-1]; len(last.Events) != 1 || last.Events[0].Summary != "told" {
		t.Errorf("events %+v", last.Events)
	}
	// A line in the middle, and one that a full disk cut short.
	lines := bytes.SplitAfter(b, []byte{'\n'})
	damaged := slices.Concat(lines[0], []byte("rubbish\n"), lines[1], lines[2][:7], []byte{'\n'}, bytes.Join(lines[3:], nil))
	n := 0
	if left, err := Read(bytes.NewReader(damaged), func(Entry) { n++ }); err != nil || left != (Left{Lines: 2, First: 2}) || n != len(got)-1 {
		t.Errorf("left out %+v of a damaged recording, %v; read %d of %d", left, err, n, len(got))
	}
}

// TestRing fills the recording: the file before the last one is kept, and each begins with the facts.
func TestRing(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir, "production")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	seconds(t, r, 3)
	r.size = recordBytes
	seconds(t, r, 3) // its first line turns the ring
	for _, name := range []string{"samples.1.jsonl", "samples.jsonl"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Contains(b, []byte("/bin/busy")) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}
