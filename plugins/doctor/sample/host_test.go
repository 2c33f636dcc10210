package sample

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestHostMeter measures the hosts in testdata/host/*.txtar. Files under "later/" are written ten seconds after the
// first reading; "want" is the expected result; ROOT is the folder of the files.
func TestHostMeter(t *testing.T) {
	files, err := filepath.Glob("testdata/host/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("testdata: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			want := map[string]string{}
			write := func(name string, data []byte) {
				p := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(strings.ReplaceAll(string(data), "ROOT", root)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			later := map[string][]byte{}
			for _, f := range archive.Files {
				name, isLater := strings.CutPrefix(f.Name, "later/")
				switch {
				case f.Name == "want":
					for line := range strings.Lines(string(f.Data)) {
						k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
						want[k] = v
					}
				case isLater:
					later[name] = f.Data
				default:
					write(f.Name, f.Data)
				}
			}
			m, err := NewMeter(filepath.Join(root, "proc"))
			if err != nil {
				t.Fatal(err)
			}
			at := time.Unix(1000, 0)
			first, err := m.Read(t.Context(), at, nil)
			if err != nil {
				t.Fatal(err)
			}
			if first.CPU != -1 {
				t.Errorf("the first reading says %g %% CPU, want that it is not known", first.CPU)
			}
			for name, data := range later {
				write(name, data)
			}
			got, err := m.Read(t.Context(), at.Add(10*time.Second), nil)
			if err != nil {
				t.Fatal(err)
			}
			used := got.CPU * got.Cores / 100 * 10 // seconds: the number of CPUs is this machine's where no quota is
			for name, v := range map[string]float64{
				"cores": got.Cores, "cpu_seconds": used, "agents_seconds": got.Agents * got.Cores / 100 * 10, "memory": got.Memory, "memory_total": float64(got.MemoryTotal),
			} {
				text, ok := want[name]
				if !ok {
					continue
				}
				if w, err := strconv.ParseFloat(text, 64); err != nil || math.Abs(v-w) > 0.01 {
					t.Errorf("%s is %g, want %s", name, v, text)
				}
			}
		})
	}
}

func TestHostMeterWithoutFiles(t *testing.T) {
	if _, err := NewMeter(t.TempDir()); err == nil {
		t.Error("a host without /proc was measured")
	}
}
