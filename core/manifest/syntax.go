package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/core"
)

// Limits of what HCL's parser and evaluator follow by recursion. A file of 100,000 opening brackets would exhaust the
// stack, which ends the process.
const (
	maxDepth  = 200    // brackets, signs, conditions
	maxTokens = 50_000 // of one argument
	// maxPieces of one text are its lines and what stands between percent signs. The parser takes the square of their
	// number: 5,000 take less than a second.
	maxPieces = 5_000
	harmless  = 1 << 16
)

// tooDeep finds the place where src passes one of the limits.
func tooDeep(file string, src []byte) *core.Diagnostic {
	if len(src) <= harmless && !bytesMoreThan(src, "([{!-?%", maxDepth) && bytes.Count(src, []byte{'\n'}) <= maxPieces {
		return nil
	}
	tokens, _ := hclsyntax.LexConfig(src, file, hcl.InitialPos)
	var depth, unary, branches, length, pieces int
	for _, t := range tokens {
		length++
		if pieces++; t.Type != hclsyntax.TokenStringLit && t.Type != hclsyntax.TokenQuotedLit {
			pieces = 0
		}
		if pieces > maxPieces {
			return &core.Diagnostic{
				Summary: "Text too long",
				Detail:  fmt.Sprintf("This text has more than %d lines or percent signs. Keep it in a file of its own, and read that with file(\"…\").", maxPieces),
				Range:   rangeOf(t.Range),
			}
		}
		switch t.Type {
		case hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenOBrace, hclsyntax.TokenTemplateInterp:
			depth++
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenTemplateSeqEnd:
			depth--
		case hclsyntax.TokenTemplateControl:
			depth++ // its end lowers it
			branches++
		case hclsyntax.TokenQuestion:
			branches++
		case hclsyntax.TokenEqual:
			branches, length = 0, 0
		default:
		}
		if t.Type == hclsyntax.TokenBang || t.Type == hclsyntax.TokenMinus {
			unary++
		} else {
			unary = 0
		}
		if max(depth, unary, branches) > maxDepth || length > maxTokens {
			return &core.Diagnostic{
				Summary: "Manifest nests too deeply",
				Detail:  "Up to here more brackets, signs or conditions were opened than people write. Is it the right file?",
				Range:   rangeOf(t.Range),
			}
		}
	}
	return nil
}

// maxExponent bounds numbers: to write 1e9999999 as a text takes minutes.
const maxExponent = 1100

// immense finds the numbers of a file that must not be calculated with.
func immense(body *hclsyntax.Body) (diags core.Diagnostics) {
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		lit, ok := n.(*hclsyntax.LiteralValueExpr)
		if !ok || lit.Val.Type() != cty.Number || lit.Val.IsNull() {
			return nil
		}
		if e := lit.Val.AsBigFloat().MantExp(nil); e > maxExponent || e < -maxExponent {
			diags = append(diags, core.Diagnostic{
				Summary: "Number out of range",
				Detail:  "The number is too large, or has too many decimals.",
				Range:   rangeOf(lit.SrcRange),
			})
		}
		return nil
	})
	return diags
}

// bytesMoreThan reports whether src holds more than n of the bytes in set.
func bytesMoreThan(src []byte, set string, n int) bool {
	for i := range len(set) {
		n -= bytes.Count(src, []byte{set[i]})
	}
	return n < 0
}

// syntaxErrors translates what the parser found. It is fatal when the tree cannot be trusted: the parser stops
// making sense of a file at its first real error, so one of them is shown.
func syntaxErrors(found hcl.Diagnostics, src []byte) (diags core.Diagnostics, fatal bool) {
	var first *hcl.Diagnostic
	for _, d := range found {
		if d.Summary == "Attribute redefined" {
			diags = append(diags, redefined(d))
			continue
		}
		if first == nil || (d.Subject != nil && first.Subject != nil && d.Subject.Start.Byte < first.Subject.Start.Byte) {
			first = d
		}
	}
	if first != nil {
		return core.Diagnostics{explain(first, src)}, true
	}
	return diags, false
}

var redefinedPattern = regexp.MustCompile(`"([^"]+)" was already set at .*?:(\d+),`)

func redefined(d *hcl.Diagnostic) core.Diagnostic {
	out := diagnostic(d)
	out.Summary, out.Detail = "Duplicate argument", "This argument is set already. Keep one of the two."
	if m := redefinedPattern.FindStringSubmatch(d.Detail); m != nil {
		out.Detail = fmt.Sprintf("%q is set already, in line %s. Keep one of the two.", m[1], m[2])
	}
	return out
}

// explain turns the parser's sentence into one that says what to write.
func explain(d *hcl.Diagnostic, src []byte) core.Diagnostic {
	out := diagnostic(d)
	if d.Subject == nil {
		return out
	}
	if start, ok := unclosedText(d, src); ok {
		out.Range = start
	}
	at := clamp(d.Subject.Start.Byte, src)
	line := lineAt(src, at)
	rest := strings.TrimRight(string(src[at:clamp(at+80, src)]), "\r\n")
	for _, r := range syntaxRules {
		if r.summary != d.Summary || (r.in != nil && !r.in.MatchString(line)) || (r.rest != nil && !r.rest.MatchString(rest)) {
			continue
		}
		if r.title != "" {
			out.Summary = r.title
		}
		out.Detail = r.detail
		break
	}
	return out
}

// unclosedText finds the start of a text <<NAME: the parser reports its missing end, which is far from it.
func unclosedText(d *hcl.Diagnostic, src []byte) (core.Range, bool) {
	if d.Summary != "Unterminated template string" || d.Context == nil {
		return core.Range{}, false
	}
	at := bytes.LastIndex(src[:clamp(d.Context.Start.Byte, src)], []byte("<<"))
	if at < 0 || d.Subject.Start.Byte < len(src) {
		return core.Range{}, false
	}
	start := core.Pos{Line: 1 + bytes.Count(src[:at], []byte{'\n'}), Column: 1, Byte: at}
	start.Column += utf8.RuneCount(src[bytes.LastIndexByte(src[:at], '\n')+1 : at])
	end := start
	end.Column, end.Byte = end.Column+2, end.Byte+2
	return core.Range{File: d.Subject.Filename, Start: start, End: end}, true
}

func clamp(n int, src []byte) int { return max(0, min(n, len(src))) }

func lineAt(src []byte, at int) string {
	start := bytes.LastIndexByte(src[:at], '\n') + 1
	end := len(src)
	if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
		end = at + i
	}
	return string(src[start:max(start, end)])
}

// syntaxRules: the first that fits the parser's title, the line, and the text from the error on, speaks.
var syntaxRules = []struct {
	summary       string
	in, rest      *regexp.Regexp
	title, detail string
}{
	{
		summary: "Unclosed configuration block", title: "Unclosed block",
		detail: "The brace opened here is never closed. Add } after the last line of the block, and look at the blocks inside it.",
	},
	{
		summary: "Invalid single-argument block definition", rest: regexp.MustCompile(`^\r?\n`), title: "Block not closed on its line",
		detail: "A block with an argument on its first line is closed on that line. Put the argument on a line of its own.",
	},
	{
		summary: "Invalid single-argument block definition", title: "Two arguments in a one-line block",
		detail: "A block on one line holds one argument. Put each argument on a line of its own:\n  lint {\n    command = [\"…\"]\n    format  = \"…\"\n  }",
	},
	{
		summary: "Argument definition required", title: "Block inside a one-line block",
		detail: "A block on one line holds one argument, and no block. Put what is inside on lines of its own.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^---|^- `), title: "Invalid manifest",
		detail: "A manifest is HCL, as Terraform files are, not YAML: pipeline \"NAME\" { source { path = \".\" } }.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^}`), title: "Unexpected closing brace",
		detail: "No block is open here. Remove this }, or look for one closed too early above.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^[\w-]+\s*:`), title: "Missing equals sign",
		detail: "An argument is written NAME = VALUE, with an equals sign in place of the colon.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^[\w-]+\s*(==|=>|:=|\+=)`), title: "Invalid argument",
		detail: "An argument is written NAME = VALUE, with a single equals sign.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^[\w-]+(\.[\w-]+)+`), title: "Invalid argument name",
		detail: "The name of an argument or a block has no dots. What is nested is written as blocks: a { b = … }.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^[\w-]+\s*[\["'\d\w]`), title: "Missing equals sign",
		detail: "An argument is written NAME = VALUE.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^/\*`), title: "Unclosed comment",
		detail: "The comment opened with /* here is never closed with */.",
	},
	{
		summary: "Argument or block definition required", rest: regexp.MustCompile(`^[\[{]`), title: "Invalid manifest",
		detail: "A manifest is HCL, as Terraform files are, not JSON: pipeline \"NAME\" { source { path = \".\" } }.",
	},
	{
		summary: "Argument or block definition required",
		title:   "Argument or block expected",
		detail:  "Here an argument, NAME = VALUE, or a block, NAME { … }, is expected.",
	},
	{
		summary: "Invalid argument name",
		title:   "Quoted argument name",
		detail:  "The name of an argument stands without quotes: NAME = VALUE.",
	},
	{
		summary: "Invalid block definition", in: regexp.MustCompile(`=`), rest: regexp.MustCompile(`^=`), title: "Invalid block",
		detail: "A block has labels and braces, but no equals sign: NAME \"LABEL\" { … }.",
	},
	{
		summary: "Invalid block definition", title: "Missing opening brace",
		detail: "The opening brace of a block stands on the same line as its name: NAME \"LABEL\" {.",
	},
	{
		summary: "Invalid multi-line string", title: "Unclosed string",
		detail: "The closing quote of a string on this line is missing. For a text of several lines, write <<EOT … EOT.",
	},
	{
		summary: "Unterminated template string", in: regexp.MustCompile(`"`), title: "Unclosed string",
		detail: "The closing quote of a string on this line is missing.",
	},
	{
		summary: "Unterminated template string", title: "Unclosed text",
		detail: "The text opened with <<NAME is not closed: NAME has to stand alone on a line after it.",
	},
	{
		summary: "Unclosed template interpolation sequence", title: "Unclosed ${ … }",
		detail: "The ${ opened here is never closed with }. For a plain ${, write $${.",
	},
	{
		summary: "Invalid character", rest: regexp.MustCompile(`^'`), title: "Single quotes",
		detail: "Strings stand in double quotes: \"…\".",
	},
	{
		summary: "Invalid character", rest: regexp.MustCompile("^`"), title: "Back quotes",
		detail: "Strings stand in double quotes: \"…\". For a text of several lines, write <<EOT … EOT.",
	},
	{
		summary: "Invalid character", rest: regexp.MustCompile(`^[“”„‟«»‘’]`), title: "Curly quotes",
		detail: "Strings stand in straight double quotes: \"…\". Word processors and chats tend to bend them.",
	},
	{
		summary: "Invalid character", rest: regexp.MustCompile(`^;`), title: "Semicolon",
		detail: "Arguments stand on lines of their own, without semicolons; items of a list are separated by commas.",
	},
	{
		summary: "Invalid character", rest: regexp.MustCompile(`^\$\{`), title: "Unquoted ${ … }",
		detail: "Outside of a string, write the name alone: var.x. Inside of one, ${ … } is right: \"${var.x}\".",
	},
	{
		summary: "Missing item separator", title: "Missing comma",
		detail: "The items of a list are separated by commas, and a ] closes it: [\"a\", \"b\"].",
	},
	{
		summary: "Missing attribute separator", title: "Missing comma",
		detail: "On one line, the items of a map are separated by commas: { a = 1, b = 2 }.",
	},
	{
		summary: "Missing newline after argument", in: regexp.MustCompile(`=\s*\d+(\.\d+)?\s*[A-Za-z%]+\s*$`), title: "Missing quotes",
		detail: "A value with a unit stands in quotes: \"10s\", \"5MiB\".",
	},
	{
		summary: "Missing newline after argument", rest: regexp.MustCompile(`^}`), title: "Unexpected closing brace",
		detail: "No brace is open on this line. Put the } that closes a block on a line of its own.",
	},
	{
		summary: "Unexpected comma after argument", title: "Unexpected comma",
		detail: "Arguments stand on lines of their own, without commas.",
	},
	{
		summary: "Missing newline after block definition", rest: regexp.MustCompile(`^}`), title: "Unexpected closing brace",
		detail: "The block on this line is closed already. Put the } that closes the one around it on a line of its own.",
	},
	{
		summary: "Missing newline after block definition", title: "Block not ended",
		detail: "After the } of a block a new line is expected.",
	},
	{
		summary: "Missing argument separator", title: "Unclosed function call",
		detail: "The arguments of a function are separated by commas, and a ) closes them: upper(\"a\").",
	},
	{
		summary: "Missing newline after argument", title: "Argument not ended",
		detail: "The value ends before this, so that a new line is expected here. Put each argument on a line of its own, and strings in quotes.",
	},
	{
		summary: "Missing expression", title: "Missing value",
		detail: "The file ends where a value is expected.",
	},
	{
		summary: "Invalid expression", in: regexp.MustCompile(`=\s*$`), title: "Missing value",
		detail: "After the equals sign a value is expected on the same line.",
	},
	{
		summary: "Invalid expression", title: "Invalid value",
		detail: "Here a value is expected: \"a string\", 1, true, [a list], { a = map } or a reference such as var.x.",
	},
	{
		summary: "Unterminated function call", title: "Unclosed function call",
		detail: "The parenthesis opened here is never closed with ).",
	},
	{
		summary: "Invalid escape sequence",
		detail:  "After a backslash only n, r, t, \\, \" and u are known. For a plain backslash, write two.",
	},
	{
		summary: "Invalid string literal", rest: regexp.MustCompile(`^\$\{`), title: "Reference in a label",
		detail: "The labels of a block are plain names, without ${ … }.",
	},
}
