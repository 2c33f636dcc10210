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
	file  *os.File
	size  int64  // bytes of whole lines
	lines int    // how many
	last  string // hash of the last one
}

// line is one line of a journal: an event, a state of the run, or the result of one stage. Prev comes first in the
// text, then the field that tells the three apart: readers rely on that.
type line struct {
	Prev   string            `json:"prev"`             // hash of the line before; empty in the first
	Record *record           `json:"record,omitempty"` // the run as a whole: when it began, and when it ended
	Stage  *core.StageResult `json:"stage,omitempty"`  // replaces the result in the record
	*core.Event
}

// Append adds an event to the journal of its run.
func (f *Files) Append(ctx context.Context, e core.Event) error {
	_, err := f.write(e.Run, line{Event: &e})
	if err == nil {
		err = f.sendLines(ctx, e.Run, false)
	}
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

// PutStage records the result of one stage so far, as a line of the journal.
func (f *Files) PutStage(ctx context.Context, id core.RunID, r core.StageResult) error {
	_, err := f.write(id, line{Stage: &r})
	if err == nil {
		err = f.sendLines(ctx, id, false)
	}
	if err != nil {
		return fmt.Errorf("write stage %s of run %s: %w", r.ID, id, err)
	}
	return nil
}

// write adds a line to the journal of a run.
func (f *Files) write(id core.RunID, l line) (seal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, err := f.journal(id)
	if err != nil {
		return seal{}, err
	}
	l.Prev = j.last
	b, err := json.Marshal(l)
	if err != nil {
		return seal{}, fmt.Errorf("encode: %w", err)
	}
	if _, err := j.file.WriteAt(append(b, '\n'), j.size); err != nil { // the next line overwrites half of one
		return seal{}, err
	}
	j.size += int64(len(b)) + 1
	j.lines++
	j.last = hash(b)
	return seal{Line: j.lines, Hash: j.last, Text: b}, nil
}

// hash is the SHA-256 of a line without its break, in hexadecimal.
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
	var last []byte
	for l, err := range lines(file) {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read journal: %w", err), file.Close())
		}
		j.size += int64(len(l)) + 1
		j.lines++
		last = l
	}
	if last != nil {
		j.last = hash(last)
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

// closeJournal syncs the journal of a run to the disk and closes it. A later line opens it again.
func (f *Files) closeJournal(id core.RunID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.journals[id]
	if !ok {
		return nil
	}
	delete(f.journals, id)
	if err := errors.Join(j.file.Sync(), j.file.Close()); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
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

// isEvent reports whether a line holds an event, without decoding it: most lines do.
func isEvent(text []byte) bool {
	_, rest, _ := bytes.Cut(text, []byte(`",`))
	return !bytes.HasPrefix(rest, []byte(`"record":`)) && !bytes.HasPrefix(rest, []byte(`"stage":`))
}

// Events yields the events of a run so far, in their order. It ends after an error.
func (f *Files) Events(ctx context.Context, id core.RunID) iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		if err := f.fetchJournal(ctx, id); err != nil {
			yield(core.Event{}, err)
			return
		}
		_, _ = f.eventsFrom(ctx, id, position{}, yield)
	}
}

// Follow yields the events of a run so far and then those to come, until the run has ended.
func (f *Files) Follow(ctx context.Context, id core.RunID) iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		var at position
		pause := followPause
		if f.shared != nil {
			pause = batch // others send no more often
		}
		changed, stop := f.watch(runKey(id, ""))
		defer stop()
		for {
			running, err := f.running(ctx, id) // before its events: none is missed when it ends in between
			if err == nil {
				err = f.fetchJournal(ctx, id)
			}
			if err != nil {
				yield(core.Event{}, err)
				return
			}
			var more bool
			if at, more = f.eventsFrom(ctx, id, at, yield); !more || !running {
				return
			}
			select {
			case <-ctx.Done():
				yield(core.Event{}, context.Cause(ctx))
				return
			case <-changed:
			case <-time.After(pause):
			}
		}
	}
}

// position is a place in a journal: how much of it was read.
type position struct {
	bytes int64
	lines int
}

// eventsFrom yields the events from a position on. It returns the next position and whether the caller wants more.
func (f *Files) eventsFrom(ctx context.Context, id core.RunID, at position, yield func(core.Event, error) bool) (position, bool) {
	file, err := os.Open(f.journalPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return at, true
	}
	if err == nil {
		defer file.Close()
		_, err = file.Seek(at.bytes, io.SeekStart)
	}
	if err != nil {
		yield(core.Event{}, fmt.Errorf("open journal: %w", err))
		return at, false
	}
	for text, err := range lines(file) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(core.Event{}, fmt.Errorf("read journal: %w", err))
			return at, false
		}
		at.bytes += int64(len(text)) + 1
		at.lines++
		if !isEvent(text) {
			continue
		}
		l := line{Event: &core.Event{}}
		if err := json.Unmarshal(text, &l); err != nil {
			yield(core.Event{}, &DamageError{File: file.Name(), Line: at.lines, Problem: "cannot be read: " + err.Error()})
			return at, false
		}
		if !yield(*l.Event, nil) {
			return at, false
		}
	}
	return at, true
}
