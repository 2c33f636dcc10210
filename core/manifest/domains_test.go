package manifest_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed-b96de936/troop/core/manifest"
)

func TestDomains(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(`pipeline "shop" {
  source { path = "." }
}
environment "lab" {}
environment "production" {}
variable "domain" { default = "example.com" }
stage "deploy" "shop" {
  tls { domains = ["www.example.com", "api.${var.domain}", "example.com"] }
}
stage "deploy" "admin" {
  environment = "lab"
  service {
    tls { domains = ["admin.example.com"] }
  }
}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	p, sources, diags := manifest.Load(file, manifest.Options{})
	if len(diags) > 0 {
		t.Fatal(manifest.Format(diags, sources, false))
	}
	for env, want := range map[string][]string{
		"production": {"example.com", "www.example.com"}, "lab": {"admin.example.com", "example.com", "www.example.com"},
	} {
		if got := manifest.Domains(p, env); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", env, got, want)
		}
	}
}
