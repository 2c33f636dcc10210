package manifest

import (
	"bytes"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/seed-b96de936/troop/core"
)

// Reformat returns the manifest in its usual layout: indented by two spaces, equals signs below each other, one new
// line at the end. A text that cannot be parsed is left alone: its diagnostics say why. Nothing is written.
func Reformat(file string, src []byte) ([]byte, core.Diagnostics) {
	if diags := checkText(file, src); diags.HasErrors() {
		return nil, diags
	}
	if body, diags := parse(file, src); body == nil {
		return nil, diags
	}
	out := hclwrite.Format(bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n")))
	return append(bytes.TrimRight(out, " \t\n"), '\n'), nil
}
