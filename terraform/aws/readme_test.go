package aws_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

var fenced = regexp.MustCompile("(?ms)^( *)```hcl\n(.*?)\n *```$")

// examples returns tests that plan with the variables of the README's examples.
func examples(t *testing.T) []byte {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	out := []byte("mock_provider \"aws\" {\n  source          = \"./tests/mocks\"\n  override_during = plan\n}\n")
	found := fenced.FindAllSubmatch(readme, -1)
	if len(found) == 0 {
		t.Fatal("the README has no examples")
	}
	for i, m := range found {
		src := bytes.ReplaceAll(m[2], []byte("\n"+string(m[1])), []byte("\n"))
		file, diags := hclsyntax.ParseConfig(src, "README.md", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("example %d: %v", i+1, diags)
		}
		environment := file.Body.(*hclsyntax.Body).Blocks[0]
		variables := environment.Body.Blocks[0].Body.Attributes["variables"].Expr.(*hclsyntax.ObjectConsExpr)
		out = fmt.Appendf(out, "\nrun \"example_%d\" {\n  command = plan\n  variables {\n    environment = %q\n    ssh_public_key = \"ssh-ed25519 AAAA troop\"\n", i+1, environment.Labels[0])
		for _, item := range variables.Items {
			out = fmt.Appendf(out, "    %s = %s\n", item.KeyExpr.Range().SliceBytes(src), item.ValueExpr.Range().SliceBytes(src))
		}
		out = append(out, "  }\n}\n"...)
	}
	return out
}

// TestReadmePolicies compares the policies in the README with their files. UPDATE=1 updates the README.
func TestReadmePolicies(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- iam -->\n", "<!-- /iam -->\n"
	before, rest, ok := strings.Cut(string(readme), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the policies")
	}
	var b strings.Builder
	b.WriteString(before + begin)
	for _, p := range policies {
		src, err := os.ReadFile(filepath.Join("iam", p.file))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n```json\n%s```\n", p.file, p.is, src)
	}
	b.WriteString("\n" + end + after)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("README.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if b.String() != string(readme) {
		t.Error("README.md is not up to date: run UPDATE=1 go test ./terraform/...")
	}
}

var fills = regexp.MustCompile(`(?m)^ *(fill\(\) .*)$`)

// TestReadmeFill runs the README's command that fills in the policies.
func TestReadmeFill(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	fill := fills.FindSubmatch(readme)
	if fill == nil {
		t.Fatal("the README does not tell how to fill the policies in")
	}
	for _, p := range policies {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "account=123456789012\n"+string(fill[1])+"\nfill \"$0\"", strings.TrimSuffix(p.file, ".json"))
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil || !json.Valid(out) {
			t.Errorf("%s: %v: %s", p.file, err, out)
		}
		for _, left := range []string{"ACCOUNT", "REGION", "ENVIRONMENT"} {
			if bytes.Contains(out, []byte(left)) {
				t.Errorf("%s: %s is still in it", p.file, left)
			}
		}
	}
}
