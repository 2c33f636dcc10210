package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestMain(m *testing.M) {
	proc.Main()
	m.Run()
}

// Put together here, so that the tree that holds this test passes its own gate.
var (
	awsID = "AKIA" + "Z7Q3M5XW2RTB6VNK"
	key   = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5v\n"
)

func TestCheck(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"whole":          {body: "lint {\n  command = [\"npx\", \"jshint\", \".\"]\n}\nlint {\n  command = [\"x\"]\n  format = \"sarif\"\n}\ncomments {\n  min = 0.1\n  max = 0.4\n}\nsecrets {}"},
		"empty":          {},
		"no command":     {body: "lint {}", want: `"command"`},
		"unknown format": {body: "lint { command = [\"a\"] }\nlint {\n  command = [\"x\"]\n  format = \"tap\"\n}", want: `pipeline.hcl:4,3-17: Invalid analysis stage; want auto, jshint, unix, checkstyle, sarif, eslint, stylelint, biome, ruff, pylint, bandit, semgrep, golangci, phpcs, rubocop, clippy, shellcheck, hadolint, got "tap"`},
		"bounds":         {body: "comments {\n  min = 0.5\n  max = 0.4\n}", want: "0.5 is greater than max, 0.4"},
		"no ratio":       {body: "comments { max = 40 }", want: "want a ratio from 0 to 1, got 40"},
		"pattern":        {body: "secrets { allow = [\"/etc/*\"] }", want: "want a pattern relative to the source"},
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

// commit makes a workspace whose commit holds these files.
func commit(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, dir, name, text)
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "x")
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

func options(dir string) sdktest.Options {
	return sdktest.Options{Info: sdk.RunInfo{Workspace: dir}}
}

func text(list []sdk.Finding) string {
	var lines []string
	for _, f := range list {
		lines = append(lines, fmt.Sprintf("%s:%d:%d %s %s", f.Path, f.Line, f.Column, f.Severity, f.Rule))
	}
	return strings.Join(lines, "\n")
}

func TestLint(t *testing.T) {
	recorded, err := filepath.Abs("lint/testdata")
	if err != nil {
		t.Fatal(err)
	}
	sh := func(script string) string {
		return fmt.Sprintf("lint { command = [\"sh\", \"-c\", %q] }", strings.ReplaceAll(script, "$D", recorded))
	}
	tests := map[string]struct {
		body, want string // want in the reason; "" passes
		findings   int
	}{
		"clean":                    {body: sh("true")},
		"JSHint":                   {body: sh("cat $D/jshint.txt; exit 2"), want: "7 findings, first lib/bad.js:3:15: Expected '{' and instead saw 'return'.", findings: 7},
		"warnings only, status 1":  {body: sh("echo 'a.c:1:2: warning: unused'; exit 1"), want: "1 finding, first a.c:1:2: unused", findings: 1},
		"warnings only, status 0":  {body: sh("echo 'a.c:1:2: warning: unused'"), findings: 1},
		"error, status 0":          {body: sh("cat $D/results.sarif"), want: "3 findings, first lib/bad.js:7:3: eval is evil", findings: 3},
		"crash":                    {body: sh("echo 'cannot read configuration' >&2; exit 1"), want: "exit status 1 without a readable finding: cannot read configuration"},
		"crash with half a report": {body: "lint {\n command = [\"sh\", \"-c\", \"echo '{'; echo boom >&2; exit 3\"]\n format = \"sarif\"\n}", want: "exit status 3 without a readable finding"},
		"no place":                 {body: sh("echo '12:30:05 done'; echo 'localhost:3000: ready'; echo 'b.c:1:2: warning: no such file'")},
		"the tool failed":          {body: sh("cat $D/sarif-tool-failed.json"), want: "1 finding, first could not parse a.js", findings: 1},
		"unknown JSON, status 1":   {body: sh("cat $D/unknown-object.json; exit 1"), want: "not the JSON of a known linter"},
		"unknown JSON":             {body: sh("cat $D/unknown-object.json"), want: "its output cannot be read: it is not the JSON of a known linter: an object with the keys misses, ok, tool"},
		"endless":                  {body: sh("yes | head -c 70000000"), want: "it printed more than 64 MiB"},
		"wrong format, status 0":   {body: "lint {\n command = [\"echo\", \"fine\"]\n format = \"sarif\"\n}", want: "its output is not sarif"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, path := range []string{"lib/bad.js", "lib/broken.js", "a.c"} {
				write(t, dir, path, "")
			}
			r := sdktest.Run(t, stage, test.body, options(dir))
			failure := (*sdktest.Failure)(nil)
			switch {
			case test.want == "" && r.Err != nil:
				t.Errorf("unexpected: %v", r.Err)
			case test.want != "" && (!errors.As(r.Err, &failure) || !strings.Contains(failure.Reason, test.want)):
				t.Errorf("got %v, want %s", r.Err, test.want)
			}
			if len(r.Findings) != test.findings {
				t.Errorf("findings:\n%s", text(r.Findings))
			}
		})
	}
	if r := sdktest.Run(t, stage, `lint { command = ["no-such-linter"] }`, options(t.TempDir())); r.Err == nil || !strings.Contains(r.Err.Error(), "no-such-linter") {
		t.Errorf("a linter that is not installed: %v", r.Err)
	}
}

func TestLintPathsAreRelativeToTheWorkspace(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app/lib/a.js", "")
	for name, target := range map[string]string{"out.js": "/etc/passwd", "in.js": "lib/a.js"} {
		if err := os.Symlink(target, filepath.Join(dir, "app", name)); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "workspace")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	r := sdktest.Run(t, stage, `lint {
		command = ["sh", "-c", "echo $(pwd -P)/lib/a.js:1:1: absolute; echo lib/a.js:2:1: relative; echo /etc/passwd:3: outside; echo out.js:4: leads outside; echo in.js:5: leads inside"]
		dir     = "app"
	}`, options(link))
	want := "app/lib/a.js:1:1 error \napp/lib/a.js:2:1 error \napp/in.js:5:0 error "
	if got := text(r.Findings); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestComments(t *testing.T) {
	tenth := strings.Repeat("// why\n", 2) + strings.Repeat("code();\n", 18)
	bare, chatty := strings.Repeat("code();\n", 20), strings.Repeat("// why\n", 20)
	tests := map[string]struct {
		files map[string]string
		body  string
		want  string // in the reason; "" passes
		found string
	}{
		"within":         {map[string]string{"a.js": tenth}, "min = 0.1\n max = 0.1", "", ""},
		"too few":        {map[string]string{"a.js": tenth, "b.js": bare}, "min = 0.06", "the ratio is 0.050, required 0.06 to 1.00, worst b.js:1: too few comments: 0 of 20 lines (0.000)", "b.js:1:0 error comments"},
		"too many":       {map[string]string{"a.js": tenth, "b.js": chatty}, "max = 0.4", "the ratio is 0.550, required 0.00 to 0.40, worst b.js:1: too many comments", "b.js:1:0 error comments"},
		"even together":  {map[string]string{"a.js": chatty, "b.js": bare}, "min = 0.4\n max = 0.6", "", ""},
		"not each":       {map[string]string{"a.js": chatty, "b.js": bare}, "min = 0.4\n max = 0.6\n per_file = true", "2 files out of bounds", "a.js:1:0 error comments\nb.js:1:0 error comments"},
		"small let off":  {map[string]string{"a.js": "code();\n", "b.js": tenth}, "min = 0.1\n per_file = true", "", ""},
		"chosen":         {map[string]string{"a.js": bare, "lib/b.js": tenth}, "min = 0.1\n files = [\"lib/**\"]", "", ""},
		"excluded":       {map[string]string{"a.js": bare, "lib/b.js": tenth}, "min = 0.1\n exclude = [\"*.js\"]", "", ""},
		"no source":      {map[string]string{"a.json": "{}"}, "min = 0.1", "no file of a known language", ""},
		"markup, data":   {map[string]string{"a.css": bare, "b.yaml": "a: 1\n", "c.js": tenth}, "min = 0.1", "", ""},
		"generated":      {map[string]string{"a.pb.go": "// Code generated by protoc. DO NOT EDIT.\n" + bare, "c.js": tenth}, "min = 0.1\n max = 0.1", "", ""},
		"never assigned": {map[string]string{"a.js": chatty}, "", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := sdktest.Run(t, stage, "comments {\n"+test.body+"\n}", options(commit(t, test.files)))
			switch {
			case test.want == "" && r.Err != nil:
				t.Errorf("unexpected: %v", r.Err)
			case test.want != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), test.want)):
				t.Errorf("got %v, want %s", r.Err, test.want)
			}
			if got := text(r.Findings); got != test.found {
				t.Errorf("findings:\n%s\nwant:\n%s", got, test.found)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	dir := commit(t, map[string]string{
		"lib/a.js": "\nconst id = '" + awsID + "';\n", "ok.js": "const id = env.ID;\n",
		"deploy.pem": key, "test/fixture.pem": key, ".ssh/id_ed25519": "x",
	})
	write(t, dir, "node_modules/x/key.pem", key) // installed, not committed
	write(t, dir, "loose.pem", key)
	r := sdktest.Run(t, stage, `secrets { allow = ["test/**"] }`, options(dir))
	want := ".ssh/id_ed25519:0:0 error key-file\ndeploy.pem:1:1 error private-key\nlib/a.js:2:13 error aws-access-token"
	if got := text(r.Findings); got != want {
		t.Errorf("findings:\n%s\nwant:\n%s", got, want)
	}
	if r.Err == nil || !strings.Contains(r.Err.Error(), "secrets: 3 findings, first .ssh/id_ed25519: Private SSH key") {
		t.Errorf("verdict %v", r.Err)
	}
	if all := fmt.Sprintf("%+v", r); strings.Contains(all, awsID) || strings.Contains(all, "b3BlbnNzaC1r") {
		t.Errorf("a secret is shown: %s", all)
	}
	if r := sdktest.Run(t, stage, `secrets { allow = ["**"] }`, options(dir)); r.Err != nil {
		t.Errorf("everything is allowed: %v", r.Err)
	}
}

func TestSecretsAllowedByFingerprint(t *testing.T) {
	files := map[string]string{"lib/a.js": "const id = '" + awsID + "';\n", ".ssh/id_ed25519": "x"}
	r := sdktest.Run(t, stage, `secrets {}`, options(commit(t, files)))
	if len(r.Findings) != 2 {
		t.Fatalf("findings:\n%s", text(r.Findings))
	}
	// Each finding says what to write.
	for i, want := range []string{
		"if it is not a secret, allow it with the line .ssh/id_ed25519:key-file:0 in .gitleaksignore",
		"if it is not a secret, allow it with the comment gitleaks:allow on its line, or with the line lib/a.js:aws-access-token:1 in .gitleaksignore",
	} {
		if !strings.Contains(r.Findings[i].Message, want) {
			t.Errorf("got %s\nwant %s", r.Findings[i].Message, want)
		}
	}
	files[".gitleaksignore"] = "# looked at\n.ssh/id_ed25519:key-file:0\n" + strings.Repeat("0", 40) + ":lib/a.js:aws-access-token:1\n"
	if r := sdktest.Run(t, stage, `secrets {}`, options(commit(t, files))); text(r.Findings) != "lib/a.js:1:13 error aws-access-token" {
		t.Errorf("one is allowed, findings:\n%s", text(r.Findings))
	}
	files[".gitleaksignore"] += "lib/a.js:aws-access-token:1\n"
	dir := commit(t, files)
	if r := sdktest.Run(t, stage, `secrets {}`, options(dir)); r.Err != nil {
		t.Errorf("both are allowed: %v", r.Err)
	}
	write(t, dir, "lib/a.js", "\n"+files["lib/a.js"])
	if r := sdktest.Run(t, stage, `secrets {}`, options(dir)); text(r.Findings) != "lib/a.js:2:13 error aws-access-token" {
		t.Errorf("it has moved, findings:\n%s", text(r.Findings))
	}
	write(t, dir, ".gitleaksignore", "lib/a.js\n")
	if r := sdktest.Run(t, stage, `secrets {}`, options(dir)); r.Err == nil || !strings.Contains(r.Err.Error(), `.gitleaksignore: line 1: want FILE:RULE:LINE, got "lib/a.js"`) {
		t.Errorf("no fingerprint: %v", r.Err)
	}
}

// What a linter puts in the place of a file is read only if it is one, of this tree.
func TestReadsStayInTheWorkspace(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "key.pem", key)
	write(t, outside, "a.js", strings.Repeat("// why\n", 20))
	for name, script := range map[string]string{
		"a pipe":             "mkfifo lib/key.pem lib/a.js",
		"a device":           "ln -s /dev/zero lib/key.pem; ln -s /dev/zero lib/a.js",
		"a link":             "ln -s " + outside + "/key.pem " + outside + "/a.js lib/",
		"a link of a folder": "rmdir lib; ln -s " + outside + " lib",
	} {
		t.Run(name, func(t *testing.T) {
			dir := commit(t, map[string]string{"lib/key.pem": "-", "lib/a.js": "code();\n", "b.js": strings.Repeat("// why\n", 20)})
			r := sdktest.Run(t, stage, fmt.Sprintf(`
				lint { command = ["sh", "-c", %q] }
				comments { min = 0.5 }
				secrets {}`, "rm lib/*; "+script), options(dir))
			if r.Err != nil && strings.Contains(r.Err.Error(), "private-key") || len(r.Findings) > 0 {
				t.Errorf("got %v, findings:\n%s", r.Err, text(r.Findings))
			}
			if name != "a link of a folder" && r.Outputs["comment_ratio"] != 1.0 {
				t.Errorf("outputs %v", r.Outputs)
			}
		})
	}
}

func TestSecretsFarDownAFile(t *testing.T) {
	dir := t.TempDir()
	const lines = 40_000
	filler := strings.Repeat("filler without meaning\n", lines)
	write(t, dir, "dump.sql", filler+"id = '"+awsID+"'\n"+filler)
	r := sdktest.Run(t, stage, `secrets {}`, options(dir))
	if got, want := text(r.Findings), fmt.Sprintf("dump.sql:%d:7 error aws-access-token", lines+1); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSecretsWithoutRepository(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.pem", key)
	write(t, dir, "node_modules/x/key.pem", key)
	r := sdktest.Run(t, stage, `secrets {}`, options(dir))
	if got := text(r.Findings); got != "a.pem:1:1 error private-key" {
		t.Errorf("findings:\n%s", got)
	}
}

func TestEveryGateReports(t *testing.T) {
	dir := commit(t, map[string]string{"a.js": strings.Repeat("code();\n", 20), "b.pem": key})
	r := sdktest.Run(t, stage, `
		lint { command = ["sh", "-c", "echo 'a.js: line 1, col 2, Bad.'; exit 2"] }
		lint { command = ["true"] }
		comments { min = 0.1 }
		secrets {}`, options(dir))
	if len(r.Findings) != 3 || r.Outputs["findings"] != 3.0 || r.Outputs["comment_ratio"] != 0.0 {
		t.Errorf("outputs %v, findings:\n%s", r.Outputs, text(r.Findings))
	}
	for _, want := range []string{"first a.js:1:2: Bad.", "comments: the ratio is 0.000", "secrets: 1 finding, first b.pem:1:1"} {
		if r.Err == nil || !strings.Contains(r.Err.Error(), want) {
			t.Errorf("got %v, want %s in it", r.Err, want)
		}
	}
	skip := (*sdktest.Skip)(nil)
	if r := sdktest.Run(t, stage, "", options(dir)); !errors.As(r.Err, &skip) {
		t.Errorf("nothing to do: %v", r.Err)
	}
}

func TestScan(t *testing.T) {
	dir := commit(t, map[string]string{"a.js": "x();\n", "old.pem": key})
	scan := func(body string, args map[string]string) sdktest.Result {
		args["path"] = dir
		return sdktest.Call(t, stage, body, "scan", args)
	}
	if r := scan("", map[string]string{}); text(r.Findings) != "old.pem:1:1 error private-key" || r.Err == nil {
		t.Errorf("the folder: %v, %s", r.Err, text(r.Findings))
	}
	if r := scan("", map[string]string{"staged": "true"}); r.Err != nil || len(r.Findings) > 0 {
		t.Errorf("nothing is staged: %v, %s", r.Err, text(r.Findings))
	}

	write(t, dir, "sub/new.js", "const id = '"+awsID+"';\n")
	git(t, dir, "add", "sub/new.js")
	git(t, dir, "rm", "-q", "a.js")
	write(t, dir, "sub/new.js", "clean();\n") // mended, but not staged again
	if r := scan("", map[string]string{"staged": "true"}); text(r.Findings) != "sub/new.js:1:13 error aws-access-token" || r.Err == nil {
		t.Errorf("staged: %v, %s", r.Err, text(r.Findings))
	}
	write(t, dir, ".gitleaksignore", "sub/new.js:aws-access-token:1\n")
	git(t, dir, "add", ".gitleaksignore")
	if r := scan("", map[string]string{"staged": "true"}); r.Err != nil {
		t.Errorf("staged, allowed by its fingerprint: %v", r.Err)
	}
	git(t, dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "x", ".gitleaksignore")
	if r := scan("", map[string]string{"staged": "true"}); r.Err != nil {
		t.Errorf("staged, allowed by a fingerprint that was committed before: %v", r.Err)
	}
	git(t, dir, "rm", "-q", "-f", ".gitleaksignore")
	if r := scan(`secrets { allow = ["sub/*"] }`, map[string]string{"staged": "true"}); r.Err != nil {
		t.Errorf("staged, allowed: %v", r.Err)
	}

	// git commit -a gives its hooks an index of its own.
	if err := os.WriteFile(filepath.Join(dir, ".git/other-index"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("git", "read-tree", "HEAD")
	other.Dir, other.Env = dir, append(os.Environ(), "GIT_INDEX_FILE=.git/other-index")
	if err := os.Remove(filepath.Join(dir, ".git/other-index")); err != nil {
		t.Fatal(err)
	}
	if out, err := other.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r := scan("", map[string]string{"staged": "true", "index": ".git/other-index"}); r.Err != nil {
		t.Errorf("another index, in which nothing is staged: %v", r.Err)
	}

	if r := sdktest.Call(t, stage, "", "scan", map[string]string{"path": filepath.Join(dir, "none")}); r.Err == nil {
		t.Error("a folder that is not there passed")
	}
}

func TestHook(t *testing.T) {
	dir := commit(t, map[string]string{"it's/pipeline.hcl": ""})
	t.Chdir(filepath.Join(dir, "it's"))
	hook := filepath.Join(dir, ".git/hooks/pre-commit")
	for _, time := range []string{"first", "second"} {
		if r := sdktest.Call(t, stage, "", "hook", nil); r.Err != nil {
			t.Fatalf("%s time: %v", time, r.Err)
		}
	}

	// In troop's place stands a program that tells how it was called, and refuses.
	bin := t.TempDir()
	write(t, bin, "troop", "#!/bin/sh\necho \"$PWD: $*\" > "+bin+"/called\nexit 1\n")
	if err := os.Chmod(filepath.Join(bin, "troop"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	write(t, dir, "new", "")
	git(t, dir, "add", "new")
	if err := exec.Command("git", "-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-m", "x", "new").Run(); err == nil {
		t.Error("the hook said no, and the commit was made")
	}
	called, err := os.ReadFile(filepath.Join(bin, "called"))
	if err != nil || !strings.Contains(string(called), "/it's: analysis scan --quiet --staged --index /") {
		t.Errorf("called as %q, %v", called, err)
	}

	if err := os.WriteFile(hook, []byte("#!/bin/sh\nmake check\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(fmt.Sprint(sdktest.Call(t, stage, "", "hook", nil).Err), hook+" exists and is not troop's; add this line to it: ")
	if !ok {
		t.Fatalf("a hook that is not ours: %v", line)
	}
	pasted(t, dir, bin, hook, line)

	// Git looks for hooks in a folder of the team's files.
	git(t, dir, "config", "core.hooksPath", ".husky")
	husky := filepath.Join(dir, ".husky/pre-commit")
	_, line, ok = strings.Cut(fmt.Sprint(sdktest.Call(t, stage, "", "hook", nil).Err), "outside this repository's .git; add this line to "+husky+": ")
	if _, err := os.Stat(husky); err == nil || !ok {
		t.Fatalf("core.hooksPath: %v, %v", line, err)
	}
	write(t, dir, ".husky/x", "")
	pasted(t, dir, bin, husky, line)

	git(t, dir, "config", "core.hooksPath", ".git/own")
	if r := sdktest.Call(t, stage, "", "hook", nil); r.Err != nil {
		t.Errorf("core.hooksPath within the repository: %v", r.Err)
	}
	if script, err := os.ReadFile(filepath.Join(dir, ".git/own/pre-commit")); err != nil || !strings.Contains(string(script), line) {
		t.Errorf("hook %q, %v", script, err)
	}
}

// pasted fails if a hook that holds the line lets a commit pass that troop refuses.
func pasted(t *testing.T, dir, bin, hook, line string) {
	t.Helper()
	called := filepath.Join(bin, "called")
	if err := os.Remove(called); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\n"+line+"\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("git", "-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-m", "x", "--allow-empty").Run(); err == nil {
		t.Errorf("%s: the line said no, and the commit was made", hook)
	}
	if args, err := os.ReadFile(called); err != nil || !strings.Contains(string(args), "/it's: analysis scan --quiet --staged --index") {
		t.Errorf("%s: called as %q, %v", hook, args, err)
	}
}

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Valid:   `lint { command = ["sleep", "60"] }`,
		Invalid: map[string]string{`comments { max = 40 }`: "want a ratio from 0 to 1", `secret {}`: `Did you mean "secrets"?`},
		Cancel:  true,
		Pass:    `secrets {}`,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "analysis"), b) })
}
