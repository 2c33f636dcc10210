// Package move moves one file to the storage host: claim, send, read back, receipt, quarantine, remove. Each step is in the
// journal before the next one starts. The maintenance plugin's agent runs it; the plugin imports it.
package move

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/journal"
	"github.com/seed-b96de936/troop/plugins/maintenance/rule"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

const (
	// HoldTime is how long a move waits for a writer to close the file; then the file gets its old name again.
	HoldTime = time.Minute
	maxName  = 255 // bytes of a file's name
	// maxRemote is how much of a file's name is in its name on the storage host, which has the ID and several endings.
	maxRemote = 200
)

// Ledger records steps, and knows the receipts of files that have not changed since.
type Ledger interface {
	Append(r journal.Record) error
	Of(id file.ID) (storage.Receipt, bool)
}

// Mover moves files. Every step can be repeated after any failure: it looks at what is there and continues from it. Not
// for concurrent use.
type Mover struct {
	Ledger      Ledger
	Store       storage.Store // nil while the storage host cannot be reached: files are claimed and removed, but not sent
	Places      rule.Places
	Environment string
	Host        string
	Compress    string
	Quarantine  time.Duration
	Now         func() time.Time

	writers map[rule.Signal]*Writer // to be signalled
}

// Outcome is the result of Advance.
type Outcome int

// The outcomes.
const (
	Waiting  Outcome = iota // for a writer, or for the end of the quarantine
	Moved                   // removed from the host, with a receipt
	Returned                // it has its old name again: its writer did not close it
	Vanished                // removed by another program before it was sent
	Dropped                 // it was never renamed
)

// Claim takes a file away from its writer: by a rename in its folder, or by a copy and a truncation.
func (v *Mover) Claim(ctx context.Context, r rule.Rule, f rule.Found) error {
	d, err := file.OpenFolder(f.Root, path.Dir(f.Path))
	if err != nil {
		return err
	}
	defer d.Close()
	base := path.Base(f.Path)
	id, err := v.Places.Inspect(d, base)
	if err != nil {
		return err
	}
	if r.Reopen == "signal" && v.writers[*r.Signal] == nil { // before the rename: a file whose writer must not be signalled keeps its name
		w, err := FindWriter(ctx, *r.Signal)
		if err != nil && !errors.Is(err, ErrNoWriter) {
			return err
		}
		if err == nil {
			if v.writers == nil {
				v.writers = map[rule.Signal]*Writer{}
			}
			v.writers[*r.Signal] = w
		}
	}
	return v.rename(ctx, d, r, f, id)
}

// Tell signals the writers of the files that were claimed since the last call: each once, whatever the number of its files.
func (v *Mover) Tell() error {
	var errs []error
	for s, w := range v.writers {
		errs = append(errs, w.Signal(), w.Close())
		delete(v.writers, s)
	}
	return errors.Join(errs...)
}

// rename claims a file of an open folder.
func (v *Mover) rename(ctx context.Context, d *file.Folder, r rule.Rule, f rule.Found, id file.ID) error {
	base := path.Base(f.Path)
	m := ulid.Make().String()
	c := journal.Claim{Rule: r.Name, Root: file.Name(f.Root), Path: file.Name(f.Path), Claimed: file.Name(claimedName(m, base)), Copy: r.Reopen == "copytruncate", File: id}
	if err := v.Ledger.Append(journal.Record{ID: m, Op: journal.OpClaim, Claim: &c}); err != nil {
		return err
	}
	if c.Copy {
		return v.copyAndCut(ctx, d, m, c)
	}
	if err := d.Rename(base, string(c.Claimed)); err != nil {
		return err
	}
	return nil
}

func claimedName(id, base string) string {
	name := rule.ClaimPrefix + id + "-" + base
	return name[:min(len(name), maxName)]
}

// copyAndCut is logrotate's copytruncate. The writers are stopped for the cut, a few milliseconds. Those that cannot be lose
// the lines that they write between the last read and the truncation. After a crash in between, Advance finds out whether the
// file was cut.
func (v *Mover) copyAndCut(ctx context.Context, d *file.Folder, id string, c journal.Claim) error {
	src, _, err := d.Open(path.Base(string(c.Path)), unix.O_RDWR)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := d.Create(string(c.Claimed))
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := errors.Join(file.CopySparse(dst, src), dst.Sync()); err != nil {
		return fmt.Errorf("copy %s: %w", c.Path, err)
	}
	copied, err := file.Identify(dst)
	if err == nil {
		err = d.Sync()
	}
	if err == nil {
		err = v.Ledger.Append(journal.Record{ID: id, Op: journal.OpCopied, File: &copied})
	}
	for i := 0; err == nil && i < copyRounds; i++ { // what was written meanwhile
		var n int64
		if n, err = io.Copy(dst, src); n <= copySmall {
			break
		}
	}
	if err == nil {
		err = dst.Sync()
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", c.Path, err)
	}
	stopped := v.stopWriters(ctx, src)
	defer stopped.resume()
	// Unless the writers are stopped, lines are lost from here on: as little as possible happens between the last read and
	// the truncation.
	if _, err := io.Copy(dst, src); err != nil {
		return fmt.Errorf("copy %s: %w", c.Path, err)
	}
	if err := src.Truncate(0); err != nil {
		return fmt.Errorf("truncate %s: %w", c.Path, err)
	}
	stopped.resume()
	return errors.Join(dst.Sync(), src.Sync(), v.Ledger.Append(journal.Record{ID: id, Op: journal.OpCut}))
}

const (
	copyRounds = 100      // of reading what was written since the last one
	copySmall  = 64 << 10 // bytes that are left for the cut
)

// Advance takes a move as far as possible now.
func (v *Mover) Advance(m *journal.Move) (Outcome, error) {
	d, err := file.OpenFolder(string(m.Claim.Root), path.Dir(string(m.Claim.Path)))
	if err != nil {
		return Waiting, err
	}
	defer d.Close()
	f, id, err := d.Open(string(m.Claim.Claimed), unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return v.absent(d, m)
	}
	if err != nil {
		return Waiting, err
	}
	defer f.Close()
	if (m.Copied || !m.Claim.Copy) && !id.Same(m.Claim.File) {
		return Waiting, file.Refuse(f.Name(), "another file was put in its place")
	}
	if m.Claim.Copy && !m.Cut {
		if cut, err := v.wasCut(d, m, f); err != nil {
			return Waiting, err
		} else if !cut { // the agent died before: the file itself is complete
			if err := d.Remove(string(m.Claim.Claimed)); err != nil {
				return Waiting, err
			}
			return Dropped, v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpBack})
		}
		if err := v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpCut}); err != nil {
			return Waiting, err
		}
	}
	if err := file.Released(f); err != nil {
		if errors.Is(err, file.ErrHeld) && m.Receipt == nil && v.Now().Sub(m.Begun) >= HoldTime {
			return v.giveBack(d, m)
		}
		return Waiting, err
	}
	changed := m.Sent != nil && !id.Unchanged(m.Sent.File) || m.Receipt != nil && !id.Unchanged(m.Receipt.File)
	if changed { // a writer appended to it after it was sent
		if err := v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpSent}); err != nil {
			return Waiting, err
		}
	}
	if m.Receipt == nil {
		if v.Store == nil {
			return Waiting, nil
		}
		if err := v.deliver(m, f); err != nil {
			return Waiting, err
		}
	}
	if v.Now().Before(m.Receipt.Verified.Add(v.Quarantine)) {
		return Waiting, nil
	}
	return v.dispose(d, m, f)
}

// wasCut finds out whether the file was cut after it was copied: then it has not the content of the copy any more. If that
// cannot be told, it was: rather are lines there twice than not at all.
func (v *Mover) wasCut(d *file.Folder, m *journal.Move, copied *os.File) (bool, error) {
	if !m.Copied {
		return false, nil
	}
	src, _, err := d.Open(path.Base(string(m.Claim.Path)), unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, file.ErrUnsafe) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer src.Close()
	begins, err := file.BeginsWith(src, copied)
	return !begins, err
}

// vouched returns the receipt of an earlier move of the file, of which the journal knows no more than that.
func (v *Mover) vouched(f *os.File) (*storage.Receipt, error) {
	id, err := file.Identify(f)
	if err != nil {
		return nil, err
	}
	r, ok := v.Ledger.Of(id)
	if !ok {
		return nil, nil //nolint:nilnil // there is none
	}
	sum, err := storage.Sum(f)
	if err == nil && sum == r.SHA256 && storage.Fetch(v.Store, r.Object, io.Discard) == nil {
		return &r, nil
	}
	return nil, err
}

// deliver sends the file, which reads it back, and writes its receipt. What an earlier process has sent is read back again.
func (v *Mover) deliver(m *journal.Move, f *os.File) error {
	if m.Sent == nil {
		if r, err := v.vouched(f); err != nil || r != nil {
			if err == nil {
				err = v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpReceipt, Receipt: r})
			}
			return err
		}
	}
	sent := m.Sent != nil
	if !sent {
		s, err := storage.Send(v.Store, f, v.remote(m, ""), v.Compress)
		if errors.Is(err, fs.ErrExist) { // an earlier attempt was cut off, or was damaged
			s, err = storage.Send(v.Store, f, v.remote(m, attempt()), v.Compress)
		}
		if err != nil {
			return err
		}
		if err := v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpSent, Sent: &s}); err != nil {
			return err
		}
	}
	if sent {
		if err := storage.Fetch(v.Store, *m.Sent, io.Discard); err != nil {
			// The stored file is damaged or missing: send it again.
			if errors.Is(err, storage.ErrMismatch) || errors.Is(err, fs.ErrNotExist) {
				err = errors.Join(err, v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpSent}))
			}
			return err
		}
	}
	r := storage.Receipt{
		ID: m.ID, Environment: v.Environment, Host: v.Host, Rule: m.Claim.Rule, Path: m.Claim.Path,
		Verified: v.Now().UTC(), Object: *m.Sent,
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	put := func(name string) error { return v.Store.Put(name, bytes.NewReader(append(b, '\n')), io.Discard) }
	err = put(string(m.Sent.Remote) + storage.ReceiptSuffix)
	if errors.Is(err, fs.ErrExist) {
		err = put(string(m.Sent.Remote) + "." + attempt() + storage.ReceiptSuffix)
	}
	if err != nil {
		return err
	}
	return v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpReceipt, Receipt: &r})
}

// dispose removes the file. The receipt is on disk, the file is the one that was sent, and no process writes to it.
func (v *Mover) dispose(d *file.Folder, m *journal.Move, f *os.File) (Outcome, error) {
	id, err := file.Identify(f)
	if err != nil {
		return Waiting, err
	}
	if !id.Unchanged(m.Receipt.File) {
		return Waiting, fmt.Errorf("%s: %w", f.Name(), storage.ErrChanged)
	}
	if err := file.Released(f); err != nil {
		return Waiting, err
	}
	if err := d.Remove(string(m.Claim.Claimed)); err != nil {
		return Waiting, err
	}
	return Moved, v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpDone})
}

// absent finds out why a claimed file is not there.
func (v *Mover) absent(d *file.Folder, m *journal.Move) (Outcome, error) {
	if m.Receipt != nil { // the agent died between the removal and its record
		return Moved, v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpDone})
	}
	result := Vanished
	f, id, err := d.Open(path.Base(string(m.Claim.Path)), unix.O_RDONLY)
	if err == nil {
		_ = f.Close() // read only
		if id.Same(m.Claim.File) {
			result = Dropped // the agent died between the record and the rename
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, file.ErrUnsafe) {
		return Waiting, err
	}
	return result, v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpBack})
}

// giveBack gives a file its old name again, unless there is a new file of that name.
func (v *Mover) giveBack(d *file.Folder, m *journal.Move) (Outcome, error) {
	err := d.Rename(string(m.Claim.Claimed), path.Base(string(m.Claim.Path)))
	if errors.Is(err, unix.EEXIST) {
		return Waiting, file.ErrHeld
	}
	if err != nil {
		return Waiting, err
	}
	return Returned, v.Ledger.Append(journal.Record{ID: m.ID, Op: journal.OpBack})
}

// Adopt adds a claimed file of a rule that the journal does not know, because the journal was lost. A copy belongs to the
// agent.
func (v *Mover) Adopt(f rule.Found, r rule.Rule) error {
	rest := strings.TrimPrefix(path.Base(f.Path), rule.ClaimPrefix)
	if len(rest) < ulid.EncodedSize+2 {
		return nil
	}
	id, base := rest[:ulid.EncodedSize], rest[ulid.EncodedSize+1:]
	if _, err := ulid.ParseStrict(id); err != nil {
		return nil //nolint:nilerr // not one of our names
	}
	// Everybody who may write to the folder can make such a name: the move gets an ID of its own.
	copied := r.Reopen == "copytruncate" && f.ID.UID == uint32(os.Geteuid()) //nolint:gosec // a user id
	return v.Ledger.Append(journal.Record{ID: ulid.Make().String(), Op: journal.OpClaim, Claim: &journal.Claim{
		Copy: copied, Adopted: copied, Rule: r.Name, Root: file.Name(f.Root), Path: file.Name(path.Join(path.Dir(f.Path), base)), Claimed: file.Name(path.Base(f.Path)), File: f.ID,
	}})
}

// remote is the name of a file on the storage host: NAME.ID.zst, or NAME.ID.ATTEMPT.zst. There are no folders: a host
// could make none that it cannot change.
func (v *Mover) remote(m *journal.Move, attempt string) string {
	base := path.Base(string(m.Claim.Path))
	name := base[:min(len(base), maxRemote)] + "." + m.ID
	if attempt != "" {
		name += "." + attempt
	}
	if v.Compress != "none" {
		name += ".zst"
	}
	return name
}

// attempt tells a file from that of an earlier attempt.
func attempt() string { return strings.ToLower(rand.Text()[:6]) }
