package contract

import (
	"bytes"
	"net/url"
	"regexp"
	"strings"
)

// LateKind is a kind of value that an expression of a manifest may name although only the stage's plugin can know it,
// when the stage runs. Until then a text stands for it, which is the same for every run: so a stage with such a value
// can be checked before a run, and compared with earlier ones.
type LateKind string

// The kinds of late values.
const (
	LatePort     LateKind = "port"     // of a service, by its name; "" is the service in whose block the text stands
	LateFileHash LateKind = "filehash" // of files of the workspace
)

// late is what Late writes.
var late = regexp.MustCompile(`\{troop:([a-z]+):([\w.~%+,-]*)\}`)

// Late returns the text that stands for a value.
func Late(kind LateKind, names ...string) string {
	escaped := make([]string, len(names))
	for i, n := range names {
		escaped[i] = url.QueryEscape(n)
	}
	return beginning(kind) + strings.Join(escaped, ",") + "}"
}

func beginning(kind LateKind) string { return "{troop:" + string(kind) + ":" }

// HasLate reports whether something stands for a value of a kind in text.
func HasLate(text []byte, kind LateKind) bool { return bytes.Contains(text, []byte(beginning(kind))) }

// FillLate replaces what stands for values of a kind. It stops at the first error.
func FillLate(text string, kind LateKind, value func(names []string) (string, error)) (string, error) {
	var first error
	out := late.ReplaceAllStringFunc(text, func(found string) string {
		m := late.FindStringSubmatch(found)
		if m[1] != string(kind) || first != nil {
			return found
		}
		names := strings.Split(m[2], ",")
		for i, n := range names {
			if plain, err := url.QueryUnescape(n); err == nil {
				names[i] = plain
			}
		}
		v, err := value(names)
		if err != nil {
			first = err
			return found
		}
		return v
	})
	return out, first
}
