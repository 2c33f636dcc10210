package file

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestSparse copies a file of 64 MiB with three pages of data, and writes it anew: both take little space.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	src, err := os.Create(filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	const size = 64 << 20
	for _, at := range []int64{0, 20 << 20, size - 5} {
		if _, err := src.WriteAt([]byte("data!"), at); err != nil {
			t.Fatal(err)
		}
	}
	dst, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := CopySparse(dst, src); err != nil {
		t.Fatal(err)
	}
	if _, err := src.WriteString("late"); err != nil { // both are at the end
		t.Fatal(err)
	}
	if _, err := dst.WriteString("late"); err != nil {
		t.Fatal(err)
	}
	third, err := os.Create(filepath.Join(dir, "third"))
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	w := &SparseWriter{File: third}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, make([]byte, 100_001)); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(src.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{dst, third} {
		got, err := os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %d bytes, %v", f.Name(), len(got), err)
		}
		id, err := Identify(f)
		if err != nil || id.Used() > 1<<20 || id.Size != size+4 {
			t.Errorf("%s: %+v, %v", f.Name(), id, err)
		}
	}
}
