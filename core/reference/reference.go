// Package reference renders reference pages: a plugin's description as plain text, Markdown or JSON, and the manifest's
// grammar as Markdown. Its functions are pure. The troop program prints the result; tests keep the pages of this tree
// current.
package reference

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// field is an argument or a nested block.
type field struct {
	name, typ, fallback, doc string
	required, sensitive      bool
	block                    *core.NestedBlock // nil: argument
}

// fields lists a block's arguments, then its nested blocks, each in the plugin's order.
func fields(b core.BlockSchema) []field {
	var list []field
	for _, a := range b.Attributes {
		list = append(list, field{name: a.Name, typ: a.Type, fallback: a.Default, doc: a.Doc, required: a.Required, sensitive: a.Sensitive})
	}
	for i, n := range b.Blocks {
		list = append(list, field{name: header(n), typ: "block", doc: n.Doc, required: n.Required, block: &b.Blocks[i]})
	}
	return list
}

// header returns a block's header, such as rule "NAME".
func header(n core.NestedBlock) string {
	words := []string{n.Type}
	for _, l := range n.Labels {
		words = append(words, strconv.Quote(strings.ToUpper(l)))
	}
	return strings.Join(words, " ")
}

// presence says whether a field is required, and its default.
func (f field) presence() string {
	switch {
	case f.required:
		return "required"
	case f.block != nil && f.block.Many:
		return "any number"
	case f.fallback != "":
		return f.fallback
	}
	return "optional"
}

func (f field) note() string {
	if f.sensitive {
		return f.doc + " (sensitive)"
	}
	return f.doc
}

// commandLine returns the usage line of an action.
func commandLine(plugin string, a core.Action) string {
	words := []string{"troop", plugin, a.Name, "[MANIFEST]"}
	for _, arg := range a.Args {
		word := strings.ToUpper(arg.Name)
		if arg.Flag {
			word = "--" + arg.Name
		}
		if !arg.Required {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// agent describes in one sentence how the plugin's agent runs on a host.
func agent(a core.Agent) string {
	parts := []string{"It runs on hosts under systemd as the user " + cmp.Or(a.User, "troop")}
	for _, part := range []struct {
		what string
		list []string
	}{
		{"the capabilities ", a.LinuxCapabilities}, {"the groups ", a.Groups}, {"write access to ", a.WritablePaths},
	} {
		if len(part.list) > 0 {
			parts = append(parts, "with "+part.what+strings.Join(part.list, ", "))
		}
	}
	return strings.Join(parts, "; ") + "."
}

// cacheable describes a cacheable stage.
const cacheable = "A run skips it if it passed before with the same commit, block and plugin, unless forced."

// Pages are the forms of a plugin's reference, by name.
var Pages = map[string]func(core.Description) ([]byte, error){
	"text":     func(d core.Description) ([]byte, error) { return []byte(Text(d)), nil },
	"markdown": func(d core.Description) ([]byte, error) { return []byte(Markdown(d, "")), nil },
	"json":     JSON,
}
