package comments

import "strings"

// scanner walks a text once. It knows just enough of a language to tell comments, strings and code apart.
type scanner struct {
	*language
	text string
	at   int

	count         Count
	code, comment bool   // what the current line holds
	last          byte   // last byte of code before at that was no blank; 0 at the start
	word          string // the word that ends there
	apart         bool   // something blank came after it
}

func (s *scanner) scan() {
	if strings.HasPrefix(s.text, "\uFEFF") {
		s.at = len("\uFEFF")
	}
	if strings.HasPrefix(s.text[s.at:], "#!") {
		s.advance(lineEnd(s.text[s.at:]), &s.code)
	}
	for s.at < len(s.text) {
		s.step()
	}
	s.newline()
}

func (s *scanner) step() {
	rest := s.text[s.at:]
	for _, b := range s.block {
		if strings.HasPrefix(rest, b[0]) || s.at == 0 && strings.HasPrefix("\n"+rest, b[0]) {
			s.advance(closing(rest, len(strings.TrimPrefix(b[0], "\n")), quote{close: b[1], raw: true, lines: true}), &s.comment)
			return
		}
	}
	for _, mark := range s.line {
		if strings.HasPrefix(rest, mark) && s.mayComment() {
			s.advance(lineEnd(rest), &s.comment)
			return
		}
	}
	for _, q := range s.quotes {
		if strings.HasPrefix(rest, q.open) {
			kind := &s.code
			if s.docstring && q.lines && !s.code {
				kind = &s.comment
			}
			s.advance(closing(rest, len(q.open), q), kind)
			s.last, s.word = '"', ""
			return
		}
	}
	if s.regex && rest[0] == '/' && s.mayBeRegex() {
		s.advance(regexEnd(rest), &s.code)
		s.last, s.word = '/', ""
		return
	}
	if rest[0] == '\\' && len(rest) > 1 && rest[1] != '\n' {
		s.advance(2, &s.code) // a quote outside strings, as shells have it
		return
	}
	s.advance(1, &s.code)
}

// advance takes n bytes of one kind, line by line. Blanks are of no kind.
func (s *scanner) advance(n int, kind *bool) {
	for _, c := range []byte(s.text[s.at : s.at+n]) {
		switch c {
		case '\n':
			s.newline()
		case ' ', '\t', '\r':
			s.apart = true
		default:
			*kind = true
			if kind == &s.code {
				s.remember(c)
			}
		}
	}
	s.at += n
}

func (s *scanner) remember(c byte) {
	switch {
	case !isWord(c):
		s.word = ""
	case s.apart:
		s.word = string(c)
	default:
		s.word += string(c)
	}
	s.last, s.apart = c, false
}

func (s *scanner) newline() {
	if s.code || s.comment {
		s.count.Lines++
	}
	if s.comment {
		s.count.Comment++
	}
	s.code, s.comment, s.apart = false, false, true
}

// mayComment tells the # of a comment from that of $#, ${#a} and a#b in shells.
func (s *scanner) mayComment() bool {
	return !s.hashWord || s.at == 0 || strings.IndexByte(" \t\n;&|()", s.text[s.at-1]) >= 0
}

// mayBeRegex tells a literal from a division by what stands before it.
func (s *scanner) mayBeRegex() bool {
	switch s.word {
	case "return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "await", "yield":
		return true
	}
	return s.last == 0 || strings.IndexByte("(,=:[!&|?{};+-*%<>~^", s.last) >= 0
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// closing returns how many bytes of text a string or a block takes that begins with skip bytes of opening.
func closing(text string, skip int, q quote) int {
	for i := skip; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], q.close):
			return i + len(q.close)
		case text[i] == '\\' && !q.raw && i+1 < len(text) && (q.lines || text[i+1] != '\n'):
			i++
		case text[i] == '\n' && !q.lines:
			return i // it was an apostrophe, or is broken
		}
	}
	return len(text)
}

func regexEnd(text string) int {
	class := false
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '[':
			class = true
		case ']':
			class = false
		case '\n':
			return 1 // no literal after all
		case '/':
			if !class {
				return i + 1
			}
		}
	}
	return 1
}

func lineEnd(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i
	}
	return len(text)
}
