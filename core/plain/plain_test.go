package plain

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"as it is, ä \t☺":                      "as it is, ä \t☺",
		"\x1b[1;31mred\x1b[0m":                 "red",
		" 10 %\r 90 %\r100 %":                  "100 %",
		"100 %\rdone\x1b[K":                    "done",
		"ab\b\bcd":                             "cd",
		"a\x00b\ac\x7fd\x0be":                  "abcde",
		"\x1b]0;title\aa":                      "a",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\a": "link",
		"a\x1b]never ends":                     "a",
		"a\u009b31mb\u009d0;t\u009cc":          "abc",
		"a\x1b(Bb\x1b=c\x1bMd":                 "abcd",
		"one\x1b[10Gtwo":                       "one      two",
		"far\x1b[999999999Cx":                  "far" + strings.Repeat(" ", 997) + "x",
		"abc\x1b[2Dx":                          "axc",
		"abc\x1b[3D\x1b[P":                     "bc",
		"abc\x1b[3D\x1b[2X":                    "  c",
		"abc\x1b[2J\x1b[Hd":                    "dbc",
		"user\u202eexe.txt\u2066\u200b":        "userexe.txt",
		"\u200c\u200d stay: 👩\u200d💻":          "\u200c\u200d stay: 👩\u200d💻",
		"line\u2028break\nand feed":            "linebreak and feed",
		"bad\xffbyte":                          "bad\uFFFDbyte",
		"\x1b":                                 "",
		"\x1b[":                                "",
		"a\x1b[3\rb":                           "b",
	} {
		if got := Line(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := Text("a\x1b[1m\r\nb\bc\n\td"); got != "a\nc\n\td" {
		t.Errorf("text: %q", got)
	}
	if got := Bare("XX\rs\be\u200dc\x1b[1mret\n!"); got != "XXsecret!" {
		t.Errorf("bare: %q", got)
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	const in = "\x1b[31mred\x1b[0m \x1b[8mhidden \x1b]0;t\a\u009b2J\u202e\r\n\ttwo\rthree\u2066\n"
	for _, c := range []struct {
		w    Writer
		want string
	}{
		{Writer{}, "red hidden \n\ttwo three\n"},
		{Writer{Own: regexp.MustCompile(`^\x1b\[(31|0)m`)}, "\x1b[31mred\x1b[0m hidden \n\ttwo three\n"},
		{Writer{Escape: true}, "\\u001b[31mred\\u001b[0m \\u001b[8mhidden \\u001b]0;t\\u0007\\u009b2J\\u202e\\u000d\n\ttwo\\u000dthree\\u2066\n"},
	} {
		var b strings.Builder
		c.w.To = &b
		if n, err := c.w.Write([]byte(in)); n != len(in) || err != nil {
			t.Error(n, err)
		}
		if b.String() != c.want {
			t.Errorf("got %q, want %q", b.String(), c.want)
		}
	}
}

// FuzzLine: whatever the text, nothing of what is left steers a terminal, and doing it again changes nothing.
func FuzzLine(f *testing.F) {
	f.Add("a\x1b[1;2Hb\r\u009bc\u202e\b\x1b]0;x")
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{Line(s), Bare(s)} {
			for _, r := range got {
				if unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
					t.Fatalf("%q of %q", got, s)
				}
			}
		}
		if l := Line(s); Line(l) != l || Text(l) != l {
			t.Errorf("%q of %q changes again", l, s)
		}
	})
}
