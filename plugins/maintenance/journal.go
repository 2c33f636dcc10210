package main

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
)

// The steps of a move, in order, as the journal names them. The record of a step is on disk before what follows
// from it is done: claim before the rename, copied before the cut, receipt before the removal.
const (
	opClaim   = "claim"   // the file is about to be renamed (or copied)
	opCopied  = "copied"  // copytruncate: the copy is complete
	opSent    = "sent"    // it is complete on the storage host, under its last name; without data: it must be sent anew
	opReceipt = "receipt" // it was read back there and is the same
	opDone    = "done"    // it is removed here
	opBack    = "back"    // it was given back, or nothing had happened yet
)

// record is one line of the journal.
type record struct {
	ID      string    `json:"id"` // ULID of the move
	Op      string    `json:"op"`
	Time    time.Time `json:"time"`
	Claim   *claim    `json:"claim,omitempty"`
	Sent    *sent     `json:"sent,omitempty"`
	Receipt *receipt  `json:"receipt,omitempty"`
	File    *fileID   `json:"file,omitempty"` // with copied: the copy
}

// claim says which file is moved.
type claim struct {
	Rule    string `json:"rule"`
	Root    string `json:"root"` // of the rule's path
	Path    string `json:"path"`
	Claimed string `json:"claimed"` // its name in the same folder while it is moved
	Copy    bool   `json:"copy,omitempty"`
	File    fileID `json:"file"` // at the time of the claim
}

// sent says what is on the storage host.
type sent struct {
	Remote       string `json:"remote"`
	File         fileID `json:"file"`   // as it was read
	SHA256       string `json:"sha256"` // of its content
	StoredSize   int64  `json:"stored_size"`
	StoredSHA256 string `json:"stored_sha256"`
	Compress     string `json:"compress"`
}

// receipt is the proof that a backup was verified: here in the journal, and beside the file on the storage host.
type receipt struct {
	ID          string    `json:"id"`
	Environment string    `json:"environment"`
	Host        string    `json:"host"`
	Rule        string    `json:"rule"`
	Path        string    `json:"path"`
	Verified    time.Time `json:"verified"`
	sent
}

// move is a file on its way.
type move struct {
	id      string
	claim   claim
	copied  bool
	sent    *sent
	receipt *receipt
	claimed time.Time

	// Not in the journal: how it goes.
	notBefore time.Time
	failures  int
	problem   string
}

const (
	journalAhead = 256 << 10 // bytes allocated beyond the end: a full disk must not stop the journal that frees it
	keepReceipts = 10000     // receipts that outlive a compaction
)

// journal is an append-only file of records, each synced. A record that was cut off by a crash is dropped: what
// it announces has not happened. Not for concurrent use.
type journal struct {
	path      string
	file      *os.File
	size      int64
	allocated int64
	moves     []*move // open ones, oldest first
	receipts  []receipt
	added     int // receipts since the process began
}

// openJournal reads a journal and rewrites it without what is over. One that is damaged is moved aside and named
// in the error beside an empty, usable journal: its claimed files are found again by their names.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{path: filepath.Join(dir, "journal.jsonl")}
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

func (j *journal) replay(b []byte) error {
	for n := 1; len(b) > 0; n++ {
		line, rest, complete := bytes.Cut(b, []byte{'\n'})
		if !complete {
			return nil // the crash came while it was written
		}
		b = rest
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := j.apply(r); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func (j *journal) apply(r record) error {
	i := slices.IndexFunc(j.moves, func(m *move) bool { return m.id == r.ID })
	if r.Op == opReceipt && i < 0 { // what a compaction keeps of a finished move
		if r.Receipt != nil {
			j.receipts = append(j.receipts, *r.Receipt)
			j.added++
		}
		return nil
	}
	switch {
	case r.Op == opClaim && i < 0 && r.Claim != nil:
		j.moves = append(j.moves, &move{id: r.ID, claim: *r.Claim, claimed: r.Time})
		return nil
	case i < 0 || r.Op == opClaim:
		return fmt.Errorf("record %s of move %q has no place", r.Op, r.ID)
	}
	m := j.moves[i]
	switch r.Op {
	case opCopied:
		m.copied = true
		if r.File != nil {
			m.claim.File = *r.File
		}
	case opSent:
		m.sent, m.receipt = r.Sent, nil
	case opReceipt:
		m.receipt = r.Receipt
		if r.Receipt != nil {
			j.receipts = append(j.receipts, *r.Receipt)
			j.added++
		}
	case opDone, opBack:
		j.moves = slices.Delete(j.moves, i, i+1)
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

// rewrite replaces the file by the records that are still needed.
func (j *journal) rewrite() error {
	if len(j.receipts) > keepReceipts {
		j.receipts = slices.Delete(j.receipts, 0, len(j.receipts)-keepReceipts)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	put := func(r record) error { return enc.Encode(r) }
	var errs []error
	open := map[string]bool{}
	for _, m := range j.moves {
		open[m.id] = true
	}
	for i := range j.receipts {
		if !open[j.receipts[i].ID] {
			errs = append(errs, put(record{ID: j.receipts[i].ID, Op: opReceipt, Time: j.receipts[i].Verified, Receipt: &j.receipts[i]}))
		}
	}
	for _, m := range j.moves {
		errs = append(errs, put(record{ID: m.id, Op: opClaim, Time: m.claimed, Claim: &m.claim}))
		if m.copied {
			errs = append(errs, put(record{ID: m.id, Op: opCopied, Time: m.claimed}))
		}
		if m.sent != nil {
			errs = append(errs, put(record{ID: m.id, Op: opSent, Time: m.claimed, Sent: m.sent}))
		}
		if m.receipt != nil {
			errs = append(errs, put(record{ID: m.id, Op: opReceipt, Time: m.receipt.Verified, Receipt: m.receipt}))
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

// replace writes the new file beside the old one first. On a full disk it goes on with the old one.
func (j *journal) replace(b []byte) error {
	temp := j.path + ".new"
	err := os.WriteFile(temp, b, 0o600)
	if err == nil {
		err = syncPath(temp)
	}
	if err == nil {
		err = os.Rename(temp, j.path)
	}
	if err != nil {
		_ = os.Remove(temp) // it is of no use
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

// dropTail cuts off a record that a crash left half written, so that the next one starts on a line of its own.
func (j *journal) dropTail() error {
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

// ahead allocates space beyond the end. Where it cannot, records still go as long as there is space.
func (j *journal) ahead() {
	if j.allocated-j.size > journalAhead/4 {
		return
	}
	if err := unix.Fallocate(int(j.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, j.size, journalAhead); err == nil {
		j.allocated = j.size + journalAhead
	}
}

// Append writes one record and returns when it is on disk.
func (j *journal) Append(r record) error {
	r.Time = time.Now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	line = append(line, '\n')
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		return fmt.Errorf("write journal: %w", err) // what was written of it is half a line, and written over
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(line))
	j.ahead()
	return j.apply(r)
}

// Close releases the file; every record is on disk already.
func (j *journal) Close() error { return j.file.Close() }
