package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/engine"
	"github.com/seed-b96de936/troop/core/loader"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/reference"
)

//go:generate env UPDATE=1 go test -count=1 -run ^TestReferencePages$ .

func shippedLoader(t *testing.T) *loader.Loader {
	t.Helper()
	dir, err := plugins()
	if err != nil {
		t.Fatal(err)
	}
	l, err := loader.New(loader.Options{Dirs: []string{dir}, Cache: filepath.Join(dir, "..", "cache", "troop")})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestReferencePages holds the README.md of each of documented to what the plugin says of itself, and to what its folder's
// notes.md adds. UPDATE=1 renews them.
func TestReferencePages(t *testing.T) {
	l := shippedLoader(t)
	for _, folder := range documented {
		d, _, err := l.Describe(t.Context(), filepath.Base(folder))
		if err != nil {
			t.Fatal(err)
		}
		page := "<!-- Generated from the plugin, example.hcl and notes.md: make generate -->\n" + reference.Markdown(d, example(t, folder))
		notes, err := os.ReadFile(filepath.Join(folder, "notes.md"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if len(notes) > 0 {
			page += "\n" + string(notes)
		}
		file := filepath.Join(folder, "README.md")
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != page {
			t.Errorf("%s is not current: make generate renews it (%v)", file, err)
		}
	}
}

// TestExamples puts the examples of all pages into one pipeline, which has to be without fault.
func TestExamples(t *testing.T) {
	var text strings.Builder
	text.WriteString("pipeline \"examples\" {\n  source { path = \".\" }\n}\n\nenvironment \"lab\" {}\n")
	for _, folder := range documented {
		text.WriteString("\n" + example(t, folder))
	}
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	p, sources, diags := manifest.Load(file, manifest.Options{})
	if p == nil {
		t.Fatal(manifest.Format(diags, sources, false))
	}
	diags = append(diags, (&engine.Engine{Plugins: shippedLoader(t)}).Validate(t.Context(), p, "lab")...)
	if len(diags) > 0 {
		t.Error(manifest.Format(diags, sources, false))
	}
	for i, folder := range documented {
		if len(p.Stages) != len(documented) || p.Stages[i].Type != filepath.Base(folder) {
			t.Fatalf("the example of %s is not one stage of that type", folder)
		}
	}
	if usual, _ := manifest.Reformat(file, []byte(text.String())); string(usual) != text.String() {
		t.Errorf("the usual layout of the examples is\n%s", usual)
	}
}

// TestReadme loads and checks the manifests in README.md.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 2 {
		t.Fatalf("found %d", len(blocks))
	}
	for _, b := range blocks {
		src := string(b[1])
		if !strings.HasPrefix(src, "pipeline ") {
			src = "pipeline \"readme\" {\n  source { path = \".\" }\n}\n\n" + src
		}
		if strings.Contains(src, "stage.build.app") && !strings.Contains(src, `stage "build" "app"`) {
			src += "\n" + example(t, "../../../plugins/build")
		}
		dir := t.TempDir()
		file, rules := filepath.Join(dir, "pipeline.hcl"), filepath.Join(dir, "policy")
		if err := errors.Join(
			os.WriteFile(file, []byte(src), 0o644),
			os.Mkdir(rules, 0o755), os.WriteFile(filepath.Join(rules, "hosts.rego"), []byte("package terraform\n"), 0o644),
			os.WriteFile(filepath.Join(dir, "team.keys"), []byte("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj one\n"), 0o644),
		); err != nil {
			t.Fatal(err)
		}
		p, sources, diags := manifest.Load(file, manifest.Options{Env: func(string) (string, bool) { return "someone", true }})
		if p != nil {
			diags = append(diags, (&engine.Engine{Plugins: shippedLoader(t)}).Validate(t.Context(), p, "")...)
		}
		if len(diags) > 0 {
			t.Error(manifest.Format(diags, sources, false))
		}
		if usual, _ := manifest.Reformat(file, []byte(src)); string(usual) != src {
			t.Errorf("its usual layout is\n%s", usual)
		}
	}
}

// TestLinks follows the links of every page to files of this tree.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	seen := 0
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".troop" || d.Name() == ".git"):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			seen++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to what is not there: %s", path, m[1])
			}
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d links, %v", seen, err)
	}
}

func example(t *testing.T, folder string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "example.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
