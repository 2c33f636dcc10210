package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/seed-b96de936/troop/core"
)

// DamageError is the first place in which something is not as it was written.
type DamageError struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // 0: the file as a whole
	Problem string `json:"problem"`
	Want    string `json:"want,omitempty"` // what was expected there
}

func (e *DamageError) Error() string {
	s := e.File
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, e.Line)
	}
	s += ": " + e.Problem
	if e.Want != "" {
		s += "; want " + e.Want
	}
	return s
}

// replay reads the journal of a run, checks its chain and returns the run that its lines describe. With a seal, the
// journal must contain the sealed line. Events are not decoded. After a *DamageError the record holds what was read
// before the damage.
func (f *Files) replay(ctx context.Context, id core.RunID, sealed *seal) (record, error) {
	path := f.journalPath(id)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && sealed != nil {
		return record{}, &DamageError{File: path, Problem: "is gone", Want: fmt.Sprintf("%d lines, as run.json says", sealed.Line)}
	}
	if err != nil {
		return record{}, fmt.Errorf("read run: %w", err)
	}
	defer file.Close()
	run := replayed{id: id}
	n, prev := 0, ""
	for text, err := range lines(file) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return record{}, fmt.Errorf("read journal: %w", err)
		}
		n++
		damage := func(problem, want string) (record, error) {
			return run.record, &DamageError{File: path, Line: n, Problem: problem, Want: want}
		}
		if !bytes.HasPrefix(text, []byte(`{"prev":"`+prev+`"`)) {
			return damage("does not follow the line before: this line or that one was changed, moved, added or removed", `"prev": "`+prev+`"`)
		}
		prev = hash(text)
		if sealed != nil && n == sealed.Line && prev != sealed.Hash {
			return damage("was changed: its SHA-256 is "+prev, sealed.Hash+", as run.json says")
		}
		if err := run.take(text); err != nil {
			return damage(err.Error(), "")
		}
	}
	if sealed != nil && n < sealed.Line {
		return run.record, &DamageError{
			File: path, Line: n + 1, Problem: "lines are missing at the end", Want: fmt.Sprintf("line %d, which ended the run, as run.json says", sealed.Line),
		}
	}
	if run.record.ID == "" { // it died before its first line was complete
		return record{}, fmt.Errorf("read run: %w", fs.ErrNotExist)
	}
	return run.record, nil
}

// replayed is a run as the lines of its journal describe it so far.
type replayed struct {
	id     core.RunID
	record record
	stages map[core.StageID]int
}

// take applies a line.
func (r *replayed) take(text []byte) error {
	if isEvent(text) {
		return nil
	}
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	switch {
	case l.Record != nil:
		if l.Record.ID != r.id {
			return fmt.Errorf("belongs to run %s: the journal was swapped", l.Record.ID)
		}
		after := r.record.After // only the first line has it
		r.record = *l.Record
		if after != nil {
			r.record.After = after
		}
		r.stages = map[core.StageID]int{}
		for i, s := range r.record.Stages {
			r.stages[s.ID] = i
		}
	case l.Stage != nil:
		i, ok := r.stages[l.Stage.ID]
		if !ok {
			return fmt.Errorf("is of stage %s, which the run does not have", l.Stage.ID)
		}
		r.record.Stages[i] = *l.Stage
	}
	return nil
}

// Verify checks the journal of a run and its record. It returns a *DamageError for the first place that is not as it
// was written. A line that was torn when its process died is no damage.
//
// A journal is a chain: each line holds the SHA-256 of the line before. The line that ends a run holds the whole
// result. It is written a second time, to run.json, with its number and its hash. The first line of a run holds the
// hash of the line that ended the run before.
//
// What this proves: the parts fit together. It finds a line that was changed, added, moved or removed, a journal or a
// record that was exchanged for another, lines that were cut off a run that had ended, and errors of the disk.
//
// What it does not prove: who wrote it. The chain has no key. Somebody who can write to the folder and knows the
// format can write a run anew with hashes that fit, together with every later run, because each names the hash of the
// one before. Nothing names the hash of the newest run. Nothing confirms the lines at the end of a run that was killed,
// or those after a run's end, such as a delivered notification: they can be cut off unseen. So can the newest runs as a
// whole. To prove more, keep the hashes where the writer of the folder cannot reach them.
//
// Of a shared store, what the store has is checked, not the copy on this machine.
func (f *Files) Verify(ctx context.Context, id core.RunID) error {
	if err := f.fetchAgain(ctx, id); err != nil {
		return err
	}
	sealed, err := f.seal(id)
	if damage := (*DamageError)(nil); errors.As(err, &damage) {
		if told, err := f.replay(ctx, id, nil); err == nil {
			f.differ(damage, told.Run)
		}
		return damage
	}
	if err != nil {
		return err
	}
	if sealed != nil && sealed.Hash == "" {
		return f.verifyOld(ctx, id)
	}
	rec, err := f.replay(ctx, id, sealed)
	if err != nil {
		return err
	}
	for _, err := range f.Events(ctx, id) {
		if err != nil {
			return err
		}
	}
	return f.verifyAfter(ctx, id, rec.After)
}

// differ makes damage say how a changed record differs from what the journal says, if the record can be read.
func (f *Files) differ(damage *DamageError, want core.Run) {
	var s seal
	var l line
	b, err := os.ReadFile(f.recordPath(want.ID))
	if err != nil || json.Unmarshal(b, &s) != nil || json.Unmarshal(s.Text, &l) != nil || l.Record == nil || l.Record.ID != want.ID {
		return
	}
	got := l.Record.Run
	for i := range min(len(got.Stages), len(want.Stages)) {
		g, w := got.Stages[i], want.Stages[i]
		if g.Status != w.Status {
			damage.Problem, damage.Want = fmt.Sprintf("says that stage %s is %s", g.ID, g.Status), fmt.Sprintf("%s, as the journal says", w.Status)
			return
		}
		if !reflect.DeepEqual(g, w) {
			damage.Problem, damage.Want = fmt.Sprintf("says something else about stage %s", g.ID), "what the journal says"
			return
		}
	}
	if got.Status != want.Status {
		damage.Problem, damage.Want = fmt.Sprintf("says that the run is %s", got.Status), fmt.Sprintf("%s, as the journal says", want.Status)
	}
}

// verifyAfter checks that the run before this one is still the one that it was when this one began.
func (f *Files) verifyAfter(ctx context.Context, id core.RunID, after *before) error {
	if after == nil {
		return nil
	}
	if err := f.fetch(ctx, after.Run); err != nil {
		return err
	}
	sealed, err := f.seal(after.Run)
	if err != nil {
		return nil //nolint:nilerr // it is damaged itself, which its own check reports
	}
	if sealed == nil {
		if _, err := os.Stat(f.journalPath(after.Run)); err != nil {
			return nil //nolint:nilerr // the run was removed as a whole
		}
		return &DamageError{File: f.recordPath(after.Run), Problem: "is gone", Want: "the record of a run that had ended when run " + string(id) + " began"}
	}
	if sealed.Hash != after.Hash {
		return &DamageError{
			File: f.recordPath(after.Run), Problem: fmt.Sprintf("was rewritten after run %s began: its hash is %s", id, sealed.Hash), Want: after.Hash,
		}
	}
	return nil
}

// verifyOld checks the journal of a run whose results are only in run.json, as the first version of troop wrote them.
func (f *Files) verifyOld(ctx context.Context, id core.RunID) error {
	old, err := f.readOld(id)
	if err != nil {
		return err
	}
	path := f.journalPath(id)
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	defer file.Close()
	prev, n, seen := "", 0, old.Journal == ""
	for text, err := range lines(file) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		n++
		if !bytes.HasPrefix(text, []byte(`{"prev":"`+prev+`"`)) {
			return &DamageError{File: path, Line: n, Problem: "does not follow the line before", Want: `"prev": "` + prev + `"`}
		}
		if !isEvent(text) {
			return &DamageError{File: f.recordPath(id), Problem: "is not what this journal ended with", Want: "the line that ended the run, with its hash"}
		}
		prev = hash(text)
		seen = seen || prev == old.Journal
	}
	if !seen {
		return &DamageError{File: path, Line: n, Problem: "lines are missing at the end, or the last one was changed", Want: "a line with the SHA-256 " + old.Journal}
	}
	return nil
}

// VerifyReceipts checks the receipts in a folder on this machine, such as a copy of the storage host's folder. A receipt
// is NAME.json with the size and the SHA-256 of the file NAME beside it, or of the file that it names. It returns the number of receipts that are
// right and stops at the first that is wrong, with a *DamageError.
func VerifyReceipts(ctx context.Context, dir string) (n int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() || filepath.Ext(path) != ".json" {
			return nil
		}
		var receipt struct {
			Size   int64  `json:"stored_size"`
			SHA256 string `json:"stored_sha256"`
			Remote string `json:"remote"`
		}
		b, err := os.ReadFile(path)
		if err != nil || json.Unmarshal(b, &receipt) != nil || receipt.SHA256 == "" {
			return err // not a receipt
		}
		file := path[:len(path)-len(".json")]
		if receipt.Remote != "" {
			file = filepath.Join(filepath.Dir(path), filepath.Base(receipt.Remote))
		}
		got, size, err := digest(ctx, file)
		if errors.Is(err, fs.ErrNotExist) {
			return &DamageError{File: file, Problem: "is gone", Want: "the file of receipt " + path}
		}
		if err != nil {
			return err
		}
		if got.Hex() != receipt.SHA256 || size != receipt.Size {
			return &DamageError{
				File: file, Problem: fmt.Sprintf("has %d bytes with the SHA-256 %s", size, got.Hex()),
				Want: fmt.Sprintf("%d bytes with %s, as the receipt says", receipt.Size, receipt.SHA256),
			}
		}
		n++
		return nil
	})
	return n, err
}

// Checked is what VerifyAll has checked, and what is wrong.
type Checked struct {
	Runs      int            `json:"runs"`
	Failures  int            `json:"with_failures,omitempty"` // runs that passed with failures
	Artifacts int            `json:"artifacts"`
	Receipts  int            `json:"receipts"`
	Damage    []*DamageError `json:"damage"`
}

func (c Checked) String() string {
	runs := fmt.Sprint(c.Runs)
	if c.Failures > 0 {
		runs += fmt.Sprintf(" (%d passed with failures)", c.Failures)
	}
	return fmt.Sprintf("runs %s, artifacts %d, receipts %d", runs, c.Artifacts, c.Receipts)
}

// note keeps err if it is damage, and returns it if not.
func (c *Checked) note(err error) error {
	damage, ok := errors.AsType[*DamageError](err)
	if ok {
		c.Damage = append(c.Damage, damage)
		return nil
	}
	return err
}

// VerifyAll checks runs, the artifacts that they name and that are still there, and the receipts in a folder, if one is
// named. It returns an error when it cannot tell.
func (f *Files) VerifyAll(ctx context.Context, runs []core.Run, receipts string) (Checked, error) {
	c := Checked{Damage: []*DamageError{}}
	seen := map[core.Digest]bool{}
	for _, r := range runs {
		c.Runs++
		if r.Status == core.PassedWithFailures {
			c.Failures++
		}
		if err := c.note(f.Verify(ctx, r.ID)); err != nil {
			return c, err
		}
		for _, d := range Artifacts(r) {
			if seen[d] {
				continue
			}
			seen[d] = true
			_, err := f.Artifact(ctx, d)
			if _, missing := errors.AsType[*core.NotFoundError](err); missing { // removed with old runs, or the digest of something else
				continue
			}
			c.Artifacts++
			if err := c.note(err); err != nil {
				return c, err
			}
		}
	}
	if receipts == "" {
		return c, nil
	}
	n, err := VerifyReceipts(ctx, receipts)
	c.Receipts = n
	return c, c.note(err)
}
