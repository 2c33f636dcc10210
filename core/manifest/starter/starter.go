// Package starter writes the first manifest of a project: it looks at the files in a folder and fills in a template for
// the kind of project that they belong to. The templates are manifests, so that everything they say of a stage stands
// in them and not in this package. The troop program calls it for `troop init`; nothing here writes a file.
package starter

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/seed-b96de936/troop/core"
)

//go:embed templates/*.hcl
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"list": list}).ParseFS(files, "templates/*.hcl"))

// kind is a kind of project.
type kind struct {
	name     string
	template string
	marks    []string // files, any of which tells it
	find     func(p *project)
}

// kinds, the more telling ones first: a Go module may well have a Makefile.
var kinds = []kind{
	{"Go", "go.hcl", []string{"go.mod"}, golang},
	{"Node", "node.hcl", []string{"package.json"}, node},
	{"Python", "plain.hcl", []string{"pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "tests/*.py", "test_*.py"}, python},
	{"Maven", "plain.hcl", []string{"pom.xml"}, maven},
	{"Gradle", "plain.hcl", []string{"build.gradle", "build.gradle.kts"}, gradle},
	{"Make", "plain.hcl", []string{"Makefile", "makefile", "GNUmakefile"}, makefile},
}

// project is what a template is filled with.
type project struct {
	dir string

	Name    string
	Build   [][]string // commands
	Test    []string
	Reports string // pattern of JUnit files
	Prepare []string
}

// Starter is a manifest for a project.
type Starter struct {
	Kind string // for people: Go, Node, Python, Maven, Gradle, Make
	Text []byte // of a pipeline.hcl
}

// For returns the manifest for the project in dir. A folder that is no known kind of project is a
// *core.NotFoundError.
func For(dir string) (Starter, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return Starter{}, fmt.Errorf("find project: %w", err)
	}
	for _, k := range kinds {
		p := &project{dir: full, Name: filepath.Base(full)}
		if !slices.ContainsFunc(k.marks, p.has) {
			continue
		}
		k.find(p)
		p.Name = safeName(p.Name)
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, k.template, p); err != nil {
			return Starter{}, fmt.Errorf("fill template %s: %w", k.template, err)
		}
		return Starter{Kind: k.name, Text: hclwrite.Format([]byte(b.String()))}, nil
	}
	return Starter{}, &core.NotFoundError{
		What: "project", Name: full,
		Remedy: "a project has a go.mod, package.json, pyproject.toml, requirements.txt, pom.xml, build.gradle or Makefile",
	}
}

// has reports whether a file matches the pattern.
func (p *project) has(pattern string) bool {
	found, err := filepath.Glob(filepath.Join(p.dir, pattern))
	return err == nil && len(found) > 0
}

// text of a file; empty when it cannot be read.
func (p *project) text(file string) string {
	text, err := os.ReadFile(filepath.Join(p.dir, file))
	if err != nil {
		return ""
	}
	return string(text)
}

var unsafe = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

func safeName(name string) string {
	name = strings.Trim(unsafe.ReplaceAllString(name[strings.LastIndexByte(name, '/')+1:], "-"), "-_")
	if name == "" || !regexp.MustCompile(`^[A-Za-z]`).MatchString(name) {
		name = "app" + name
	}
	return name[:min(len(name), 64)]
}

// list writes words as a list of HCL.
func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strings.ReplaceAll(strings.ReplaceAll(fmt.Sprintf("%q", w), "${", "$${"), "%{", "%%{")
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var modulePattern = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)`)

func golang(p *project) {
	if m := modulePattern.FindStringSubmatch(p.text("go.mod")); m != nil {
		p.Name = regexp.MustCompile(`/v\d+$`).ReplaceAllString(m[1], "")
	}
}

func node(p *project) {
	var description struct {
		Name    string            `json:"name"`
		Scripts map[string]string `json:"scripts"`
	}
	if json.Unmarshal([]byte(p.text("package.json")), &description) == nil && description.Name != "" {
		p.Name = description.Name
	}
	tool := "npm"
	switch {
	case p.has("pnpm-lock.yaml"):
		tool = "pnpm"
		p.Build = [][]string{{"pnpm", "install", "--frozen-lockfile"}}
		p.Prepare = []string{"pnpm", "prune", "--prod"}
	case p.has("yarn.lock"):
		tool = "yarn"
		p.Build = [][]string{{"yarn", "install", "--frozen-lockfile"}}
	case p.has("package-lock.json"), p.has("npm-shrinkwrap.json"):
		p.Build = [][]string{{"npm", "ci"}}
		p.Prepare = []string{"npm", "prune", "--omit=dev"}
	default:
		p.Build = [][]string{{"npm", "install"}}
		p.Prepare = []string{"npm", "prune", "--omit=dev"}
	}
	if description.Scripts["build"] != "" {
		p.Build = append(p.Build, []string{tool, "run", "build"})
	}
	p.Test = []string{tool, "test"}
	if description.Scripts["test"] == "" {
		p.Test = []string{"node", "--test"}
	}
}

func python(p *project) {
	interpreter := "python3"
	if p.has("requirements.txt") {
		interpreter = ".venv/bin/python"
		p.Build = [][]string{{"python3", "-m", "venv", ".venv"}, {interpreter, "-m", "pip", "install", "-r", "requirements.txt"}}
	}
	p.Build = append(p.Build, []string{interpreter, "-m", "compileall", "-q", "-x", `\.venv`, "."})
	settings := p.text("pyproject.toml") + p.text("setup.cfg") + p.text("tox.ini") + p.text("requirements.txt")
	if strings.Contains(settings, "pytest") || p.has("pytest.ini") || p.has("conftest.py") || p.has("tests/conftest.py") {
		p.Test = []string{interpreter, "-m", "pytest", "--junit-xml=reports/junit.xml"}
		p.Reports = "reports/junit.xml"
		return
	}
	p.Test = []string{interpreter, "-m", "unittest", "discover"}
	for _, folder := range []string{"tests", "test"} {
		switch {
		case p.has(folder + "/__init__.py"):
			p.Test = append(p.Test, "-s", folder, "-t", ".")
			return
		case p.has(folder + "/*.py"):
			p.Test = append(p.Test, "-s", folder)
			return
		}
	}
}

func maven(p *project) {
	tool := "mvn"
	if p.has("mvnw") {
		tool = "./mvnw"
	}
	p.Build = [][]string{{tool, "--batch-mode", "package", "-DskipTests"}}
	p.Test = []string{tool, "--batch-mode", "test"}
	p.Reports = "target/surefire-reports/*.xml"
}

func gradle(p *project) {
	tool := "gradle"
	if p.has("gradlew") {
		tool = "./gradlew"
	}
	p.Build = [][]string{{tool, "assemble"}}
	p.Test = []string{tool, "test"}
	p.Reports = "build/test-results/test/*.xml"
}

func makefile(p *project) {
	text := p.text("GNUmakefile") + p.text("makefile") + p.text("Makefile")
	has := func(target string) bool {
		return regexp.MustCompile(`(?m)^([\w.-]+ )*` + target + `( [\w.-]+)*\s*:([^=]|$)`).MatchString(text)
	}
	p.Build = [][]string{{"make"}}
	if has("build") {
		p.Build = [][]string{{"make", "build"}}
	}
	if has("check") {
		p.Test = []string{"make", "check"}
	}
	if has("test") {
		p.Test = []string{"make", "test"}
	}
}
