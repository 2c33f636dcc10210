// Package syntax_test holds the plugin in Python to what is expected of every plugin.
package syntax_test

import (
	"os"
	"os/exec"
	"path/filepath"
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
	sdktest.Conformance(t, build(t), sdktest.Binary{
		Valid: `files = ["*.json"]`,
		Invalid: map[string]string{
			`files = ["*.json", ""]`: `pipeline.hcl:1,20-22: Invalid syntax stage; want a pattern such as "*.json" or "deploy/*.yml", got ""`,
			`file = []`:              `pipeline.hcl:1,1-5: Unsupported argument; A syntax stage has no argument "file". Did you mean "files"?`,
		},
		Cancel: true,
	})
}
