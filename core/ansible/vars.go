package ansible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// extraVars writes variables as YAML. Strings are data: one that looks like a template is marked, so that Ansible
// does not evaluate it. Later maps win.
func extraVars(sets ...map[string]any) ([]byte, error) {
	all := map[string]any{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	plain, err := json.Marshal(all) // brings every Go value down to JSON's types
	if err != nil {
		return nil, fmt.Errorf("write variables: %w", err)
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(plain))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("write variables: %w", err)
	}
	var b bytes.Buffer
	writeYAML(&b, v)
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// writeYAML writes a decoded JSON value in YAML's flow style.
func writeYAML(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteString(", ")
			}
			writeString(b, k)
			b.WriteString(": ")
			writeYAML(b, v[k])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, x := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeYAML(b, x)
		}
		b.WriteByte(']')
	case string:
		if strings.Contains(v, "{{") || strings.Contains(v, "{%") || strings.Contains(v, "{#") {
			b.WriteString("!unsafe ")
		}
		writeString(b, v)
	case nil:
		b.WriteString("null")
	default: // bool, json.Number
		fmt.Fprint(b, v)
	}
}

// writeString writes a double-quoted scalar. Whatever YAML does not call printable is escaped.
func writeString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r == utf8.RuneError || r <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
}
