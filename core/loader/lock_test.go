package loader

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/plugins/sdk/client"
)

const other = core.Digest("sha256:00ff")

func TestLockFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), LockFile)
	if _, err := ReadLock(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	l := &Lock{File: file}
	if !l.Accept("b", "1.0.0", other) || !l.Accept("a", "2.0.0", other) || l.Accept("a", "2.0.0", other) {
		t.Error("a lock changes when a plugin is new to it, and only then")
	}
	if err := l.Write(); err != nil {
		t.Fatal(err)
	}
	want := lockHeader + `
plugin "a" {
  version  = "2.0.0"
  protocol = 1
  digests = {
    ` + Platform + ` = "sha256:00ff"
  }
}

plugin "b" {
  version  = "1.0.0"
  protocol = 1
  digests = {
    ` + Platform + ` = "sha256:00ff"
  }
}
`
	if b, err := os.ReadFile(file); err != nil || string(b) != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, b, want)
	}
	if again, err := ReadLock(file); err != nil || !reflect.DeepEqual(again, l) {
		t.Errorf("read %+v, %v; want %+v", again, err, l)
	}
}

func TestAcceptKeepsOtherPlatformsOfTheVersion(t *testing.T) {
	t.Parallel()
	locked := func() *Lock {
		return &Lock{Plugins: map[string]Locked{"a": {
			Version: "1.0.0", Protocol: client.Protocol, Digests: map[string]core.Digest{"plan9_mips": other, Platform: other},
		}}}
	}
	l := locked()
	if !l.Accept("a", "1.0.0", "sha256:11") || l.Plugins["a"].Digests["plan9_mips"] != other || l.Plugins["a"].Digests[Platform] != "sha256:11" {
		t.Errorf("the same version: %+v", l)
	}
	l = locked()
	if !l.Accept("a", "1.1.0", other) || len(l.Plugins["a"].Digests) != 1 {
		t.Errorf("another version: %+v", l)
	}
}

func TestReadLockRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`plugin "a" {`:                 ":1,12-13: Unclosed configuration block",
		`plugin "a" { version = "1" }`: `The argument "protocol" is required`,
		"plugins = {}":                 ":1,1-8: Unsupported argument",
		"plugin \"a\" {\nversion = \"\"\nprotocol = \"x\"\ndigests = {}\n}": ":3,1",
	} {
		file := install(t, t.TempDir(), LockFile, text)
		var diags core.Diagnostics
		if _, err := ReadLock(file); !errors.As(err, &diags) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "troop plugin lock") {
			t.Errorf("%s\n%v, want %s", text, err, want)
		}
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := copyBinary(t, dir, "troop-plugin-dummy")
	l := newLoader(t, dir)
	digest, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		plugins map[string]Locked
		want    string
	}{
		"the one": {plugins: map[string]Locked{"dummy": {Protocol: 1, Digests: map[string]core.Digest{Platform: digest}}}},
		"not in the lock": {
			want: "plugin dummy: troop.lock.hcl has no digest of it for " + Platform + ", and " + path + " has the digest " + string(digest),
		},
		"not on this platform": {
			plugins: map[string]Locked{"dummy": {Protocol: 1, Digests: map[string]core.Digest{"plan9_mips": digest}}},
			want:    "has no digest of it for " + Platform,
		},
		"changed": {
			plugins: map[string]Locked{"dummy": {Protocol: 1, Digests: map[string]core.Digest{Platform: other}}},
			want:    "plugin dummy: " + path + " has the digest " + string(digest) + ", but troop.lock.hcl has sha256:00ff: the binary was changed",
		},
		"another protocol": {
			plugins: map[string]Locked{"dummy": {Protocol: 7, Digests: map[string]core.Digest{Platform: digest}}},
			want:    "plugin dummy is locked for protocol 7, and this troop speaks 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			locked := l.Locked(&Lock{File: filepath.Join(dir, LockFile), Plugins: tt.plugins})
			p, err := locked.Open(t.Context(), "dummy")
			_, _, describeErr := locked.Describe(t.Context(), "dummy")
			if tt.want == "" {
				if err := errors.Join(err, describeErr); err != nil {
					t.Fatal(err)
				}
				if p.Digest() != digest {
					t.Errorf("digest %s", p.Digest())
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			for _, err := range []error{err, describeErr} {
				if err == nil || !strings.HasPrefix(err.Error(), "plugin dummy") || !strings.Contains(err.Error(), tt.want) || !strings.HasSuffix(err.Error(), "accept it with: troop plugin lock") {
					t.Errorf("got %v, want %s", err, tt.want)
				}
			}
		})
	}
}

// A binary that is swapped after it was judged is not the one that starts, and one that was swapped before is refused.
func TestLockedRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := copyBinary(t, dir, "troop-plugin-dummy")
	digest, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "executed")
	evil := install(t, t.TempDir(), "evil", "#!/bin/sh\ntouch "+trace+"\n")
	lock := &Lock{File: filepath.Join(dir, LockFile)}
	lock.Accept("dummy", "1.0.0", digest)
	l := newLoader(t, dir).Locked(lock)
	judge := l.accept
	l.accept = func(typ, path string, d core.Digest) error {
		err := judge(typ, path, d)
		if swap := os.Rename(evil, path); swap != nil && !errors.Is(swap, fs.ErrNotExist) {
			t.Error(swap)
		}
		return err
	}

	p := open(t, l, "dummy") // swapped in between: the old one runs
	if p.Digest() != digest || p.Description().Name != "dummy" {
		t.Errorf("%s runs, digest %s", p.Description().Name, p.Digest())
	}
	var changed *LockError
	if _, err := l.Open(t.Context(), "dummy"); !errors.As(err, &changed) || changed.Want != digest || changed.Path != path {
		t.Errorf("swapped before: %v", err)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("the swapped binary was executed")
	}
}

// While somebody swaps a binary to and fro, each start is that of the locked one, or refused.
func TestLockedUnderSwaps(t *testing.T) {
	t.Parallel()
	dir, stock := t.TempDir(), t.TempDir()
	path := copyBinary(t, dir, "troop-plugin-dummy")
	digest, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "executed")
	good, evil := copyBinary(t, stock, "good"), install(t, stock, "evil", "#!/bin/sh\ntouch "+trace+"\n")
	lock := &Lock{File: filepath.Join(dir, LockFile)}
	lock.Accept("dummy", "1.0.0", digest)
	l := newLoader(t, dir).Locked(lock)
	stop := make(chan struct{})
	var swaps sync.WaitGroup
	swaps.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			next := filepath.Join(stock, "next")
			if err := errors.Join(os.Link([]string{evil, good}[i%2], next), os.Rename(next, path)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Duration(i%7) * time.Millisecond)
		}
	})
	started, refused := 0, 0
	for end := time.Now().Add(20 * time.Second); (started < 3 || refused < 3) && time.Now().Before(end); {
		p, err := l.Open(t.Context(), "dummy")
		switch {
		case err == nil:
			started++
			if err := p.Close(); err != nil || p.Digest() != digest {
				t.Errorf("digest %s, %v", p.Digest(), err)
			}
		case errors.As(err, new(*LockError)):
			refused++
		default:
			t.Error(err)
		}
	}
	close(stop)
	swaps.Wait()
	if started == 0 || refused == 0 {
		t.Errorf("%d starts, %d refusals: nothing raced", started, refused)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("the swapped binary was executed")
	}
}
