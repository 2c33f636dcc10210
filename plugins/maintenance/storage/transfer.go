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

// zstdWindow bounds the memory of compression at both ends. The lines of a log repeat within it.
const zstdWindow = 1 << 20

// Store is the part of a storage host that Send and Fetch need: files can be added and read.
type Store interface {
	// Put stores a file under a new name; fs.ErrExist says that it is taken, perhaps by half a file.
	Put(name string, src io.Reader) error
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

// Send reads a file once, and compresses, hashes and stores it. ErrChanged says that the file changed meanwhile.
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
	err = to.Put(remote, pr)
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
	return Object{
		Remote: file.Name(remote), File: after, SHA256: content.digest(), StoredSize: stored.n, StoredSHA256: stored.digest(), Compress: compress,
	}, nil
}

func pack(dst io.Writer, src io.Reader, compress string) error {
	if compress == "none" {
		_, err := io.CopyBuffer(dst, struct{ io.Reader }{src}, make([]byte, 128<<10))
		return err
	}
	// On logs, the fastest level is 1 to 3 % larger than the default, and as fast as the disk.
	z, err := zstd.NewWriter(dst, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{z}, struct{ io.Reader }{src}, make([]byte, 128<<10))
	return errors.Join(err, z.Close())
}

// Fetch reads a stored file back, unpacks it into dst and compares it with what was sent. ErrMismatch says that a byte
// differs.
func Fetch(from Store, s Object, dst io.Writer) error {
	content, stored := newMeter(), newMeter()
	pr, pw := io.Pipe()
	got := make(chan error, 1)
	go func() {
		err := from.Get(string(s.Remote), io.MultiWriter(stored, pw))
		pw.CloseWithError(err)
		got <- err
	}()
	errUnpack := unpack(io.MultiWriter(content, dst), pr, s.Compress)
	// Get continues to the end: only the hash of all stored bytes shows whether they are damaged.
	if errUnpack != nil {
		_, _ = io.Copy(io.Discard, pr) // Get returns the error
	}
	if err := <-got; err != nil {
		return err
	}
	switch {
	case stored.n != s.StoredSize || stored.digest() != s.StoredSHA256:
		return fmt.Errorf("%s: %w: %d bytes %s, want %d bytes %s", s.Remote, ErrMismatch, stored.n, stored.digest(), s.StoredSize, s.StoredSHA256)
	case errUnpack != nil:
		return fmt.Errorf("unpack %s: %w", s.Remote, errUnpack)
	case content.n != s.File.Size || content.digest() != s.SHA256:
		return fmt.Errorf("%s: %w: it unpacks to %d bytes %s, want %d bytes %s", s.Remote, ErrMismatch, content.n, content.digest(), s.File.Size, s.SHA256)
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
