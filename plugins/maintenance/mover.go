package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sys/unix"
)

// claimPrefix begins the name of a file on its way: PREFIX ULID - OLD NAME, in the old folder.
const claimPrefix = ".troop-"

const (
	holdTime = time.Minute // after which a file is given back to a writer that does not let go
	maxName  = 255         // bytes of a file's name
)

// ledger is the mover's side of the journal.
type ledger interface {
	Append(r record) error
}

// mover takes files from their folder to the storage host, each step resumable: it looks at what is there, and
// goes on from it. It is safe to repeat after any failure. Not for concurrent use.
type mover struct {
	ledger      ledger
	store       store // nil while the storage host is away; only claims and removals go on then
	places      places
	environment string
	host        string
	compress    string
	quarantine  time.Duration
	now         func() time.Time
	notify      func(ctx context.Context, s *signalConfig) error
}

// outcome is what Advance has reached.
type outcome int

// The outcomes.
const (
	waiting  outcome = iota // for a writer, or for the end of the quarantine
	moved                   // removed here, with a receipt
	returned                // given back to its writer under its old name
	vanished                // somebody else removed it before it was sent
	dropped                 // the claim had not begun
)

// Claim takes a file away from its writer: by a rename in its folder, or by a copy and a cut.
func (v *mover) Claim(ctx context.Context, r ruleConfig, f found) error {
	d, err := openFolder(f.root, path.Dir(f.path))
	if err != nil {
		return err
	}
	defer d.Close()
	base := path.Base(f.path)
	id, err := d.inspect(base, v.places)
	if err != nil {
		return err
	}
	m := ulid.Make().String()
	c := claim{Rule: r.Name, Root: f.root, Path: f.path, Claimed: claimedName(m, base), Copy: r.Reopen == "copytruncate", File: id}
	if err := v.ledger.Append(record{ID: m, Op: opClaim, Claim: &c}); err != nil {
		return err
	}
	if c.Copy {
		return v.copyAndCut(d, m, c)
	}
	if err := d.rename(base, c.Claimed); err != nil {
		return err
	}
	if r.Reopen == "signal" {
		return v.notify(ctx, r.Signal)
	}
	return nil
}

func claimedName(id, base string) string {
	name := claimPrefix + id + "-" + base
	return name[:min(len(name), maxName)]
}

// copyAndCut is logrotate's copytruncate. Lines written between the end of the copy and the cut are lost; the
// crash in between copies them twice.
func (v *mover) copyAndCut(d *folder, id string, c claim) error {
	src, _, err := d.open(path.Base(c.Path), unix.O_RDWR)
	if err != nil {
		return err
	}
	defer src.Close()
	fd, err := unix.Openat(int(d.Fd()), c.Claimed, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: path.Join(d.path, c.Claimed), Err: err}
	}
	dst := os.NewFile(uintptr(fd), c.Claimed)
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	copied, errID := identify(dst)
	if err = errors.Join(err, errID, dst.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", c.Path, err)
	}
	if err := d.sync(); err != nil {
		return err
	}
	if err := v.ledger.Append(record{ID: id, Op: opCopied, File: &copied}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, src); err != nil { // nothing: it was read to its end
		return err
	}
	if err := src.Truncate(0); err != nil {
		return fmt.Errorf("cut %s: %w", c.Path, err)
	}
	return src.Sync()
}

// Advance takes a move as far as it goes now.
func (v *mover) Advance(m *move) (outcome, error) {
	d, err := openFolder(m.claim.Root, path.Dir(m.claim.Path))
	if err != nil {
		return waiting, err
	}
	defer d.Close()
	f, id, err := d.open(m.claim.Claimed, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return v.absent(d, m)
	}
	if err != nil {
		return waiting, err
	}
	defer f.Close()
	if m.claim.Copy && !m.copied { // the agent died while it copied: the file itself is whole
		if err := d.remove(m.claim.Claimed); err != nil {
			return waiting, err
		}
		return dropped, v.ledger.Append(record{ID: m.id, Op: opBack})
	}
	if !id.same(m.claim.File) {
		return waiting, fmt.Errorf("%s: %w: another file was put in its place", f.Name(), errUnsafe)
	}
	if err := released(f); err != nil {
		if errors.Is(err, errHeld) && m.receipt == nil && v.now().Sub(m.claimed) >= holdTime {
			return v.giveBack(d, m)
		}
		return waiting, err
	}
	if m.sent != nil && !id.unchanged(m.sent.File) { // a late writer added to it: what was sent is not all
		if err := v.ledger.Append(record{ID: m.id, Op: opSent}); err != nil {
			return waiting, err
		}
	}
	if m.receipt == nil {
		if v.store == nil {
			return waiting, nil
		}
		if err := v.deliver(m, f); err != nil {
			return waiting, err
		}
	}
	if v.now().Before(m.receipt.Verified.Add(v.quarantine)) {
		return waiting, nil
	}
	return v.dispose(d, m, f)
}

// deliver sends the file and verifies it, up to the receipt.
func (v *mover) deliver(m *move, f *os.File) error {
	if m.sent == nil {
		s, err := send(v.store, f, v.remote(m), v.compress)
		if err != nil {
			return err
		}
		if err := v.ledger.Append(record{ID: m.id, Op: opSent, Sent: &s}); err != nil {
			return err
		}
	}
	if err := fetch(v.store, *m.sent, io.Discard); err != nil {
		remote := m.sent.Remote
		// What is there may be half of it, or nothing: it is sent again in any case but a lost connection.
		if errors.Is(err, errMismatch) || errors.Is(err, fs.ErrNotExist) {
			err = errors.Join(err, v.ledger.Append(record{ID: m.id, Op: opSent}))
		}
		if errors.Is(err, errMismatch) {
			err = errors.Join(err, v.store.Remove(remote))
		}
		return err
	}
	r := receipt{
		ID: m.id, Environment: v.environment, Host: v.host, Rule: m.claim.Rule, Path: m.claim.Path,
		Verified: v.now().UTC(), sent: *m.sent,
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := v.store.Put(m.sent.Remote+".json", bytes.NewReader(append(b, '\n'))); err != nil {
		return err
	}
	return v.ledger.Append(record{ID: m.id, Op: opReceipt, Receipt: &r})
}

// dispose removes the file. The receipt is on disk; the file is still the one that was sent, and nobody writes.
func (v *mover) dispose(d *folder, m *move, f *os.File) (outcome, error) {
	id, err := identify(f)
	if err != nil {
		return waiting, err
	}
	if !id.unchanged(m.receipt.File) {
		return waiting, fmt.Errorf("%s: %w", f.Name(), errChanged)
	}
	if err := released(f); err != nil {
		return waiting, err
	}
	if err := d.remove(m.claim.Claimed); err != nil {
		return waiting, err
	}
	return moved, v.ledger.Append(record{ID: m.id, Op: opDone})
}

// absent finds out why a claimed file is not there.
func (v *mover) absent(d *folder, m *move) (outcome, error) {
	if m.receipt != nil { // the agent died between the removal and its record
		return moved, v.ledger.Append(record{ID: m.id, Op: opDone})
	}
	result := vanished
	f, id, err := d.open(path.Base(m.claim.Path), unix.O_RDONLY)
	if err == nil {
		_ = f.Close() // read only
		if id.same(m.claim.File) {
			result = dropped // the agent died between the record and the rename
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errUnsafe) {
		return waiting, err
	}
	return result, v.ledger.Append(record{ID: m.id, Op: opBack})
}

// giveBack gives a file its old name again, unless its writer has made a new one there.
func (v *mover) giveBack(d *folder, m *move) (outcome, error) {
	err := d.rename(m.claim.Claimed, path.Base(m.claim.Path))
	if errors.Is(err, unix.EEXIST) {
		return waiting, errHeld
	}
	if err != nil {
		return waiting, err
	}
	return returned, v.ledger.Append(record{ID: m.id, Op: opBack})
}

// Adopt takes in a claimed file that the journal does not know: the journal was lost, the file must not be.
func (v *mover) Adopt(f found, rule string) error {
	rest := strings.TrimPrefix(path.Base(f.path), claimPrefix)
	if len(rest) < ulid.EncodedSize+2 {
		return nil
	}
	id, base := rest[:ulid.EncodedSize], rest[ulid.EncodedSize+1:]
	if _, err := ulid.ParseStrict(id); err != nil {
		return nil //nolint:nilerr // the name is somebody else's
	}
	return v.ledger.Append(record{ID: id, Op: opClaim, Claim: &claim{
		Rule: rule, Root: f.root, Path: path.Join(path.Dir(f.path), base), Claimed: path.Base(f.path), File: f.id,
	}})
}

// remote is the name of a file on the storage host: HOST/RULE/YEAR-MONTH/NAME.ID.zst.
func (v *mover) remote(m *move) string {
	name := path.Base(m.claim.Path) + "." + m.id
	if v.compress != "none" {
		name += ".zst"
	}
	return path.Join(v.host, m.claim.Rule, m.claimed.UTC().Format("2006-01"), name)
}

// notifyWriter sends the signal of a rule to its writer.
func notifyWriter(ctx context.Context, s *signalConfig) error {
	var text []byte
	var err error
	if s.PIDFile != "" {
		text, err = os.ReadFile(s.PIDFile)
	} else {
		text, err = exec.CommandContext(ctx, "systemctl", "show", "--property=MainPID", "--value", "--", s.Unit).Output()
	}
	if err != nil {
		return fmt.Errorf("find the writer to signal: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("find the writer to signal: %q is no process", strings.TrimSpace(string(text)))
	}
	sig := signals[s.Send]
	if sig == 0 {
		sig = unix.SIGHUP
	}
	if err := unix.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), pid, err)
	}
	return nil
}
