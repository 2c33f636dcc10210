package manifest

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/seed-b96de936/troop/core"
)

// fixture is one archive of testdata: a folder with a manifest, the options to load it with, and what is expected.
//
//	args: lines "-var NAME=VALUE", "-var-file FILE", "-environment NAME", "-need-nothing", "-need-environment",
//	"env NAME=VALUE", "secret NAME=VALUE", which also reads the secrets, "load PATH"
//	want: what Format says of a bad manifest, or the pipeline that a good one makes
type fixture struct {
	file    string
	archive *txtar.Archive
	path    string
	options Options
}

func fixtures(tb testing.TB, folder string) []fixture {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no fixtures in %s: %v", folder, err)
	}
	var out []fixture
	for _, file := range files {
		full, err := filepath.Abs(file)
		if err != nil {
			tb.Fatal(err)
		}
		archive, err := txtar.ParseFile(full)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, fixture{file: full, archive: archive})
	}
	return out
}

// unpack writes the fixture's files into a new folder, which becomes the current one.
func (f *fixture) unpack(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{}
	f.options = Options{
		Vars:      map[string]string{},
		Env:       func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Modules:   []string{"aws", "lab"},
		Playbooks: []string{"release.yml", "site.yml"},
		Reserved:  []string{"runs", "workspaces", "artifacts", "plugins", "stages"},
	}
	for _, file := range f.archive.Files {
		switch file.Name {
		case "want":
		case "args":
			for line := range strings.Lines(string(file.Data)) {
				f.argument(t, strings.TrimSuffix(line, "\n"), env)
			}
		default:
			path := filepath.Join(dir, file.Name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, file.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Chdir(dir)
}

func (f *fixture) argument(t *testing.T, line string, env map[string]string) {
	t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	name, value, _ := strings.Cut(rest, "=")
	switch word {
	case "-var":
		f.options.Vars[name] = value
	case "-var-file":
		f.options.VarFiles = append(f.options.VarFiles, rest)
	case "-need-environment":
		f.options.Need = EnvironmentOnly
	case "-need-nothing":
		f.options.Need = Nothing
	case "-environment":
		f.options.Environment = rest
	case "env":
		env[name] = strings.ReplaceAll(value, `\n`, "\n")
	case "secret":
		f.secret(name, strings.ReplaceAll(value, `\n`, "\n"))
	case "load":
		f.path = rest
	default:
		t.Fatalf("%s: unknown argument %q", f.file, line)
	}
}

// secret makes a value known; those that are not can then not be read.
func (f *fixture) secret(name, value string) {
	before := f.options.Secret
	f.options.Secret = func(s core.SecretSource) (string, error) {
		switch {
		case s.Name == name:
			return value, nil
		case before != nil:
			return before(s)
		}
		return "", errors.New("the safe is locked")
	}
}

// golden compares got with the fixture's want, or renews it with UPDATE=1.
func (f *fixture) golden(t *testing.T, got string) {
	t.Helper()
	want := txtar.File{Name: "want", Data: []byte(got)}
	i := slices.IndexFunc(f.archive.Files, func(x txtar.File) bool { return x.Name == "want" })
	if os.Getenv("UPDATE") != "" {
		if i < 0 {
			f.archive.Files = append(f.archive.Files, want)
		} else {
			f.archive.Files[i] = want
		}
		if err := os.WriteFile(f.file, txtar.Format(f.archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if i < 0 {
		t.Fatal("no want; make it with UPDATE=1")
	}
	if string(f.archive.Files[i].Data) != got {
		t.Errorf("got:\n%s\nwant:\n%s", got, f.archive.Files[i].Data)
	}
}

func name(f fixture) string { return strings.TrimSuffix(filepath.Base(f.file), ".txtar") }

// TestBad holds the mistakes that people make, one in each manifest, with the exact words that answer them.
func TestBad(t *testing.T) {
	all := fixtures(t, "bad")
	if len(all) < 60 {
		t.Errorf("%d bad manifests, want 60 at least", len(all))
	}
	for _, f := range all {
		t.Run(name(f), func(t *testing.T) {
			f.unpack(t)
			_, sources, diags := Load(f.path, f.options)
			if len(diags) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			f.golden(t, Format(diags, sources, false))
		})
	}
}

// TestGood compares the whole pipeline, with the scope of every stage before and after the stages that it needs ran.
func TestGood(t *testing.T) {
	for _, f := range fixtures(t, "good") {
		t.Run(name(f), func(t *testing.T) {
			f.unpack(t)
			p, sources, diags := Load(f.path, f.options)
			if len(diags) > 0 {
				t.Fatalf("diagnostics:\n%s", Format(diags, sources, false))
			}
			f.golden(t, describe(t, p))
		})
	}
}

func describe(t *testing.T, p *core.Pipeline) string {
	t.Helper()
	type stage struct {
		core.Stage
		Text   string
		Scope  json.RawMessage
		InARun json.RawMessage
	}
	dir := p.Dir
	outputs := map[core.StageID]map[string]any{}
	for _, s := range p.Stages {
		outputs[s.ID()] = map[string]any{"artifact": "sha256:" + s.Name, "count": 3}
	}
	var stages []stage
	for _, s := range p.Stages {
		text := string(s.Block.Source)
		s.Block.Source = nil
		stages = append(stages, stage{
			Stage: s, Text: text,
			Scope: scopeJSON(t, s, "", nil), InARun: scopeJSON(t, s, "lab", outputs),
		})
	}
	shown := map[string]any{
		"Name": p.Name, "File": p.File, "Dir": p.Dir, "Source": p.Source, "Environments": p.Environments,
		"Triggers": p.Triggers, "Stages": stages, "Notifiers": p.Notifiers, "Secrets": p.Secrets,
	}
	maps.DeleteFunc(shown, func(_ string, v any) bool { return v == nil })
	text, err := json.MarshalIndent(shown, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), dir, "DIR") + "\n"
}
