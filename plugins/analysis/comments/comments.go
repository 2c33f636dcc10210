// Package comments measures how much of a source file is comment. The analysis plugin imports it.
//
// The ratio is lines with a comment ÷ non-blank lines. A line with code and a comment counts in both, so that the ratio is at
// most 1. Text in a string is not a comment; a Python string that is a statement (a docstring) is one; a "#!" line is code.
package comments

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/alecthomas/chroma/v2/lexers"
)

// Count is the count of one or several files.
type Count struct {
	Comment int // lines with a comment
	Lines   int // non-blank lines
}

// Ratio returns the ratio, from 0 to 1; 0 if there are no lines.
func (c Count) Ratio() float64 {
	if c.Lines == 0 {
		return 0
	}
	return float64(c.Comment) / float64(c.Lines)
}

// Add returns the sum.
func (c Count) Add(o Count) Count { return Count{c.Comment + o.Comment, c.Lines + o.Lines} }

// Known reports whether Of can measure a file of this name, and whether it is source code, not markup or data, which rarely
// have comments.
func Known(name string) (known, source bool) {
	lexer := lexerOf(name)
	return lexer != "", lexer != "" && !isMarkup(lexer)
}

// Of measures one file. ok is false for an unknown language. Safe for concurrent use.
func Of(name string, text []byte) (Count, bool) {
	lexer := lexerOf(name)
	if lexer == "" {
		return Count{}, false
	}
	source := strings.TrimPrefix(string(text), "\uFEFF")
	l := lines{comment: map[int]bool{}}
	switch lexer {
	case "go":
		l.goSource(source)
	case "php":
		code, page := splitPHP(source)
		l.tokens(lexers.Get(lexer), lexer, code)
		l.tokens(lexers.Get("html"), "html", page)
	case "ruby", "perl", "docker":
		l.tokens(lexers.Get(lexer), lexer, hideHereDocuments(source))
	default:
		l.tokens(lexers.Get(lexer), lexer, source)
	}
	count := Count{}
	number := 0
	for line := range strings.Lines(source) {
		if number++; strings.TrimSpace(line) == "" {
			continue
		}
		count.Lines++
		if l.comment[number] && (number > 1 || !strings.HasPrefix(line, "#!")) {
			count.Comment++
		}
	}
	return count, true
}

var hereForm = regexp.MustCompile("<<[~-]?(?:\"(\\w+)\"|'(\\w+)'|`(\\w+)`|([A-Z_]\\w*))")

// hideHereDocuments masks here-documents, which chroma does not support in every language. A left shift looks similar, but
// no terminating line follows it.
func hideHereDocuments(source string) string {
	all := strings.SplitAfter(source, "\n")
	at := map[string][]int{} // line numbers by content
	for i, line := range all {
		word := strings.TrimSpace(line)
		at[word] = append(at[word], i)
	}
	for i := 0; i < len(all); i++ {
		for _, m := range hereForm.FindAllStringSubmatch(all[i], -1) {
			word := m[1] + m[2] + m[3] + m[4]
			ends := at[word]
			n, _ := slices.BinarySearch(ends, i+1)
			if n == len(ends) {
				continue
			}
			for i++; i <= ends[n]; i++ {
				all[i] = strings.Map(func(r rune) rune {
					if unicode.IsSpace(r) {
						return r
					}
					return 'x'
				}, all[i])
			}
			i-- // two may start on one line
		}
	}
	return strings.Join(all, "")
}

// splitPHP splits a template into PHP, from <? to ?>, and HTML, since chroma cannot. Each has blanks in place of the other,
// so that lines keep their numbers.
func splitPHP(source string) (code, page string) {
	php, html := []byte(source), []byte(source)
	inside := false
	for i := 0; i < len(source); i++ {
		rest := source[i:]
		switch {
		case !inside && strings.HasPrefix(rest, "<?") && !strings.HasPrefix(rest, "<?xml"):
			inside = true
		case inside && strings.HasPrefix(rest, "?>"):
			inside = false
			php[i], php[i+1] = ';', ' ' // chroma stops at ?>
			html[i], html[i+1] = ' ', ' '
			i++
			continue
		}
		other := php
		if inside {
			other = html
		}
		if source[i] != '\n' {
			other[i] = ' '
		}
	}
	return string(php), string(html)
}

// lexerOf returns chroma's name of a file's language, or "".
func lexerOf(name string) string {
	base := strings.ToLower(path.Base(name))
	if strings.HasSuffix(base, ".min.js") || strings.HasSuffix(base, ".min.css") {
		return "" // generated
	}
	switch base {
	case "makefile", "gnumakefile":
		return "makefile"
	case "dockerfile", "containerfile":
		return "docker"
	case "rakefile", "gemfile":
		return "ruby"
	case "jenkinsfile":
		return "groovy"
	}
	for lexer, extensions := range languages() {
		for _, e := range extensions {
			if path.Ext(base) == e {
				return lexer
			}
		}
	}
	return ""
}

// languages lists file extensions by chroma's names of languages.
func languages() map[string][]string {
	return map[string][]string{
		"go":         {".go"},
		"javascript": {".js", ".mjs", ".cjs"}, "react": {".jsx"}, "typescript": {".ts", ".mts", ".cts", ".tsx"},
		"c": {".c", ".h"}, "c++": {".cc", ".cpp", ".cxx", ".hh", ".hpp"}, "objective-c": {".m"}, "c#": {".cs"}, "dart": {".dart"}, "protobuf": {".proto"},
		"java": {".java"}, "kotlin": {".kt", ".kts"}, "scala": {".scala"}, "groovy": {".groovy", ".gradle"}, "swift": {".swift"},
		"rust": {".rs"}, "php": {".php"}, "python": {".py", ".pyi"}, "ruby": {".rb", ".rake"},
		"bash": {".sh", ".bash", ".zsh", ".ksh"}, "powershell": {".ps1", ".psm1"},
		"perl": {".pl", ".pm"}, "r": {".r"}, "julia": {".jl"}, "tcl": {".tcl"}, "elixir": {".ex", ".exs"}, "nix": {".nix"},
		"terraform": {".tf", ".hcl", ".tfvars"}, "sql": {".sql"}, "lua": {".lua"}, "haskell": {".hs"}, "elm": {".elm"},
		"clojure": {".clj", ".cljs"}, "emacs-lisp": {".el"}, "common-lisp": {".lisp"}, "scheme": {".scm"},
		"css": {".css"}, "scss": {".scss", ".less"},
		"html": {".html", ".htm", ".md"}, "xml": {".xml", ".svg"}, "vue": {".vue"},
		"yaml": {".yaml", ".yml"}, "toml": {".toml"}, "ini": {".ini", ".cfg", ".conf"}, "properties": {".properties"},
	}
}

func isMarkup(lexer string) bool {
	switch lexer {
	case "css", "scss", "html", "xml", "vue", "yaml", "toml", "ini", "properties":
		return true
	}
	return false
}
