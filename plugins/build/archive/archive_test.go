package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-b96de936/troop/plugins/build/archive"
)

// tree makes a folder with these files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func packed(t *testing.T, dir string, o archive.Options) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.tar.zst")
	if _, err := archive.Write(t.Context(), file, dir, o); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noise is text that compresses badly and differs everywhere.
func noise(n int) string {
	var b strings.Builder
	for x := uint64(1); b.Len() < n; x = x*6364136223846793005 + 1442695040888963407 {
		fmt.Fprintf(&b, "%x ", x)
	}
	return b.String()[:n]
}

// Larger than several frames, an archive is the same bytes on any number of processors, and one stream to a reader.
func TestFrames(t *testing.T) {
	files := map[string]string{"a/large": noise(11 << 20), "a.txt": "after a/", "z": noise(3<<20 + 1), "empty": ""}
	dir := tree(t, files)
	o := archive.Options{Time: time.Unix(1_000_000_000, 0)}
	many := packed(t, dir, o)
	before := runtime.GOMAXPROCS(1)
	one := packed(t, dir, o)
	runtime.GOMAXPROCS(before)
	if !bytes.Equal(one, many) {
		t.Error("one processor and several make different bytes")
	}
	z, err := zstd.NewReader(bytes.NewReader(many))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var order []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || string(b) != files[h.Name] || !h.ModTime.Equal(o.Time) || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: %d bytes of %d, %s, uid %d, %v", h.Name, len(b), len(files[h.Name]), h.ModTime, h.Uid, err)
		}
		order = append(order, h.Name)
	}
	if got := strings.Join(order, " "); got != "a/ a/large a.txt empty z" {
		t.Errorf("order: %s", got)
	}
}

// While a tree is packed, somebody puts links and a pipe in the place of what was listed. None is followed or waited for.
func TestReplacedWhileItIsPacked(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "of the machine"})
	tests := map[string]func(path string) error{
		"a folder by a link": func(path string) error { return os.Symlink(outside, path) },
		"a file by a link":   func(path string) error { return os.Symlink(filepath.Join(outside, "secret"), path) },
		"a file by a pipe":   func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a file by nothing":  func(string) error { return nil },
	}
	for name, replace := range tests {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"z": "listed"}
			if strings.HasPrefix(name, "a folder") {
				files = map[string]string{"z/secret": "listed"}
			}
			for i := range 500 { // as many as make it tell its progress
				files[fmt.Sprintf("a/%d", i)] = ""
			}
			dir := tree(t, files)
			_, err := archive.Write(t.Context(), filepath.Join(t.TempDir(), "a"), dir, archive.Options{Progress: func(int) {
				if err := errors.Join(os.RemoveAll(filepath.Join(dir, "z")), replace(filepath.Join(dir, "z"))); err != nil {
					t.Error(err)
				}
			}})
			if err == nil || !strings.Contains(err.Error(), "z") {
				t.Errorf("got %v, want an error about z", err)
			}
		})
	}
}

// A file that holds more, or less, than its size says is being written: /proc has such files.
func TestChangingFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	_, err := archive.Write(t.Context(), file, "/proc/sys/kernel/random", archive.Options{Include: []string{"uuid"}})
	if err == nil || !strings.Contains(err.Error(), "uuid changed while it was packed") {
		t.Errorf("got %v", err)
	}
}

func TestCancelled(t *testing.T) {
	files := map[string]string{}
	for i := range 600 {
		files[fmt.Sprintf("%d", i)] = "x"
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("somebody pressed Ctrl-C")
	_, err := archive.Write(ctx, filepath.Join(t.TempDir(), "a"), tree(t, files), archive.Options{Progress: func(int) { cancel(why) }})
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// A full disk is an error, and hangs nothing.
func TestFullDisk(t *testing.T) {
	for _, size := range []int{1, 40 << 20} {
		err := archive.Frames(fullDisk{}, strings.NewReader(noise(size)))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
