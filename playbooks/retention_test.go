package playbooks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRetention has backups of two files on a storage host. The oldest go by age and by size; so many complete ones of each
// name stay; half a file goes after a week; what is no backup stays.
func TestRetention(t *testing.T) {
	t.Parallel()
	const id = "01M8MC4C155WF9CVFD2BQ3BW" // and two digits
	type file struct {
		name string
		days float64 // age
		size int
	}
	backup := func(base string, n int, days float64) []file {
		name := fmt.Sprintf("%s.%s%02d.zst", base, id, n)
		return []file{{name, days, 100_000}, {name + ".json", days, 500}}
	}
	for name, test := range map[string]struct {
		rules string
		files []file
		gone  []int // numbers of the backups
	}{
		"for ever": {`{}`, backup("app.log", 1, 4000), nil},
		"by age": {
			`{"days": 30, "least": 1}`,
			slices.Concat(backup("app.log", 1, 50), backup("app.log", 2, 40), backup("app.log", 3, 20), backup("b.log", 4, 60)),
			[]int{1, 2}, // the last one of b.log stays
		},
		"at least three": {
			`{"days": 30, "least": 3}`,
			slices.Concat(backup("app.log", 1, 50), backup("app.log", 2, 40), backup("app.log", 3, 35), backup("app.log", 4, 34)),
			[]int{1},
		},
		"by size": {
			`{"bytes": 300000, "least": 1}`,
			slices.Concat(backup("app.log", 1, 3), backup("app.log", 2, 2), backup("app.log", 3, 1), backup("app.log", 4, 0)),
			[]int{1, 2},
		},
		"half a file": {
			`{"days": 30, "least": 1}`,
			[]file{
				{"app.log." + id + "01.zst", 8, 1000},
				{"app.log." + id + "02.zst", 6, 1000},
				{"app.log." + id + "03.zst", 50, 1000},
				{"app.log." + id + "03.abcdef.zst", 50, 1000},
				{"app.log." + id + "03.abcdef.zst.json", 50, 500},
				{"app.log." + id + "04.zst", 9, 1000},
				{"app.log." + id + "04.zst.json", 9, 0}, // its receipt was cut off
			},
			[]int{1, 4}, // the only complete one stays
		},
		"no backup": {`{"days": 1, "bytes": 1}`, []file{{"notes.txt", 900, 100}, {"x.json", 900, 100}, {".json", 900, 1}}, nil},
		"names of bytes": {
			`{"days": 30}`,
			slices.Concat(backup("\xff\xfe.log", 1, 50), backup("\xff\xfe.log", 2, 40), backup("a\nb.log", 3, 50)),
			[]int{1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			folder := filepath.Join(root, "files")
			if err := os.Mkdir(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			for _, f := range test.files {
				path := filepath.Join(folder, f.name)
				at := now.Add(-time.Duration(f.days * 24 * float64(time.Hour)))
				if err := os.WriteFile(path, []byte(strings.Repeat("x", f.size)), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			const script = `
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("quota", "roles/storage/files/storage-quota.py")
quota = importlib.util.module_from_spec(spec)
spec.loader.exec_module(quota)
account = quota.Account(0, "backup-web-1", sys.argv[1])
print(json.dumps(account.retain(quota.Retention(**json.loads(sys.argv[2])), float(sys.argv[3]))))`
			out, err := exec.CommandContext(t.Context(), "python3", "-B", "-c", script, root, test.rules, fmt.Sprint(now.Unix())).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := []string{}
			left := map[string]bool{}
			for _, f := range test.files {
				left[f.name] = true
			}
			for _, n := range test.gone {
				gone := fmt.Sprintf("%s%02d", id, n)
				want = append(want, gone)
				for name := range left {
					if strings.Contains(name, gone) {
						delete(left, name)
					}
				}
			}
			var got []string
			if err := json.Unmarshal(out, &got); err != nil || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
				t.Errorf("removed %s, %v; want %v", out, err, want)
			}
			entries, err := os.ReadDir(folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if !left[e.Name()] {
					t.Errorf("%q is left", e.Name())
				}
				delete(left, e.Name())
			}
			if len(left) > 0 {
				t.Errorf("%v were removed", left)
			}
			list, _ := os.ReadFile(filepath.Join(root, "removed.txt")) // there is none if none was removed
			if got := strings.Fields(string(list)); !slices.Equal(slices.Sorted(slices.Values(got)), want) && len(want) > 0 {
				t.Errorf("listed %v, want %v", got, want)
			}
		})
	}
}
