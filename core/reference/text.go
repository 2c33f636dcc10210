package reference

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/seed-b96de936/troop/core"
)

// Text returns the page as plain text for a terminal.
func Text(d core.Description) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n", d.Name, d.Version, d.Summary)
	section := func(title string, rows func(w *tabwriter.Writer)) {
		fmt.Fprintf(&b, "\n%s\n", title)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		rows(w)
		_ = w.Flush() // a strings.Builder never fails
	}
	if d.Stage || len(d.Config.Attributes)+len(d.Config.Blocks) > 0 {
		section(fmt.Sprintf("stage %q \"NAME\"", d.Name), func(w *tabwriter.Writer) { textFields(w, d.Config, "  ") })
	}
	if d.Cacheable {
		fmt.Fprintf(&b, "\n%s\n", cacheable)
	}
	if len(d.Outputs) > 0 {
		section("Outputs", func(w *tabwriter.Writer) {
			for _, o := range d.Outputs {
				fmt.Fprintf(w, "  stage.%s.NAME.%s\t%s\n", d.Name, o.Name, o.Doc)
			}
		})
	}
	for _, a := range d.Actions {
		section(commandLine(d.Name, a), func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "  %s\n", a.Summary)
			for _, arg := range a.Args {
				fmt.Fprintf(w, "    %s\t%s\n", arg.Name, arg.Doc)
			}
		})
	}
	if d.Agent != nil {
		fmt.Fprintf(&b, "\nAgent\n  %s\n", agent(*d.Agent))
	}
	if len(d.AllCapabilities()) > 0 {
		section("It may", func(w *tabwriter.Writer) {
			for _, c := range d.AllCapabilities() {
				fmt.Fprintf(w, "  %s\t%s\n", c, c.Allows())
			}
		})
	}
	return b.String()
}

func textFields(w *tabwriter.Writer, s core.BlockSchema, indent string) {
	for _, f := range fields(s) {
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\n", indent, f.name, f.typ, f.presence(), f.note())
		if f.block != nil {
			textFields(w, f.block.Block, indent+"  ")
		}
	}
}
