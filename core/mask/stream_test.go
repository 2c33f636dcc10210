package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/plain"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

const token = "tok-4f9d0c/ä&'7\"x$"

// lines passes lines through a mask.
func lines(m *Mask, in ...string) string {
	var out []string
	l := Lines{Mask: m, Emit: func(s string) { out = append(out, s) }}
	for _, s := range in {
		l.Line(s)
	}
	l.Flush()
	return strings.Join(out, "\n")
}

// Whatever a program writes between the letters of a secret, the secret is hidden: in a log, and in a text.
func TestControlCodesHideNothing(t *testing.T) {
	t.Parallel()
	const secret = "correct-horse-battery"
	tests := map[string]string{
		"colour of grep":     "pre correct-\x1b[01;31m\x1b[Khorse\x1b[m\x1b[K-battery post",
		"backspace":          "pre correctX\b-horse-battery post",
		"NUL":                "pre correct\x00-horse-battery post",
		"BEL":                "pre correct\a-horse-battery post",
		"DEL":                "pre correct\x7f-horse-battery post",
		"title":              "pre correct\x1b]0;title\a-horse-battery post",
		"hyperlink":          "pre \x1b]8;;http://x\x1b\\correct-horse-battery\x1b]8;;\x1b\\ post",
		"device text":        "pre correct\x1bPq\x1b\\-horse-battery post",
		"C1":                 "pre correct\u009b1m-horse-battery post",
		"return":             "XXXXXXXXXXXX\rpre correct-horse-battery post",
		"return in two":      "pre XXXXXXX-horse-battery post\rpre correct",
		"return hides it":    "correct-horse-battery\r",
		"cursor left":        "pre cXXXXXX\x1b[6Dorrect-horse-battery post",
		"cursor to a column": "pre -------\x1b[5Gcorrect-horse-battery post",
		"erased":             "pre correct-hors..\x1b[2D\x1b[Ke-battery post",
		"character set":      "pre correct\x1b(B-horse-battery post",
		"right to left":      "pre correct\u202e\u202c-horse-battery post",
		"no width":           "pre correct\u200b\u200d\ufeff-horse-battery post",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := New(secret)
			for way, got := range map[string]string{"log": lines(m, text), "text": m.String(text)} {
				if strings.Contains(plain.Bare(got), secret) || strings.Contains(plain.Text(got), secret) {
					t.Errorf("%s shows the secret: %q", way, got)
				}
				if !strings.Contains(got, masked) {
					t.Errorf("%s: %q is not masked", way, got)
				}
			}
		})
	}
}

// What real grep and real shells make of a secret.
func TestRealTools(t *testing.T) {
	t.Parallel()
	m := New("correct-horse-battery", token)
	for name, script := range map[string]string{
		"grep":         `printf '%s\n' "$A" | grep --color=always horse`,
		"trace":        `set -x; : "$B"`,
		"printf %q":    `printf '%q\n' "$B"`,
		"base64":       `printf 'user:%s' "$B" | base64 -w 8`,
		"od":           `printf %s "$B" | od -An -v -tx1 | tr -d ' \n'`,
		"cut by bytes": `printf '%s' "$A" | fold -w 5`,
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
		cmd.Env = append(cmd.Environ(), "A=correct-horse-battery", "B="+token, "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(name, err, string(out))
		}
		got := lines(m, strings.Split(string(out), "\n")...)
		if !strings.Contains(got, masked) {
			t.Errorf("%s: not masked: %q", name, got)
		}
		if s := strings.ReplaceAll(strings.ReplaceAll(got, "\n", ""), masked, ""); strings.Contains(s, "horse") || strings.Contains(s, "4f9d0c") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	encoded, _ := json.Marshal(map[string]string{"k": token})
	again, _ := json.Marshal(string(encoded))
	var x strings.Builder
	_ = xml.EscapeText(&x, []byte(token))
	m := New(token, "postgres://app:p@ss%2Fw0rd!x@db/shop", "line-one-of-it\nline-two-of-it")
	for name, text := range map[string]string{
		"JSON":            string(encoded),
		"JSON in JSON":    string(again),
		"JSON by Python":  `{"k": "tok-4f9d0c/\u00e4&'7\"x$"}`,
		"JSON by PHP":     `{"k":"tok-4f9d0c\/\u00e4&'7\"x$"}`,
		"XML":             "<a>" + x.String() + "</a>",
		"HTML":            "tok-4f9d0c/ä&amp;&#x27;7&quot;x$",
		"query":           "?a=" + url.QueryEscape(token),
		"path":            "/" + url.PathEscape(token),
		"small letters":   "?a=" + strings.ToLower(url.QueryEscape(token)),
		"shell":           `echo 'tok-4f9d0c/ä&'\''7"x$'`,
		"double quotes":   `echo "tok-4f9d0c/ä&'7\"x\$"`,
		"Go":              fmt.Sprintf("%q", token),
		"hex":             hex.EncodeToString([]byte("a" + token)),
		"HEX":             strings.ToUpper(hex.EncodeToString([]byte(token))),
		"basic auth":      "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ci:"+token)),
		"password of URL": "using p@ss/w0rd!x",
		"several lines":   `{"key":"line-one-of-it\nline-two-of-it"}`,
	} {
		if got := m.String(text); !strings.Contains(got, masked) || strings.Contains(got, "4f9d0c") || strings.Contains(got, "ss/w0rd") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for before := range 3 {
		for after := range 3 {
			text := base64.StdEncoding.EncodeToString([]byte("xyz"[:before] + token + "abc"[:after]))
			if got := m.String(text); len(strings.Replace(got, masked, "", 1)) > 9 {
				t.Errorf("%d bytes before, %d after: %q of %q", before, after, got, text)
			}
		}
	}
}

// A secret that a line was cut in leaves no beginning of itself.
func TestCutSecret(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz"
	m := New(secret)
	var got []string
	out := Lines{Mask: m, Emit: func(s string) { got = append(got, s) }}
	w := proc.Lines{Each: out.Line}
	_, _ = w.Write([]byte(strings.Repeat("-", 64<<10-20) + secret + "\n"))
	out.Flush()
	if len(got) != 1 || strings.Contains(got[0], "01234") || !strings.HasSuffix(got[0], "-***… (16 bytes more)") {
		t.Errorf("the line ends in %q", got[0][max(0, len(got[0])-60):])
	}
}

// A secret that becomes known while a line is held back, or after its beginning was let go, is hidden from then on.
func TestLateSecret(t *testing.T) {
	t.Parallel()
	m := New("first-secret")
	var got []string
	l := Lines{Mask: m, Emit: func(s string) { got = append(got, s) }}
	l.Line("late-secret, first-")
	m.Add("late-secret")
	l.Line("secret late-")
	l.Line("secret")
	l.Flush()
	if s := strings.Join(got, "|"); s != "***, ***|*** ***|***" {
		t.Errorf("got %s", s)
	}
}

// FuzzLines: whatever the split and the control codes, what can be seen never holds the secret.
func FuzzLines(f *testing.F) {
	f.Add("secret-value", "a secret-value b", uint64(0x10), "\x1b[31m", uint64(0x40))
	f.Add("secret-value", "secret-value", ^uint64(0), "\b", uint64(0x42))
	f.Add("sée\nline two", "x sée line two", uint64(0x5), "\u202e", uint64(0x3))
	f.Add("aaaaaa", "aaaaaaaaaaaaaa", uint64(0x7), "\r", uint64(0x2))
	f.Fuzz(func(t *testing.T, secret, text string, breaks uint64, code string, codes uint64) {
		needle := plain.Bare(strings.TrimSpace(secret))
		if len(needle) < MinSecret || strings.Contains(needle, "*") {
			return
		}
		var b strings.Builder // the secret is in it, too, with codes and line breaks at the places that the bits name
		for i, r := range []rune(text + secret + text) {
			if breaks>>(i%64)&1 == 1 {
				b.WriteByte('\n')
			}
			if codes>>(i%61)&1 == 1 {
				b.WriteString(code)
			}
			b.WriteRune(r)
		}
		m := New(secret)
		for way, got := range map[string]string{
			"lines": lines(m, strings.Split(b.String(), "\n")...), "text": m.String(b.String()),
		} {
			if strings.Contains(plain.Bare(got), needle) || strings.Contains(plain.Text(got), needle) {
				t.Errorf("%s shows %q: %q of %q", way, needle, got, b.String())
			}
		}
	})
}

func BenchmarkLines(b *testing.B) {
	m := &Mask{}
	for i := range 20 {
		m.Add(fmt.Sprintf("secret-%02d-%x", i, strings.Repeat(string(rune('a'+i)), 12)))
	}
	usual := strings.Repeat("2026-11-28T22:26:05Z INFO  GET /assets/app.js 200 in 12 ms, served by web-1 as base64 c2VjcmV0LXZhbHVl\n", 1000)
	for name, text := range map[string]string{
		"log":      usual,
		"coloured": strings.ReplaceAll(usual, "INFO", "\x1b[32mINFO\x1b[0m"),
		"alike":    strings.Repeat(strings.Repeat("secret-0", 12)+"\n", 1000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			split := strings.Split(text, "\n")
			for b.Loop() {
				l := Lines{Mask: m, Emit: func(string) {}}
				for _, s := range split {
					l.Line(s)
				}
				l.Flush()
			}
		})
	}
	b.Run("one long secret", func(b *testing.B) { // each byte may be its beginning
		long := New(strings.Repeat("a", 64<<10) + "b")
		text := strings.Repeat("a", 1<<10)
		b.SetBytes(1 << 20)
		for b.Loop() {
			l := Lines{Mask: long, Emit: func(string) {}}
			for range 1 << 10 {
				l.Line(text)
			}
			l.Flush()
		}
	})
}
