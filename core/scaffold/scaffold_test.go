package scaffold

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"hello": true, "run": false, "size-gate": true, "s3": true,
		"": false, "Hello": false, "3s": false, "a_b": false, "a--b": false, "a-": false, "a/b": false, "..": false,
		strings.Repeat("a", 41): false,
	} {
		if err := CheckName(name, map[string]string{"run": "a command"}); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFindSDK(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if here, err := sdkOf(filepath.Join(root, "bin", "troop")); err != nil || here.Dir != root || here.Go == "" {
		t.Errorf("found %+v (%v), want %s", here, err, root)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "go.mod"), []byte("module example.com/other\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FindSDK(""); err == nil || !strings.Contains(err.Error(), "--sdk FOLDER") {
		t.Errorf("the program of this test, which is in no checkout: %v, want the remedy", err)
	}
	if _, err := sdkOf(filepath.Join(other, "bin", "troop")); err == nil || !strings.Contains(err.Error(), "--sdk FOLDER") {
		t.Errorf("another module: %v, want the remedy", err)
	}
	if _, err := OpenSDK(other); err == nil || !strings.Contains(err.Error(), "names another module") {
		t.Errorf("another module: %v", err)
	}
}

func TestNew(t *testing.T) {
	here, err := OpenSDK("../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOWORK", filepath.Join(here.Dir, "go.mod")) // a go.work of a parent folder must not apply
	spaced := filepath.Join(t.TempDir(), "my checkout")
	if err := os.Symlink(here.Dir, spaced); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "plugin")
	if err := New(t.Context(), dir, Plugin{Name: "hello", SDK: SDK{Dir: spaced, Go: here.Go}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if n := strings.Count(string(text), "\n"); err != nil || n >= 60 {
		t.Errorf("main.go has %d lines (%v), want less than 60", n, err)
	}
	if info, err := os.Stat(filepath.Join(dir, ".ci", "run")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/run is no program: %v", err)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || !strings.Contains(string(mod), `=> "`+spaced+`"`) || !strings.Contains(string(mod), "go-plugin") {
		t.Errorf("%v, go.mod\n%s", err, mod)
	}

	if err := New(t.Context(), dir, Plugin{Name: "hello", SDK: here}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a folder that is there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "main.go")); err != nil {
		t.Errorf("what was there is gone: %v", err)
	}
}

func TestNewLeavesNothing(t *testing.T) {
	here, err := OpenSDK("../..")
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir() // not a checkout
	for name, text := range map[string]string{"go.mod": "module " + sdkModule + "\n\ngo 1.26.0\n", "go.sum": ""} {
		if err := os.WriteFile(filepath.Join(empty, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	broken, err := OpenSDK(empty)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		sdk        SDK
		path, want string
	}{
		"a checkout that is not whole": {broken, os.Getenv("PATH"), "plugins/sdk"},
		"no Go":                        {here, t.TempDir(), "go not found: install Go " + here.Go},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", test.path)
			dir := filepath.Join(t.TempDir(), "plugin")
			err := New(t.Context(), dir, Plugin{Name: "hello", SDK: test.sdk})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the folder is still there: %v", err)
			}
		})
	}
}
