package secrets

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// sniffed is the number of bytes that decide whether a file is text, as in git.
const sniffed = 8000

// decodeText returns the content as UTF-8, or false if it is binary.
func decodeText(r *bufio.Reader) (io.Reader, bool) {
	head, _ := r.Peek(sniffed) // the next read returns the error again
	var utf16 encoding.Encoding
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		utf16 = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case bytes.IndexByte(head, 0) < 0:
		return r, true
	case halfZero(head, 1):
		utf16 = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case halfZero(head, 0):
		utf16 = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	default:
		return nil, false
	}
	return transform.NewReader(r, utf16.NewDecoder()), true
}

// halfZero reports whether the bytes at odd (1) or even (0) positions are mostly 0 and the others never are: UTF-16 of mostly
// Latin text without a byte order mark.
func halfZero(head []byte, odd int) bool {
	zeros := 0
	for i, c := range head {
		switch {
		case c == 0 && i%2 != odd:
			return false
		case c == 0:
			zeros++
		}
	}
	return zeros*4 >= len(head)
}

const (
	shortestEncoded = 24
	largestDecoded  = 1 << 20
)

// pemPrefix is how "-----BEGIN " begins in base64.
var pemPrefix = []byte("LS0tLS1CRUdJTi")

// eachEncoded calls f with the decoded text of every run of base64, which may be wrapped over several lines.
func eachEncoded(content []byte, f func(start int, decoded []byte)) {
	for i := 0; i < len(content); {
		if !isBase64(content[i]) {
			i++
			continue
		}
		start := i
		for i < len(content) && isBase64(content[i]) {
			i++
		}
		if i-start < shortestEncoded {
			continue
		}
		// A letter may directly precede a key, such as the n of an escaped line break.
		if p := bytes.Index(content[start:i], pemPrefix); p > 0 {
			start += p
		}
		if i-start < shortestEncoded || !isText(decode(content[start:start+shortestEncoded])) {
			continue
		}
		run := content[start:i]
		if next := wrapped(content, i); next > i && len(run)%4 == 0 {
			run = bytes.Clone(run)
			for next > i {
				end := next
				for end < len(content) && isBase64(content[end]) {
					end++
				}
				run, i = append(run, content[next:end]...), end
				next = wrapped(content, i)
			}
		}
		if len(run) > largestDecoded/3*4 {
			run = run[:largestDecoded/3*4]
		}
		if decoded := decode(run); utf8.Valid(decoded) || isText(decoded) {
			f(start, decoded)
		}
	}
}

// wrapped returns the end of base64 that continues on the line after end, or end itself. A line continues it if it has
// nothing else.
func wrapped(content []byte, end int) int {
	i := end
	if i < len(content) && content[i] == '\r' {
		i++
	}
	if i >= len(content) || content[i] != '\n' {
		return end
	}
	for i++; i < len(content) && (content[i] == ' ' || content[i] == '\t'); i++ {
	}
	next := i
	for i < len(content) && isBase64(content[i]) {
		i++
	}
	rest := bytes.TrimLeft(content[i:min(len(content), i+3)], "=")
	if i == next || len(rest) > 0 && rest[0] != '\n' && rest[0] != '\r' {
		return end
	}
	return next
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}

// decode decodes base64 of either alphabet, as far as it is complete.
func decode(run []byte) []byte {
	if len(run)%4 == 1 { // not a valid length
		run = run[:len(run)-1]
	}
	e := base64.RawStdEncoding
	if bytes.ContainsAny(run, "-_") {
		e = base64.RawURLEncoding
	}
	out := make([]byte, e.DecodedLen(len(run)))
	n, _ := e.Decode(out, run)
	return out[:n]
}

// isText reports whether the first bytes have neither control characters nor invalid UTF-8.
func isText(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	b = b[:min(len(b), 64)]
	for i := 0; i < len(b)-utf8.UTFMax; {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return false
		}
		i += n
	}
	return true
}
