package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-b96de936/troop/core"
)

// Validation that was done before is not done again: of what is known, nothing is started.
func TestLazy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := copyBinary(t, dir, "troop-plugin-dummy")
	l := newLoader(t, dir)
	block := func(text string) core.Config { return core.Config{Name: "a", Block: core.Block{Source: []byte(text)}} }
	look := func(l *Loader, text string) (started bool, diags core.Diagnostics) {
		t.Helper()
		p, err := l.Lazy().Open(t.Context(), "dummy")
		if err != nil {
			t.Fatal(err)
		}
		if p.Description().Name != "dummy" || p.Digest() == "" {
			t.Errorf("description %+v", p.Description())
		}
		diags, err = p.Check(t.Context(), block(text))
		if err = errors.Join(err, p.Close()); err != nil {
			t.Error(err)
		}
		return p.(*lazyPlugin).p != nil, diags
	}
	for i, step := range []struct {
		text           string
		starts, wanted bool
	}{
		{`log = ["a"]`, true, false},
		{`log = ["a"]`, false, false},
		{`log = ["b"]`, true, false}, // another block
		{`log = ["a"]`, false, false},
		{`lgo = []`, true, true},
		{`lgo = []`, true, true}, // what is bad is said again
	} {
		if started, diags := look(l, step.text); started != step.starts || (len(diags) > 0) != step.wanted {
			t.Errorf("step %d, %s: started %v, %v", i, step.text, started, diags)
		}
	}
	again, err := New(Options{Dirs: []string{dir}, Cache: l.o.Cache})
	if err != nil {
		t.Fatal(err)
	}
	if started, _ := look(again, `log = ["a"]`); started {
		t.Error("the next process has forgotten")
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("changed"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if started, _ := look(l, `log = ["a"]`); !started {
		t.Error("another binary is trusted for what the old one said")
	}
	// A plugin that is looked at can also be used.
	p, err := l.Lazy().Open(t.Context(), "dummy")
	if err != nil {
		t.Fatal(err)
	}
	var heard []core.Message
	emit := func(m core.Message) { heard = append(heard, m) }
	job := core.Job{Config: block(`log = ["a"]`)}
	err = errors.Join(
		p.Run(t.Context(), job, emit), p.Watch(t.Context(), job, emit),
		p.Call(t.Context(), core.Job{}, "echo", map[string]string{"text": "a"}, emit), p.Close(),
	)
	if err != nil || len(heard) != 3 {
		t.Errorf("%+v, %v", heard, err)
	}
	if _, err := l.Lazy().Open(t.Context(), "none"); err == nil {
		t.Error("a plugin that does not exist is opened")
	}
	lock := &Lock{File: filepath.Join(dir, LockFile)}
	lock.Accept("dummy", "1.0.0", other)
	if _, err := l.Locked(lock).Lazy().Open(t.Context(), "dummy"); !errors.As(err, new(*LockError)) {
		t.Errorf("a plugin that is locked otherwise: %v", err)
	}
}

func TestGoodBlocks(t *testing.T) {
	t.Parallel()
	a := core.Config{Name: "a", Block: core.Block{Source: []byte("b")}}
	for _, b := range []core.Config{
		{Name: "ab"},
		{Block: core.Block{Source: []byte("ab")}},
		{Name: "a", Block: a.Block, Scope: core.Scope{Type: []byte("x")}},
		{Name: "a", Block: a.Block, Scope: core.Scope{Value: []byte("x")}},
	} {
		if blockKey(a) == blockKey(b) {
			t.Errorf("%+v is taken for %+v", b, a)
		}
	}
	moved := a
	moved.Block.File, moved.Block.Start = "other.hcl", core.Pos{Line: 9}
	if blockKey(moved) != blockKey(a) {
		t.Error("a block that was moved is another one")
	}
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "00"), 0o700); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for i := range keepGood + 50 {
		keys = append(keys, fmt.Sprint(i))
	}
	s.saveGood("sha256:00", keys)
	if got := s.good("sha256:00"); len(got) != keepGood || got[0] != "50" {
		t.Errorf("%d kept, from %s", len(got), got[0])
	}
}
