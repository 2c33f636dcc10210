package store_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/store"
	"github.com/seed-b96de936/troop/core/store/storetest"
)

// written is a run that has ended: build.app passed and made an artifact, test.unit failed. Both have inputs.
type written struct {
	dir, record, journal, artifact string
	run                            core.Run
}

const inputs = core.Digest("sha256:in")

// write records a run, as the engine does, with its n-th second as its time.
func write(t *testing.T, dir string, n int) written {
	t.Helper()
	f := open(t, dir)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "app.tar.zst")
	must(os.WriteFile(file, []byte("made"), 0o600))
	a, err := f.PutArtifact(t.Context(), file)
	must(err)
	r := storetest.NewRun(n)
	r.Stages = []core.StageResult{{ID: "build.app", Status: core.Pending}, {ID: "test.unit", Status: core.Pending}}
	must(f.PutRun(t.Context(), r)) // line 1
	for i := range 3 {             // lines 2 to 4
		must(f.Append(t.Context(), core.Event{ID: "e", Run: r.ID, Kind: core.KindLog, Summary: strings.Repeat("x", i+1)}))
	}
	r.Stages = slices.Clone(r.Stages)
	r.Stages[0] = core.StageResult{
		ID: "build.app", Status: core.Passed, Inputs: inputs, Outputs: map[string]any{"artifact": string(a.Digest)},
	}
	must(f.PutStage(t.Context(), r.ID, r.Stages[0])) // line 5
	r.Stages[1] = core.StageResult{ID: "test.unit", Status: core.Failed, Reason: "no", Inputs: inputs}
	must(f.PutStage(t.Context(), r.ID, r.Stages[1])) // line 6
	r.Status, r.Reason, r.Ended = core.Failed, "test.unit: no", r.Started.Add(time.Second)
	must(f.PutRun(t.Context(), r))                                                                    // line 7
	must(f.Append(t.Context(), core.Event{ID: "e", Run: r.ID, Kind: "notified", Summary: "by mail"})) // line 8
	in := filepath.Join(dir, "runs", string(r.ID))
	return written{dir: dir, run: r, record: filepath.Join(in, "run.json"), journal: filepath.Join(in, "events.jsonl"), artifact: a.Path}
}

// edit changes a file of the store.
func edit(t *testing.T, path string, change func(text string) string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(b))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines changes the lines of a journal.
func lines(change func(l []string) []string) func(string) string {
	return func(text string) string {
		return strings.Join(change(strings.Split(strings.TrimSuffix(text, "\n"), "\n")), "\n") + "\n"
	}
}

func replaced(from, to string) func(string) string {
	return func(text string) string { return strings.ReplaceAll(text, from, to) }
}

// rehashed gives a record a hash that fits its text.
func rehashed(text string) string {
	var s map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &s) != nil {
		return text
	}
	sum := sha256.Sum256(s["text"])
	s["hash"] = json.RawMessage(`"` + hex.EncodeToString(sum[:]) + `"`)
	b, _ := json.Marshal(s)
	return string(b)
}

// Whatever is changed is found, with its place, and no result of that run makes the next one skip a stage.
func TestEveryChangeIsFound(t *testing.T) {
	t.Parallel()
	passes := replaced(`"status":"failed"`, `"status":"passed"`)
	tests := map[string]struct {
		change func(t *testing.T, w, other written)
		want   string // in the error of Verify, after the run's folder; empty: nothing is wrong
		status core.Status
	}{
		"nothing": {func(*testing.T, written, written) {}, "", core.Failed},
		"a torn line at the end": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, func(s string) string { return s + `{"prev":"12` })
		}, "", core.Failed},
		"no record, as after kill -9": {func(t *testing.T, w, _ written) { rm(t, w.record) }, "", core.Failed},

		"an event": {func(t *testing.T, w, _ written) { edit(t, w.journal, replaced(`"xx"`, `"yy"`)) }, "/events.jsonl:4: ", core.Failed},
		"a stage in the journal": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { l[5] = passes(l[5]); return l }))
		}, "/events.jsonl:7: ", core.Failed},
		"the end in the journal": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { l[6] = passes(l[6]); return l }))
		}, "/events.jsonl:7: was changed", core.Failed},
		"a removed line": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { return slices.Delete(l, 1, 2) }))
		}, "/events.jsonl:2: does not follow the line before", core.Failed},
		"an added line": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { return slices.Insert(l, 2, l[1]) }))
		}, "/events.jsonl:3: ", core.Failed},
		"moved lines": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { l[2], l[3] = l[3], l[2]; return l }))
		}, "/events.jsonl:3: ", core.Failed},
		"no first line": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { return l[1:] }))
		}, "/events.jsonl:1: ", core.Failed},
		"a line that is none": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { l[0] = "\x00"; return l }))
		}, "/events.jsonl:1: ", core.Failed},
		"a truncated journal": {func(t *testing.T, w, _ written) {
			edit(t, w.journal, lines(func(l []string) []string { return l[:5] }))
		}, "/events.jsonl:6: lines are missing at the end; want line 7", core.Failed},
		"no journal": {func(t *testing.T, w, _ written) { rm(t, w.journal) }, "/events.jsonl: is gone; want 7 lines", core.Failed},
		"a swapped journal": {func(t *testing.T, w, other written) {
			edit(t, w.journal, func(string) string { return read(t, other.journal) })
		}, "/events.jsonl:1: belongs to run ", core.Failed},

		"a stage in the record": {
			func(t *testing.T, w, _ written) { edit(t, w.record, passes) },
			"/run.json: says that stage test.unit is passed; want failed, as the journal says", core.Damaged,
		},
		"a reason in the record": {
			func(t *testing.T, w, _ written) { edit(t, w.record, replaced(`"reason":"no"`, `"reason":"so"`)) },
			"/run.json: says something else about stage test.unit", core.Damaged,
		},
		"the record and its hash": {func(t *testing.T, w, _ written) {
			edit(t, w.record, func(s string) string { return rehashed(passes(s)) })
		}, "/events.jsonl:7: was changed", core.Passed},
		"a swapped record": {func(t *testing.T, w, other written) {
			edit(t, w.record, func(string) string { return read(t, other.record) })
		}, "/", core.Damaged},
		"half a record":   {func(t *testing.T, w, _ written) { edit(t, w.record, func(s string) string { return s[:40] }) }, "/run.json: cannot be read", core.Damaged},
		"an empty record": {func(t *testing.T, w, _ written) { edit(t, w.record, func(string) string { return "" }) }, "/run.json: cannot be read", core.Damaged},
		"no object":       {func(t *testing.T, w, _ written) { edit(t, w.record, func(string) string { return "{}" }) }, "/run.json: belongs to run", core.Damaged},
		"a record in the old form": {func(t *testing.T, w, _ written) {
			w.run.Stages[1].Status, w.run.Status = core.Passed, core.Passed
			b, err := json.Marshal(w.run)
			if err != nil {
				t.Fatal(err)
			}
			edit(t, w.record, func(string) string { return string(b) })
		}, "/run.json: is not what this journal ended with", core.Passed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			other, w := write(t, dir, 1), write(t, dir, 2)
			tt.change(t, w, other)
			f := open(t, dir)
			err := f.Verify(t.Context(), w.run.ID)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), filepath.Dir(w.record)+tt.want) {
				t.Errorf("Verify: %v\nwant %q", err, tt.want)
			}
			if damage := (*store.DamageError)(nil); err != nil && !errors.As(err, &damage) {
				t.Errorf("Verify: %T, want a *DamageError", err)
			}
			if err := f.Verify(t.Context(), other.run.ID); err != nil {
				t.Errorf("Verify of the other run: %v", err)
			}
			got, err := f.Find(t.Context(), string(w.run.ID))
			if err != nil || got.Status != tt.status || !got.Started.Equal(w.run.Started) {
				t.Errorf("Find: %s since %s, %v; want %s since %s", got.Status, got.Started, err, tt.status, w.run.Started)
			}
			notReused(t, f, w, tt.want != "")
		})
	}
}

// notReused looks for what the next run need not do again: never the stage that failed, and nothing of a damaged run.
func notReused(t *testing.T, f *store.Files, w written, damaged bool) {
	t.Helper()
	told := 0
	h, err := f.History(t.Context(), "shop", func(error) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	if r, err := h.Same(t.Context(), "test.unit", inputs); r != nil || err != nil {
		t.Errorf("the stage that failed is reused: %+v, %v", r, err)
	}
	o := core.RunOptions{Commit: "new", Branch: "main", Environment: "lab"}
	if p, err := h.Passed(t.Context(), "test.unit", o); p != nil || err != nil {
		t.Errorf("the stage that failed has passed: %+v, %v", p, err)
	}
	r, err := h.Same(t.Context(), "build.app", inputs)
	if err != nil || r == nil || (r.Reused == w.run.ID) == damaged {
		t.Errorf("the stage that passed: %+v, %v; damaged: %t", r, err, damaged)
	}
	if damaged != (told > 0) || told > 1 {
		t.Errorf("told %d times of damage, damaged: %t", told, damaged)
	}
}

func rm(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A stage whose artifact was changed is not reused: it makes a good one.
func TestChangedArtifactIsNotReused(t *testing.T) {
	t.Parallel()
	w := write(t, t.TempDir(), 1)
	edit(t, w.artifact, replaced("made", "evil"))
	f := open(t, w.dir)
	var damage []string
	h, err := f.History(t.Context(), "shop", func(err error) { damage = append(damage, err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err := h.Same(t.Context(), "build.app", inputs); r != nil || err != nil {
			t.Errorf("reused: %+v, %v", r, err)
		}
	}
	if len(damage) != 1 || !strings.Contains(damage[0], w.artifact+": artifact is damaged") {
		t.Errorf("damage: %q", damage)
	}
	if err := f.Verify(t.Context(), w.run.ID); err != nil {
		t.Errorf("the run itself: %v", err)
	}
}

// A journal that was written anew as a whole, with hashes that fit, does not fit the next run.
func TestRewrittenRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := write(t, dir, 1), write(t, dir, 2)
	f := open(t, dir)
	seal := read(t, first.record)
	rm(t, first.record)
	if err := f.Verify(t.Context(), second.run.ID); err == nil || !strings.Contains(err.Error(), first.record+": is gone") {
		t.Errorf("without the first run's record: %v", err)
	}
	if err := os.WriteFile(first.record, []byte(seal), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(t.Context(), second.run.ID); err != nil {
		t.Errorf("with it: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(first.record)); err != nil {
		t.Fatal(err)
	}
	forged := first.run
	forged.Status, forged.Stages = core.Passed, []core.StageResult{{ID: "test.unit", Status: core.Passed, Inputs: inputs}}
	if err := f.PutRun(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(t.Context(), first.run.ID); err != nil {
		t.Errorf("the forged run alone: %v", err)
	}
	err := f.Verify(t.Context(), second.run.ID)
	if err == nil || !strings.Contains(err.Error(), first.record+": was rewritten after run "+string(second.run.ID)) {
		t.Errorf("the run after it: %v", err)
	}
}

// What the first version of troop has recorded is still shown, and is not reused: nothing confirms it.
func TestOldRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := storetest.NewRun(1)
	r.Status, r.Ended, r.Stages[0].Status, r.Stages[0].Inputs = core.Passed, r.Started.Add(time.Second), core.Passed, inputs
	in := filepath.Join(dir, "runs", string(r.ID))
	if err := os.MkdirAll(in, 0o755); err != nil {
		t.Fatal(err)
	}
	first := `{"prev":"","id":"e1","run":"` + string(r.ID) + `","kind":"log","summary":"one"}`
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	second := `{"prev":"` + hash(first) + `","id":"e2","run":"` + string(r.ID) + `","kind":"log","summary":"two"}`
	record, err := json.MarshalIndent(struct {
		core.Run
		Journal string `json:"journal"`
	}{r, hash(second)}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"run.json": string(record), "events.jsonl": first + "\n" + second + "\n"} {
		if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, dir)
	if got, err := f.Find(t.Context(), ""); err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", r) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, r)
	}
	var said []string
	for e, err := range f.Follow(t.Context(), r.ID) {
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, e.Summary)
	}
	if !slices.Equal(said, []string{"one", "two"}) {
		t.Errorf("events %q", said)
	}
	h, err := f.History(t.Context(), "shop", func(err error) { t.Errorf("damaged: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	if s, err := h.Same(t.Context(), "a.a", inputs); s != nil || err != nil {
		t.Errorf("reused: %+v, %v", s, err)
	}
	if err := f.Verify(t.Context(), r.ID); err != nil {
		t.Errorf("Verify: %v", err)
	}
	edit(t, filepath.Join(in, "events.jsonl"), replaced("one", "two"))
	if err := f.Verify(t.Context(), r.ID); err == nil || !strings.Contains(err.Error(), "events.jsonl:2: ") {
		t.Errorf("Verify of a changed journal: %v", err)
	}
}

// A damaged run hides no other, and passes every filter whose answer cannot be read from it.
func TestDamagedRunIsListed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, next := write(t, dir, 1), write(t, dir, 2)
	edit(t, w.record, func(string) string { return "{" })
	f := open(t, dir)
	for name, filter := range map[string]store.Filter{"all": {}, "of a pipeline": {Pipeline: "shop"}, "of a branch": {Branch: "main"}} {
		runs, err := f.Runs(t.Context(), filter)
		if err != nil || len(runs) != 2 || runs[0].ID != next.run.ID || runs[1].Status != core.Damaged || !strings.Contains(runs[1].Reason, "run.json: cannot be read") {
			t.Errorf("%s: %+v, %v", name, runs, err)
		}
	}
	runs, err := f.Runs(t.Context(), store.Filter{Statuses: []core.Status{core.Passed, core.Failed, core.Cancelled}})
	if err != nil || len(runs) != 1 {
		t.Errorf("those that ended: %+v, %v", runs, err)
	}
}

// Killed at any moment, a run leaves a record that reads.
func TestEveryPrefixReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := write(t, dir, 1)
	whole := read(t, w.journal)
	rm(t, w.record)
	header := strings.Index(whole, "\n")
	for cut := 0; cut < len(whole); cut += 5 {
		if err := os.WriteFile(w.journal, []byte(whole[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		f := store.Open(dir)
		runs, err := f.Runs(context.Background(), store.Filter{})
		switch {
		case err != nil:
			t.Fatalf("after %d bytes: %v", cut, err)
		case cut <= header && len(runs) > 0, cut > header && len(runs) != 1:
			t.Fatalf("after %d bytes: %d runs", cut, len(runs))
		case len(runs) == 1 && runs[0].Status == core.Damaged:
			t.Fatalf("after %d bytes: %s", cut, runs[0].Reason)
		}
	}
}

func TestVerifyReceipts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sum := sha256.Sum256([]byte("log"))
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("web-1/app.log.zst", "log")
	put("web-1/app.log.zst.json", `{"id":"01R","stored_size":3,"stored_sha256":"`+hex.EncodeToString(sum[:])+`"}`)
	put("web-1/data.json", `{"no":"receipt"}`)
	if n, err := store.VerifyReceipts(t.Context(), dir); n != 1 || err != nil {
		t.Errorf("good: %d, %v", n, err)
	}
	put("web-1/app.log.zst", "lag")
	if _, err := store.VerifyReceipts(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "app.log.zst: has 3 bytes") {
		t.Errorf("changed: %v", err)
	}
	rm(t, filepath.Join(dir, "web-1/app.log.zst"))
	if _, err := store.VerifyReceipts(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "app.log.zst: is gone") {
		t.Errorf("removed: %v", err)
	}
}
