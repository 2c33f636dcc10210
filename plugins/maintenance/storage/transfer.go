package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
)

const (
	// zstdFrame is compressed at once, and bounds the memory of compression at both ends. The lines of a log repeat within it.
	zstdFrame = 1 << 20
	// zstdFrames are compressed side by side: as fast as the hash of what is read, on two cores.
	zstdFrames = 2
)

// Store is the part of a storage host that Send and Fetch need: files can be added and read.
type Store interface {
	// Put stores a file under a new name, and writes to back what is stored, read back from there. fs.ErrExist says that the
	// name is taken, perhaps by half a file.
	Put(name string, src io.Reader, back io.Writer) error
	Get(name string, dst io.Writer) error
}

// Object is a file on the storage host.
type Object struct {
	Remote       file.Name `json:"remote"`
	File         file.ID   `json:"file"`   // as it was read
	SHA256       string    `json:"sha256"` // of its content
	StoredSize   int64     `json:"stored_size"`
	StoredSHA256 string    `json:"stored_sha256"`
	Compress     string    `json:"compress"`
}

// Receipt is the proof that a backup was verified: here in the journal, and beside the file on the storage host.
type Receipt struct {
	ID          string    `json:"id"`
	Environment string    `json:"environment"`
	Host        string    `json:"host"`
	Rule        string    `json:"rule"`
	Path        file.Name `json:"path"`
	Verified    time.Time `json:"verified"`
	Object
}

// ReceiptSuffix ends the name of a receipt, which begins with the file's. A file without one is not complete.
const ReceiptSuffix = ".json"

// Errors of Send and Fetch.
var (
	ErrChanged  = errors.New("it changed while it was read")
	ErrMismatch = errors.New("the stored file differs from what was sent")
)

// meter counts and hashes bytes.
type meter struct {
	hash.Hash
	n int64
}

func newMeter() *meter { return &meter{Hash: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	m.n += int64(len(p))
	return m.Hash.Write(p)
}

func (m *meter) digest() string { return "sha256:" + hex.EncodeToString(m.Sum(nil)) }

// Sum hashes a file's content as a receipt does.
func Sum(f *os.File) (string, error) {
	m := newMeter()
	if _, err := io.Copy(m, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return "", fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return m.digest(), nil
}

// Send reads a file once, and compresses, hashes and stores it. What the storage host then has is read back meanwhile, unpacked
// and compared. ErrChanged says that the file changed meanwhile, and ErrMismatch that a byte of what is stored differs.
func Send(to Store, f *os.File, remote, compress string) (Object, error) {
	before, err := file.Identify(f)
	if err != nil {
		return Object{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Object{}, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	content, stored := newMeter(), newMeter()
	pr, pw := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := pack(io.MultiWriter(pw, stored), io.TeeReader(f, content), compress)
		pw.CloseWithError(err)
		read <- err
	}()
	back, err := readBack(compress, io.Discard, func(back io.Writer) error { return to.Put(remote, pr, back) })
	pr.CloseWithError(io.ErrClosedPipe) // ends the reader when Put returned early
	if errRead := <-read; errRead != nil && (err == nil || !errors.Is(errRead, io.ErrClosedPipe)) {
		return Object{}, fmt.Errorf("read %s: %w", f.Name(), errRead)
	}
	if err != nil {
		return Object{}, err
	}
	after, err := file.Identify(f)
	if err != nil {
		return Object{}, err
	}
	if !before.Unchanged(after) || content.n != after.Size {
		return Object{}, fmt.Errorf("%s: %w", f.Name(), ErrChanged)
	}
	o := Object{
		Remote: file.Name(remote), File: after, SHA256: content.digest(), StoredSize: stored.n, StoredSHA256: stored.digest(), Compress: compress,
	}
	return o, back.compare(o)
}

// pack compresses frames side by side, and writes them in their order.
func pack(dst io.Writer, src io.Reader, compress string) error {
	if compress == "none" {
		_, err := io.CopyBuffer(dst, struct{ io.Reader }{src}, make([]byte, 128<<10))
		return err
	}
	// On logs, the fastest level is 1 to 3 % larger than the default, and as fast as the disk.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(zstdFrames), zstd.WithWindowSize(zstdFrame))
	if err != nil {
		return err
	}
	err = pieces(dst, src, zstdFrame, zstdFrames+1, func(_ int64, plain, out []byte) ([]byte, error) { // one is written meanwhile
		return z.EncodeAll(plain, out), nil
	})
	return errors.Join(err, z.Close())
}

// Fetch reads a stored file back, unpacks it into dst and compares it with what was sent. ErrMismatch says that a byte
// differs.
func Fetch(from Store, s Object, dst io.Writer) error {
	back, err := readBack(s.Compress, dst, func(back io.Writer) error { return from.Get(string(s.Remote), back) })
	if err != nil {
		return err
	}
	return back.compare(s)
}

// returned is what was read back from the storage host.
type returned struct {
	content, stored *meter
	unpack          error
}

// readBack unpacks and hashes what get writes.
func readBack(compress string, dst io.Writer, get func(back io.Writer) error) (returned, error) {
	r := returned{content: newMeter(), stored: newMeter()}
	pr, pw := io.Pipe()
	got := make(chan error, 1)
	go func() {
		err := get(io.MultiWriter(r.stored, pw))
		pw.CloseWithError(err)
		got <- err
	}()
	r.unpack = unpack(io.MultiWriter(r.content, dst), pr, compress)
	// get continues to the end: only the hash of all stored bytes shows whether they are damaged.
	if r.unpack != nil {
		_, _ = io.Copy(io.Discard, pr) // get returns the error
	}
	return r, <-got
}

// compare says whether it is what was sent.
func (r returned) compare(s Object) error {
	switch {
	case r.stored.n != s.StoredSize || r.stored.digest() != s.StoredSHA256:
		return fmt.Errorf("%s: %w: %d bytes %s, want %d bytes %s", s.Remote, ErrMismatch, r.stored.n, r.stored.digest(), s.StoredSize, s.StoredSHA256)
	case r.unpack != nil:
		return fmt.Errorf("unpack %s: %w", s.Remote, r.unpack)
	case r.content.n != s.File.Size || r.content.digest() != s.SHA256:
		return fmt.Errorf("%s: %w: it unpacks to %d bytes %s, want %d bytes %s", s.Remote, ErrMismatch, r.content.n, r.content.digest(), s.File.Size, s.SHA256)
	}
	return nil
}

func unpack(dst io.Writer, src io.Reader, compress string) error {
	if compress == "none" {
		_, err := io.CopyBuffer(dst, src, make([]byte, 128<<10))
		return err
	}
	z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = io.Copy(struct{ io.Writer }{dst}, z)
	return err
}
