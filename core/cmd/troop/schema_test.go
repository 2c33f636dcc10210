package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/manifest"
)

// TestSchemaTakesManifests holds the schema of all plugins of this tree against the manifests in it, in the JSON form
// of HCL: those are right, and each is wrong once a name in it is misspelt.
func TestSchemaTakesManifests(t *testing.T) {
	l := shippedLoader(t)
	var all []core.Description
	for _, folder := range documented {
		d, _, err := l.Describe(t.Context(), filepath.Base(folder))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	text, err := manifest.Schema(all)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("pipeline.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("pipeline.json")
	if err != nil {
		t.Fatal(err)
	}
	storefront, err := os.ReadFile("../../../examples/storefront/pipeline.hcl")
	if err != nil {
		t.Fatal(err)
	}
	manifests := map[string]string{"storefront": string(storefront)}
	for _, folder := range documented {
		manifests[folder] = example(t, folder)
	}
	for name, text := range manifests {
		f, diags := hclsyntax.ParseConfig([]byte(text), name, hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		body := f.Body.(*hclsyntax.Body)
		if err := s.Validate(jsonForm(t, body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, b := range body.Blocks {
			if b.Type != "stage" {
				continue
			}
			b.Body.Attributes["misspelt"] = &hclsyntax.Attribute{Name: "misspelt", Expr: &hclsyntax.LiteralValueExpr{Val: cty.True}}
			if s.Validate(jsonForm(t, body)) == nil {
				t.Errorf("%s: an argument that %v does not have is right", name, b.Labels)
			}
			delete(b.Body.Attributes, "misspelt")
		}
	}
}

// jsonForm turns a body into what HCL's JSON form of it decodes to. Expressions become "${…}".
func jsonForm(t *testing.T, body *hclsyntax.Body) map[string]any {
	t.Helper()
	out := map[string]any{}
	for name, a := range body.Attributes {
		out[name] = "${…}"
		if v, diags := a.Expr.Value(nil); !diags.HasErrors() {
			text, err := ctyjson.Marshal(v, v.Type())
			if err != nil {
				t.Fatal(err)
			}
			if out[name], err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, b := range body.Blocks {
		within, name := out, b.Type
		for _, label := range b.Labels {
			next, ok := within[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				within[name] = next
			}
			within, name = next, label
		}
		inner := jsonForm(t, b.Body)
		if before, twice := within[name]; twice {
			list, ok := before.([]any)
			if !ok {
				list = []any{before}
			}
			within[name] = append(list, inner)
			continue
		}
		within[name] = inner
	}
	return out
}
