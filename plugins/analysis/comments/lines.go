package comments

import (
	"go/scanner"
	"go/token"
	"strings"

	"github.com/alecthomas/chroma/v2"
)

// lines is the set of lines with a comment.
type lines struct{ comment map[int]bool }

// mark adds the non-blank lines of a text that starts on the given line.
func (l lines) mark(line int, text string) {
	for part := range strings.Lines(text) {
		if strings.TrimSpace(part) != "" {
			l.comment[line] = true
		}
		line++
	}
}

// goSource handles Go with go/scanner, which is a hundred times faster than chroma.
func (l lines) goSource(source string) {
	set := token.NewFileSet()
	file := set.AddFile("", -1, len(source))
	var s scanner.Scanner
	s.Init(file, []byte(source), func(token.Position, string) {}, scanner.ScanComments)
	for {
		pos, kind, text := s.Scan()
		switch kind {
		case token.EOF:
			return
		case token.COMMENT:
			l.mark(file.PositionFor(pos, false).Line, text)
		}
	}
}

// tokens handles all other languages.
func (l lines) tokens(lexer chroma.Lexer, name, source string) {
	tokens, err := lexer.Tokenise(nil, source)
	if err != nil {
		return // only for an invalid option
	}
	doc := docstrings{on: name == "python", fresh: true, lines: l}
	line := 1
	for t := tokens(); t != chroma.EOF; t = tokens() {
		if isComment(t.Type) {
			l.mark(line, t.Value)
		}
		doc.see(t, line)
		line += strings.Count(t.Value, "\n")
	}
	doc.end()
}

func isComment(t chroma.TokenType) bool {
	switch t {
	case chroma.CommentPreproc, chroma.CommentPreprocFile, chroma.CommentHashbang: // attributes, #include, <!DOCTYPE>
		return false
	}
	return t.InCategory(chroma.Comment) || t == chroma.LiteralStringDoc // Rust's ///
}

// docstrings finds Python strings that are statements; chroma does not distinguish them. It holds a string that starts a
// statement until the statement ends or continues.
type docstrings struct {
	on    bool
	lines lines

	depth int  // nesting of brackets
	fresh bool // at the start of a statement
	held  []heldString
}

type heldString struct {
	line int
	text string
}

func (d *docstrings) see(t chroma.Token, line int) {
	blank := strings.TrimSpace(t.Value) == ""
	switch {
	case !d.on || isComment(t.Type):
	case t.Type.InSubCategory(chroma.LiteralString):
		if d.depth == 0 && (d.fresh || len(d.held) > 0) {
			d.held = append(d.held, heldString{line, t.Value})
		}
		d.fresh = false
	case blank && strings.Contains(t.Value, "\n") && d.depth == 0, t.Value == ";":
		d.end()
	case blank:
	default:
		d.depth = max(0, d.depth+strings.Count(t.Value, "(")+strings.Count(t.Value, "[")+strings.Count(t.Value, "{")-
			strings.Count(t.Value, ")")-strings.Count(t.Value, "]")-strings.Count(t.Value, "}"))
		d.held, d.fresh = nil, false
	}
}

// end is the end of a statement.
func (d *docstrings) end() {
	for _, h := range d.held {
		d.lines.mark(h.line, h.text)
	}
	d.held, d.fresh = nil, true
}
