package e2e

import (
	"crypto/sha256"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestTreeReproducible builds a plugin in two folders with the Makefile's rule. The binaries must be identical, so that a
// plugin lock is valid in every checkout.
func TestTreeReproducible(t *testing.T) {
	var sums [2][sha256.Size]byte
	for i, name := range []string{"checkout", "another/checkout of the same"} {
		dir := filepath.Join(t.TempDir(), name)
		for _, folder := range []string{"plugins/sdk", "plugins/build"} {
			if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join("../..", folder))); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
			text, err := os.ReadFile(filepath.Join("../..", file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if i == 1 { // one folder also has commits
			run(t, dir, "git", "init", "-q")
			run(t, dir, "git", "add", ".")
			run(t, dir, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "first")
		}
		run(t, dir, "make", "-s", "bin/troop-plugin-build")
		binary, err := os.ReadFile(filepath.Join(dir, "bin/troop-plugin-build"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(binary)
	}
	if sums[0] != sums[1] {
		t.Errorf("SHA-256 %x in one folder, %x in another", sums[0], sums[1])
	}
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// TestTreeWorkflow checks the workflow file for public forges: it calls .ci/run and nothing else.
func TestTreeWorkflow(t *testing.T) {
	text, err := os.ReadFile("../../.github/workflows/ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Jobs map[string]struct {
			RunsOn string `yaml:"runs-on"`
			Steps  []struct{ Uses, Run string }
		}
	}
	if err := yaml.Unmarshal(text, &workflow); err != nil {
		t.Fatal(err)
	}
	calls := 0
	for name, job := range workflow.Jobs {
		if job.RunsOn == "" {
			t.Errorf("job %s says not where it runs", name)
		}
		for _, step := range job.Steps {
			if _, version, _ := strings.Cut(step.Uses, "@"); step.Uses != "" && version == "" {
				t.Errorf("%s: want a version", step.Uses)
			}
			if strings.Contains(step.Run, "go test") || strings.Contains(step.Run, "make test") {
				t.Errorf("%q: .ci/run says what is tested", step.Run)
			}
			if step.Run == ".ci/run" {
				calls++
			}
		}
	}
	if calls != 1 {
		t.Errorf(".ci/run is called %d times", calls)
	}
	if info, err := os.Stat("../../.ci/run"); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/run is no program: %v", err)
	}
}

// TestTreeThreats checks that every test named in the threat model exists.
func TestTreeThreats(t *testing.T) {
	page, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1)
	if len(named) < 20 {
		t.Errorf("it names %d tests", len(named))
	}
	for _, m := range named {
		if !tests[string(m[1])] {
			t.Errorf("there is no %s", m[1])
		}
	}
}

// TestTreeWhereIs finds every file and folder that the table "Where is …" of the architecture names.
func TestTreeWhereIs(t *testing.T) {
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Where is …")
	rows := regexp.MustCompile(`(?m)^\| .* \|$`).FindAllString(table, -1)
	if len(rows) < 40 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	quoted := regexp.MustCompile("`([^` ]+)`")
	for _, row := range rows {
		cells := strings.Split(row, "|")
		folder := ""
		for _, m := range quoted.FindAllStringSubmatch(cells[2], -1) {
			path := m[1]
			if !strings.Contains(path, "/") && path != "Makefile" && folder != "" {
				path = filepath.Join(folder, path) // a file beside the one before it, or a folder in the folder before it
			}
			if _, err := os.Stat(filepath.Join("../..", path)); err != nil {
				t.Errorf("%s: %v", strings.TrimSpace(cells[1]), err)
			}
			if folder = path; filepath.Ext(path) != "" {
				folder = filepath.Dir(path)
			}
		}
	}
}

// TestTreeCommands keeps the troop program wiring: what a command does belongs to a package that other programs can import.
func TestTreeCommands(t *testing.T) {
	const most = 2800
	files, err := filepath.Glob("../cmd/troop/*.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines += strings.Count(string(text), "\n")
	}
	if lines == 0 || lines >= most {
		t.Errorf("core/cmd/troop has %d lines, want under %d", lines, most)
	}
}

// TestTreeWithoutAWS runs the tests with the real provider on machines that lack something: one line says what, and that
// nothing ran.
func TestTreeWithoutAWS(t *testing.T) {
	for name, tt := range map[string]struct {
		programs []string
		want     string
	}{
		"Terraform":            {nil, "test-aws: did not run: it needs terraform in PATH\n"},
		"the AWS command line": {[]string{"terraform"}, "test-aws: did not run: it needs the AWS command line: pip install awscli\n"},
		"moto":                 {[]string{"terraform", "aws", "python3"}, "test-aws: did not run: it needs moto: pip install 'moto[server]'\n"},
	} {
		bin := t.TempDir()
		for _, program := range tt.programs {
			if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		bash, err := exec.LookPath("bash")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), bash, ".ci/test-aws")
		cmd.Dir, cmd.Env = "../..", []string{"PATH=" + bin}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != tt.want {
			t.Errorf("without %s: %q, %v", name, out, err)
		}
	}
}
