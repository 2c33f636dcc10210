package reference

import (
	"fmt"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

const manifestIntro = `# The manifest

A pipeline is described by a file, ` + "`pipeline.hcl`, or `NAME.pipeline.hcl`" + ` where a folder holds several. It is
written in HCL, the language of Terraform: expressions and most functions are Terraform's. ` + "`troop validate`" + ` checks
all of it before anything is touched, ` + "`troop schema`" + ` describes it to editors, ` + "`troop fmt`" + ` lays it out.

An expression may refer to ` + "`var.NAME`, `local.NAME`, `env.NAME` (an environment variable, always secret), `secret.NAME`," + `
` + "`stage.TYPE.NAME.OUTPUT`, `pipeline.name`, `environment.name`" + ` and, with ` + "`for_each`, to `each.key` and `each.value`" + `.
In a stage, ` + "`filehash(\"package-lock.json\")`" + ` is the hash of a file of the commit, and ` + "`service.NAME.port`" + ` the port of one of its services;
both are known only while the stage runs.
A reference to another stage is a dependency. A *duration* is a text such as ` + "`\"90s\"` or `\"5m\"`" + `; a *reference* is
written without quotes.

The examples of this page make up one manifest, [manifest.hcl](manifest.hcl).
`

// Manifest is the page of what a manifest may hold. example returns HCL for a type of block.
func Manifest(grammar core.BlockSchema, example func(typ string) string) string {
	var b strings.Builder
	b.WriteString(manifestIntro)
	for _, n := range grammar.Blocks {
		fmt.Fprintf(&b, "\n## `%s`\n\n%s\n\n```hcl\n%s\n```\n", header(n), n.Doc, strings.TrimSpace(example(n.Type)))
		b.WriteString("\n")
		var inner strings.Builder
		markdownFields(&inner, n.Block)
		b.WriteString(strings.TrimSuffix(inner.String(), "\n"))
		markdownBlocks(&b, n.Type+" → ", n.Block)
	}
	return b.String()
}
