// Package journal keeps the state of every move on disk, so that an agent killed at any point can resume. The maintenance
// plugin's agent runs it; the plugin and its package move import it.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
)

// The steps of a move, in order. A record is on disk before the step that relies on it: OpClaim before the rename,
// OpCopied before the truncation, OpReceipt before the removal.
const (
	OpClaim   = "claim"   // the file is about to be renamed (or copied)
	OpCopied  = "copied"  // copytruncate: the copy is complete
	OpSent    = "sent"    // it is complete on the storage host, under its final name; without data: it must be sent again
	OpReceipt = "receipt" // it was read back and is the same
	OpDone    = "done"    // it is removed from the host
	OpBack    = "back"    // it has its old name again, or was never renamed
)

// Record is one line of the journal.
type Record struct {
	ID      string           `json:"id"` // ULID of the move
	Op      string           `json:"op"`
	Time    time.Time        `json:"time"`
	Claim   *Claim           `json:"claim,omitempty"`
	Sent    *storage.Object  `json:"sent,omitempty"`
	Receipt *storage.Receipt `json:"receipt,omitempty"`
	File    *file.ID         `json:"file,omitempty"` // with copied: the copy
}

// Claim says which file is moved.
type Claim struct {
	Rule    string  `json:"rule"`
	Root    string  `json:"root"` // of the rule's path
	Path    string  `json:"path"`
	Claimed string  `json:"claimed"` // its name in the same folder while it is being moved
	Copy    bool    `json:"copy,omitempty"`
	File    file.ID `json:"file"` // at the time of the claim
}

// Move is a file that is being moved. Only Append changes its fields.
type Move struct {
	ID      string
	Claim   Claim
	Copied  bool
	Sent    *storage.Object  // nil: not yet
	Receipt *storage.Receipt // nil: not yet
	Begun   time.Time        // when it was claimed
}

const (
	journalAhead = 256 << 10 // bytes allocated beyond the end, so that the journal can be written on a full disk
	keepReceipts = 10000     // receipts that a compaction keeps
)

// Journal is an append-only file of records, each synced. A record truncated by a crash is dropped: its step has not
// happened yet. Not safe for concurrent use.
type Journal struct {
	path      string
	file      *os.File
	size      int64
	allocated int64
	moves     []*Move // open ones, oldest first
	receipts  []storage.Receipt
	added     int // receipts since the process began
}

// Open reads the journal in a folder and rewrites it without finished moves. A damaged journal is moved aside: Open then
// returns an error that names it, and an empty journal that can be used. Claimed files are found again by their names.
func Open(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{path: filepath.Join(dir, "journal.jsonl")}
	b, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	damage := j.replay(b)
	if damage != nil {
		aside := j.path + time.Now().UTC().Format(".damaged-20060102T150405")
		if err := os.Rename(j.path, aside); err != nil {
			return nil, fmt.Errorf("open journal: %w", errors.Join(damage, err))
		}
		damage = fmt.Errorf("journal is damaged and was moved to %s: %w", aside, damage)
	}
	if err := j.rewrite(); err != nil {
		return nil, err
	}
	return j, damage
}

func (j *Journal) replay(b []byte) error {
	for n := 1; len(b) > 0; n++ {
		line, rest, complete := bytes.Cut(b, []byte{'\n'})
		if !complete {
			return nil // truncated by a crash
		}
		b = rest
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := j.apply(r); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func (j *Journal) apply(r Record) error {
	i := slices.IndexFunc(j.moves, func(m *Move) bool { return m.ID == r.ID })
	if r.Op == OpReceipt && i < 0 { // a compaction keeps receipts of finished moves
		if r.Receipt != nil {
			j.receipts = append(j.receipts, *r.Receipt)
			j.added++
		}
		return nil
	}
	switch {
	case r.Op == OpClaim && i < 0 && r.Claim != nil:
		j.moves = append(j.moves, &Move{ID: r.ID, Claim: *r.Claim, Begun: r.Time})
		return nil
	case i < 0 || r.Op == OpClaim:
		return fmt.Errorf("unexpected record %s of move %q", r.Op, r.ID)
	}
	m := j.moves[i]
	switch r.Op {
	case OpCopied:
		m.Copied = true
		if r.File != nil {
			m.Claim.File = *r.File
		}
	case OpSent:
		m.Sent, m.Receipt = r.Sent, nil
	case OpReceipt:
		m.Receipt = r.Receipt
		if r.Receipt != nil {
			j.receipts = append(j.receipts, *r.Receipt)
			j.added++
		}
	case OpDone, OpBack:
		j.moves = slices.Delete(j.moves, i, i+1)
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

// rewrite replaces the file by one with the records that are still needed.
func (j *Journal) rewrite() error {
	if len(j.receipts) > keepReceipts {
		j.receipts = slices.Delete(j.receipts, 0, len(j.receipts)-keepReceipts)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	put := func(r Record) error { return enc.Encode(r) }
	var errs []error
	open := map[string]bool{}
	for _, m := range j.moves {
		open[m.ID] = true
	}
	for i := range j.receipts {
		if !open[j.receipts[i].ID] {
			errs = append(errs, put(Record{ID: j.receipts[i].ID, Op: OpReceipt, Time: j.receipts[i].Verified, Receipt: &j.receipts[i]}))
		}
	}
	for _, m := range j.moves {
		errs = append(errs, put(Record{ID: m.ID, Op: OpClaim, Time: m.Begun, Claim: &m.Claim}))
		if m.Copied {
			errs = append(errs, put(Record{ID: m.ID, Op: OpCopied, Time: m.Begun}))
		}
		if m.Sent != nil {
			errs = append(errs, put(Record{ID: m.ID, Op: OpSent, Time: m.Begun, Sent: m.Sent}))
		}
		if m.Receipt != nil {
			errs = append(errs, put(Record{ID: m.ID, Op: OpReceipt, Time: m.Receipt.Verified, Receipt: m.Receipt}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	if err := j.replace(buf.Bytes()); err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	return nil
}

// replace writes a new file and renames it. On a full disk it keeps the old one.
func (j *Journal) replace(b []byte) error {
	temp := j.path + ".new"
	err := os.WriteFile(temp, b, 0o600)
	if err == nil {
		err = syncPath(temp)
	}
	if err == nil {
		err = os.Rename(temp, j.path)
	}
	if err != nil {
		_ = os.Remove(temp) // it is incomplete
		if _, statErr := os.Stat(j.path); !errors.Is(err, unix.ENOSPC) || statErr != nil {
			return err
		}
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if j.file != nil {
		_ = j.file.Close() // every record of it was synced
	}
	j.file, j.size, j.allocated = f, st.Size(), 0
	if err := j.dropTail(); err != nil {
		return err
	}
	j.ahead()
	return syncPath(filepath.Dir(j.path))
}

// dropTail removes a record truncated by a crash, so that the next one starts on a new line.
func (j *Journal) dropTail() error {
	b, err := os.ReadFile(j.path)
	if err != nil {
		return err
	}
	end := int64(bytes.LastIndexByte(b, '\n') + 1)
	if end == j.size {
		return nil
	}
	j.size = end
	return j.file.Truncate(end)
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ahead allocates space beyond the end. If that fails, records can be written as long as there is space.
func (j *Journal) ahead() {
	if j.allocated-j.size > journalAhead/4 {
		return
	}
	if err := unix.Fallocate(int(j.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, j.size, journalAhead); err == nil {
		j.allocated = j.size + journalAhead
	}
}

// Moves returns the open moves, oldest first.
func (j *Journal) Moves() []*Move { return slices.Clone(j.moves) }

// Receipts returns the receipts of finished moves, oldest first. The caller must not change them. A compaction keeps the
// newest.
func (j *Journal) Receipts() []storage.Receipt { return j.receipts }

// Added counts receipts: those that the journal had when it was opened, and every one since.
func (j *Journal) Added() int { return j.added }

// Append writes one record and returns when it is on disk.
func (j *Journal) Append(r Record) error {
	r.Time = time.Now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	line = append(line, '\n')
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		return fmt.Errorf("write journal: %w", err) // the next record overwrites what was written of this one
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(line))
	j.ahead()
	return j.apply(r)
}

// Close releases the file; every record is on disk already.
func (j *Journal) Close() error { return j.file.Close() }
