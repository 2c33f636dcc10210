package sdk_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// TestFileHash: the hash is of the workspace's files, wherever in a value it stands, and never of one outside.
func TestFileHash(t *testing.T) {
	type config struct {
		Keys map[string]string `hcl:"keys"`
	}
	stage := sdk.Stage[config]{Name: "dummy", Version: "1", Run: func(_ context.Context, c *config, job *sdk.Job) error {
		for name, key := range c.Keys {
			job.Output(name, key)
		}
		return nil
	}, Outputs: []sdk.Output{{Name: "one"}, {Name: "two"}}}
	work := t.TempDir()
	hash := func(files ...string) (string, error) {
		text := cty.StringVal("v1-" + contract.Late(contract.LateFileHash, files...) + "-x")
		r := sdktest.Run(t, stage, `keys = { one = _0, two = "${_0}!" }`, sdktest.Options{
			Info: sdk.RunInfo{Workspace: work}, Scope: map[string]cty.Value{"_0": text},
		})
		one, _ := r.Outputs["one"].(string)
		if two, _ := r.Outputs["two"].(string); r.Err == nil && two != one+"!" {
			t.Errorf("%q beside %q", two, one)
		}
		return one, r.Err
	}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("a b,c", "1")
	put("d", "2")
	first, err := hash("a b,c", "d")
	if err != nil || len(first) != len("v1--x")+64 || !strings.HasPrefix(first, "v1-") {
		t.Fatalf("%q, %v", first, err)
	}
	again, _ := hash("a b,c", "d")
	put("d", "3")
	if other, _ := hash("a b,c", "d"); again != first || other == first {
		t.Errorf("%q, again %q, changed %q", first, again, other)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(work, "link")); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"none": "the commit has no file none", "link": "filehash: ", ".": "no regular file"} {
		if _, err := hash(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}
