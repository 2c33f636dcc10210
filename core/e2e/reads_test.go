package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTreeReads finds what reads a file or a stream whole without a bound in the stages that read reports of other
// programs: a report may be a device, or larger than the memory.
func TestTreeReads(t *testing.T) {
	wrong := ""
	for _, root := range []string{"../../plugins/test", "../../plugins/analysis"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !d.IsDir() {
				wrong += unbounded(t, path, nil)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if wrong != "" {
		t.Errorf("read through io.LimitReader, as document.Read does:\n%s", wrong)
	}

	const bad = `package p
func f() { os.ReadFile("x"); io.ReadAll(r); json.NewDecoder(r); xml.NewDecoder(file); io.ReadAll(io.LimitReader(r, 9)); json.NewDecoder(bytes.NewReader(b)) }`
	if got := unbounded(t, "bad.go", bad); strings.Count(got, "\n") != 4 {
		t.Errorf("of four reads without a bound and two with one, found:\n%s", got)
	}
}

// unbounded lists the calls in a file that read without a bound, one a line.
func unbounded(t *testing.T, path string, text any) string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	list := ""
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		name, source := selector(call.Fun), ""
		if inner, ok := call.Args[0].(*ast.CallExpr); ok {
			source = selector(inner.Fun)
		}
		reads := []string{"io.ReadAll", "json.NewDecoder", "xml.NewDecoder"}
		bounds := []string{"io.LimitReader", "bytes.NewReader", "strings.NewReader"}
		if name == "os.ReadFile" || slices.Contains(reads, name) && !slices.Contains(bounds, source) {
			list += files.Position(call.Pos()).String() + ": " + name + "\n"
		}
		return true
	})
	return list
}

// selector is a function's name with its package; empty for others.
func selector(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}
