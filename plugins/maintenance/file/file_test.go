package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func openTemp(t *testing.T) (dir string, d *Folder) {
	t.Helper()
	dir = t.TempDir()
	d, err := OpenFolder(dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return dir, d
}

// TestSwappedFolder replaces the folder by a link after it was opened: what is done in it stays in it.
func TestSwappedFolder(t *testing.T) {
	dir, _ := openTemp(t)
	logs, victim := filepath.Join(dir, "logs"), filepath.Join(dir, "victim")
	for _, p := range []string{logs, victim} {
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p, "a.log"), []byte(p), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenFolder(logs, logs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := errors.Join(os.Rename(logs, logs+".old"), os.Symlink(victim, logs)); err != nil {
		t.Fatal(err)
	}
	if err := d.Rename("a.log", "b.log"); err != nil {
		t.Error(err)
	}
	if err := d.Remove("b.log"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(victim, "a.log")); err != nil {
		t.Errorf("the file behind the link: %v", err)
	}
	if _, err := OpenFolder(logs, logs); !errors.Is(err, ErrUnsafe) {
		t.Errorf("open the link: %v", err)
	}
}

func TestRenameAndCreateReplaceNothing(t *testing.T) {
	dir, d := openTemp(t)
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Rename("a", "b"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("rename over a file: %v", err)
	}
	if f, err := d.Create("b"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("create over a file: %v, %v", f, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(b) != "b" {
		t.Errorf("b holds %q, %v", b, err)
	}
}

// TestReleased has a writer hold a file, and let go of it.
func TestReleased(t *testing.T) {
	dir, d := openTemp(t)
	w, err := os.Create(filepath.Join(dir, "a.log"))
	if err != nil {
		t.Fatal(err)
	}
	f, id, err := d.Open("a.log", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := Released(f); !errors.Is(err, ErrHeld) {
		t.Errorf("held: %v", err)
	}
	if got := Writers("/proc", id); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, strconv.Itoa(os.Getpid())+" ") }) {
		t.Errorf("writers %q, want this process", got)
	}
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Released(f); err != nil {
		t.Errorf("let go: %v", err)
	}
	after, err := Identify(f)
	if err != nil || !id.Same(after) || id.Unchanged(after) {
		t.Errorf("%+v became %+v, %v; want the same file, changed", id, after, err)
	}
}

func TestBelow(t *testing.T) {
	for name, want := range map[string]bool{"/a": true, "/a/b": true, "/ab": false, "/": false, "/c/d": true} {
		if got := Below(name, "/a", "/c"); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestBeginsWith compares files with a part of them: only one whose end is not repeated tells that nothing was written anew.
func TestBeginsWith(t *testing.T) {
	lines := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		return b.String()
	}
	long := lines(100_000) // several pieces
	same := strings.Repeat("GET / 200\n", 100_000)
	for name, test := range map[string]struct {
		whole, part string
		want        bool
	}{
		"a copy":         {long, long, true},
		"more since":     {long + "more\n", long, true},
		"cut":            {"", long, false},
		"written anew":   {lines(50_000), long, false},
		"another byte":   {strings.Replace(long, "line 77777", "line 77778", 1), long, false},
		"repeats itself": {same + same, same, false},
		"ends as before": {long + long, long + long, false},
		"short":          {"started\n", "started\n", false},
		"empty copy":     {long, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			var files []*os.File
			for _, text := range []string{test.whole, test.part} {
				f, err := os.CreateTemp(t.TempDir(), "")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = f.Close() })
				if _, err := f.WriteString(text); err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			if got, err := BeginsWith(files[0], files[1]); got != test.want || err != nil {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}
