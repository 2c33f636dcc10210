package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
)

// forms are a secret as tools write it: in a URL, in JSON, in XML, in a shell's trace, as base64 and as hex. The last
// two are found inside a longer text too, such as the header of basic authentication. CI systems mask the same forms.
func forms(secret string) []string {
	out := append(written(secret), encoded(secret)...)
	if lf := strings.ReplaceAll(secret, "\r\n", "\n"); lf != secret {
		out = append(append(out, written(lf)...), encoded(lf)...)
	}
	return out
}

// encoded is the secret as bytes.
func encoded(secret string) []string {
	digits := hex.EncodeToString([]byte(secret))
	out := []string{digits, strings.ToUpper(digits)}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			out = append(out, inside(e, secret, before))
		}
	}
	return out
}

// inside is the part of the base64 of a longer text that depends on the secret alone, when as many bytes stand before
// it, modulo three.
func inside(e *base64.Encoding, secret string, before int) string {
	const bits = 6 // of a digit
	text := e.EncodeToString([]byte(strings.Repeat("x", before) + secret))
	first := (before*8 + bits - 1) / bits
	last := (before + len(secret)) * 8 / bits
	return text[min(first, last):last]
}

// written is the secret with the characters escaped that mean something to a language.
func written(secret string) []string {
	query := url.QueryEscape(secret)
	component := strings.ReplaceAll(query, "+", "%20")
	out := []string{
		query, component, url.PathEscape(secret),
		strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(component), // JavaScript's
	}
	for _, u := range out {
		out = append(out, lowerEscapes(u))
	}
	for _, q := range []string{inJSON(secret, false), inJSON(secret, true), trim(strconv.Quote(secret))} {
		slashes := strings.ReplaceAll(q, "/", `\/`) // PHP's
		out = append(out, q, slashes, ascii(q), ascii(slashes), inJSON(q, false))
	}
	xml := func(apostrophe, quotes, tab string) string {
		return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", apostrophe, `"`, quotes, "\n", tab).Replace(secret)
	}
	out = append(out, xml("'", `"`, "\n"), xml("'", "&quot;", "\n"), xml("&apos;", "&quot;", "\n"), xml("&#39;", "&#34;", "\n"),
		xml("&#39;", "&#34;", "&#xA;"), xml("&#39;", "&quot;", "\n"), xml("&#x27;", "&quot;", "\n"))
	return append(out, shell(secret)...)
}

// shell is the secret between quotes, as it is typed and as traces write it.
func shell(secret string) []string {
	escaped := func(special string) string {
		var b strings.Builder
		for _, r := range secret {
			if strings.ContainsRune(special, r) {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		}
		return b.String()
	}
	return []string{
		strings.ReplaceAll(secret, "'", `'\''`),
		strings.ReplaceAll(secret, "'", `'"'"'`),
		strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(secret), // $'…'
		escaped("$`\"\\"),
		escaped("$`\"\\!"),
		escaped(" \t!\"#$&'()*,;<>?[\\]^`{|}~"), // printf %q
	}
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}

// inJSON is s as JSON writes it, without the quotation marks.
func inJSON(s string, html bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	_ = e.Encode(s) // a text has a form
	return trim(strings.TrimSuffix(b.String(), "\n"))
}

func trim(s string) string { return s[1 : len(s)-1] }

// ascii writes what is not ASCII as \u00e9.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			b.WriteString(`\u` + strconv.FormatInt(0x10000+int64(u), 16)[1:])
		}
	}
	return b.String()
}
