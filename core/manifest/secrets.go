package manifest

import (
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

type mark string

// sensitive marks values that must not be shown.
const sensitive mark = "sensitive"

// minSecret in bytes: to mask less would shred every output and hide nothing.
const minSecret = 4

// secrets collects the texts that must be masked wherever they appear.
type secrets struct {
	seen map[string]bool
}

// add takes a text and each of its lines: outputs are masked line by line.
func (s *secrets) add(text string) {
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	if len(text) >= minSecret {
		s.seen[text] = true
	}
	if !strings.ContainsAny(text, "\r\n") {
		return
	}
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); len(line) >= minSecret {
			s.seen[line] = true
		}
	}
}

// addValue takes every text and number within v.
func (s *secrets) addValue(v cty.Value) {
	v, _ = v.UnmarkDeep()
	_ = cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) {
		if !x.IsKnown() || x.IsNull() || !x.Type().IsPrimitiveType() || x.Type() == cty.Bool {
			return true, nil
		}
		if text, err := convert.Convert(x, cty.String); err == nil {
			s.add(text.AsString())
		}
		return true, nil
	})
}

// addMarked takes what is marked as sensitive within v: also texts that were made of secrets.
func (s *secrets) addMarked(v cty.Value) {
	_, marks := v.UnmarkDeepWithPaths()
	for _, m := range marks {
		if x, err := m.Path.Apply(unmarked(v)); err == nil {
			s.addValue(x)
		}
	}
}

func unmarked(v cty.Value) cty.Value {
	v, _ = v.UnmarkDeep()
	return v
}

// list returns the longest first, so that a text is masked before a part of it is.
func (s *secrets) list() []string {
	var out []string
	for text := range s.seen {
		out = append(out, text)
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return out
}
