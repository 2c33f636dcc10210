package reference

import (
	"fmt"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

const manifestIntro = `# The manifest

A manifest, ` + "`pipeline.hcl`" + `, describes a pipeline. If a folder has several, they are named ` + "`NAME.pipeline.hcl`" + `.
Manifests are written in HCL, Terraform's language: expressions and most functions are Terraform's. ` + "`troop validate`" + `
checks a manifest without changing anything, ` + "`troop schema`" + ` prints its schema for editors, ` + "`troop fmt`" + ` formats it.

An expression may refer to ` + "`var.NAME`, `local.NAME`, `env.NAME` (an environment variable, always secret), `secret.NAME`," + `
` + "`stage.TYPE.NAME.OUTPUT`, `pipeline.name`, `environment.name`" + ` and, with ` + "`for_each`, to `each.key` and `each.value`" + `.
A reference to another stage is a dependency. A *duration* is a text such as ` + "`\"90s\"` or `\"5m\"`" + `; a *reference* is
written without quotes.

The examples on this page are parts of one manifest, [manifest.hcl](manifest.hcl).
`

// Manifest returns the reference page of manifests. example returns an HCL example for a block type.
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
