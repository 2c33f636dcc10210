// Package document reads the files that test tools write, within limits: text in any encoding, and XML as it is
// found in practice, with several documents in one file, control characters and XML 1.1. The packages results and
// coverage import it; it runs in the test plugin.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
)

// MaxSize is the largest report that is read, in bytes.
const MaxSize = 64 << 20

// Read reads a report to its end and returns it as text without a byte order mark. UTF-16 becomes UTF-8; other
// encodings stay, because XML declares its own. It refuses what is too large, compressed or empty.
func Read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("larger than %d MiB", MaxSize>>20)
	}
	for magic, name := range map[string]string{"\x1f\x8b": "gzip", "PK\x03\x04": "zip", "\x28\xb5\x2f\xfd": "zstd", "BZh": "bzip2", "\xfd7zXZ": "xz"} {
		if bytes.HasPrefix(data, []byte(magic)) {
			return nil, fmt.Errorf("compressed (%s); have the tool write it uncompressed", name)
		}
	}
	if data, err = decodeUTF16(data); err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	return data, nil
}

// decodeUTF16 turns UTF-16 into UTF-8. Without a byte order mark it is recognised by an ASCII character at the
// start, as every format begins with one.
func decodeUTF16(data []byte) ([]byte, error) {
	order := unicode.LittleEndian
	switch {
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		order = unicode.BigEndian
	case len(data) >= 2 && data[0] != 0 && data[0] < utf8.RuneSelf && data[1] == 0:
	case len(data) >= 2 && data[0] == 0 && data[1] != 0 && data[1] < utf8.RuneSelf:
		order = unicode.BigEndian
	default:
		return data, nil
	}
	text, err := unicode.UTF16(order, unicode.UseBOM).NewDecoder().Bytes(data)
	if err != nil {
		return nil, fmt.Errorf("decode UTF-16: %w", err)
	}
	return text, nil
}

// Start is the beginning of the first line that is not blank, for messages about content that is not known.
func Start(data []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(data[:min(len(data), 400)])), "\n")
	line = strings.ToValidUTF8(strings.TrimSpace(line), "\uFFFD")
	if r := []rune(line); len(r) > 40 {
		line = string(r[:40]) + "…"
	}
	return line
}
