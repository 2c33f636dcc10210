package core_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-b96de936/troop/core"
)

func TestDigest(t *testing.T) {
	t.Parallel()
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	if d := core.DigestOf([]byte("hello")); d != "sha256:"+hello || d.Hex() != hello {
		t.Errorf("DigestOf = %s, its digits %s", d, d.Hex())
	}
	if d, err := core.DigestReader(strings.NewReader("hello")); err != nil || d.Hex() != hello {
		t.Errorf("DigestReader = %s, %v", d, err)
	}
	broken := errors.New("broken")
	if d, err := core.DigestReader(iotest.ErrReader(broken)); !errors.Is(err, broken) || d != "" {
		t.Errorf("DigestReader = %s, %v", d, err)
	}
	file := filepath.Join(t.TempDir(), "hello")
	if _, err := core.DigestFile(file); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := core.DigestFile(file); err != nil || d.Hex() != hello {
		t.Errorf("DigestFile = %s, %v", d, err)
	}
	seen := map[core.Digest]int{}
	for i, texts := range [][][]byte{nil, {nil}, {[]byte("ab")}, {[]byte("a"), []byte("b")}, {[]byte("ab"), nil}, {nil, []byte("ab")}} {
		d := core.DigestAll(texts...)
		if before, twice := seen[d]; twice {
			t.Errorf("texts %d and %d have one digest", before, i)
		}
		seen[d] = i
	}
}

func TestParseDigest(t *testing.T) {
	t.Parallel()
	d := core.DigestOf([]byte("hello"))
	if got, ok := core.ParseDigest(string(d)); !ok || got != d {
		t.Errorf("got %q, %v", got, ok)
	}
	if got, ok := core.DigestHex(d.Hex()); !ok || got != d {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, bad := range []string{"", "sha256:", d.Hex(), strings.ToUpper(string(d)), "sha256:" + strings.ToUpper(d.Hex()), string(d) + "00", "md5:" + d.Hex()} {
		if got, ok := core.ParseDigest(bad); ok {
			t.Errorf("%q is %q", bad, got)
		}
	}
}
