package manifest

import (
	"bytes"
	"os"

	"github.com/google/renameio/v2"
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

// Reformatted is a manifest that was brought into its usual layout.
type Reformatted struct {
	File    string `json:"file"`
	Changed bool   `json:"changed"`
	Before  []byte `json:"-"` // its text
}

// ReformatFile reformats the manifest at a path, a file or a folder. With check it changes nothing.
func ReformatFile(path string, check bool) (Reformatted, core.Diagnostics, error) {
	file, diags := Find(path)
	if diags.HasErrors() {
		return Reformatted{}, diags, nil
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return Reformatted{}, nil, err
	}
	r := Reformatted{File: file, Before: src}
	text, diags := Reformat(file, src)
	if diags.HasErrors() {
		return r, diags, nil
	}
	r.Changed = !bytes.Equal(src, text)
	if check || !r.Changed {
		return r, nil, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return r, nil, err
	}
	return r, nil, renameio.WriteFile(file, text, info.Mode().Perm())
}
