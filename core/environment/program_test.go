package environment_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program builds testdata/program and other commands of this module into a folder, which it returns.
func program(t *testing.T, commands map[string]string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/program/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > 60 {
		t.Errorf("the program has %d lines", n)
	}
	dir := t.TempDir()
	for name, path := range commands {
		sh(t, ".", "CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "+filepath.Join(dir, name)+" "+path)
	}
	sh(t, ".", "CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "+dir+"/ ./testdata/program")
	return dir
}

// project makes a git repository with a manifest in it.
func project(t *testing.T, manifest string) (file string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"pipeline.hcl": manifest, ".gitignore": ".troop/\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, dir, "git init -q -b main && git config user.name test && git config user.email test@localhost && git add -A && git commit -q -m first")
	return filepath.Join(dir, "pipeline.hcl")
}

func sh(t *testing.T, dir, command string) string {
	t.Helper()
	c := exec.Command("sh", "-ec", command)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// TestProgram runs a pipeline in a program other than troop that imports core/environment and core/engine.
func TestProgram(t *testing.T) {
	dir := program(t, map[string]string{"troop-plugin-dummy": "../../plugins/sdk/sdktest/dummy"})
	file := project(t, `
pipeline "shop" {
  source { path = "." }
}
stage "dummy" "first" { output = { any = 7 } }
stage "dummy" "second" { log = ["the output is ${stage.dummy.first.any}"] }
`)
	out := sh(t, "/", filepath.Join(dir, "program")+" "+file+" '' "+dir)
	for _, want := range []string{"dummy.second log the output is 7\n", "run run.passed passed\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	sh(t, filepath.Dir(file), "sed -i '$ a stage \"dummy\" \"third\" { fail = \"no\" }' pipeline.hcl && git commit -qam third")
	c := exec.Command(filepath.Join(dir, "program"), file, "", dir)
	if out, err := c.CombinedOutput(); err == nil || !strings.HasSuffix(string(out), "dummy.third: no\n") {
		t.Errorf("a stage that fails: %v\n%s", err, out)
	}
}
