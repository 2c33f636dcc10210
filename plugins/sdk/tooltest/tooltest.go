// Package tooltest builds the programs that tests run beside troop: versitygw, a real S3 server, OpenTofu, and Pebble, an ACME
// authority, with its DNS server. Modules of their own in testdata pin their versions: nothing of troop depends on them. They are
// built once, into Go's cache; make test does it beforehand, since OpenTofu takes minutes. Imported only by tests.
package tooltest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Path returns the path of a program's executable, whose name is the program's: the module up to a dash, if there is one.
func Path(t testing.TB, program string) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	dir := filepath.Dir(here)
	if !filepath.IsAbs(dir) { // -trimpath: tests run in the folder of their package
		out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/seed-b96de936/troop/plugins/sdk/tooltest").Output()
		if err != nil {
			t.Fatalf("find tooltest: %v", err)
		}
		dir = strings.TrimSpace(string(out))
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-n", program)
	module, _, _ := strings.Cut(program, "-")
	cmd.Dir = filepath.Join(dir, "testdata", module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") // as make does; other flags are another build
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // of Output itself
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("build %s: %v", program, err)
	}
	return strings.TrimSpace(string(out))
}

// InPath puts a program first in PATH for the time of a test.
func InPath(t testing.TB, program string) {
	t.Helper()
	t.Setenv("PATH", filepath.Dir(Path(t, program))+string(os.PathListSeparator)+os.Getenv("PATH"))
}
