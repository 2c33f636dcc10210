package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/seed-b96de936/troop/core"
)

// content checks the names in body against s, and returns the blocks that s knows, in the order of the file.
func (l *loader) content(body *hclsyntax.Body, s *schema) []*hclsyntax.Block {
	for _, a := range attributes(body) {
		switch {
		case s.hasArgument(a.Name):
		case s.hasBlock(a.Name):
			l.errorf(a.NameRange, "Block written as an argument",
				"%q is a block: write it without the equals sign, %s { … }.", a.Name, a.Name)
		default:
			l.errorf(a.NameRange, "Unknown argument", "%s", unknown("argument", a.Name, s))
		}
	}
	var known []*hclsyntax.Block
	for _, b := range body.Blocks {
		switch {
		case s.hasBlock(b.Type):
			known = append(known, b)
		case s.hasArgument(b.Type):
			l.errorf(b.TypeRange, "Argument written as a block",
				"%q is an argument: write it with an equals sign, %s = ….", b.Type, b.Type)
		default:
			l.errorf(b.TypeRange, "Unknown block", "%s", unknown("block", b.Type, s))
		}
	}
	return known
}

func unknown(what, name string, s *schema) string {
	if hint, ok := s.hints[name]; ok {
		return hint
	}
	text := fmt.Sprintf("There is no %s %q in %s.", what, name, s.name)
	if near := core.Nearest(name, s.names()); near != "" {
		return text + fmt.Sprintf(" Did you mean %q?", near)
	}
	return text + " It may hold: " + strings.Join(s.names(), ", ") + "."
}

// attributes returns those of body in the order of the file.
func attributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(body.Attributes), func(a, b *hclsyntax.Attribute) int {
		return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte
	})
}

// onlyOne reports every block but the first.
func (l *loader) onlyOne(blocks []*hclsyntax.Block, what string) {
	for i, b := range blocks {
		if i > 0 {
			l.errorf(b.DefRange(), "Duplicate "+what+" block",
				"There is one %s block already, at %s. Join them.", what, place(blocks[0].DefRange()))
		}
	}
}

// labels checks that b has the labels that want names, such as TYPE and NAME.
func (l *loader) labels(b *hclsyntax.Block, want ...string) bool {
	shape := headerOf(b.Type, want) + " { … }"
	switch {
	case len(b.Labels) < len(want):
		l.errorf(b.DefRange(), "Missing "+strings.ToLower(want[len(b.Labels)])+" of "+b.Type, "Write it as: %s.", shape)
		return false
	case len(b.Labels) > len(want):
		l.errorf(b.LabelRanges[len(want)], "Too many labels", "Write it as: %s.", shape)
		return false
	}
	return true
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	typePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
)

// maxName in bytes: names become parts of file, unit and machine names.
const maxName = 64

// name checks that the i-th label of b can be referred to and be a part of a file name.
func (l *loader) name(b *hclsyntax.Block, i int, what string) bool {
	name := b.Labels[i]
	if namePattern.MatchString(name) && len(name) <= maxName {
		return true
	}
	l.errorf(b.LabelRanges[i], "Invalid name",
		"%q cannot name a %s: a name starts with a letter and holds letters, digits, - and _, at most %d of them.",
		shorten(name), what, maxName)
	return false
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// missing reports that b lacks an argument, with an example of it. An argument with almost that name has been
// reported as unknown, which is enough.
func (l *loader) missing(b *hclsyntax.Block, name, example string) {
	for given := range b.Body.Attributes {
		if given != name && core.Nearest(given, []string{name}) != "" {
			return
		}
	}
	l.errorf(b.DefRange(), "Missing argument", "%q needs the argument %q, such as: %s.", b.Type, name, example)
}

func (l *loader) errorf(r hcl.Range, summary, format string, args ...any) {
	l.errorAt(rangeOf(r), summary, fmt.Sprintf(format, args...))
}

func (l *loader) errorAt(r core.Range, summary, detail string) {
	l.diags = append(l.diags, core.Diagnostic{Summary: summary, Detail: detail, Range: r})
}

func (l *loader) warnf(r hcl.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, core.Diagnostic{
		Warning: true, Summary: summary, Detail: fmt.Sprintf(format, args...), Range: rangeOf(r),
	})
}

// add takes over what HCL found.
func (l *loader) add(diags hcl.Diagnostics) {
	for _, d := range diags {
		l.diags = append(l.diags, diagnostic(d))
	}
}

func diagnostic(d *hcl.Diagnostic) core.Diagnostic {
	out := core.Diagnostic{Warning: d.Severity == hcl.DiagWarning, Summary: d.Summary, Detail: d.Detail}
	if d.Subject != nil {
		out.Range = rangeOf(*d.Subject)
	}
	if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok {
		name := call.CalledFunctionName()
		out.Summary, out.Detail = "Wrong call of "+name, callDetail(name, d.Detail)
	}
	return out
}

var argumentPattern = regexp.MustCompile(`(?s)^Invalid value for "([^"]*)" parameter: (.*)\.$`)

// callDetail says what is wrong with a call, in fewer words than HCL.
func callDetail(name, detail string) string {
	if m := argumentPattern.FindStringSubmatch(detail); m != nil {
		return fmt.Sprintf("The argument %q of %s: %s.", m[1], name, m[2])
	}
	return detail
}

func rangeOf(r hcl.Range) core.Range {
	return core.Range{File: r.Filename, Start: posOf(r.Start), End: posOf(r.End)}
}

func posOf(p hcl.Pos) core.Pos { return core.Pos{Line: p.Line, Column: p.Column, Byte: p.Byte} }

// place is FILE:LINE for use in a sentence.
func place(r hcl.Range) string { return fmt.Sprintf("%s:%d", display(r.Filename), r.Start.Line) }

// didYouMean is a clause for the end of a remedy, or "".
func didYouMean(given string, names []string) string {
	if near := core.Nearest(given, names); near != "" {
		return fmt.Sprintf(" Did you mean %q?", near)
	}
	return ""
}

// oneOf lists names for a sentence: "a", "b" or "c".
func oneOf(names []string) string { return list(names, "or") }

// allOf lists names for a sentence: "a", "b" and "c".
func allOf(names []string) string { return list(names, "and") }

func list(names []string, last string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if n := len(quoted); n > 1 {
		return strings.Join(quoted[:n-1], ", ") + " " + last + " " + quoted[n-1]
	}
	return strings.Join(quoted, "")
}
