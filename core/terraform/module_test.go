package terraform

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func workspace(t *testing.T, module fs.FS) *Workspace {
	t.Helper()
	w := &Workspace{Options: Options{Dir: t.TempDir(), Module: module, Log: func(string) {}}}
	if err := os.MkdirAll(w.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

// names lists the files of a working folder except our own.
func names(t *testing.T, w *Workspace) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(w.Dir, path)
		if filepath.Dir(name) != own {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func TestSync(t *testing.T) {
	w := workspace(t, fstest.MapFS{
		"main.tf": file("a"), "old.tf": file("b"), "files/motd": file("c"), ".terraform/x": file("d"),
		"terraform.tfstate": file("of someone else"), lockFile: file("first"),
	})
	first, err := w.sync()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, w), []string{lockFile, "files/motd", "main.tf", "old.tf"}; !slices.Equal(got, want) {
		t.Errorf("copied %v, want %v", got, want)
	}
	for name, text := range map[string]string{lockFile: "maintained by init", "terraform.tfstate": "ours"} {
		if err := os.WriteFile(filepath.Join(w.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := w.sync(); err != nil || again != first {
		t.Errorf("the same module has digest %s, then %s: %v", first, again, err)
	}
	w.Module = fstest.MapFS{"main.tf": file("a, changed"), lockFile: file("first")}
	if second, err := w.sync(); err != nil || second == first {
		t.Errorf("another module has the same digest: %v", err)
	}
	if got, want := names(t, w), []string{lockFile, "main.tf", "terraform.tfstate"}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
	for name, want := range map[string]string{lockFile: "maintained by init", "terraform.tfstate": "ours", "main.tf": "a, changed"} {
		if b, err := os.ReadFile(filepath.Join(w.Dir, name)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, want %q: %v", name, b, want, err)
		}
	}
}

func TestVariables(t *testing.T) {
	module := fstest.MapFS{"variables.tf": file(`
variable "environment" { type = string }
variable "region"      { type = string }
`)}
	w := workspace(t, module)
	w.Environment, w.PublicKey, w.Variables = "lab", "ssh-ed25519 AAAA", map[string]any{"region": "us-east-1"}
	if err := Check(module, w.Variables); err != nil {
		t.Fatal(err)
	}
	path, err := w.writeVariables()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{"environment": "lab", "region": "us-east-1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("wrote %v, want %v", got, want)
	}
	var undeclared *UndeclaredError
	err = Check(module, map[string]any{"regoin": 1})
	if !errors.As(err, &undeclared) || err.Error() != "the module has no variable regoin; it has environment, region" {
		t.Errorf("misspelt variable: %v", err)
	}
	if err := Check(fstest.MapFS{"main.tf": file("variable {")}, nil); err == nil {
		t.Error("a module that cannot be read is accepted")
	}
}

// A module in JSON is read like one in HCL.
func TestModuleInJSON(t *testing.T) {
	module := fstest.MapFS{"main.tf.json": file(`{
  "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}, "local": "~> 2.0"}},
  "variable": {"environment": {}, "replicas": {"type": "number", "default": 2}}
}`)}
	if err := Check(module, map[string]any{"regoin": 1}); err == nil || err.Error() != "the module has no variable regoin; it has environment, replicas" {
		t.Errorf("misspelt variable: %v", err)
	}
	if values, err := Values(module, map[string]any{"replicas": "3"}); err != nil || string(values["replicas"]) != "3" {
		t.Errorf("values %s, %v", values, err)
	}
	if sources, err := Required(module); err != nil || !slices.Equal(sources, []string{"hashicorp/aws", "hashicorp/local"}) {
		t.Errorf("required %v, %v", sources, err)
	}
}

// Terraform gets what a link in a module leads to, once: a plan would destroy what a missing file declares.
func TestLinksInModule(t *testing.T) {
	dir, shared := t.TempDir(), t.TempDir()
	put(t, filepath.Join(shared, "hosts.tf"), "# hosts\n", 0o600)
	put(t, filepath.Join(shared, "part", "main.tf"), "# part\n", 0o600)
	put(t, filepath.Join(dir, "main.tf"), "module \"part\" {\n  source = \"./part\"\n}\n", 0o600)
	for link, to := range map[string]string{"hosts.tf": filepath.Join(shared, "hosts.tf"), "part": filepath.Join(shared, "part"), "self": dir, ".#main.tf~": "nobody@nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	w := workspace(t, os.DirFS(dir))
	if err := Check(w.Module, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.sync(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, w); !slices.Equal(got, []string{"hosts.tf", "main.tf", "part/main.tf"}) {
		t.Errorf("the copy holds %v", got)
	}
	if err := os.Remove(filepath.Join(shared, "hosts.tf")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.sync(); err == nil {
		t.Error("a link to a missing file is left out")
	}
}

// A module beside the root module is refused where it is called.
func TestModuleOutside(t *testing.T) {
	module := fstest.MapFS{
		"main.tf":     file("module \"a\" {\n  source = \"./a\"\n}\nmodule \"public\" {\n  source = \"team/x/aws\"\n}\n"),
		"a/main.tf":   file("module \"up\" {\n  source = \"../b\"\n}\n"),
		"b/main.tf":   file("module \"out\" {\n  source = \"../../shared\"\n}\n"),
		"unused/x.tf": file("module \"out\" {\n  source = \"../../shared\"\n}\n"),
	}
	if err := Check(module, nil); err == nil || !strings.HasPrefix(err.Error(), "b/main.tf:2,3-26: module ../../shared is outside of the root module") {
		t.Errorf("got %v", err)
	}
	delete(module, "b/main.tf")
	module["b/main.tf"] = file("")
	if err := Check(module, nil); err != nil {
		t.Error(err)
	}
}

// Who reads a module with files for OpenTofu must be said, since the two programs read different files of it.
func TestModuleOfOpenTofu(t *testing.T) {
	both := fstest.MapFS{
		"main.tf": file("variable \"size_tf\" {}\n"), "main.tofu": file("variable \"size_tofu\" {}\n"), "more.tf": file("variable \"more\" {}\n"),
		"x.tf.json": file(`{"variable": {"x_tf": {}}}`), "x.tofu.json": file(`{"variable": {"x_tofu": {}}}`),
	}
	for program, want := range map[string][]string{
		"terraform": {"more", "size_tf", "x_tf"},
		"tofu":      {"more", "size_tofu", "x_tofu"},
	} {
		module, err := ReadBy(both, program)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := declared(module); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s reads %v, %v", program, got, err)
		}
		w := workspace(t, module)
		if _, err := w.sync(); err != nil {
			t.Fatal(err)
		}
		if got := names(t, w); len(got) != 3 {
			t.Errorf("%s gets %v", program, got)
		}
	}
	if _, err := ReadBy(both, ""); err == nil || err.Error() != `only OpenTofu reads main.tofu; say in the terraform block which program makes the hosts: program = "tofu", or program = "terraform"` {
		t.Errorf("got %v", err)
	}
	if _, err := ReadBy(fstest.MapFS{"main.tf": file("")}, ""); err != nil {
		t.Error(err)
	}
}
