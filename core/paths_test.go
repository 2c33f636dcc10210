package core_test

import (
	"testing"

	"github.com/seed-b96de936/troop/core"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	tests := []struct {
		paths core.Paths
		file  string
		want  bool
	}{
		{core.Paths{"web"}, "web/index.html", true},
		{core.Paths{"web/"}, "web/a/b.js", true},
		{core.Paths{"./web"}, "web/a/b.js", true},
		{core.Paths{"web"}, "website/index.html", false},
		{core.Paths{"web"}, "app/web/index.html", false},
		{core.Paths{"**/web"}, "app/web/index.html", true},
		{core.Paths{"**/web"}, "web/index.html", true},
		{core.Paths{"*.go"}, "main.go", true},
		{core.Paths{"*.go"}, "cmd/main.go", false},
		{core.Paths{"**/*.go"}, "main.go", true},
		{core.Paths{"**/*.go"}, "a/b/c.go", true},
		{core.Paths{"a/**/c.go"}, "a/c.go", true},
		{core.Paths{"a/**/c.go"}, "a/x/y/c.go", true},
		{core.Paths{"a/**/c.go"}, "b/c.go", false},
		{core.Paths{"a/**"}, "a", true},
		{core.Paths{"a/b"}, "a", false},
		{core.Paths{"**", "!docs"}, "docs/a.md", false},
		{core.Paths{"**", "!docs"}, "src/a.md", true},
		{core.Paths{"**", "!docs", "docs/api.yml"}, "docs/api.yml", true},
		{core.Paths{"!docs"}, "src/a.md", false},
		{nil, "a", false},
	}
	for _, tt := range tests {
		if got := tt.paths.Match(tt.file); got != tt.want {
			t.Errorf("%v on %s: got %v, want %v", tt.paths, tt.file, got, tt.want)
		}
	}
}
