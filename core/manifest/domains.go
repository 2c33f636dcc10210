package manifest

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
)

// Domains are the names that the stages of an environment serve: the texts written in the argument domains of their blocks
// tls. It is for checks before a run: a name that is computed is left out.
func Domains(p *core.Pipeline, environment string) []string {
	var names []string
	for _, s := range p.Stages {
		if s.Environment != "" && s.Environment != environment || len(s.When.Environments) > 0 && !slices.Contains(s.When.Environments, environment) {
			continue
		}
		file, _ := hclsyntax.ParseConfig(s.Block.Source, p.File, hcl.InitialPos) // the loader has reported its mistakes
		if body, ok := file.Body.(*hclsyntax.Body); ok {
			names = append(names, domainsIn(body)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func domainsIn(body *hclsyntax.Body) (names []string) {
	for _, b := range body.Blocks {
		if a := b.Body.Attributes["domains"]; a != nil && b.Type == "tls" {
			items, _ := hcl.ExprList(a.Expr)
			for _, item := range items {
				if v, diags := item.Value(nil); !diags.HasErrors() && v.Type().FriendlyName() == "string" {
					names = append(names, v.AsString())
				}
			}
		}
		names = append(names, domainsIn(b.Body)...)
	}
	return names
}
