package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestMain(m *testing.M) {
	proc.Main()
	m.Run()
}

func TestCheck(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"empty":           {},
		"whole":           {body: "command = [\"make\"]\ncommands = [[\"a\"], [\"b\", \"c\"]]\nenv = { A = \"1\" }\ndir = \"app\"\npackage {\n  prepare = [\"true\"]\n  exclude = [\"test/**\"]\n}"},
		"dir outside":     {body: `dir = "../other"`, want: `pipeline.hcl:1,1-17: Invalid build stage; want a folder inside the source, got "../other"`},
		"empty command":   {body: `commands = [["a"], []]`, want: `want a command, got an empty list`},
		"bad variable":    {body: `env = { "A=B" = "1" }`, want: `"A=B" is no name of an environment variable`},
		"bad pattern":     {body: "package {\n  exclude = [\"a\", \"[x\"]\n}", want: `pipeline.hcl:2,19-23: Invalid build stage; "[x" is no pattern`},
		"rooted pattern":  {body: "package {\n  include = [\"./lib\"]\n}", want: `without the leading "./"`},
		"unknown setting": {body: `comand = ["make"]`, want: `Did you mean "command"?`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := sdktest.Check(t, stage, test.body)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("unexpected: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// workspace makes a checkout with these files.
func workspace(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func info(t *testing.T, dir string) sdktest.Options {
	return sdktest.Options{Info: sdk.RunInfo{Workspace: dir, StateDir: t.TempDir()}, Fake: &sdktest.Fake{}}
}

// unpack reads the artifact that a run stored: names, with the text of files and the targets of links.
func unpack(t *testing.T, fake *sdktest.Fake, r sdktest.Result) map[string]string {
	t.Helper()
	digest, _ := r.Outputs["artifact"].(string)
	z, err := zstd.NewReader(bytes.NewReader(fake.ArtifactBytes(sdk.Digest(digest))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	files := map[string]string{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b) + h.Linkname
	}
}

func TestCommandsRunInOrder(t *testing.T) {
	dir := workspace(t, map[string]string{"app/README": ""})
	r := sdktest.Run(t, stage, `
		command  = ["sh", "-c", "echo $GREETING one > log"]
		commands = [["sh", "-c", "echo two >> log"], ["cat", "log"]]
		dir      = "app"
		env      = { GREETING = "hello" }`, info(t, dir))
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "app/log"))
	if err != nil || string(b) != "hello one\ntwo\n" {
		t.Errorf("log %q, %v", b, err)
	}
	if !slices.Contains(r.Logs, "hello one") {
		t.Errorf("the output of a command is not in the log: %q", r.Logs)
	}
	if len(r.Outputs) != 0 {
		t.Errorf("outputs %v without a package block", r.Outputs)
	}
}

func TestFailures(t *testing.T) {
	tests := map[string]struct {
		body, want string
		verdict    bool // a Failure: the project is wrong, not the stage
	}{
		"status":     {body: `command = ["sh", "-c", "echo missing script >&2; exit 3"]`, want: "missing script (sh -c echo missing script >&2; exit 3: exit status 3)", verdict: true},
		"silent":     {body: `command = ["false"]`, want: "no output", verdict: true},
		"no program": {body: `command = ["no-such-program"]`, want: "no-such-program"},
		"prepare":    {body: "package {\n prepare = [\"sh\", \"-c\", \"echo pruned nothing; exit 1\"]\n}", want: "pruned nothing", verdict: true},
		"nothing":    {body: "package {\n include = [\"dist/**\"]\n}", want: "nothing to pack", verdict: true},
		"link out":   {body: "command = [\"ln\", \"-s\", \"/etc/hostname\", \"link\"]\npackage {}", want: "link is a link to /etc/hostname, outside the package", verdict: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := sdktest.Run(t, stage, test.body, info(t, workspace(t, map[string]string{"a": "1"})))
			if r.Err == nil || !strings.Contains(r.Err.Error(), test.want) {
				t.Fatalf("got %v, want %s", r.Err, test.want)
			}
			if failure := (*sdktest.Failure)(nil); errors.As(r.Err, &failure) != test.verdict {
				t.Errorf("%T is a verdict: %v, want %v", r.Err, !test.verdict, test.verdict)
			}
			if r.Outputs["artifact"] != nil {
				t.Errorf("an artifact from a build that failed")
			}
		})
	}
}

func TestPackage(t *testing.T) {
	dir := workspace(t, map[string]string{
		"start.js": "start", "lib/a.js": "a", "test/a.test.js": "t", "lib/test/b.js": "b",
		"node_modules/mocha/index.js": "m", "node_modules/express/index.js": "e", ".git/HEAD": "ref", "sub/.git": "gitdir: x",
	})
	if err := os.Symlink("../lib/a.js", filepath.Join(dir, "sub/link.js")); err != nil {
		t.Fatal(err)
	}
	o := info(t, dir)
	r := sdktest.Run(t, stage, `
		package {
			prepare = ["rm", "-r", "node_modules/mocha"]
			exclude = ["test/**"]
		}`, o)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	want := map[string]string{
		"start.js": "start", "lib/": "", "lib/a.js": "a", "lib/test/": "", "lib/test/b.js": "b", "node_modules/": "",
		"node_modules/express/": "", "node_modules/express/index.js": "e", "sub/": "", "sub/link.js": "../lib/a.js",
	}
	got := unpack(t, o.Fake, r)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: got %q, want %q", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("packed %v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules/mocha/index.js")); err != nil {
		t.Errorf("prepare worked on the workspace, not on a copy: %v", err)
	}

	r = sdktest.Run(t, stage, "package {\n include = [\"lib\", \"**/index.js\"]\n exclude = [\"lib/test\"]\n}", o)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	got = unpack(t, o.Fake, r)
	for _, name := range []string{"lib/a.js", "node_modules/mocha/index.js", "node_modules/express/index.js"} {
		if _, ok := got[name]; !ok || len(got) != 3 {
			t.Errorf("include: packed %v", got)
		}
	}
}

func TestSameInputSameArtifact(t *testing.T) {
	files := map[string]string{"b/c": "1", "a": strings.Repeat("text ", 100_000), "b.txt": "2"}
	digest := func(change func(dir string)) any {
		dir := workspace(t, files)
		git := exec.Command("sh", "-c", `git init -q && git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m x && git rev-parse HEAD`)
		git.Dir, git.Env = dir, append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z")
		commit, err := git.Output()
		if err != nil {
			t.Fatal(err)
		}
		change(dir)
		o := info(t, dir)
		o.Info.Commit = strings.TrimSpace(string(commit))
		r := sdktest.Run(t, stage, "package {}", o)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if r.Outputs["size"] == 0.0 || !strings.HasPrefix(r.Outputs["artifact"].(string), "sha256:") {
			t.Errorf("outputs %v", r.Outputs)
		}
		return r.Outputs["artifact"]
	}
	first := digest(func(string) {})
	if again := digest(func(string) {}); again != first {
		t.Errorf("the same files made %v and %v", first, again)
	}
	if group := digest(func(dir string) { _ = os.Chmod(filepath.Join(dir, "a"), 0o660) }); group != first {
		t.Errorf("the umask of the machine changed the artifact")
	}
	if script := digest(func(dir string) { _ = os.Chmod(filepath.Join(dir, "a"), 0o755) }); script == first {
		t.Errorf("a file that became executable did not change the artifact")
	}
	if other := digest(func(dir string) { _ = os.WriteFile(filepath.Join(dir, "b/c"), []byte("2"), 0o644) }); other == first {
		t.Errorf("another text did not change the artifact")
	}
}

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Valid:   `command = ["sleep", "60"]`,
		Invalid: map[string]string{`dir = "/"`: "want a folder inside the source", `comand = []`: `Did you mean "command"?`},
		Cancel:  true,
		Pass:    `command = ["true"]`,
		Flood:   `command = ["seq", "20000"]`,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "build"), b) })
}

// TestArtifactKnowsItsRuntime builds with a Node of another version than anybody has.
func TestArtifactKnowsItsRuntime(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "node"), []byte("#!/bin/sh\necho v99.1.2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, want := range map[string]string{"package.json": "node 99.1.2", "README": ""} {
		o := info(t, workspace(t, map[string]string{name: "{}"}))
		r := sdktest.Run(t, stage, "package {}", o)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		digest, _ := r.Outputs["artifact"].(string)
		z, err := zstd.NewReader(bytes.NewReader(o.Fake.ArtifactBytes(sdk.Digest(digest))))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(z.Close)
		h, err := tar.NewReader(z).Next()
		if err != nil || h.PAXRecords["comment"] != want {
			t.Errorf("%s: the archive begins with %+v, %v; want the comment %q", name, h, err, want)
		}
	}
}
