package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/core"
)

// FuzzLoad looks for texts that break the loader, the rendering of diagnostics or the scopes of stages.
func FuzzLoad(f *testing.F) {
	for _, folder := range []string{"bad", "good"} {
		for _, x := range fixtures(f, folder) {
			for _, file := range x.archive.Files {
				if filepath.Ext(file.Name) == ".hcl" {
					f.Add(file.Data)
				}
			}
		}
	}
	file := filepath.Join(f.TempDir(), "pipeline.hcl")
	options := Options{
		Secret:    func(s core.SecretSource) (string, error) { return "secret of " + s.Name, nil },
		Env:       func(name string) (string, bool) { return "value of " + name, len(name)%2 == 0 },
		Modules:   []string{"lab"},
		Playbooks: []string{"site.yml"},
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if err := os.WriteFile(file, src, 0o644); err != nil {
			t.Fatal(err)
		}
		o := options
		o.Need = Need(len(src) % 3)
		p, sources, diags := Load(file, o)
		_ = Format(diags, sources, true)
		if _, err := JSON(diags, sources); err != nil {
			t.Error(err)
		}
		if p == nil {
			if !diags.HasErrors() {
				t.Error("neither a pipeline nor an error")
			}
			return
		}
		for _, s := range p.Stages {
			if s.Block.Start.Byte+len(s.Block.Source) > len(src) {
				t.Errorf("%s: the block is longer than the file", s.ID())
			}
			if _, err := s.Scope("lab", map[core.StageID]map[string]any{s.ID(): {"artifact": "x"}}); err != nil && !diags.HasErrors() {
				t.Logf("%s: %v", s.ID(), err) // of a value that only a run knows
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	var storefront fixture
	for _, f := range fixtures(b, "good") {
		if name(f) == "storefront" {
			storefront = f
		}
	}
	file := filepath.Join(b.TempDir(), "pipeline.hcl")
	for _, f := range storefront.archive.Files {
		if f.Name == "pipeline.hcl" {
			if err := os.WriteFile(file, f.Data, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	env := func(name string) (string, bool) { return "smtp://mail.example.com", name == "OPS_SMTP_URL" }
	o := Options{Env: env, Modules: []string{"lab", "aws"}}
	for b.Loop() {
		if _, _, diags := Load(file, o); len(diags) > 0 {
			b.Fatal(diags)
		}
	}
}

// chain is a manifest of n stages, each of which needs the one before.
func chain(t testing.TB, n int) string {
	var src strings.Builder
	src.WriteString("pipeline \"p\" {}\n")
	for i := range n {
		fmt.Fprintf(&src, "stage \"dummy\" \"s%d\" {\n", i)
		if i > 0 {
			fmt.Fprintf(&src, "  needs = [stage.dummy.s%d]\n", i-1)
		}
		src.WriteString("  log = [\"x\"]\n}\n")
	}
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(src.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// The cost of a stage does not grow with their number.
func TestManyStages(t *testing.T) {
	const few, many = 250, 4000
	perStage := func(n int) time.Duration {
		file := chain(t, n)
		begun := processorTime(t) // the machine may be busy with something else
		for range many / n {
			if _, _, diags := Load(file, Options{}); len(diags) > 0 {
				t.Fatal(diags)
			}
		}
		return (processorTime(t) - begun) / many
	}
	if a, b := perStage(few), perStage(many); b > 3*a {
		t.Errorf("%s a stage of %d, %s a stage of %d", a, few, b, many)
	}
}

func processorTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkChain(b *testing.B) {
	for _, n := range []int{1000, 2000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			file := chain(b, n)
			for b.Loop() {
				if _, _, diags := Load(file, Options{}); len(diags) > 0 {
					b.Fatal(diags)
				}
			}
		})
	}
}
