package file

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Name is a file's name or path: bytes, which need not be UTF-8. In JSON, which holds text only, other names are a NUL and
// the bytes in base64; no name has a NUL.
type Name string

// MarshalJSON encodes the name.
func (n Name) MarshalJSON() ([]byte, error) {
	s := string(n)
	if !utf8.ValidString(s) || strings.HasPrefix(s, "\x00") {
		s = "\x00" + base64.StdEncoding.EncodeToString([]byte(n))
	}
	return json.Marshal(s)
}

// UnmarshalJSON decodes the name.
func (n *Name) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if text, ok := strings.CutPrefix(s, "\x00"); ok {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("decode a file's name: %w", err)
		}
		s = string(raw)
	}
	*n = Name(s)
	return nil
}

// String returns the name as text, for messages.
func (n Name) String() string { return strings.ToValidUTF8(string(n), "\uFFFD") }
