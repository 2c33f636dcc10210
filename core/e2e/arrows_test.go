//go:build lint

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTreeArrows runs depguard on forbidden and allowed imports, each in its own tree with this tree's settings. LINTER is
// the golangci-lint of `make lint`.
func TestTreeArrows(t *testing.T) {
	const module = "github.com/seed-b96de936/troop/"
	linter := os.Getenv("LINTER")
	if linter == "" {
		t.Fatal("LINTER is not set: make lint runs this test")
	}
	for _, tt := range []struct{ from, to, refusal string }{
		{"plugins/build", module + "plugins/deploy", "a plugin knows plugins/sdk and itself"},
		{"plugins/doctor", module + "core", "plugins know only plugins/sdk"},
		{"core/store", module + "core/bus", "a leaf knows package core, mask and plain, and nothing beside itself"},
		{"core/engine", module + "core/terraform", "core/engine knows package core and mask"},
		{"core/environment", module + "core/ui", "core/environment is called by these"},
		{"core/manifest", module + "plugins/sdk", "go through core/loader"},
		{"core/git", "github.com/hashicorp/terraform-exec/tfexec", "go through core/terraform"},
		{"core/deep/er", "github.com/apenella/go-ansible/v2/pkg/execute", "go through core/ansible"},

		{"core/server", module + "core/terraform", "core/server shows projects"},
		{"core/agent", module + "core/notify", "core/agent knows package core and bus, flags, mask"},

		{"plugins/build", module + "plugins/sdk", ""},
		{"plugins/maintenance", module + "plugins/sdk/bucket", ""},
		{"core/store", module + "core", ""},
		{"core/store", module + "plugins/sdk/bucket", ""},
		{"core/environment", module + "core/terraform", ""},
		{"core/loader", module + "plugins/sdk/client", ""},
	} {
		t.Run(strings.ReplaceAll(tt.from+" to "+tt.to, "/", "."), func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{tt.from + "/arrow.go": "package x\n\nimport _ \"" + tt.to + "\"\n"}
			if local, ok := strings.CutPrefix(tt.to, module); ok {
				files[local+"/x.go"] = "package x\n"
			}
			for _, name := range []string{"go.mod", "go.sum", ".golangci.yml"} {
				text, err := os.ReadFile(filepath.Join("../..", name))
				if err != nil {
					t.Fatal(err)
				}
				files[name] = string(text)
			}
			for name, text := range files {
				path := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), linter, "run", "--enable-only", "depguard", "--allow-parallel-runners", "./"+tt.from)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			switch got := string(out); {
			case tt.refusal == "" && err != nil:
				t.Errorf("refused: %v\n%s", err, got)
			case tt.refusal != "" && (err == nil || !strings.Contains(got, "arrow.go:3:8: import '"+tt.to+"' is not allowed") || !strings.Contains(got, tt.refusal)):
				t.Errorf("not refused with %q: %v\n%s", tt.refusal, err, got)
			}
		})
	}
}
