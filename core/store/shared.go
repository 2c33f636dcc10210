package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"

	"github.com/seed-b96de936/troop/core"
)

// shared is the part of a store that others see, too:
//
//	project.json                  the version of this layout
//	runs/NUMBER/journal/OFFSET    a part of the run's journal, which begins there
//	runs/NUMBER/run.json          as in a folder
//	runs/NUMBER/beat              written again and again while nothing else is: the run's process lives
//	artifacts/HEX.EXT             as in a folder
//	ENVIRONMENT/lease.json        who works on an environment
//
// The files of the store's folder are a copy: what is written goes there first, and what others have written is brought
// there before it is read. NUMBER is the run's ID with every digit subtracted from the highest one, so that a list begins
// with the newest run. All parts of a run but the last are written once and by one process.
type shared struct {
	core.Objects
	say  func(line string)
	lost func(error) // ends this process, which can record a run no more

	mu    sync.Mutex
	sends map[core.RunID]*sending
	seen  map[core.RunID]heard
}

// heard is when a run was last heard of.
type heard struct {
	age time.Duration // then
	at  time.Time
}

const (
	batch    = 500 * time.Millisecond // lines of a journal are collected for so long
	beating  = 5 * time.Second        // a run says at least so often that it lives
	gone     = 12 * beating           // a run that was not heard of for so long was interrupted
	maxPart  = 4 << 20                // bytes of a journal's part
	parallel = 32                     // requests at once
)

// digits are those of a ULID.
const digits32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// number subtracts each digit of an ID, or of its beginning, from the highest one; twice gives the ID again.
func number(id string) string {
	b := []byte(strings.ToUpper(id))
	for i, c := range b {
		if n := strings.IndexByte(digits32, c); n >= 0 {
			b[i] = digits32[len(digits32)-1-n]
		}
	}
	return string(b)
}

func runKey(id core.RunID, name string) string { return "runs/" + number(string(id)) + "/" + name }

func partKey(id core.RunID, offset int64) string {
	return runKey(id, fmt.Sprintf("journal/%012d", offset))
}

// OpenShared returns a store that others use, too. dir is the folder of its copy on this machine. say receives lines for
// the user; lost is called when another process has ended a run of this one, see Interrupt. Both may be nil.
func OpenShared(dir string, objects core.Objects, say func(line string), lost func(error)) *Files {
	f := Open(dir)
	if say == nil {
		say = func(string) {}
	}
	if lost == nil {
		lost = func(error) {}
	}
	f.shared = &shared{Objects: objects, say: say, lost: lost, sends: map[core.RunID]*sending{}, seen: map[core.RunID]heard{}}
	return f
}

// Objects returns where the truth of the project is: the folder, or what it is shared through.
func (f *Files) Objects() core.Objects {
	if f.shared != nil {
		return f.shared.Objects
	}
	return NewFolder(f.dir)
}

// Shared reports whether others use the store, too.
func (f *Files) Shared() bool { return f.shared != nil }

const (
	projectKey = "project.json"
	layout     = 1
)

// Check tests that a shared store can be used: that its server answers, lets us in, has the bucket, and keeps conditional
// writes, which is tried when the store is new. write makes a new store.
func (f *Files) Check(ctx context.Context, write bool) error {
	if f.shared == nil {
		return nil
	}
	b, _, err := ReadObject(ctx, f.shared, projectKey)
	if clock := checkClock(f.shared.Objects); clock != nil {
		return clock
	}
	if errors.Is(err, fs.ErrNotExist) {
		if !write {
			return nil
		}
		return f.found(ctx)
	}
	if err != nil {
		return err
	}
	var p struct{ Version int }
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("read %s of the store: %w", projectKey, err)
	}
	if p.Version > layout {
		return bad("the store of this project", fmt.Sprintf("a newer troop has written it (layout %d, this one knows %d)", p.Version, layout), "install the newer troop")
	}
	return nil
}

// found makes a new store.
func (f *Files) found(ctx context.Context) error {
	text := []byte(fmt.Sprintf("{\"version\":%d}\n", layout))
	if _, err := PutBytes(ctx, f.shared, projectKey, text, core.Condition{Absent: true}); err != nil && !errors.Is(err, core.ErrChanged) {
		return err
	}
	_, err := PutBytes(ctx, f.shared, projectKey, text, core.Condition{Absent: true})
	if err == nil {
		return bad("the store of this project", "its server writes over a value that it was told not to", "use a server with conditional writes (If-None-Match), as AWS, MinIO, Garage, Ceph and versitygw have them")
	}
	if !errors.Is(err, core.ErrChanged) {
		return err
	}
	return nil
}

// sending sends the journal of a run as it grows. unsent, in the run's folder, exists until all is sent.
type sending struct {
	id   core.RunID
	file string

	mu   sync.Mutex // one part at a time
	sent int64

	kick chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

const unsent = "unsent"

// send starts to send the journal of a run that this process writes.
//
//nolint:contextcheck // sending lasts until Close, whatever ends before
func (f *Files) send(id core.RunID) (*sending, error) {
	s := f.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.sends[id]; x != nil {
		return x, nil
	}
	if err := os.WriteFile(filepath.Join(f.dir, "runs", string(id), unsent), nil, 0o600); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background()) // until Close, whatever ends before
	x := &sending{id: id, file: f.journalPath(id), kick: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	s.sends[id] = x
	go func() {
		defer close(x.done)
		x.loop(ctx, s)
	}()
	return x, nil
}

// loop sends what was added, at most every batch. What could not be sent is tried again with what comes next, and at the end.
func (x *sending) loop(ctx context.Context, s *shared) {
	beat := time.NewTicker(beating)
	defer beat.Stop()
	said := false
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-x.kick:
			select {
			case <-ctx.Done():
				return
			case <-time.After(batch):
			}
			err = x.flush(ctx, s)
		case <-beat.C:
			_, err = PutBytes(ctx, s, runKey(x.id, "beat"), []byte(time.Now().UTC().Format(time.RFC3339Nano)), core.Condition{})
		}
		if errors.Is(err, core.ErrChanged) {
			s.lost(err)
			return
		}
		if err != nil && ctx.Err() == nil && !said {
			s.say(fmt.Sprintf("run %s goes on, but cannot be recorded: %v", x.id, err))
		}
		said = err != nil
	}
}

// flush sends what the journal has that was not sent yet.
func (x *sending) flush(ctx context.Context, s *shared) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	file, err := os.Open(x.file)
	if err != nil {
		return err
	}
	defer file.Close()
	for {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		part := make([]byte, max(0, min(maxPart, info.Size()-x.sent)))
		n, err := file.ReadAt(part, x.sent)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := bytes.LastIndexByte(part[:n], '\n') + 1 // whole lines
		if end == 0 && n < maxPart {
			return nil
		}
		if end == 0 {
			end = n
		}
		key := partKey(x.id, x.sent)
		if _, err := PutBytes(ctx, s, key, part[:end], core.Condition{Absent: true}); err != nil {
			if errors.Is(err, core.ErrChanged) {
				return fmt.Errorf("another process has ended run %s, as it was not heard of: %w", x.id, core.ErrChanged)
			}
			return err
		}
		x.sent += int64(end)
	}
}

// sendLines tells the sending of a run that there is more; with now, it returns when all is sent.
func (f *Files) sendLines(ctx context.Context, id core.RunID, now bool) error {
	if f.shared == nil {
		return nil
	}
	x, err := f.send(id)
	if err != nil {
		return err
	}
	if now {
		return x.flush(ctx, f.shared)
	}
	select {
	case x.kick <- struct{}{}:
	default:
	}
	return nil
}

// discard forgets a run that could not be recorded, and so has not begun.
func (f *Files) discard(id core.RunID) error {
	f.shared.mu.Lock()
	x := f.shared.sends[id]
	delete(f.shared.sends, id)
	f.shared.mu.Unlock()
	if x != nil {
		x.stop()
		<-x.done
	}
	return errors.Join(f.closeJournal(id), os.RemoveAll(filepath.Join(f.dir, "runs", string(id))))
}

// sendRecord sends the end of a run.
func (f *Files) sendRecord(ctx context.Context, id core.RunID, text []byte) error {
	if f.shared == nil {
		return nil
	}
	err := f.sendLines(ctx, id, true)
	if err == nil {
		err = putSame(ctx, f.shared, runKey(id, "run.json"), text)
	}
	if err != nil {
		return fmt.Errorf("%w; its end is only on this machine, in %s; the next run or apply on this machine sends it", err, filepath.Dir(f.recordPath(id)))
	}
	return os.Remove(filepath.Join(f.dir, "runs", string(id), unsent))
}

// putSame writes a value once. The same value again is harmless.
func putSame(ctx context.Context, o core.Objects, key string, text []byte) error {
	_, err := PutBytes(ctx, o, key, text, core.Condition{Absent: true})
	if errors.Is(err, core.ErrChanged) {
		if have, _, getErr := ReadObject(ctx, o, key); getErr == nil && bytes.Equal(have, text) {
			return nil
		}
	}
	return err
}

// endSending sends the rest and stops.
func (f *Files) endSending(ctx context.Context) error {
	if f.shared == nil {
		return nil
	}
	f.shared.mu.Lock()
	sends := f.shared.sends
	f.shared.sends = map[core.RunID]*sending{}
	f.shared.mu.Unlock()
	var errs []error
	for _, x := range sends {
		x.stop()
		<-x.done
		if err := x.flush(ctx, f.shared); err != nil {
			errs = append(errs, fmt.Errorf("write run %s: %w", x.id, err))
		}
	}
	return errors.Join(errs...)
}

// SendRest sends what earlier processes on this machine could not send of their runs.
func (f *Files) SendRest(ctx context.Context) error {
	if f.shared == nil {
		return nil
	}
	left, err := filepath.Glob(filepath.Join(f.dir, "runs", "*", unsent))
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range left {
		id := core.RunID(filepath.Base(filepath.Dir(file)))
		rec, err := f.read(ctx, id)
		if err == nil && rec.Ended.IsZero() && alive(rec.PID, rec.Process) {
			continue // it does so itself
		}
		switch err := f.sendAgain(ctx, id); {
		case errors.Is(err, core.ErrChanged): // another has ended it: what they wrote is what counts
			errs = append(errs, remove(file), f.fetchAgain(ctx, id))
		case err != nil:
			errs = append(errs, fmt.Errorf("write run %s: %w", id, err))
		default:
			errs = append(errs, remove(file))
		}
	}
	return errors.Join(errs...)
}

// sendAgain sends what the store lacks of a run.
func (f *Files) sendAgain(ctx context.Context, id core.RunID) error {
	x := &sending{id: id, file: f.journalPath(id)}
	last, size, err := f.lastPart(ctx, id)
	if err != nil {
		return err
	}
	x.sent = size
	if err := f.same(ctx, x, last); err != nil {
		return err
	}
	if err := x.flush(ctx, f.shared); err != nil {
		return err
	}
	text, err := os.ReadFile(f.recordPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return putSame(ctx, f.shared, runKey(id, "run.json"), text)
}

// lastPart returns the last part of a run's journal that others see, and how many bytes they see of it.
func (f *Files) lastPart(ctx context.Context, id core.RunID) (last core.Object, size int64, err error) {
	for o, err := range f.shared.List(ctx, runKey(id, "journal/"), false) {
		if err != nil {
			return last, 0, err
		}
		if at, ok := offset(o.Key); ok && at >= size {
			last, size = o, at+o.Size
		}
	}
	return last, size, nil
}

// same tests that the last part of a journal that others see is this process's own.
func (f *Files) same(ctx context.Context, x *sending, last core.Object) error {
	if last.Key == "" {
		return nil
	}
	theirs, _, err := ReadObject(ctx, f.shared, last.Key)
	if err != nil {
		return err
	}
	ours, err := os.ReadFile(x.file)
	if err != nil {
		return err
	}
	if !bytes.HasSuffix(ours[:min(int64(len(ours)), x.sent)], theirs) || int64(len(ours)) < x.sent {
		return core.ErrChanged
	}
	return nil
}

func offset(key string) (int64, bool) {
	n, err := strconv.ParseInt(key[strings.LastIndexByte(key, '/')+1:], 10, 64)
	return n, err == nil && n >= 0
}

// writes reports whether this process writes a run, so that its files are newer than what others see.
func (f *Files) writes(id core.RunID) bool {
	f.shared.mu.Lock()
	defer f.shared.mu.Unlock()
	return f.shared.sends[id] != nil
}

// fetch brings the record of a run to this machine: how it ended, or its journal so far.
func (f *Files) fetch(ctx context.Context, id core.RunID) error {
	if f.shared == nil || f.writes(id) {
		return nil
	}
	if _, err := os.Stat(f.recordPath(id)); err == nil {
		return nil // it does not change
	}
	text, _, err := ReadObject(ctx, f.shared, runKey(id, "run.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return f.fetchJournal(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("read run %s: %w", id, err)
	}
	return f.keep(f.recordPath(id), text)
}

// keep writes a file of the copy.
func (f *Files) keep(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(path, text, 0o600)
}

// fetchJournal brings the journal of a run to this machine, and notes when the run was last heard of.
func (f *Files) fetchJournal(ctx context.Context, id core.RunID) error {
	if f.shared == nil || f.writes(id) {
		return nil
	}
	have := int64(0)
	if info, err := os.Stat(f.journalPath(id)); err == nil {
		have = info.Size()
	}
	var parts []core.Object
	age, any := time.Duration(0), false
	for o, err := range f.shared.List(ctx, runKey(id, ""), false) {
		if err != nil {
			return fmt.Errorf("read run %s: %w", id, err)
		}
		if !any || o.Age < age {
			age, any = o.Age, true
		}
		if at, ok := offset(o.Key); ok && at >= have {
			parts = append(parts, o)
		}
	}
	if any {
		f.shared.mu.Lock()
		f.shared.seen[id] = heard{age, time.Now()}
		f.shared.mu.Unlock()
	}
	return f.fetchParts(ctx, id, have, parts)
}

// fetchParts adds parts to the copy of a journal. Other processes may do the same: they write the same bytes to the same
// places.
func (f *Files) fetchParts(ctx context.Context, id core.RunID, have int64, parts []core.Object) error {
	for chunk := range slices.Chunk(parts, parallel) {
		texts := make([][]byte, len(chunk))
		err := each(ctx, len(chunk), func(ctx context.Context, i int) (err error) {
			texts[i], _, err = ReadObject(ctx, f.shared, chunk[i].Key)
			return err
		})
		if err != nil {
			return fmt.Errorf("read run %s: %w", id, err)
		}
		if err := os.MkdirAll(filepath.Dir(f.journalPath(id)), 0o700); err != nil {
			return err
		}
		file, err := os.OpenFile(f.journalPath(id), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		for i, text := range texts {
			if at, _ := offset(chunk[i].Key); at != have {
				return errors.Join(&DamageError{File: chunk[i].Key, Problem: "does not follow the part before", Want: partKey(id, have)}, file.Close())
			}
			if _, err := file.WriteAt(text, have); err != nil {
				return errors.Join(err, file.Close())
			}
			have += int64(len(text))
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

// fetchAgain replaces the copy of a run with what others see.
func (f *Files) fetchAgain(ctx context.Context, id core.RunID) error {
	if f.shared == nil || f.writes(id) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(f.dir, "runs", string(id), unsent)); err == nil {
		return fmt.Errorf("run %s is not sent as a whole", id)
	}
	if err := errors.Join(remove(f.recordPath(id)), remove(f.journalPath(id))); err != nil {
		return err
	}
	return errors.Join(f.fetch(ctx, id), f.fetchJournal(ctx, id))
}

// each calls do for 0 to n-1, several at once, and returns the first error.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// alive reports whether the process of a run that has not ended still runs. Of a process on another machine, the store
// tells by what it has last written.
func (f *Files) alive(rec record) bool {
	if f.shared == nil || rec.Machine != "" && rec.Machine == machine() {
		return alive(rec.PID, rec.Process)
	}
	silent, ok := f.shared.silent(rec.ID)
	return ok && silent < gone
}

// silent is how long nothing was heard of a run, as far as this process has looked.
func (s *shared) silent(id core.RunID) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.seen[id]
	return h.age + time.Since(h.at), ok
}

// newestShared lists the newest runs of a shared store whose IDs begin with prefix, the newest first; n = 0: all.
func (f *Files) newestShared(ctx context.Context, n int, prefix string) (ids []core.RunID, more bool, err error) {
	for o, err := range f.shared.List(ctx, "runs/"+number(prefix), true) {
		if err != nil {
			return nil, false, fmt.Errorf("list runs: %w", err)
		}
		id := number(strings.TrimSuffix(strings.TrimPrefix(o.Key, "runs/"), "/"))
		if len(id) != 26 {
			continue
		}
		if n > 0 && len(ids) == n {
			return ids, true, nil
		}
		ids = append(ids, core.RunID(id))
	}
	return ids, false, nil
}

// refresh brings the newest n runs whose IDs begin with prefix to this machine; n = 0: all. more: there are others.
func (f *Files) refresh(ctx context.Context, n int, prefix string) (more bool, err error) {
	if f.shared == nil {
		return false, nil
	}
	ids, more, err := f.newestShared(ctx, n, prefix)
	if err != nil {
		return false, err
	}
	return more, each(ctx, len(ids), func(ctx context.Context, i int) error { return f.fetch(ctx, ids[i]) })
}

// sendArtifact writes an artifact for others, unless it is there.
func (f *Files) sendArtifact(ctx context.Context, path string) error {
	if f.shared == nil {
		return nil
	}
	key := "artifacts/" + filepath.Base(path)
	for o, err := range f.shared.List(ctx, key, true) {
		if err != nil || o.Key == key {
			return err
		}
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := f.shared.Put(ctx, key, file, core.Condition{}); err != nil { // the same content, whoever writes it
		return err
	}
	return nil
}

// fetchArtifact brings an artifact to this machine, if others have it. It is checked by whoever uses it.
func (f *Files) fetchArtifact(ctx context.Context, d core.Digest) error {
	if f.shared == nil {
		return nil
	}
	for o, err := range f.shared.List(ctx, "artifacts/"+d.Hex(), true) {
		if err != nil {
			return err
		}
		dir, err := f.makeFolder("artifacts")
		if err != nil {
			return err
		}
		body, _, err := f.shared.Get(ctx, o.Key)
		if err != nil {
			return err
		}
		defer body.Close()
		own := filepath.Join(dir, ".incoming-"+core.NewID(time.Now()))
		got, err := writeAll(ctx, own, body)
		if err == nil && got.Tag != d.Hex() {
			err = &DamageError{File: o.Key, Problem: "artifact is damaged in the store: its content has the digest sha256:" + got.Tag, Want: string(d) + "; build it again"}
		}
		if err == nil {
			_, err = adopt(ctx, own, dir, extension(o.Key), d)
		}
		if err != nil {
			return errors.Join(err, remove(own))
		}
		return nil
	}
	return nil
}
