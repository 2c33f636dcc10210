package secrets

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const awsRule = "aws-secret-access-key"

// TestCases scans files that scripts write with random secrets: stored in this tree they would alarm every scanner.
func TestCases(t *testing.T) {
	dir := t.TempDir()
	for _, script := range []string{"make", "make-others"} {
		if out, err := exec.Command("sh", filepath.Join("testdata", script), dir).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	s, err := NewScanner()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{ // LINE[ RULE] of the one finding; empty: none
		"utf8.env": "1 " + awsRule, "utf16.env": "1 " + awsRule, "uri.env": "1 uri-password",
		"kubeconfig.yml": "1 private-key", "indented.yml": "1 private-key", "documented.md": "",
		"redis.env": "2 uri-password", "amqp.env": "1 uri-password", "smtp.yml": "2 uri-password", "without-password.env": "",
		"jwt.env": "2 private-key", "manifest.yml": "6 private-key", "public.env": "", "cut.yml": "2 private-key",
		"session.txt": "1 putty-private-key",
		"utf8.ps1":    "2 " + awsRule, "utf16le-with-mark.ps1": "2 " + awsRule,
		"utf16be-with-mark.ps1": "2 " + awsRule, "utf16le-without-mark.ps1": "2 " + awsRule,
		"documented.json": "",
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		want, ok := tests[file.Name()]
		if !ok {
			t.Errorf("%s has no value", file.Name())
		}
		delete(tests, file.Name())
		f, err := os.Open(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Scan(t.Context(), file.Name(), f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range list {
			got = append(got, fmt.Sprintf("%d %s", f.Line, f.Rule))
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: got %q, want %q", file.Name(), got, want)
		}
	}
	if len(tests) > 0 {
		t.Errorf("no script wrote %v", tests)
	}
}
