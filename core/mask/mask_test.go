package mask

import (
	"slices"
	"strings"
	"testing"
)

func TestMaskLines(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		secrets []string
		lines   []string
		want    []string
	}{
		"none":                      {nil, []string{"a", "", "b"}, []string{"a", "", "b"}},
		"in a line":                 {[]string{"secret"}, []string{"a secret, a secret", "b"}, []string{"a ***, a ***", "b"}},
		"too short to be one":       {[]string{"abc", "  "}, []string{"abc"}, []string{"abc"}},
		"overlapping":               {[]string{"secret", "cretin"}, []string{"a secretin b"}, []string{"a *** b"}},
		"over two lines":            {[]string{"secret"}, []string{"x secr", "et y"}, []string{"x ***", "*** y"}},
		"over three lines":          {[]string{"0123456789"}, []string{"0123", "456", "789"}, []string{"***", "***", "***"}},
		"begins like one, is none":  {[]string{"secret"}, []string{"x secr", "ecy"}, []string{"x secr", "ecy"}},
		"begins like one at an end": {[]string{"secret"}, []string{"x secr"}, []string{"x secr"}},
		"a short beginning is let go, the rest is hidden": {
			[]string{"0123456789"}, []string{"x 01", "23456789 y"}, []string{"x 01", "*** y"},
		},
		"several lines of a key": {
			[]string{"-----BEGIN-----\nab\nlong-line-of-key\n-----END-----"},
			[]string{"-----BEGIN-----", "ab", "long-line-of-key", "-----END-----", "ab"},
			[]string{"***", "***", "***", "***", "ab"},
		},
		"one line of a key": {
			[]string{"-----BEGIN-----\nab\nlong-line-of-key\n-----END-----"},
			[]string{"  long-line-of-key", "x"},
			[]string{"  ***", "x"},
		},
		"several lines at once": {
			[]string{"line-one\nline-two"}, []string{"a line-one\nline-two b"}, []string{"a ***", "*** b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			l := Lines{Mask: New(tt.secrets...), Emit: func(s string) { got = append(got, s) }}
			for _, s := range tt.lines {
				l.Line(s)
			}
			l.Flush()
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A line is held back only while it may be the beginning of a secret.
func TestMaskHoldsLittleBack(t *testing.T) {
	t.Parallel()
	var got []string
	l := Lines{Mask: New("secret-value"), Emit: func(s string) { got = append(got, s) }}
	for i, step := range []struct {
		line string
		want int // lines out
	}{{"plain", 1}, {"ends with secret", 1}, {"but goes on", 3}, {"s", 4}, {"secret-", 4}, {"value", 6}} {
		l.Line(step.line)
		if len(got) != step.want {
			t.Errorf("after line %d: %d are out, want %d", i+1, len(got), step.want)
		}
	}
	if s := strings.Join(got, "|"); s != "plain|ends with secret|but goes on|s|***|***" {
		t.Errorf("got %s", s)
	}
}
