package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// CopySparse copies src to dst from the beginning, without its holes, and leaves both at the end of what was copied.
func CopySparse(dst, src *os.File) error {
	st, err := src.Stat()
	if err != nil {
		return err
	}
	for at := int64(0); at < st.Size(); {
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			break
		}
		hole := st.Size()
		if err == nil {
			hole, err = unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE)
		}
		if errors.Is(err, unix.EINVAL) { // the file system does not know holes
			data, hole, err = at, st.Size(), nil
		}
		if err != nil {
			return fmt.Errorf("find data of %s: %w", src.Name(), err)
		}
		hole = min(hole, st.Size())
		if data >= hole {
			break
		}
		if err := seekBoth(dst, src, data); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, hole-data); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		at = hole
	}
	if err := dst.Truncate(st.Size()); err != nil {
		return err
	}
	return seekBoth(dst, src, st.Size())
}

func seekBoth(a, b *os.File, at int64) error {
	_, errA := a.Seek(at, io.SeekStart)
	_, errB := b.Seek(at, io.SeekStart)
	return errors.Join(errA, errB)
}

// holeSize is the length of a run of zeros that a SparseWriter leaves out, in bytes.
const holeSize = 64 << 10

var zeros = make([]byte, holeSize)

// SparseWriter writes a new file and leaves holes for long runs of zeros. Finish must be called in the end.
type SparseWriter struct {
	File *os.File
	buf  []byte
	size int64
}

// Write writes p, or keeps it until a block is full.
func (w *SparseWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part := p[:min(len(p), holeSize-len(w.buf))]
		w.buf = append(w.buf, part...)
		p = p[len(part):]
		if len(w.buf) == holeSize {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *SparseWriter) flush() error {
	if !bytes.Equal(w.buf, zeros[:len(w.buf)]) {
		if _, err := w.File.WriteAt(w.buf, w.size); err != nil {
			return err
		}
	}
	w.size += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// Finish writes the rest and sets the size.
func (w *SparseWriter) Finish() error {
	return errors.Join(w.flush(), w.File.Truncate(w.size))
}
