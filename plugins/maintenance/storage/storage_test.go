package storage_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/maintenance/storage"
	"github.com/seed-b96de936/troop/plugins/maintenance/storage/storagetest"
)

// noise returns bytes that do not compress.
func noise(tb testing.TB, n int) []byte {
	tb.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestStorage(t *testing.T) {
	for _, compress := range []string{"zstd", "none"} {
		t.Run(compress, func(t *testing.T) {
			dir := t.TempDir()
			h := storagetest.New(t, t.TempDir())
			content := append(noise(t, 3<<20), strings.Repeat("GET / 200 1.2ms\n", 1000)...)
			file := filepath.Join(dir, "app.log")
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })

			h.Cut.Store(1 << 20)
			s, err := storage.Connect(t.Context(), h.Target)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := storage.Send(s, f, "half", compress); err == nil {
				t.Error("a connection that ended in the middle stored the file")
			}
			_ = s.Close()

			h.Cut.Store(0)
			s, err = storage.Connect(t.Context(), h.Target)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			// What is there is not replaced.
			if _, err := storage.Send(s, f, "half", compress); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a name that is taken: %v", err)
			}
			sent, err := storage.Send(s, f, "x", compress)
			if err != nil {
				t.Fatal(err)
			}
			var back bytes.Buffer
			if err := storage.Fetch(s, sent, &back); err != nil || !bytes.Equal(back.Bytes(), content) {
				t.Errorf("read back %d bytes: %v", back.Len(), err)
			}
			if why := s.Full(); why != "" {
				t.Errorf("it has no space: %s", why)
			}
			reason := filepath.Join(filepath.Dir(h.Target.Path), "full.txt")
			if err := os.WriteFile(reason, []byte("its quota of 1 GiB is used up\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if why := s.Full(); !strings.HasPrefix(why, "its quota of 1 GiB is used up; raise storage_quota") {
				t.Errorf("with its quota used up: %q", why)
			}
			if names, err := s.Names(); err != nil || !slices.Equal(slices.Sorted(slices.Values(names)), []string{"half", "x"}) {
				t.Errorf("names: %v, %v", names, err)
			}
			stored := filepath.Join(h.Target.Path, "x")
			b, err := os.ReadFile(stored)
			if err != nil {
				t.Fatal(err)
			}
			for name, damaged := range map[string][]byte{
				"cut off":   b[:len(b)-1],
				"a byte":    slices.Concat(b[:1000], []byte{b[1000] ^ 1}, b[1001:]),
				"longer":    append(slices.Clone(b), 0),
				"all of it": nil,
			} {
				if err := os.WriteFile(stored, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := storage.Fetch(s, sent, io.Discard); !errors.Is(err, storage.ErrMismatch) {
					t.Errorf("%s: %v, want a mismatch", name, err)
				}
			}
		})
	}
}

// flipping is a storage host that stores another first byte than it gets.
type flipping struct{ *storage.SFTP }

func (s flipping) Put(name string, src io.Reader, back io.Writer) error {
	first := make([]byte, 1)
	if _, err := io.ReadFull(src, first); err != nil {
		return err
	}
	first[0] ^= 1
	return s.SFTP.Put(name, io.MultiReader(bytes.NewReader(first), src), back)
}

// TestStorageIsReadBack sends files of several sizes, around those of a chunk and of a frame, to a storage host that damages them.
func TestStorageIsReadBack(t *testing.T) {
	h := storagetest.New(t, t.TempDir())
	s, err := storage.Connect(t.Context(), h.Target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, size := range []int{1, 32 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20} {
		content := noise(t, size)
		file := filepath.Join(t.TempDir(), "app.log")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		for _, compress := range []string{"zstd", "none"} {
			name := fmt.Sprint(compress, size)
			if _, err := storage.Send(flipping{s}, f, name+"-damaged", compress); !errors.Is(err, storage.ErrMismatch) {
				t.Errorf("%s damaged: %v, want a mismatch", name, err)
			}
			sent, err := storage.Send(s, f, name, compress)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var back bytes.Buffer
			if err := storage.Fetch(s, sent, &back); err != nil || !bytes.Equal(back.Bytes(), content) {
				t.Errorf("%s: read back %d bytes: %v", name, back.Len(), err)
			}
		}
	}
}

func TestStorageIdentity(t *testing.T) {
	h := storagetest.New(t, t.TempDir())
	other := storagetest.New(t, t.TempDir())
	for name, test := range map[string]struct {
		change func(x *storage.Target)
		want   string
	}{
		"another host's key": {func(x *storage.Target) { x.KnownHosts = other.Target.KnownHosts }, "not the pinned one"},
		"no key for it":      {func(x *storage.Target) { x.Names = []string{"storage-2"} }, "no key is pinned"},
		"our key is unknown": {func(x *storage.Target) { x.PrivateKey = other.Target.PrivateKey }, "unable to authenticate"},
		"no key of ours":     {func(x *storage.Target) { x.PrivateKey = "" }, "parse the storage key"},
	} {
		t.Run(name, func(t *testing.T) {
			x := h.Target
			test.change(&x)
			s, err := storage.Connect(t.Context(), x)
			if err == nil {
				_ = s.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

// TestPartition ends the context of a connection: calls return.
func TestPartition(t *testing.T) {
	h := storagetest.New(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	s, err := storage.Connect(ctx, h.Target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	cancel()
	if err := s.Get("x", io.Discard); err == nil {
		t.Error("no error after the context ended")
	}
}
