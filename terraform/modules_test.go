package modules_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	modules "github.com/seed-b96de936/troop/terraform"
)

func TestOpen(t *testing.T) {
	for _, name := range modules.Names() {
		module, err := modules.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"versions.tf", "variables.tf", "main.tf", "outputs.tf"} {
			if _, err := fs.Stat(module, file); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := modules.Open("../lab"); err == nil || !strings.Contains(err.Error(), "only ") {
		t.Errorf("a module that does not exist: %v", err)
	}
}

// TestReadme compares the table of inputs in a module's README with its variables. UPDATE=1 updates the table.
func TestReadme(t *testing.T) {
	for _, name := range modules.Names() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(name, "README.md")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			const begin, end = "<!-- inputs -->\n", "<!-- /inputs -->\n"
			before, rest, ok := strings.Cut(string(b), begin)
			_, after, ok2 := strings.Cut(rest, end)
			if !ok || !ok2 {
				t.Fatalf("%s has no place for the inputs", file)
			}
			want := before + begin + inputs(t, name) + end + after
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if string(b) != want {
				t.Errorf("%s is not up to date: run UPDATE=1 go test ./terraform", file)
			}
		})
	}
}

func inputs(t *testing.T, module string) string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(module, "variables.tf"))
	if err != nil {
		t.Fatal(err)
	}
	file, diags := hclsyntax.ParseConfig(src, "variables.tf", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var b strings.Builder
	b.WriteString("| input | is | type | default |\n|---|---|---|---|\n")
	for _, block := range file.Body.(*hclsyntax.Body).Blocks {
		text := func(name string) string {
			attribute, ok := block.Body.Attributes[name]
			if !ok {
				return ""
			}
			return oneLine(string(attribute.Expr.Range().SliceBytes(src)))
		}
		for _, name := range []string{"description", "type", "nullable"} {
			if text(name) == "" {
				t.Errorf("variable %s has no %s", block.Labels[0], name)
			}
		}
		if text("type") != "bool" && !slices.ContainsFunc(block.Body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "validation" }) {
			t.Errorf("variable %s has no validation", block.Labels[0])
		}
		code := "required"
		if text("default") != "" {
			code = "`" + text("default") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", block.Labels[0], strings.Trim(text("description"), `"`), text("type"), code)
	}
	return b.String()
}

// oneLine joins the lines of an expression with commas, as HCL needs.
func oneLine(expr string) string {
	var b strings.Builder
	for line := range strings.Lines(expr) {
		line = strings.Join(strings.Fields(line), " ")
		switch so := b.String(); {
		case so == "":
		case strings.HasSuffix(so, "{"), strings.HasPrefix(line, "}"):
			b.WriteString(" ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(line)
	}
	return b.String()
}
