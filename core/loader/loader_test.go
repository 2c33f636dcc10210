package loader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "troop-loader-test")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "troop-plugin-dummy"), "../../plugins/sdk/sdktest/dummy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	m.Run()
	if dir, err := build(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

func binary(t testing.TB) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "troop-plugin-dummy")
}

func newLoader(t testing.TB, dirs ...string) *Loader {
	t.Helper()
	l, err := New(Options{Dirs: dirs, Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func open(t testing.TB, l *Loader, typ string) core.Plugin {
	t.Helper()
	p, err := l.Open(t.Context(), typ)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// install puts a link to a binary, or other content, into a folder.
func install(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyBinary(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	return install(t, dir, name, string(b))
}

func TestNotFound(t *testing.T) {
	dir := t.TempDir()
	install(t, dir, "troop-plugin-deploy", "")
	install(t, dir, "troop-plugin-doctor", "")
	l := newLoader(t, dir)
	t.Chdir(t.TempDir())
	install(t, ".", "troop-plugin-local", "")
	for typ, want := range map[string]string{
		"deplyo": `did you mean "deploy"? (troop looked for troop-plugin-deplyo in ` + dir,
		"local":  "troop looked for troop-plugin-local in " + dir,
		"../x":   "troop looked for",
		"":       "troop looked for",
	} {
		_, err := l.Open(t.Context(), typ)
		if e := (*core.NotFoundError)(nil); !errors.As(err, &e) || e.Name != typ || !strings.HasPrefix(e.Remedy, want) {
			t.Errorf("%q: %v, want %s", typ, err, want)
		}
	}
	if got := l.Types(); !reflect.DeepEqual(got, []string{"deploy", "doctor"}) {
		t.Errorf("types %v", got)
	}
}

func TestFirstFolderWins(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	install(t, b, "troop-plugin-x", "")
	l := newLoader(t, a, b)
	if got, _ := l.Path("x"); got != filepath.Join(b, "troop-plugin-x") {
		t.Errorf("path %s", got)
	}
	if err := os.WriteFile(filepath.Join(a, "troop-plugin-x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := l.Path("x"); got != filepath.Join(b, "troop-plugin-x") {
		t.Errorf("a file that cannot be executed was chosen: %s", got)
	}
	install(t, a, "troop-plugin-y", "")
	install(t, b, "troop-plugin-y", "")
	if got, _ := l.Path("y"); got != filepath.Join(a, "troop-plugin-y") {
		t.Errorf("path %s", got)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	p := open(t, newLoader(t, filepath.Dir(binary(t))), "dummy")
	if d := p.Description(); d.Name != "dummy" || !d.Stage || d.Agent.User != "nobody" || d.Actions[0].Args[0].Name != "text" || len(d.Config.Blocks) != 1 {
		t.Errorf("description %+v", d)
	}
	job := func(body string) core.Job {
		return core.Job{Config: core.Config{Block: core.Block{Source: []byte(body), Start: core.Pos{Line: 7, Column: 20, Byte: 99}, File: "p.hcl"}}}
	}
	diags, err := p.Check(t.Context(), job("\n  lgo = []\n").Config)
	want := core.Diagnostics{{
		Summary: "Unsupported argument", Detail: `A dummy stage has no argument "lgo". Did you mean "log"?`,
		Range: core.Range{File: "p.hcl", Start: core.Pos{Line: 8, Column: 3, Byte: 102}, End: core.Pos{Line: 8, Column: 6, Byte: 105}},
	}}
	if err != nil || !reflect.DeepEqual(diags, want) {
		t.Errorf("check: %+v, %v", diags, err)
	}
	var got []core.Message
	emit := func(m core.Message) { got = append(got, m) }
	if err := p.Run(t.Context(), job(`log = ["hi"]`), emit); err != nil || len(got) != 1 || got[0].Log.Line != "hi" {
		t.Errorf("run: %+v, %v", got, err)
	}
	if err := p.Watch(t.Context(), job(``), emit); err != nil {
		t.Errorf("watch: %v", err)
	}
	if f := (*core.Failure)(nil); !errors.As(p.Run(t.Context(), job(`fail = "no"`), emit), &f) || f.Reason != "no" {
		t.Errorf("failure %v", f)
	}
	if f := (*core.Failure)(nil); !errors.As(p.Run(t.Context(), job(`lgo = 1`), emit), &f) || len(f.Diagnostics) != 1 {
		t.Errorf("failure with diagnostics %v", f)
	}
	if s := (*core.SkipError)(nil); !errors.As(p.Run(t.Context(), job(`skip = "why"`), emit), &s) || s.Reason != "why" {
		t.Errorf("skip %v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Run(ctx, job(`sleep = "1m"`), emit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	got = nil
	if err := p.Call(t.Context(), job(""), "echo", map[string]string{"text": "a"}, emit); err != nil || len(got) != 1 || got[0].Table.Rows[0][0] != "a" {
		t.Errorf("call: %+v, %v", got, err)
	}
}

// heardCore records what a plugin asks of the core.
type heardCore struct {
	core.Capabilities
	events []core.Event
}

func (h *heardCore) Notify(_ context.Context, e core.Event) error {
	h.events = append(h.events, e)
	return nil
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	p := open(t, newLoader(t, filepath.Dir(binary(t))), "dummy")
	h := &heardCore{}
	j := core.Job{Config: core.Config{Block: core.Block{Source: []byte(`notify = "a.b"`)}}, Capabilities: h}
	if err := p.Run(t.Context(), j, func(core.Message) {}); err != nil || len(h.events) != 1 || h.events[0].Severity != core.Info {
		t.Errorf("%+v, %v", h.events, err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := install(t, dir, "troop-plugin-x", "one")
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	get := func() stored {
		t.Helper()
		c, err := s.copy(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one := get()
	if b, err := os.ReadFile(one.path); err != nil || string(b) != "one" {
		t.Fatalf("copy holds %q, %v", b, err)
	}
	if d, _ := hashFile(path); d != one.digest {
		t.Errorf("digest %s, want %s", one.digest, d)
	}
	if again := get(); again != one {
		t.Errorf("second copy %v, want %v", again, one)
	}
	install(t, dir, "troop-plugin-x", "two")
	two := get()
	if two.digest == one.digest {
		t.Error("a changed binary keeps its digest")
	}
	// A copy that was tampered with, even with its time put back, is not used.
	info, err := os.Stat(two.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(two.path, 0o700), os.WriteFile(two.path, []byte("evil"[:3]), 0o700), os.Chtimes(two.path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if c := get(); c != two {
		t.Errorf("copy %v, want %v", c, two)
	}
	if b, _ := os.ReadFile(two.path); string(b) != "two" {
		t.Errorf("the tampered copy is used: %q", b)
	}
	for i := range 5 {
		install(t, dir, "troop-plugin-x", fmt.Sprint(i))
		get()
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*", "troop-plugin-x")); len(left) != keepCopies {
		t.Errorf("%d copies are kept", len(left))
	}
}

func TestTrust(t *testing.T) {
	now := time.Unix(1_000_000, 7_000_000)
	old := identity{Ino: 1, Size: 2, Ctime: now.Add(-time.Hour).UnixNano()}
	second := identity{Ino: 1, Size: 2, Ctime: now.Add(-time.Second).UnixNano()}
	fresh := identity{Ino: 1, Size: 2, Ctime: now.Add(-10 * time.Millisecond).UnixNano()}
	coarse := identity{Ino: 1, Size: 2, Ctime: now.Truncate(time.Second).Add(-time.Second).UnixNano()}
	r := record{Hashed: now}
	if !r.trusts(old, old) || !r.trusts(second, second) || r.trusts(fresh, fresh) || r.trusts(coarse, coarse) || r.trusts(old, second) {
		t.Error("only an unchanged file that was at rest when it was hashed is trusted")
	}
}

func TestStoreRefusesOpenFolder(t *testing.T) {
	cache := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(cache, "plugins"), 0o700), os.Chmod(filepath.Join(cache, "plugins"), 0o770)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Cache: cache}); err == nil || !strings.Contains(err.Error(), "mode 0700") {
		t.Errorf("error %v", err)
	}
}

func TestOpenPath(t *testing.T) {
	t.Parallel()
	path := copyBinary(t, t.TempDir(), "troop-plugin-dummy")
	digest, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Cache: t.TempDir()}
	p, err := OpenPath(t.Context(), path, digest, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil || p.Digest() != digest {
		t.Errorf("digest %s, close %v", p.Digest(), err)
	}
	var e *DigestError
	if _, err := OpenPath(t.Context(), path, core.Digest("sha256:00"), o); !errors.As(err, &e) || e.Got != digest {
		t.Errorf("another digest: %v", err)
	}
}

func TestDescriptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copyBinary(t, dir, "troop-plugin-dummy")
	copyBinary(t, dir, "troop-plugin-other")
	install(t, dir, "troop-plugin-broken", "#!/bin/sh\necho hello\n")
	l := newLoader(t, dir)
	found := l.List(t.Context())
	if len(found) != 3 || found[1].Type != "dummy" || found[1].Description.Version != "1.0.0" || found[1].Err != nil {
		t.Fatalf("list %+v", found)
	}
	if err := found[0].Err; err == nil || !strings.Contains(err.Error(), `troop-plugin-broken printed "hello"`) {
		t.Errorf("broken: %v", err)
	}
	if err := found[2].Err; err == nil || !strings.Contains(err.Error(), `calls itself "dummy": name the binary troop-plugin-dummy`) {
		t.Errorf("misnamed: %v", err)
	}
	// The second time, the description comes from the cache: this one was never said by a plugin.
	b, err := json.Marshal(core.Description{Name: "dummy", Version: "from the cache"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.store.path(found[1].Digest, "description-2.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if d, _, err := l.Describe(t.Context(), "dummy"); err != nil || d.Version != "from the cache" {
		t.Errorf("described as %q, %v", d.Version, err)
	}
}

func TestParallelOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copyBinary(t, dir, "troop-plugin-dummy")
	l := newLoader(t, dir)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			p, err := l.Open(t.Context(), "dummy")
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(p.Run(t.Context(), core.Job{}, func(core.Message) {}), p.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkNoop is six stages that do nothing: six processes, each copied or verified, started with mutual TLS,
// described, checked, run and ended, one after the other.
func BenchmarkNoop(b *testing.B) {
	l := newLoader(b, filepath.Dir(binary(b)))
	for b.Loop() {
		for range 6 {
			p, err := l.Open(b.Context(), "dummy")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := p.Check(b.Context(), core.Config{}); err != nil {
				b.Fatal(err)
			}
			if err := p.Run(b.Context(), core.Job{}, func(core.Message) {}); err != nil {
				b.Fatal(err)
			}
			if err := p.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
