package terraform

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/hashicorp/terraform-exec/tfexec"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Values returns a root module's variables by name as JSON: the manifest's value or the default, converted to the
// variable's type. Variables without a value are left out. Starts no program.
func Values(module fs.FS, variables map[string]any) (map[string]json.RawMessage, error) {
	all, err := blocks(module)
	if err != nil {
		return nil, err
	}
	values := map[string]json.RawMessage{}
	for _, block := range all {
		if block.Type != "variable" {
			continue
		}
		name := block.Labels[0]
		variable, _, diags := block.Body.PartialContent(&variableGrammar)
		if diags.HasErrors() {
			return nil, fmt.Errorf("read module: %w", diags)
		}
		value, err := valueOf(variable.Attributes, variables[name])
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		if value == cty.NilVal {
			continue
		}
		if values[name], err = ctyjson.Marshal(value, value.Type()); err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
	}
	return values, nil
}

// ephemeral lists a root module's variables whose values no plan keeps.
func ephemeral(module fs.FS) ([]string, error) {
	all, err := blocks(module)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, block := range all {
		if block.Type != "variable" {
			continue
		}
		variable, _, diags := block.Body.PartialContent(&variableGrammar)
		if diags.HasErrors() {
			return nil, fmt.Errorf("read module: %w", diags)
		}
		if a, ok := variable.Attributes["ephemeral"]; ok {
			if value, _ := a.Expr.Value(nil); value.RawEquals(cty.True) {
				names = append(names, block.Labels[0])
			}
		}
	}
	return names, nil
}

// valueOf returns the value of one variable, or cty.NilVal.
func valueOf(variable hcl.Attributes, given any) (cty.Value, error) {
	value := cty.NilVal
	if given != nil {
		b, err := json.Marshal(given)
		if err != nil {
			return value, err
		}
		implied, err := ctyjson.ImpliedType(b)
		if err != nil {
			return value, err
		}
		if value, err = ctyjson.Unmarshal(b, implied); err != nil {
			return value, err
		}
	} else if attribute, ok := variable["default"]; ok {
		var diags hcl.Diagnostics
		if value, diags = attribute.Expr.Value(nil); diags.HasErrors() {
			return value, diags
		}
	}
	attribute, ok := variable["type"]
	if !ok || value == cty.NilVal {
		return value, nil
	}
	want, defaults, diags := typeexpr.TypeConstraintWithDefaults(attribute.Expr)
	if diags.HasErrors() {
		return value, diags
	}
	if defaults != nil && !value.IsNull() {
		value = defaults.Apply(value)
	}
	return convert.Convert(value, want)
}

// Required returns the source addresses in a root module's required_providers, sorted.
func Required(module fs.FS) ([]string, error) {
	all, err := blocks(module)
	if err != nil {
		return nil, err
	}
	var sources []string
	for _, block := range all {
		if block.Type != "terraform" {
			continue
		}
		settings, _, diags := block.Body.PartialContent(&settingsGrammar)
		if diags.HasErrors() {
			return nil, fmt.Errorf("read module: %w", diags)
		}
		for _, required := range settings.Blocks.OfType("required_providers") {
			providers, diags := required.Body.JustAttributes()
			if diags.HasErrors() {
				return nil, fmt.Errorf("read module: %w", diags)
			}
			for name, attribute := range providers {
				sources = append(sources, sourceOf(name, attribute.Expr))
			}
		}
	}
	slices.Sort(sources)
	return slices.Compact(sources), nil
}

// sourceOf returns the source address of a required provider. Other attributes of it, such as configuration_aliases, are no
// constant values.
func sourceOf(name string, e hcl.Expression) string {
	pairs, diags := hcl.ExprMap(e)
	if diags.HasErrors() { // only a version
		return "hashicorp/" + name
	}
	for _, p := range pairs {
		key, _ := p.Key.Value(nil)
		value, diags := p.Value.Value(nil)
		if !diags.HasErrors() && key.RawEquals(cty.StringVal("source")) && value.Type() == cty.String {
			return value.AsString()
		}
	}
	return "hashicorp/" + name
}

// What troop reads of a module, in HCL or JSON; the rest is Terraform's business.
var (
	moduleGrammar = hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "variable", LabelNames: []string{"name"}}, {Type: "module", LabelNames: []string{"name"}}, {Type: "terraform"},
	}}
	variableGrammar = hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "type"}, {Name: "default"}, {Name: "ephemeral"}}}
	callGrammar     = hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
	settingsGrammar = hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "required_providers"}, {Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"},
	}}
)

// blocks returns the top-level blocks of the module's files.
func blocks(module fs.FS) (hcl.Blocks, error) {
	var all hcl.Blocks
	native := func(b []byte, name string) (*hcl.File, hcl.Diagnostics) {
		return hclsyntax.ParseConfig(b, name, hcl.InitialPos)
	}
	for pattern, parse := range map[string]func([]byte, string) (*hcl.File, hcl.Diagnostics){
		"*.tf": native, "*.tofu": native, "*.tf.json": hcljson.Parse, "*.tofu.json": hcljson.Parse,
	} {
		files, err := fs.Glob(module, pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			src, err := fs.ReadFile(module, name)
			if err != nil {
				return nil, fmt.Errorf("read module: %w", err)
			}
			file, diags := parse(src, name)
			if diags.HasErrors() {
				return nil, fmt.Errorf("read module: %w", diags)
			}
			content, _, diags := file.Body.PartialContent(&moduleGrammar)
			if diags.HasErrors() {
				return nil, fmt.Errorf("read module: %w", diags)
			}
			all = append(all, content.Blocks...)
		}
	}
	return all, nil
}

// IDs returns the IDs of the state's resources of one type. Unlike State it needs no providers, which take time to
// download, unless Terraform cannot reach the state without init.
func (w *Workspace) IDs(ctx context.Context, kind string) ([]string, error) {
	release, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := w.sync(); err != nil {
		return nil, err
	}
	var state []byte
	pull := func(tf *tfexec.Terraform) (err error) {
		state, _, err = w.pull(ctx, tf)
		return err
	}
	if err := w.run(ctx, pull); err != nil {
		if err := w.prepare(ctx); err != nil {
			return nil, err
		}
		if err := w.run(ctx, pull); err != nil {
			return nil, err
		}
	}
	return idsOf(state, kind)
}

func idsOf(state []byte, kind string) ([]string, error) {
	if len(state) == 0 {
		return nil, nil // nothing was applied yet
	}
	var parsed struct {
		Resources []struct {
			Mode, Type string
			Instances  []struct {
				Attributes struct{ ID string }
			}
		}
	}
	if err := json.Unmarshal(state, &parsed); err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	var ids []string
	for _, r := range parsed.Resources {
		if r.Mode != "managed" || r.Type != kind {
			continue
		}
		for _, i := range r.Instances {
			ids = append(ids, i.Attributes.ID)
		}
	}
	return ids, nil
}
