package manifest

import (
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/seed-b96de936/troop/core"
)

// Some values are known only to a stage's plugin, and only when the stage runs: the hash of a file of the commit, the
// port of a service that the plugin has started. The core evaluates an expression with a text in their place, and the
// plugin fills it in.

// fileHashFunc stands for the hash of files of the commit.
var fileHashFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "path", Type: cty.String}},
	VarParam: &function.Parameter{Name: "path", Type: cty.String},
	Type:     function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, typ cty.Type) (cty.Value, error) {
		names := make([]string, len(args))
		for i, a := range args {
			names[i] = a.AsString()
			if !filepath.IsLocal(names[i]) {
				return cty.UnknownVal(typ), function.NewArgErrorf(i, "want the path of a file of the commit, such as \"package-lock.json\"")
			}
		}
		return cty.StringVal(core.Late(core.LateFileHash, names...)), nil
	},
})

// serviceNames are the names of the blocks service "NAME" of a stage.
func serviceNames(body *hclsyntax.Body) []string {
	var names []string
	for _, b := range ofType(body.Blocks, rootService) {
		if len(b.Labels) == 1 {
			names = append(names, b.Labels[0])
		}
	}
	return names
}

// inService tells an attribute of such a block.
func inService(body *hclsyntax.Body, a *hclsyntax.Attribute) bool {
	return slices.ContainsFunc(ofType(body.Blocks, rootService), func(b *hclsyntax.Block) bool {
		r := b.Range()
		return len(b.Labels) == 1 && r.Start.Byte <= a.SrcRange.Start.Byte && a.SrcRange.End.Byte <= b.CloseBraceRange.End.Byte
	})
}

// portReference checks service.NAME.port.
func (l *loader) portReference(t hcl.Traversal, r reference, s site) bool {
	if !slices.Contains(s.services, r.name) {
		l.errorf(r.rng, "Unknown service", "This stage has no service %q.%s", r.name, didYouMean(r.name, s.services))
		return false
	}
	if what, _ := step(t, 2); what != "port" || len(t) > 3 {
		l.errorf(r.rng, "Unknown reference", "Of a service, only its port can be referred to: service.%s.port.", r.name)
		return false
	}
	return true
}

// rootValue is what a root means, given the values of the names in it.
func rootValue(root string, names map[string]cty.Value) cty.Value {
	if root == rootPort {
		return names[""]
	}
	return cty.ObjectVal(names)
}
