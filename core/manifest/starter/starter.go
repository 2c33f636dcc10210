// Package starter writes the first manifest of a project: it looks at the files in a folder and fills in a template for
// the kind of project that they belong to. What the files do not tell stands in the manifest as a comment with a
// question. The troop program calls it for `troop init`; nothing here writes a file.
package starter

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/seed-b96de936/troop/core"
)

//go:embed templates/*.hcl
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"list": list, "quote": quote}).ParseFS(files, "templates/*.hcl"))

// kind is a kind of project.
type kind struct {
	name  string
	marks []string // files, any of which tells it
	find  func(p *project)
}

// kinds, the more telling ones first: a Go module may well have a Makefile.
var kinds = []kind{
	{"Go", []string{"go.mod"}, golang},
	{"Node", []string{"package.json"}, node},
	{"Python", []string{"pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "pytest.ini", "tests/test_*.py", "test_*.py"}, python},
	{"Rust", []string{"Cargo.toml"}, rust},
	{"Maven", []string{"pom.xml"}, maven},
	{"Gradle", []string{"build.gradle", "build.gradle.kts"}, gradle},
	{"PHP", []string{"composer.json", "phpunit.xml", "phpunit.xml.dist"}, php},
	{"Ruby", []string{"Gemfile", "*.gemspec", "Rakefile"}, ruby},
	{".NET", []string{"*.sln", "*.csproj", "*/*.csproj", "*.fsproj"}, dotnet},
	{"Make", []string{"Makefile", "makefile", "GNUmakefile"}, makefile},
	{"Shell", []string{"test.sh", "run-tests.sh", "test/run.sh", "tests/run.sh", "test/*.bats", "tests/*.bats"}, shell},
}

// project is what the template is filled with.
type project struct {
	dir   string
	probe func(name string, args ...string) string

	Name       string
	Build      [][]string // commands
	BuildNotes []string
	Env        string // of the commands, as it is written in HCL
	Cache      dependencies
	Package    bool
	Prepare    []string
	Test       []string
	TestNotes  []string
	Reports    []report
	Asks       int
}

// dependencies are folders of downloads, and the lock file on which they depend.
type dependencies struct {
	Paths []string
	Lock  string
}

type report struct{ Name, File string }

// Starter is a manifest for a project.
type Starter struct {
	Kind     string   // for people: Go, Node, Python …
	Text     []byte   // of a pipeline.hcl
	Programs []string // that its commands start, without those of the project itself
	Results  bool     // reports name the tests that fail
	Coverage bool
	Asks     int // comments with a question
}

// For returns the manifest for the project in dir. probe gives the output of a program of this machine, for what only
// that tells, or nothing. A folder that is no known kind of project is a *core.NotFoundError.
func For(dir string, probe func(name string, args ...string) string) (Starter, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return Starter{}, fmt.Errorf("find project: %w", err)
	}
	for _, k := range kinds {
		p := &project{dir: full, probe: probe, Name: filepath.Base(full)}
		if !slices.ContainsFunc(k.marks, p.has) {
			continue
		}
		k.find(p)
		p.Name = safeName(p.Name)
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, "pipeline.hcl", p); err != nil {
			return Starter{}, fmt.Errorf("fill template: %w", err)
		}
		return Starter{
			Kind: k.name, Text: hclwrite.Format([]byte(b.String())), Programs: p.programs(), Asks: p.Asks,
			Results:  slices.ContainsFunc(p.Reports, func(r report) bool { return r.Name != "coverage" }),
			Coverage: slices.ContainsFunc(p.Reports, func(r report) bool { return r.Name == "coverage" }),
		}, nil
	}
	return Starter{}, &core.NotFoundError{
		What: "project", Name: full,
		Remedy: "a project has a go.mod, package.json, pyproject.toml, requirements.txt, Cargo.toml, pom.xml, build.gradle, composer.json, Gemfile, *.csproj, Makefile or test.sh",
	}
}

// programs are the first words of the commands that are looked up in PATH.
func (p *project) programs() []string {
	var list []string
	for _, c := range append(slices.Clone(p.Build), p.Test, p.Prepare) {
		if len(c) > 0 && !strings.Contains(c[0], "/") && !slices.Contains(list, c[0]) {
			list = append(list, c[0])
		}
	}
	return list
}

// ask adds a question about the tests.
func (p *project) ask(format string, args ...any) {
	p.Asks++
	p.TestNotes = append(p.TestNotes, "? "+fmt.Sprintf(format, args...))
}

// askBuild adds a question about the build.
func (p *project) askBuild(format string, args ...any) {
	p.Asks++
	p.BuildNotes = append(p.BuildNotes, "? "+fmt.Sprintf(format, args...))
}

func (p *project) report(name, file string) { p.Reports = append(p.Reports, report{name, file}) }

// keep has the build stage keep folders of downloads, if the project has the lock file.
func (p *project) keep(lock string, paths ...string) {
	if lock != "" && p.has(lock) {
		p.Cache = dependencies{paths, lock}
	}
}

// has reports whether a file matches the pattern.
func (p *project) has(pattern string) bool { return p.first(pattern) != "" }

// first is the first file that matches one of the patterns; empty when none does.
func (p *project) first(patterns ...string) string {
	for _, pattern := range patterns {
		if found, err := filepath.Glob(filepath.Join(p.dir, pattern)); err == nil && len(found) > 0 {
			rel, _ := filepath.Rel(p.dir, found[0])
			return filepath.ToSlash(rel)
		}
	}
	return ""
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

// quote writes a word as a string of HCL.
func quote(word string) string {
	return strings.ReplaceAll(strings.ReplaceAll(fmt.Sprintf("%q", word), "${", "$${"), "%{", "%%{")
}

// list writes words as a list of HCL.
func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// Ask is For with the programs of this machine, each of which gets a moment for its answer.
func Ask(ctx context.Context, dir string) (Starter, error) {
	return For(dir, func(name string, args ...string) string {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return ""
		}
		return string(out)
	})
}

// Write writes the manifest to a file that must not be there yet; else the error is fs.ErrExist.
func (s Starter) Write(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(s.Text)
	return errors.Join(err, f.Close())
}

// Missing lists the programs that a run would need and that are not on this machine.
func (s Starter) Missing() []string {
	return slices.DeleteFunc(slices.Clone(s.Programs), func(name string) bool {
		_, err := exec.LookPath(name)
		return err == nil
	})
}

// Shows says what a run of the manifest will show of its tests.
func (s Starter) Shows() string {
	results, coverage := "named from the log", "not yet"
	if s.Results {
		results = "named from a report"
	}
	if s.Coverage {
		coverage = "shown"
	}
	return "tests: " + results + "; coverage: " + coverage
}
