package sdk

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// step is one part of a BadAttr path: a name and its keys in brackets.
type step struct {
	name string
	keys []cty.Value
}

// pathStep is a name and its keys, such as rule[1].
var pathStep = regexp.MustCompile(`^([^.\[]+)((?:\[[^\]]*\])*)\.?`)

// parsePath splits `rule[1].paths["a"]`. It stops at the first invalid part.
func parsePath(path string) []step {
	var steps []step
	for {
		m := pathStep.FindStringSubmatch(path)
		if m == nil {
			return steps
		}
		path = path[len(m[0]):]
		s := step{name: m[1]}
		for key := range strings.SplitSeq(strings.Trim(m[2], "[]"), "][") {
			if key == "" {
				continue
			}
			if n, err := strconv.ParseInt(key, 10, 64); err == nil {
				s.keys = append(s.keys, cty.NumberIntVal(n))
			} else {
				s.keys = append(s.keys, cty.StringVal(strings.Trim(key, `"`)))
			}
		}
		steps = append(steps, s)
	}
}

// place finds the position of a path: an attribute, an element or a block. If a part is not written in the manifest, it
// returns the block that would contain it.
func place(body *hclsyntax.Body, path string) hcl.Range {
	at := body.MissingItemRange()
	for _, s := range parsePath(path) {
		if attr, ok := body.Attributes[s.name]; ok {
			expr := attr.Expr
			for _, key := range s.keys {
				next := elementExpr(expr, key)
				if next == nil {
					break
				}
				expr = next
			}
			if expr == attr.Expr {
				return attr.SrcRange
			}
			return expr.Range()
		}
		block := findBlock(body, s)
		if block == nil {
			return at
		}
		body, at = block.Body, block.DefRange()
	}
	return at
}

// findBlock finds the nth block of a type, or the one with a label.
func findBlock(body *hclsyntax.Body, s step) *hclsyntax.Block {
	want := cty.NumberIntVal(0)
	if len(s.keys) > 0 {
		want = s.keys[0]
	}
	n := int64(0)
	for _, b := range body.Blocks {
		if b.Type != s.name {
			continue
		}
		if want.Type() == cty.String {
			if len(b.Labels) > 0 && b.Labels[0] == want.AsString() {
				return b
			}
		} else if i, _ := want.AsBigFloat().Int64(); i == n {
			return b
		}
		n++
	}
	return nil
}

// attrUnknown reports whether a path leads into an attribute with an unknown value.
func (d *decoder) attrUnknown(path string) bool {
	for p := range d.unknown {
		if path == p || strings.HasPrefix(path, p+"[") || strings.HasPrefix(path, p+".") {
			return true
		}
	}
	return false
}

// diagnostics converts HCL's diagnostics.
func diagnostics(in hcl.Diagnostics) contract.Diagnostics {
	var out contract.Diagnostics
	for _, d := range in {
		x := contract.Diagnostic{Warning: d.Severity == hcl.DiagWarning, Summary: d.Summary, Detail: d.Detail}
		if d.Subject != nil {
			x.Range = rangeOf(*d.Subject)
		}
		out = append(out, x)
	}
	return out
}

func rangeOf(r hcl.Range) contract.Range {
	return contract.Range{File: r.Filename, Start: contract.Pos(r.Start), End: contract.Pos(r.End)}
}
