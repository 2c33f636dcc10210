package starter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest"
)

// TestFor fills a folder from each archive of testdata and compares the manifest made for it with the archive's want.
// UPDATE=1 renews them. Every manifest has to load without a word, in its usual layout.
func TestFor(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "the_shop")
			want := unpack(t, archive, dir)
			s, err := For(dir, func(string, ...string) string { return "pcov" })
			if err != nil {
				t.Fatal(err)
			}
			got := "# " + s.Kind + "\n" + string(s.Text)
			if os.Getenv("UPDATE") != "" {
				renew(t, archive, file, got)
			} else if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			path := filepath.Join(dir, "pipeline.hcl")
			if err := os.WriteFile(path, s.Text, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, sources, diags := manifest.Load(dir, manifest.Options{}); len(diags) > 0 {
				t.Error(manifest.Format(diags, sources, false))
			}
			if again, _ := manifest.Reformat(path, s.Text); string(again) != string(s.Text) {
				t.Errorf("its usual layout is\n%s", again)
			}
		})
	}
}

// unpack writes the archive's files and returns its want.
func unpack(t *testing.T, archive *txtar.Archive, dir string) (want string) {
	t.Helper()
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = string(f.Data)
			continue
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return want
}

func renew(t *testing.T, archive *txtar.Archive, file, got string) {
	t.Helper()
	last := len(archive.Files) - 1
	if archive.Files[last].Name == "want" {
		archive.Files = archive.Files[:last]
	}
	archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestNoProject(t *testing.T) {
	if _, err := For(t.TempDir(), nil); !errors.As(err, new(*core.NotFoundError)) {
		t.Errorf("got %v, want a NotFoundError", err)
	}
}

func TestSafeName(t *testing.T) {
	for given, want := range map[string]string{
		"shop": "shop", "@team/web.site": "web-site", "my shop!": "my-shop", "3d": "app3d", "é": "app", "": "app",
	} {
		if got := safeName(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

func TestList(t *testing.T) {
	if got, want := list([]string{`a"b`, "${x}", "%{y}", "\n"}), `["a\"b", "$${x}", "%%{y}", "\n"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
