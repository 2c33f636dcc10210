package manifest_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest"
	"github.com/seed-b96de936/troop/core/reference"
)

//go:generate env UPDATE=1 go test -count=1 -run ^TestPage$ .

const (
	page    = "../../docs/manifest.md"
	example = "../../docs/manifest.hcl"
)

func parsed(t *testing.T) (src []byte, body *hclsyntax.Body) {
	t.Helper()
	src, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	file, diags := hclsyntax.ParseConfig(src, example, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return src, file.Body.(*hclsyntax.Body)
}

// TestPage holds docs/manifest.md to the grammar. UPDATE=1 renews it.
func TestPage(t *testing.T) {
	src, body := parsed(t)
	text := "<!-- Generated from the grammar and manifest.hcl: make generate -->\n" +
		reference.Manifest(manifest.Grammar(), func(typ string) string {
			var blocks []string
			for _, b := range body.Blocks {
				if b.Type == typ {
					blocks = append(blocks, string(b.Range().SliceBytes(src)))
				}
			}
			return strings.Join(blocks, "\n\n")
		})
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != text {
		t.Errorf("%s is not current: make generate renews it (%v)", page, err)
	}
}

// TestPageExample loads the example, which shows every block and argument in the usual layout.
func TestPageExample(t *testing.T) {
	src, body := parsed(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "pipeline.hcl")
	for name, text := range map[string]string{file: string(src), filepath.Join(dir, "policy", "hosts.rego"): "package terraform\n", filepath.Join(dir, "requirements.yml"): "roles: []\n", filepath.Join(dir, "team.keys"): "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p ci\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) (string, bool) { return "redis://redis.example.org", name == "TROOP_REDIS_URL" }
	if _, sources, diags := manifest.Load(file, manifest.Options{Env: env}); len(diags) > 0 {
		t.Error(manifest.Format(diags, sources, false))
	}
	if usual, _ := manifest.Reformat(file, src); string(usual) != string(src) {
		t.Errorf("its usual layout is\n%s", usual)
	}
	shown(t, "", manifest.Grammar(), []*hclsyntax.Body{body})
}

// shown reports what none of the bodies holds.
func shown(t *testing.T, way string, grammar core.BlockSchema, bodies []*hclsyntax.Body) {
	t.Helper()
	for _, a := range grammar.Attributes {
		found := false
		for _, b := range bodies {
			found = found || b.Attributes[a.Name] != nil || a.Name == "NAME" && len(b.Attributes) > 0
		}
		if !found {
			t.Errorf("no example of %s%s", way, a.Name)
		}
	}
	for _, n := range grammar.Blocks {
		var inner []*hclsyntax.Body
		for _, b := range bodies {
			for _, block := range b.Blocks {
				if block.Type == n.Type {
					inner = append(inner, block.Body)
				}
			}
		}
		if len(inner) == 0 {
			t.Errorf("no example of %s%s", way, n.Type)
			continue
		}
		shown(t, way+n.Type+".", n.Block, inner)
	}
}

// TestDefaults writes the defaults of the grammar into a manifest: nothing may change.
func TestDefaults(t *testing.T) {
	const (
		variable = "variable \"v\" {\n  default = \"a long value\"\n"
		review   = "environment \"lab\" {\n  terraform {\n    module = \"lab\"\n    review {\n"
		stage    = "stage \"build\" \"app\" {\n"
		notify   = "notify \"webhook\" \"ops\" {\n  url = \"https://example.com\"\n"
	)
	load := func(write func(way ...string) string) *core.Pipeline {
		src := "pipeline \"p\" {}\n" + variable + write("variable") + "}\n" +
			review + write("environment", "terraform", "review") + "}\n}\n}\n" + stage + write("stage") + "}\n" + notify + write("notify") + "}\n"
		file := filepath.Join(t.TempDir(), "pipeline.hcl")
		if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		p, sources, diags := manifest.Load(file, manifest.Options{})
		if len(diags) > 0 {
			t.Fatal(manifest.Format(diags, sources, false))
		}
		return p
	}
	written := 0
	without := load(func(...string) string { return "" })
	with := load(func(way ...string) string {
		lines, schema := "", manifest.Grammar()
		for _, typ := range way {
			for _, n := range schema.Blocks {
				if n.Type == typ {
					schema = n.Block
					break
				}
			}
		}
		for _, a := range schema.Attributes {
			if a.Default != "" && a.Name != "cooldown" && a.Name != "limit" { // these are the notifier's own
				lines += a.Name + " = " + a.Default + "\n"
				written++
			}
		}
		return lines
	})
	a, b := with.Stages[0], without.Stages[0]
	if a.Retries != b.Retries || a.OnFailure != b.OnFailure || a.Timeout != b.Timeout || len(a.Grants) != len(b.Grants) {
		t.Errorf("stage %+v, want %+v", a, b)
	}
	r, s := with.Environments[0].Terraform.Review, without.Environments[0].Terraform.Review
	if r.Approve != s.Approve || len(r.Forbid) != len(s.Forbid) || r.MaxDestroy != s.MaxDestroy || r.Drift != s.Drift {
		t.Errorf("review %+v, want %+v", r, s)
	}
	if x, y := with.Notifiers[0].On, without.Notifiers[0].On; !reflect.DeepEqual(x, y) {
		t.Errorf("on %q, want %q", x, y)
	}
	if len(with.Secrets) != len(without.Secrets) || written != 8 {
		t.Errorf("secrets %q, want %q; wrote %d defaults", with.Secrets, without.Secrets, written)
	}
}
