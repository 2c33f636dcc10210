// Package lint parses the output of linters. The analysis plugin imports it.
//
// Output is a mix of documents (JSON or XML) and text: npm prints a banner before a report, golangci-lint a summary after
// it, and a workspace of several packages prints several reports. All documents are read; a document's keys show its format.
// An unknown format is an error, not a report without findings.
package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Finding is one finding of a linter. Severity is error, warning or note.
type Finding struct {
	Path         string // as printed; empty: the linter named no file
	Line, Column int    // 1-based; 0: unknown
	Severity     string
	Rule         string
	Message      string
}

// shape is the form of a JSON object that identifies a format. An array of such objects, or one object per line, is the same
// report.
type shape struct {
	format string
	keys   []string // all present
	read   func(records []json.RawMessage) ([]Finding, error)
}

// shapes lists all JSON formats. The first one whose keys an object has reads it.
func shapes() []shape {
	return []shape{
		{"sarif", []string{"version", "runs"}, each(sarif)},
		{"eslint", []string{"filePath", "messages"}, each(eslint)},
		{"eslint", []string{"results", "metadata"}, each(eslintWithMetadata)},
		{"stylelint", []string{"source", "warnings"}, each(stylelint)},
		{"biome", []string{"diagnostics", "summary"}, each(biome)},
		{"ruff", []string{"filename", "location", "code"}, each(ruff)},
		{"pylint", []string{"path", "symbol", "type"}, each(pylint)},
		{"pylint", []string{"messages", "statistics"}, each(pylint2)},
		{"bandit", []string{"results", "errors", "metrics"}, each(bandit)},
		{"semgrep", []string{"results", "errors", "paths"}, each(semgrep)},
		{"golangci", []string{"Issues"}, each(golangci)},
		{"phpcs", []string{"totals", "files"}, each(phpcs)},
		{"rubocop", []string{"files", "summary"}, each(rubocop)},
		{"clippy", []string{"reason"}, clippy},
		{"shellcheck", []string{"comments"}, each(shellcheck)},
		{"shellcheck", []string{"file", "line", "level", "code", "endLine"}, each(shellcheckComment)},
		{"hadolint", []string{"file", "line", "level", "code"}, each(hadolint)},
	}
}

// Formats lists the formats that Parse supports, except "auto".
func Formats() []string {
	names := []string{"jshint", "unix", "checkstyle"}
	for _, s := range shapes() {
		if !slices.Contains(names, s.format) {
			names = append(names, s.format)
		}
	}
	return names
}

// Parse parses the output of a linter. "jshint" is JSHint's default or --verbose reporter, "eslint" is stylish or JSON,
// "unix" is FILE:LINE:COLUMN: MESSAGE, as compilers print it, "checkstyle" is Checkstyle's or JSLint's XML; the other names
// are the JSON of that linter. With "auto" the content decides. A line of text is a finding only if exists reports that its
// path is a file, since a time of day or an address looks like a position, too. Other lines are ignored.
func Parse(format string, out []byte, exists func(path string) bool) ([]Finding, error) {
	if format != "auto" && !slices.Contains(Formats(), format) {
		return nil, fmt.Errorf("unknown format %q", format)
	}
	text := withoutColours(utf8Text(out))
	var list []Finding
	if format != "jshint" && format != "unix" { // which treat documents as text
		docs, rest, err := split(text)
		if err != nil {
			return nil, err
		}
		if list, err = readDocuments(format, docs); err != nil {
			return nil, err
		}
		text = rest
		if len(docs) == 0 && len(textForms(format)) == 0 && len(bytes.TrimSpace(text)) > 0 {
			return nil, errors.New("it has no document of that format")
		}
	}
	list = append(list, parseText(text, textForms(format), exists)...)
	for i := range list {
		list[i].Message = oneLine(list[i].Message)
	}
	return list, nil
}

func readDocuments(format string, docs []document) ([]Finding, error) {
	switch format {
	case "checkstyle":
		return readXML(docs, true)
	case "auto":
		list, err := readXML(docs, false)
		if err != nil {
			return nil, err
		}
		more, err := readJSON(docs, "")
		return append(list, more...), err
	}
	return readJSON(docs, format)
}

// readJSON reads all JSON documents. If format is not empty, they must have it.
func readJSON(docs []document, format string) ([]Finding, error) {
	all := shapes()
	records := make([][]json.RawMessage, len(all))
	var order []int
	for _, d := range docs {
		if d.xml {
			if format != "" {
				return nil, fmt.Errorf("it is XML")
			}
			continue
		}
		for _, r := range d.records {
			keys := keysOf(r)
			i := slices.IndexFunc(all, func(s shape) bool {
				return (format == "" || s.format == format) && !slices.ContainsFunc(s.keys, func(k string) bool { return !keys[k] })
			})
			if i < 0 {
				return nil, unknownJSON(format, r, keys)
			}
			if records[i] == nil {
				order = append(order, i)
			}
			records[i] = append(records[i], r)
		}
	}
	var list []Finding
	for _, i := range order {
		found, err := all[i].read(records[i])
		if err != nil {
			return nil, fmt.Errorf("read JSON of %s: %w", all[i].format, err)
		}
		list = append(list, found...)
	}
	return list, nil
}

func unknownJSON(format string, record json.RawMessage, keys map[string]bool) error {
	what := "a value that is not an object"
	if bytes.HasPrefix(record, []byte("{")) {
		names := slices.Sorted(maps.Keys(keys))
		if len(names) > 8 {
			names = append(names[:8], "…")
		}
		what = "an object with the keys " + strings.Join(names, ", ")
		if len(names) == 0 {
			what = "an object without keys"
		}
	}
	if format != "" {
		return fmt.Errorf("it is not the JSON of %s: %s", format, what)
	}
	return fmt.Errorf("it is not the JSON of a known linter: %s; configure the linter to write one of these formats, or name the format of its text: %s", what, strings.Join(Formats(), ", "))
}

func keysOf(record json.RawMessage) map[string]bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(record, &fields) != nil {
		return nil
	}
	keys := make(map[string]bool, len(fields))
	for k := range fields {
		keys[k] = true
	}
	return keys
}

// each reads records one by one.
func each[T any](read func(T) ([]Finding, error)) func([]json.RawMessage) ([]Finding, error) {
	return func(records []json.RawMessage) ([]Finding, error) {
		var list []Finding
		for _, r := range records {
			var v T
			if err := json.Unmarshal(r, &v); err != nil {
				return nil, err
			}
			found, err := read(v)
			if err != nil {
				return nil, err
			}
			list = append(list, found...)
		}
		return list, nil
	}
}

// severity maps the linters' severities to ours. An unknown one is an error.
func severity(word string) string {
	switch strings.ToLower(word) {
	case "w", "warn", "warning", "medium", "moderate":
		return "warning"
	case "i", "info", "information", "note", "none", "ignore", "refactor", "convention", "style", "hint", "help",
		"low", "minor", "undefined", "inventory", "experiment":
		return "note"
	}
	return "error"
}

var (
	colourForm = regexp.MustCompile("\x1b(?:\\[[0-9;?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\))")
	breakForm  = regexp.MustCompile(`\s*[\r\n]+\s*`)
)

func withoutColours(out []byte) []byte {
	if bytes.IndexByte(out, 0x1b) < 0 {
		return out
	}
	return colourForm.ReplaceAll(out, nil)
}

func oneLine(s string) string { return breakForm.ReplaceAllString(strings.TrimSpace(s), " ") }

var errCut = errors.New("a JSON document has no end: the output is truncated")
