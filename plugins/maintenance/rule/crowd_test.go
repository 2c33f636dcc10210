package rule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/maintenance/file"
)

// fill makes files of a folder: names with %d are made as often as given.
func fill(t *testing.T, dir string, files map[string]int, size int) {
	t.Helper()
	for name, n := range files {
		for i := range n {
			if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "%d", fmt.Sprint(i))), make([]byte, size), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCrowd has more small files than a scan keeps: they hide no large one, also of another pattern, and a file that two
// patterns name is there once.
func TestCrowd(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, filepath.Join(root, "a"), map[string]int{"%d.log": 95}, 10)
	fill(t, filepath.Join(root, "b"), map[string]int{"large%d.log": 2}, 9000)
	r := Rule{Paths: []string{root + "/a/*.log", root + "/**/*.log", root + "/b/*.log"}}
	l, err := list(r, Places{Secondary: []string{root}}, 20)
	if err != nil || len(l.Files) != 20 {
		t.Fatalf("%d files, %v", len(l.Files), err)
	}
	large := map[string]int{}
	for _, f := range l.Files {
		if f.ID.Size > 10 {
			large[f.Path]++
		}
	}
	if len(large) != 2 || large[root+"/b/large0.log"] != 1 {
		t.Errorf("large files: %v", large)
	}
}

// TestCrowdOfLinks has more links than a scan keeps reasons.
func TestCrowdOfLinks(t *testing.T) {
	root := t.TempDir()
	for i := range 50 {
		if err := os.Symlink("/etc/passwd", filepath.Join(root, fmt.Sprint(i, ".log"))); err != nil {
			t.Fatal(err)
		}
	}
	l, err := list(Rule{Paths: []string{root + "/*.log"}}, Places{Secondary: []string{root}}, 20)
	if err != nil || len(l.Files) != 0 || len(l.Refused) != 20 {
		t.Errorf("%d files, %d refused, %v", len(l.Files), len(l.Refused), err)
	}
}

// TestCrowdedDatabase has the signs of a database among more names than are read at once, whatever their order.
func TestCrowdedDatabase(t *testing.T) {
	root := t.TempDir()
	fill(t, root, map[string]int{"%d.log": 3*batch - 2, "CURRENT": 1, "MANIFEST-000002": 1}, 1)
	l, err := List(Rule{Paths: []string{root + "/*.log"}}, Places{Secondary: []string{root}})
	if err != nil || len(l.Files) != 0 || len(l.Refused) != 3*batch-2 {
		t.Errorf("%d files, %d refused, %v", len(l.Files), len(l.Refused), err)
	}
}

// TestDatabaseReason has many folders that look like databases of one kind, by names that differ: it is one reason.
func TestDatabaseReason(t *testing.T) {
	root := t.TempDir()
	for i := range 20 {
		dir := filepath.Join(root, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		fill(t, dir, map[string]int{"app.log": 1, "CURRENT": 1, fmt.Sprintf("MANIFEST-%06d", i): 1}, 1)
	}
	l, err := List(Rule{Paths: []string{root + "/*/*.log"}}, Places{Secondary: []string{root}})
	reasons := map[string]bool{}
	for _, err := range l.Refused {
		reasons[file.Reason(err)] = true
	}
	if err != nil || len(l.Refused) != 20 || len(reasons) != 1 {
		t.Errorf("%d refused for %v, %v", len(l.Refused), reasons, err)
	}
}

// TestHoles has files with little data: a log that was cut under a writer without O_APPEND is moved; one that would take
// hours to read, and that anybody can make, is refused.
func TestHoles(t *testing.T) {
	root := t.TempDir()
	for name, size := range map[string]int64{"cut.log": 1 << 30, "trap.log": 1 << 40} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Truncate(file, size)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := List(Rule{Paths: []string{root + "/*.log"}}, Places{Secondary: []string{root}})
	if err != nil || len(l.Files) != 1 || filepath.Base(l.Files[0].Path) != "cut.log" {
		t.Errorf("found %v, %v", l.Files, err)
	}
	if got := file.Reason(l.Refused[root+"/trap.log"]); !strings.HasPrefix(got, "its holes") {
		t.Errorf("refused for %q", got)
	}
}
