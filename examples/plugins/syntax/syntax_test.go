// Package syntax_test holds the plugin in Python to what is expected of every plugin.
package syntax_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func build(t *testing.T) string {
	t.Helper()
	for _, source := range []string{"__main__.py", "troop.py", "Makefile"} { // a change of one makes go test run again
		if _, err := os.Stat(source); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "make", "OUT="+dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "troop-plugin-syntax")
}

func TestConformance(t *testing.T) {
	work := t.TempDir()
	for i := range 3000 { // for some seconds
		text := strings.Repeat("- a: {b: [c, d]}\n", 50)
		if err := os.WriteFile(filepath.Join(work, fmt.Sprintf("%d.yml", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sdktest.Conformance(t, build(t), sdktest.Binary{
		Valid: `exclude = []`,
		Invalid: map[string]string{
			`files = ["*.json", ""]`: `pipeline.hcl:1,20-22: Invalid syntax stage; want a pattern such as "*.json" or "deploy/*.yml", got ""`,
			`file = []`:              `pipeline.hcl:1,1-5: Unsupported argument; A syntax stage has no argument "file". Did you mean "files"?`,
		},
		Cancel:    true,
		Workspace: work,
		Pass:      `files = ["1?.yml"]`,
	})
}
