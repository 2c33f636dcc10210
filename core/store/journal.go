package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// followPause is how often Follow looks for more.
const followPause = 100 * time.Millisecond

// journal is an open events.jsonl. A line that was torn by a crash is cut off when it is opened again.
type journal struct {
	file *os.File
	size int64  // bytes of whole lines
	last string // hash of the last line
}

// line is one line of a journal.
type line struct {
	Prev string `json:"prev"` // hash of the line before, as hexadecimal SHA-256 with no line break; empty in the first
	core.Event
}

// Append adds an event to the journal of its run.
func (f *Files) Append(_ context.Context, e core.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, err := f.journal(e.Run)
	if err != nil {
		return err
	}
	b, err := json.Marshal(line{Prev: j.last, Event: e})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if _, err := j.file.WriteAt(append(b, '\n'), j.size); err != nil { // the next one overwrites half a line
		return fmt.Errorf("write event: %w", err)
	}
	j.size += int64(len(b)) + 1
	j.last = hash(b)
	return nil
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// journal opens the journal of a run at its end.
func (f *Files) journal(id core.RunID) (*journal, error) {
	if j, ok := f.journals[id]; ok {
		return j, nil
	}
	if _, err := f.makeFolder("runs", string(id)); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.journalPath(id), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{file: file}
	for l, err := range lines(file) {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read journal: %w", err), file.Close())
		}
		j.size += int64(len(l)) + 1
		j.last = hash(l)
	}
	if err := file.Truncate(j.size); err != nil {
		return nil, errors.Join(fmt.Errorf("cut torn line: %w", err), file.Close())
	}
	f.journals[id] = j
	return j, nil
}

func (f *Files) journalPath(id core.RunID) string {
	return filepath.Join(f.dir, "runs", string(id), "events.jsonl")
}

// settle returns the hash of the last line of a run's journal. At the run's end the journal is made safe
// and closed; a later event opens it again.
func (f *Files) settle(id core.RunID, ended bool) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.journals[id]
	if !ok {
		return "", nil
	}
	if !ended {
		return j.last, nil
	}
	delete(f.journals, id)
	if err := errors.Join(j.file.Sync(), j.file.Close()); err != nil {
		return "", fmt.Errorf("close journal: %w", err)
	}
	return j.last, nil
}

// lines yields the whole lines of a journal without their breaks; what follows the last break was torn.
func lines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		b := bufio.NewReaderSize(r, 64<<10)
		for {
			l, err := b.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(bytes.TrimSuffix(l, []byte("\n")), nil) {
				return
			}
		}
	}
}

// Events yields the events of a run so far, in their order. It ends after an error.
func (f *Files) Events(ctx context.Context, id core.RunID) iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		file, err := os.Open(f.journalPath(id))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(core.Event{}, fmt.Errorf("open journal: %w", err))
			return
		}
		defer file.Close()
		_, _ = decode(ctx, file, yield)
	}
}

// decode yields the events of whole lines and returns how many bytes they took, and whether to go on.
func decode(ctx context.Context, r io.Reader, yield func(core.Event, error) bool) (int64, bool) {
	size := int64(0)
	for b, err := range lines(r) {
		var l line
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = json.Unmarshal(b, &l)
		}
		if err != nil {
			yield(core.Event{}, fmt.Errorf("read journal: %w", err))
			return size, false
		}
		size += int64(len(b)) + 1
		if !yield(l.Event, nil) {
			return size, false
		}
	}
	return size, true
}

// Follow yields the events of a run so far and then those to come, until the run has ended.
func (f *Files) Follow(ctx context.Context, id core.RunID) iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		at := int64(0)
		for {
			rec, err := f.read(id) // before its events: none is missed when it ends in between
			if err != nil {
				yield(core.Event{}, err)
				return
			}
			size, more := f.from(ctx, id, at, yield)
			at += size
			if !more || rec.Status != core.Running {
				return
			}
			select {
			case <-ctx.Done():
				yield(core.Event{}, context.Cause(ctx))
				return
			case <-time.After(followPause):
			}
		}
	}
}

func (f *Files) from(ctx context.Context, id core.RunID, at int64, yield func(core.Event, error) bool) (int64, bool) {
	file, err := os.Open(f.journalPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, true
	}
	if err != nil {
		yield(core.Event{}, fmt.Errorf("open journal: %w", err))
		return 0, false
	}
	defer file.Close()
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		yield(core.Event{}, fmt.Errorf("read journal: %w", err))
		return 0, false
	}
	return decode(ctx, file, yield)
}

// Verify reports whether the journal of a run is as it was written: no line changed, added, moved or taken
// away, except for lines at the end that were not yet recorded when its process died.
func (f *Files) Verify(ctx context.Context, id core.RunID) error {
	rec, err := f.read(id)
	if err != nil {
		return err
	}
	file, err := os.Open(f.journalPath(id))
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	defer file.Close()
	prev, n, seen := "", 0, rec.Journal == ""
	for b, err := range lines(file) {
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n++
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("journal of run %s, line %d: %w", id, n, err)
		}
		if l.Prev != prev {
			return fmt.Errorf("journal of run %s, line %d: the line before is not the one that was written", id, n)
		}
		prev = hash(b)
		seen = seen || prev == rec.Journal
	}
	if !seen {
		return fmt.Errorf("journal of run %s, line %d: lines are missing at the end, or the last one was changed", id, n)
	}
	return nil
}
