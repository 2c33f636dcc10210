package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		path  string
		want  string // relative to the folder; empty: a diagnostic
	}{
		{"no argument", []string{"pipeline.hcl"}, "", "pipeline.hcl"},
		{"folder", []string{"shop/pipeline.hcl"}, "shop", "shop/pipeline.hcl"},
		{"file", []string{"shop/other.hcl"}, "shop/other.hcl", "shop/other.hcl"},
		{"the only other name", []string{"web.pipeline.hcl", "web.hcl"}, ".", "web.pipeline.hcl"},
		{"the usual name wins", []string{"web.pipeline.hcl", "pipeline.hcl"}, ".", "pipeline.hcl"},
		{"folder named like a pattern", []string{"[a]/web.pipeline.hcl"}, "[a]", "[a]/web.pipeline.hcl"},
		{"several", []string{"a.pipeline.hcl", "b.pipeline.hcl"}, ".", ""},
		{"none", []string{"README.md"}, ".", ""},
		{"missing", nil, "nowhere", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			for _, f := range tt.files {
				if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, diags := Find(tt.path)
			if tt.want == "" {
				if !diags.HasErrors() || got != "" {
					t.Errorf("got %q, %v; want a diagnostic", got, diags)
				}
				return
			}
			if want := filepath.Join(dir, tt.want); got != want || len(diags) > 0 {
				t.Errorf("got %q, %v; want %q", got, diags, want)
			}
		})
	}
}

// TestUnusable holds files that are no manifests at all.
func TestUnusable(t *testing.T) {
	text := []byte("pipeline \"shop\" {}\n")
	for _, tt := range []struct {
		name string
		make func(path string) error
		want string // as Format says it
	}{
		{"10 MB", func(p string) error { return os.WriteFile(p, make([]byte, 10_000_000), 0o644) }, `Error: Manifest is too large

  x.hcl has 9.5 MiB; a manifest has 1 MiB at most. Is it the right file?
`},
		{"binary", func(p string) error { return os.WriteFile(p, []byte("\x7fELF\x02\x01\xff\xfe"), 0o644) }, `Error: Manifest is not a text file

  on x.hcl:1,7

  A manifest is UTF-8 text, but here byte 0xff is not UTF-8. Save the file as UTF-8.
`},
		{"Latin-1", func(p string) error { return os.WriteFile(p, []byte("# x\n# caf\xe9\n"), 0o644) }, `Error: Manifest is not a text file

  on x.hcl:2,6

  A manifest is UTF-8 text, but here byte 0xe9 is not UTF-8. Save the file as UTF-8.
`},
		{"NUL", func(p string) error { return os.WriteFile(p, append(text, 0), 0o644) }, `Error: Manifest is not a text file

  on x.hcl:2,1

  A manifest is UTF-8 text, but here it holds a NUL byte. Is it the right file? A file saved as UTF-16
  has to be saved as UTF-8.
`},
		{"folder in its place", func(p string) error { return os.MkdirAll(filepath.Join(p, "pipeline.hcl"), 0o755) }, `Error: Manifest is a folder

  x.hcl/pipeline.hcl is a folder; a manifest is a file.
`},
		{"pipe", func(p string) error { return syscall.Mkfifo(p, 0o644) }, `Error: Manifest is not a file

  x.hcl is not a regular file.
`},
		{"dangling link", func(p string) error { return os.Symlink("nowhere", p) }, `Error: Manifest not found

  There is no file x.hcl. Name an existing one, or write one with: troop init.
`},
		{"brackets without end", func(p string) error {
			return os.WriteFile(p, []byte("a = "+strings.Repeat("(", 100_000)), 0o644)
		}, `Error: Manifest nests too deeply

  on x.hcl:1,205:
  1 │ …(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((…
    │                                                                                  ^

  Up to here more brackets, signs or conditions were opened than people write. Is it the right file?
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := tt.make("x.hcl"); err != nil {
				t.Fatal(err)
			}
			p, sources, diags := Load("x.hcl", Options{})
			if got := Format(diags, sources, false); got != tt.want || p != nil {
				t.Errorf("got %v and\n%s\nwant\n%s", p, got, tt.want)
			}
		})
	}
}

// TestTooDeep goes through everything that the parser follows by recursion.
func TestTooDeep(t *testing.T) {
	for _, s := range []string{"(", "[", "!", "-", "\"${", "{a=", "x ? 1 : ", "b {\n", "f(", "\"%{if x}", "x + ", "x[y]"} {
		if src := strings.Repeat(s, 60_000); tooDeep("x.hcl", []byte("a = "+src)) == nil {
			t.Errorf("%q: not found", s)
		}
	}
	list := "a = [" + strings.Repeat("\"-x-\", ", 5_000) + "]\n" + strings.Repeat("b { c = !d }\n", 5_000)
	if d := tooDeep("x.hcl", []byte(list)); d != nil {
		t.Errorf("a long file is refused: %v", d)
	}
}
