package reference

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-b96de936/troop/core"
)

// Markdown returns the page for a README. example is an HCL block; empty: no example.
func Markdown(d core.Description, example string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\nVersion %s. `troop plugin describe %s` prints this page.\n", d.Name, sentence(d.Summary), d.Version, d.Name)
	if example != "" {
		fmt.Fprintf(&b, "\n```hcl\n%s\n```\n", strings.TrimSpace(example))
	}
	if d.Stage {
		fmt.Fprintf(&b, "\n## Arguments of `stage %q \"NAME\"`\n\n", d.Name)
		markdownFields(&b, d.Config)
		b.WriteString("Like every stage it also takes `needs`, `when`, `timeout`, `retries`, `on_failure`, `environment` and `for_each`.\n")
		if d.Cacheable {
			b.WriteString(cacheable + "\n")
		}
		markdownBlocks(&b, "", d.Config)
	}
	if len(d.Outputs) > 0 {
		b.WriteString("\n## Outputs\n\n| reference | value |\n|---|---|\n")
		for _, o := range d.Outputs {
			fmt.Fprintf(&b, "| `stage.%s.NAME.%s` | %s |\n", d.Name, o.Name, cell(o.Doc))
		}
	}
	if len(d.Actions) > 0 {
		b.WriteString("\n## Actions\n")
	}
	for _, a := range d.Actions {
		fmt.Fprintf(&b, "\n### `troop %s %s`\n\n%s\n\n    %s\n", d.Name, a.Name, sentence(a.Summary), commandLine(d.Name, a))
		markdownArgs(&b, a.Args)
	}
	if d.Agent != nil {
		fmt.Fprintf(&b, "\n## Agent\n\n%s\n", agent(*d.Agent))
	}
	if len(d.AllCapabilities()) > 0 {
		b.WriteString("\n## Capabilities\n\n| capability | allows |\n|---|---|\n")
		for _, c := range d.AllCapabilities() {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c, c.Allows())
		}
	}
	return b.String()
}

func markdownFields(b *strings.Builder, s core.BlockSchema) {
	list := fields(s)
	if len(list) == 0 {
		b.WriteString("No arguments.\n\n")
		return
	}
	b.WriteString("| name | type | default | |\n|---|---|---|---|\n")
	for _, f := range list {
		presence := f.presence()
		switch {
		case f.required:
			presence = "**required**"
		case f.fallback != "":
			presence = "`" + cell(presence) + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, f.typ, presence, cell(f.note()))
	}
	b.WriteString("\n")
}

// markdownBlocks writes a section for every nested block, titled with its path.
func markdownBlocks(b *strings.Builder, way string, s core.BlockSchema) {
	for _, n := range s.Blocks {
		here := way + header(n)
		fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n", here, n.Doc)
		var inner strings.Builder
		markdownFields(&inner, n.Block)
		b.WriteString(strings.TrimSuffix(inner.String(), "\n"))
		markdownBlocks(b, here+" → ", n.Block)
	}
}

func markdownArgs(b *strings.Builder, args []core.Arg) {
	if len(args) == 0 {
		return
	}
	b.WriteString("\n| argument | default | |\n|---|---|---|\n")
	for _, arg := range args {
		name, fallback := strings.ToUpper(arg.Name), ""
		if arg.Flag {
			name = "--" + arg.Name
		}
		switch {
		case arg.Required:
			fallback = "**required**"
		case arg.Default != "":
			fallback = "`" + cell(arg.Default) + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, fallback, cell(arg.Doc))
	}
}

// sentence turns a summary into a sentence.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(s[size:], ".") + "."
}

// cell escapes a text for a table cell.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}
