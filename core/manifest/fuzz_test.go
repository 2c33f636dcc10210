package manifest

import (
	"os"
	"path/filepath"
	"testing"

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
