// Package journal keeps the state of every move on disk, so that an agent killed at any point can resume. The maintenance
// plugin's agent runs it; the plugin and its package move import it.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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
	OpCopied  = "copied"  // copytruncate: the copy has all that the file had, which is about to be cut
	OpCut     = "cut"     // copytruncate: the file was cut
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
	Rule    string    `json:"rule"`
	Root    file.Name `json:"root"` // of the rule's path
	Path    file.Name `json:"path"`
	Claimed file.Name `json:"claimed"` // its name in the same folder while it is being moved
	Copy    bool      `json:"copy,omitempty"`
	Adopted bool      `json:"adopted,omitempty"` // with copy: whether it is complete is not known, as after copied
	File    file.ID   `json:"file"`              // at the time of the claim
}

// Move is a file that is being moved. Only Append changes its fields.
type Move struct {
	ID      string
	Claim   Claim
	Copied  bool             // the file may have been cut
	Cut     bool             // it was
	Sent    *storage.Object  // nil: not yet
	Receipt *storage.Receipt // nil: not yet
	Begun   time.Time        // when it was claimed
}

const (
	journalAhead = 256 << 10 // bytes allocated beyond the end, so that the journal can be written on a full disk
	keepReceipts = 10000     // receipts that a compaction keeps
)

// Journal is an append-only file of records, each synced, with a checksum and a line of its own. A record truncated by a
// crash is dropped: its step has not happened yet. Not safe for concurrent use.
type Journal struct {
	path      string
	file      *os.File
	size      int64
	compact   int64 // size after the last compaction
	allocated int64
	moves     []*Move // open ones, oldest first
	receipts  []storage.Receipt
	byID      map[string]int // their places in receipts
	added     int            // receipts since the process began
	torn      bool           // its last line had no end
}

// Damage is an error of Open: lines of the journal could not be read. The journal is usable: it knows what the other lines
// say. Receipts may be missing; the storage host has them as well.
type Damage struct {
	Lines int    // that could not be read
	Aside string // a copy of the file; empty: there was no space for one
}

func (d *Damage) Error() string {
	text := fmt.Sprintf("%d lines of the journal are damaged", d.Lines)
	if d.Aside != "" {
		text += "; it is kept as " + d.Aside
	}
	return text
}

// Open reads the journal in a folder and rewrites it without finished moves. If lines are damaged, Open returns the journal
// of the others, and a *Damage. Claimed files that it does not know are found again by their names.
func Open(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{path: filepath.Join(dir, "journal.jsonl"), byID: map[string]int{}}
	b, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	var damage error
	lines := j.replay(b)
	if lines > 0 || j.torn {
		// Without the mark, the next process must find the damage itself.
		if err := os.WriteFile(j.mark(), nil, 0o600); errors.Is(err, unix.ENOSPC) {
			return j, errors.Join(&Damage{Lines: lines}, j.open())
		} else if err != nil {
			return nil, fmt.Errorf("open journal: %w", err)
		}
	}
	if lines > 0 {
		aside := j.path + time.Now().UTC().Format(".damaged-20060102T150405.000")
		if err := os.WriteFile(aside, b, 0o600); err != nil {
			_ = os.Remove(aside) // it is incomplete
			aside = ""
		}
		damage = &Damage{Lines: lines, Aside: aside}
	}
	if err := j.rewrite(); err != nil && !errors.Is(err, unix.ENOSPC) {
		return nil, err
	}
	return j, damage
}

// replay applies the lines of a journal and returns how many are damaged. A last line without an end was truncated by a
// crash. What a missing line has said is not guessed: each step looks at what is there.
func (j *Journal) replay(b []byte) (damaged int) {
	for len(b) > 0 {
		line, rest, complete := bytes.Cut(b, []byte{'\n'})
		if !complete {
			j.torn = true
			break
		}
		b = rest
		r, ok := decode(line)
		if ok {
			ok = j.may(r) == nil || r.Op != OpClaim && j.find(r.ID) < 0 // the line with its claim is damaged
		}
		if !ok {
			damaged++
			continue
		}
		j.apply(r)
	}
	if damaged > 0 {
		// Whether a copy is complete, only its record says. Without one the copy would be removed; as a file that the journal
		// does not know it is moved.
		j.moves = slices.DeleteFunc(j.moves, func(m *Move) bool { return m.Claim.Copy && !m.Copied })
	}
	return damaged
}

// encode writes a record as a line: a checksum and JSON.
func encode(r Record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(text), text), nil
}

func decode(line []byte) (Record, bool) {
	var r Record
	sum, text, ok := bytes.Cut(line, []byte{' '})
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) {
		return r, false
	}
	return r, json.Unmarshal(text, &r) == nil
}

func (j *Journal) find(id string) int {
	return slices.IndexFunc(j.moves, func(m *Move) bool { return m.ID == id })
}

// may says why a record cannot be applied. Only records that can be are written.
func (j *Journal) may(r Record) error {
	i := j.find(r.ID)
	switch r.Op {
	case OpClaim:
		if i >= 0 || r.Claim == nil || r.ID == "" {
			return fmt.Errorf("unexpected record %s of move %q", r.Op, r.ID)
		}
	case OpReceipt: // of a move, or of one that is finished: a compaction keeps it
		if r.Receipt == nil {
			return fmt.Errorf("record %s of move %q has no receipt", r.Op, r.ID)
		}
	case OpCopied, OpCut, OpSent, OpDone, OpBack:
		if i < 0 {
			return fmt.Errorf("unexpected record %s of move %q", r.Op, r.ID)
		}
	default:
		return fmt.Errorf("unknown record %q", r.Op)
	}
	return nil
}

// apply changes what the journal knows. A record of a move that it does not know changes nothing.
func (j *Journal) apply(r Record) {
	if r.Op == OpClaim {
		j.moves = append(j.moves, &Move{ID: r.ID, Claim: *r.Claim, Copied: r.Claim.Adopted, Begun: r.Time})
		return
	}
	if r.Op == OpReceipt && r.Receipt != nil {
		j.keep(*r.Receipt)
	}
	i := j.find(r.ID)
	if i < 0 {
		return
	}
	m := j.moves[i]
	switch r.Op {
	case OpCopied:
		m.Copied = true
		if r.File != nil {
			m.Claim.File = *r.File
		}
	case OpCut:
		m.Cut = true
	case OpSent:
		m.Sent, m.Receipt = r.Sent, nil
	case OpReceipt:
		m.Receipt = r.Receipt
	case OpDone, OpBack:
		j.moves = slices.Delete(j.moves, i, i+1)
	}
}

// keep adds a receipt. A later one of the same move replaces it: the file was sent again under the same name.
func (j *Journal) keep(r storage.Receipt) {
	j.added++
	if i, ok := j.byID[r.ID]; ok {
		j.receipts[i] = r
		return
	}
	j.byID[r.ID] = len(j.receipts)
	j.receipts = append(j.receipts, r)
}

// number numbers the receipts anew.
func (j *Journal) number() {
	clear(j.byID)
	for i := range j.receipts {
		j.byID[j.receipts[i].ID] = i
	}
}

// Learn adds receipts that the storage host has and the journal does not, and returns how many. They are sorted by time
// with the others. After an error it knows none of them: they are not on disk, and the next call adds them.
func (j *Journal) Learn(receipts []storage.Receipt) (int, error) {
	n, before, added := 0, slices.Clone(j.receipts), j.added
	for _, r := range receipts {
		if _, ok := j.byID[r.ID]; !ok {
			j.keep(r)
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	slices.SortStableFunc(j.receipts, func(a, b storage.Receipt) int { return a.Verified.Compare(b.Verified) })
	j.number()
	if err := j.rewrite(); err != nil {
		j.receipts, j.added = before, added
		j.number()
		return 0, err
	}
	return n, nil
}

// Forget drops receipts.
func (j *Journal) Forget(ids []string) error {
	gone := map[string]bool{}
	for _, id := range ids {
		if _, ok := j.byID[id]; ok {
			gone[id] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	j.receipts = slices.DeleteFunc(j.receipts, func(r storage.Receipt) bool { return gone[r.ID] })
	j.number()
	return j.rewrite()
}

// rewrite replaces the file by one with the records that are still needed.
func (j *Journal) rewrite() error {
	if len(j.receipts) > keepReceipts {
		j.receipts = slices.Delete(j.receipts, 0, len(j.receipts)-keepReceipts)
		j.number()
	}
	var buf bytes.Buffer
	put := func(r Record) error {
		line, err := encode(r)
		buf.Write(line)
		return err
	}
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
		if m.Cut {
			errs = append(errs, put(Record{ID: m.ID, Op: OpCut, Time: m.Begun}))
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

// replace writes a new file and renames it. On a full disk it keeps the old one, which can still be appended to, and returns
// ENOSPC.
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
	return errors.Join(err, j.open())
}

// open opens the file as it is, to append to it.
func (j *Journal) open() error {
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
	j.file, j.size, j.compact, j.allocated = f, st.Size(), st.Size(), 0
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

// Receipt returns the receipt of a move.
func (j *Journal) Receipt(id string) (storage.Receipt, bool) {
	i, ok := j.byID[id]
	if !ok {
		return storage.Receipt{}, false
	}
	return j.receipts[i], true
}

// Of returns the receipt of a file that has not changed since, if there is one: a journal that was damaged may know no move
// of it.
func (j *Journal) Of(id file.ID) (storage.Receipt, bool) {
	i := slices.IndexFunc(j.receipts, func(r storage.Receipt) bool { return r.File.Unchanged(id) })
	if i < 0 {
		return storage.Receipt{}, false
	}
	return j.receipts[i], true
}

// Receipts returns the receipts of finished moves, oldest first. The caller must not change them. A compaction keeps the
// newest.
func (j *Journal) Receipts() []storage.Receipt { return j.receipts }

// mark is a file that exists while receipts may be missing: a line of the journal was damaged. A last line without an end
// was truncated by a crash, unless it is the end that was damaged.
func (j *Journal) mark() string { return j.path + ".incomplete" }

// Incomplete reports whether receipts may be missing, also since an earlier process.
func (j *Journal) Incomplete() bool {
	_, err := os.Lstat(j.mark())
	return !errors.Is(err, os.ErrNotExist)
}

// Complete says that no receipt is missing any more.
func (j *Journal) Complete() error {
	if err := os.Remove(j.mark()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Added counts receipts: those that the journal had when it was opened, and every one since.
func (j *Journal) Added() int { return j.added }

// compactAfter is how many bytes are appended before finished moves are taken out of the file.
const compactAfter = 4 << 20

// Append writes one record and returns when it is on disk. A record that cannot be applied is not written.
func (j *Journal) Append(r Record) error {
	if err := j.may(r); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	r.Time = time.Now().UTC()
	line, err := encode(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		return fmt.Errorf("write journal: %w", err) // the next record overwrites what was written of this one
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(line))
	j.ahead()
	j.apply(r)
	if j.size-j.compact > compactAfter {
		if err := j.rewrite(); !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
	return nil
}

// Close releases the file; every record is on disk already.
func (j *Journal) Close() error { return j.file.Close() }
