package document

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// maxDepth is how deep elements may be nested.
const maxDepth = 200

var (
	declaration = regexp.MustCompile(`^\s*<\?xml\s[^>]*?\?>`)
	declared    = regexp.MustCompile(`\sencoding\s*=\s*["']([^"']*)["']`)
	// colour is an escape sequence of a terminal, with ESC as a byte or as a reference.
	colour    = regexp.MustCompile(`(?:\x1b|&#(?:[xX]0*1[bB]|0*27);)\[[0-9;?]*[ -/]*[@-~]`)
	reference = regexp.MustCompile(`&#(?:[xX]([0-9a-fA-F]+)|([0-9]+));`)
)

// StartXML is where XML begins in data: at its first character, or else at the first line that begins with a
// declaration or with one of the root elements; -1: nowhere. What a program printed before it is no part of it.
func StartXML(data []byte, roots ...string) int {
	if blank := len(data) - len(bytes.TrimSpace(data)); bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return bytes.IndexByte(data[:blank+1], '<')
	}
	at := regexp.MustCompile(`(?m)^[ \t]*<(?:\?xml|` + strings.Join(roots, "|") + `)[\s/>]`).FindIndex(data)
	if at == nil {
		return -1
	}
	return at[0]
}

// Elements calls visit for the start of every element of every document in data[start:]. It may read the element
// with d.DecodeElement, or return nil to go into it. depth is 0 for a root. Colour codes and characters that XML
// forbids are dropped. An error names the line in data.
func Elements(data []byte, start int, visit func(d *xml.Decoder, start *xml.StartElement, depth int) error) error {
	if start < 0 {
		return errors.New("no element found")
	}
	line := 1 + bytes.Count(data[:start], []byte("\n"))
	for _, one := range split(data[start:]) {
		text, err := decode(one)
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if err := walk(text, line, visit); err != nil {
			return err
		}
		line += bytes.Count(one, []byte("\n"))
	}
	return nil
}

// split cuts data at each XML declaration. Outside of CDATA and comments a declaration can only begin a document.
func split(data []byte) [][]byte {
	var list [][]byte
	start := 0
	for i := 0; i < len(data); {
		next := bytes.IndexByte(data[i:], '<')
		if next < 0 {
			break
		}
		i += next
		end := ""
		switch rest := data[i:]; {
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			end = "]]>"
		case bytes.HasPrefix(rest, []byte("<!--")):
			end = "-->"
		case i > start && declaration.Match(rest[:min(len(rest), 200)]):
			list = append(list, data[start:i])
			start = i
		}
		if end == "" {
			i++
			continue
		}
		stop := bytes.Index(data[i:], []byte(end))
		if stop < 0 {
			break
		}
		i += stop + len(end)
	}
	return append(list, data[start:])
}

// decode returns a document as UTF-8 that encoding/xml accepts: without its declaration, because the text is
// decoded by then and the decoder refuses version 1.1.
func decode(data []byte) ([]byte, error) {
	if head := declaration.Find(data[:min(len(data), 400)]); head != nil {
		name := ""
		if m := declared.FindSubmatch(head); m != nil {
			name = string(m[1])
		}
		body := data[len(head):]
		coding, err := lookup(name)
		if err != nil {
			return nil, err
		}
		if coding != nil {
			if body, err = coding.NewDecoder().Bytes(body); err != nil {
				return nil, fmt.Errorf("decode %s: %w", name, err)
			}
		}
		data = append(bytes.Repeat([]byte("\n"), bytes.Count(head, []byte("\n"))), body...)
	}
	data = colour.ReplaceAll(data, nil)
	data = reference.ReplaceAllFunc(data, func(ref []byte) []byte {
		m := reference.FindSubmatch(ref)
		n, err := strconv.ParseUint(string(m[1]), 16, 32)
		if len(m[2]) > 0 {
			n, err = strconv.ParseUint(string(m[2]), 10, 32)
		}
		if err != nil || n > utf8.MaxRune || !allowed(rune(n)) {
			return nil
		}
		return ref
	})
	return bytes.Map(func(r rune) rune {
		if allowed(r) {
			return r
		}
		return -1
	}, data), nil
}

// lookup returns nil for UTF-8, and for UTF-16, which Read has decoded.
func lookup(name string) (encoding.Encoding, error) {
	switch strings.ToLower(name) {
	case "", "utf-8", "utf8", "utf-16", "utf-16le", "utf-16be", "utf16":
		return nil, nil
	}
	if coding, err := htmlindex.Get(name); err == nil {
		return coding, nil
	}
	if coding, err := ianaindex.IANA.Encoding(name); err == nil && coding != nil {
		return coding, nil
	}
	return nil, fmt.Errorf("unknown encoding %q", name)
}

// allowed is the Char production of XML 1.0.
func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000
}

// limited counts the depth for a decoder, also inside of DecodeElement.
type limited struct {
	*xml.Decoder
	depth int
}

func (l *limited) Token() (xml.Token, error) {
	t, err := l.Decoder.Token()
	switch t.(type) {
	case xml.StartElement:
		if l.depth++; l.depth > maxDepth {
			return nil, fmt.Errorf("elements are nested more than %d deep", maxDepth)
		}
	case xml.EndElement:
		l.depth--
	}
	return t, err
}

func walk(text []byte, line int, visit func(*xml.Decoder, *xml.StartElement, int) error) error {
	in := &limited{Decoder: xml.NewDecoder(bytes.NewReader(text))}
	in.Entity = xml.HTMLEntity
	d := xml.NewTokenDecoder(in)
	for {
		t, err := d.Token()
		if start, ok := t.(xml.StartElement); ok && err == nil {
			err = visit(d, &start, in.depth-1)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			at, _ := in.InputPos()
			if syntax := (*xml.SyntaxError)(nil); errors.As(err, &syntax) {
				err = errors.New(syntax.Msg)
			}
			return fmt.Errorf("line %d: %w", line+at-1, err)
		}
	}
}
