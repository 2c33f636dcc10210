// Package comments measures how much of a source file is comment. The analysis plugin imports it.
//
// The ratio is lines that hold a comment ÷ lines that are not blank. A line with code and a comment after it
// counts once above and once below the stroke, so that the ratio is never more than 1. What stands in a string
// is no comment; a Python string that is a statement of its own (a docstring) is one; a "#!" line is code.
package comments

import (
	"path"
	"strings"
)

// Count is a file's, or several files' together.
type Count struct {
	Comment int // lines that hold a comment
	Lines   int // lines that are not blank
}

// Ratio is between 0 and 1; 0 for no lines.
func (c Count) Ratio() float64 {
	if c.Lines == 0 {
		return 0
	}
	return float64(c.Comment) / float64(c.Lines)
}

// Add returns the sum.
func (c Count) Add(o Count) Count { return Count{c.Comment + o.Comment, c.Lines + o.Lines} }

// Known reports whether Of can measure the file of this name, and whether it is source code, rather than markup
// or data in which few people comment.
func Known(name string) (known, source bool) {
	l := languageOf(name)
	return l != nil, l != nil && !l.markup
}

// Of measures one file. It is false for a language that it does not know.
func Of(name string, text []byte) (Count, bool) {
	l := languageOf(name)
	if l == nil {
		return Count{}, false
	}
	s := scanner{language: l, text: string(text)}
	s.scan()
	return s.count, true
}

// language says how comments and strings are written.
type language struct {
	line      []string    // to the end of the line
	block     [][2]string // from, to
	quotes    []quote     // longer ones first
	hashWord  bool        // a line comment begins at the start of a word only, as in shells
	regex     bool        // /…/ may be a literal
	docstring bool        // a string that stands alone is a comment
	markup    bool
}

type quote struct {
	open, close string
	raw         bool // no backslash escapes
	lines       bool // may go on over several lines
}

var (
	double = quote{open: `"`, close: `"`}
	single = quote{open: `'`, close: `'`}
	slash  = [][2]string{{"/*", "*/"}}

	cLike      = &language{line: []string{"//"}, block: slash, quotes: []quote{double, single}}
	goLang     = &language{line: []string{"//"}, block: slash, quotes: []quote{double, single, {open: "`", close: "`", raw: true, lines: true}}}
	javaScript = &language{line: []string{"//"}, block: slash, quotes: []quote{double, single, {open: "`", close: "`", lines: true}}, regex: true}
	rust       = &language{line: []string{"//"}, block: slash, quotes: []quote{{open: `"`, close: `"`, lines: true}}} // ' is a lifetime as well
	jvm        = &language{line: []string{"//"}, block: slash, quotes: []quote{{open: `"""`, close: `"""`, raw: true, lines: true}, double, single}}
	php        = &language{line: []string{"//", "#"}, block: slash, quotes: []quote{double, single}}
	hash       = &language{line: []string{"#"}, quotes: []quote{double, single}}
	python     = &language{line: []string{"#"}, quotes: []quote{{open: `"""`, close: `"""`, lines: true}, {open: `'''`, close: `'''`, lines: true}, double, single}, docstring: true}
	ruby       = &language{line: []string{"#"}, block: [][2]string{{"\n=begin", "\n=end"}}, quotes: []quote{double, single}}
	shell      = &language{line: []string{"#"}, quotes: []quote{{open: `"`, close: `"`, lines: true}, {open: `'`, close: `'`, raw: true, lines: true}}, hashWord: true}
	powerShell = &language{line: []string{"#"}, block: [][2]string{{"<#", "#>"}}, quotes: []quote{double, single}}
	hcl        = &language{line: []string{"#", "//"}, block: slash, quotes: []quote{double}}
	sql        = &language{line: []string{"--"}, block: slash, quotes: []quote{{open: `'`, close: `'`, raw: true, lines: true}}}
	lua        = &language{line: []string{"--"}, block: [][2]string{{"--[[", "]]"}}, quotes: []quote{double, single}}
	haskell    = &language{line: []string{"--"}, block: [][2]string{{"{-", "-}"}}, quotes: []quote{double}}
	lisp       = &language{line: []string{";"}, quotes: []quote{{open: `"`, close: `"`, lines: true}}}
	css        = &language{block: slash, quotes: []quote{double, single}, markup: true}
	scss       = &language{line: []string{"//"}, block: slash, quotes: []quote{double, single}, markup: true}
	html       = &language{block: [][2]string{{"<!--", "-->"}}, markup: true}
	yaml       = &language{line: []string{"#"}, quotes: []quote{double, single}, hashWord: true, markup: true}
)

var byExtension = map[string]*language{
	".go": goLang,
	".js": javaScript, ".mjs": javaScript, ".cjs": javaScript, ".jsx": javaScript, ".ts": javaScript, ".mts": javaScript, ".cts": javaScript, ".tsx": javaScript,
	".c": cLike, ".h": cLike, ".cc": cLike, ".cpp": cLike, ".cxx": cLike, ".hh": cLike, ".hpp": cLike, ".m": cLike, ".cs": cLike, ".dart": cLike, ".proto": cLike,
	".java": jvm, ".kt": jvm, ".kts": jvm, ".scala": jvm, ".groovy": jvm, ".gradle": jvm, ".swift": jvm,
	".rs": rust, ".php": php,
	".py": python, ".pyi": python, ".rb": ruby, ".rake": ruby,
	".sh": shell, ".bash": shell, ".zsh": shell, ".ksh": shell,
	".pl": hash, ".pm": hash, ".r": hash, ".jl": hash, ".tcl": hash, ".ex": hash, ".exs": hash, ".nix": hash, ".ps1": powerShell, ".psm1": powerShell,
	".tf": hcl, ".hcl": hcl, ".tfvars": hcl,
	".sql": sql, ".lua": lua, ".hs": haskell, ".elm": haskell,
	".clj": lisp, ".cljs": lisp, ".el": lisp, ".lisp": lisp, ".scm": lisp,
	".css": css, ".scss": scss, ".less": scss,
	".html": html, ".htm": html, ".xml": html, ".svg": html, ".vue": html, ".md": html,
	".yaml": yaml, ".yml": yaml, ".toml": yaml, ".ini": yaml, ".cfg": yaml, ".conf": yaml, ".properties": yaml,
}

var byName = map[string]*language{
	"makefile": hash, "gnumakefile": hash, "dockerfile": shell, "containerfile": shell, "rakefile": ruby, "gemfile": ruby, "jenkinsfile": jvm,
}

func languageOf(name string) *language {
	base := strings.ToLower(path.Base(name))
	if strings.HasSuffix(base, ".min.js") || strings.HasSuffix(base, ".min.css") {
		return nil // nobody wrote it
	}
	if l := byName[base]; l != nil {
		return l
	}
	return byExtension[path.Ext(base)]
}
