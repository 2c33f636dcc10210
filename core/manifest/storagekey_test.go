package manifest_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest"
)

// TestStorageKeys reads the credentials of hosts. They are masked.
func TestStorageKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(`pipeline "shop" {
  source { path = "." }
}
environment "production" {
  terraform { module = "aws" }
  storage_key "web-1" {
    id     = "one"
    secret = env.WEB_1
  }
  storage_key "web-2" {
    id     = "two"
    secret = env.WEB_2
  }
}
stage "build" "app" { command = ["make"] }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"WEB_1": "first-secret", "WEB_2": "second-secret"}
	p, _, diags := manifest.Load(file, manifest.Options{Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	want := map[core.HostName]core.BucketKey{"web-1": {ID: "one", Secret: "first-secret"}, "web-2": {ID: "two", Secret: "second-secret"}}
	if got := p.Environments[0].BucketKeys; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if len(p.Secrets) != 2 {
		t.Errorf("masked are %d values", len(p.Secrets))
	}
}
