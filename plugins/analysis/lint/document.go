package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// document is JSON or XML that starts at the beginning of a line and ends at the end of one.
type document struct {
	xml     bool
	text    []byte
	records []json.RawMessage // of JSON: the elements of an array, or the one value
}

// split separates the documents in the output from the text.
func split(out []byte) (docs []document, text []byte, err error) {
	// Each line that only looks like a document costs a scan. The budget keeps that linear.
	budget := 8*len(out) + 1<<20
	for len(out) > 0 {
		blank := len(out) - len(bytes.TrimLeft(out, " \t\r\n"))
		if n := bytes.LastIndexByte(out[:blank], '\n') + 1; n > 0 {
			text, out = append(text, out[:n]...), out[n:]
			continue
		}
		start := out[blank:]
		if len(start) > 0 && start[0] == '<' && budget > 0 {
			budget -= xmlHead
			if end := xmlEnd(start); end > 0 {
				docs = append(docs, document{xml: true, text: start[:end]})
				out = start[end:]
				continue
			}
		}
		if len(start) > 0 && (start[0] == '{' || start[0] == '[') && budget > 0 {
			d, end, cost, err := jsonDocument(start)
			if err != nil {
				return nil, nil, err
			}
			if budget -= cost; end > 0 {
				docs = append(docs, d)
				out = start[end:]
				continue
			}
		}
		line := lineLength(out)
		text, out = append(text, out[:line]...), out[line:]
	}
	return docs, text, nil
}

// jsonDocument reads the JSON at the start of the text. end is 0 if there is none, or if text follows on its last line, as
// in "[1] done". cost is the number of scanned bytes.
func jsonDocument(start []byte) (d document, end, cost int, err error) {
	decoder := json.NewDecoder(bytes.NewReader(start))
	var value json.RawMessage
	syntax := (*json.SyntaxError)(nil)
	switch err := decoder.Decode(&value); {
	case errors.As(err, &syntax):
		return document{}, 0, int(syntax.Offset), nil
	case errors.Is(err, io.ErrUnexpectedEOF) && beginsReport(start):
		return document{}, 0, 0, errCut
	case err != nil:
		return document{}, 0, len(start), nil //nolint:nilerr // it is text
	}
	end = int(decoder.InputOffset())
	if rest := start[end:]; len(bytes.TrimSpace(rest[:lineLength(rest)])) > 0 {
		return document{}, 0, end, nil
	}
	d = document{text: value, records: []json.RawMessage{value}}
	if value[0] == '[' {
		d.records = nil
		if err := json.Unmarshal(value, &d.records); err != nil {
			return document{}, 0, 0, err
		}
	}
	return d, end, 0, nil
}

var reportForm = regexp.MustCompile(`^(?:\[\s*)?\{\s*(?:"|$)`)

// beginsReport distinguishes the start of an object, or of an array of objects, from a bracket in prose.
func beginsReport(start []byte) bool { return reportForm.Match(start[:min(len(start), 200)]) }

// lineLength is the length of the first line including its line break.
func lineLength(text []byte) int {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

// utf8Text removes a byte order mark, and decodes UTF-16, which PowerShell writes into files.
func utf8Text(out []byte) []byte {
	decoder := unicode.BOMOverride(transform.Nop)
	if text, _, err := transform.Bytes(decoder, out); err == nil {
		return text
	}
	return out
}
