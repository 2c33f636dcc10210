// Package lint reads what linters print, in the formats that are common among them, into findings. The analysis
// plugin imports it.
package lint

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
)

// Finding is one complaint. Severity is error, warning or note.
type Finding struct {
	Path         string // as printed
	Line, Column int    // 1-based; 0: unknown
	Severity     string
	Rule         string
	Message      string
}

// Formats lists the names that Parse knows, beside "auto".
func Formats() []string { return []string{"jshint", "eslint", "unix", "checkstyle", "sarif"} }

// Parse reads the output of a linter. "jshint" is JSHint's default or --verbose reporter; "eslint" is stylish or
// JSON; "unix" is FILE:LINE:COLUMN: MESSAGE, as compilers write it; "checkstyle" is that XML, or JSLint's. With
// "auto" the content decides. Lines that are no findings are passed over, so that no findings may also mean
// that the linter said something else.
func Parse(format string, out []byte) ([]Finding, error) {
	start := bytes.TrimSpace(bytes.TrimPrefix(out, []byte("\uFEFF")))
	if format == "auto" {
		format = detect(start)
	}
	switch format {
	case "jshint":
		return parseLines(start, jshintLine), nil
	case "eslint":
		if bytes.HasPrefix(start, []byte("[")) {
			return parseESLint(start)
		}
		return parseStylish(start), nil
	case "unix":
		return parseLines(start, unixLine), nil
	case "checkstyle":
		if len(start) == 0 {
			return nil, nil
		}
		return parseCheckstyle(start)
	case "sarif":
		if len(start) == 0 {
			return nil, nil
		}
		return parseSARIF(start)
	case "text":
		return parseText(start), nil
	}
	return nil, fmt.Errorf("unknown format %q", format)
}

func detect(start []byte) string {
	switch {
	case bytes.HasPrefix(start, []byte("<")):
		return "checkstyle"
	case bytes.HasPrefix(start, []byte("{")) && json.Valid(start):
		return "sarif"
	case bytes.HasPrefix(start, []byte("[")) && json.Valid(start):
		return "eslint"
	}
	return "text"
}

// parseText takes the format of lines that finds most.
func parseText(out []byte) []Finding {
	best := parseLines(out, jshintLine)
	for _, other := range [][]Finding{parseStylish(out), parseLines(out, unixLine)} {
		if len(other) > len(best) {
			best = other
		}
	}
	return best
}

func parseESLint(out []byte) ([]Finding, error) {
	var files []struct {
		FilePath string `json:"filePath"`
		Messages []struct {
			RuleID   *string `json:"ruleId"`
			Severity int     `json:"severity"`
			Message  string  `json:"message"`
			Line     int     `json:"line"`
			Column   int     `json:"column"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(out, &files); err != nil {
		return nil, fmt.Errorf("read ESLint's JSON: %w", err)
	}
	var list []Finding
	for _, f := range files {
		for _, m := range f.Messages {
			rule := ""
			if m.RuleID != nil {
				rule = *m.RuleID
			}
			severity := "error"
			if m.Severity == 1 {
				severity = "warning"
			}
			list = append(list, Finding{f.FilePath, m.Line, m.Column, severity, rule, m.Message})
		}
	}
	return list, nil
}

func parseCheckstyle(out []byte) ([]Finding, error) {
	type fault struct {
		Line     int    `xml:"line,attr"`
		Column   int    `xml:"column,attr"`
		Char     int    `xml:"char,attr"`
		Severity string `xml:"severity,attr"`
		Message  string `xml:"message,attr"`
		Reason   string `xml:"reason,attr"`
		Source   string `xml:"source,attr"`
	}
	var root struct {
		XMLName xml.Name
		Files   []struct {
			Name   string  `xml:"name,attr"`
			Errors []fault `xml:"error"`
			Issues []fault `xml:"issue"`
		} `xml:"file"`
	}
	if err := xml.Unmarshal(out, &root); err != nil {
		return nil, fmt.Errorf("read XML: %w", err)
	}
	if name := root.XMLName.Local; name != "checkstyle" && name != "jslint" {
		return nil, fmt.Errorf("read XML: want <checkstyle> or <jslint>, got <%s>", name)
	}
	var list []Finding
	for _, f := range root.Files {
		for _, e := range append(f.Errors, f.Issues...) {
			list = append(list, Finding{f.Name, e.Line, e.Column + e.Char, severity(e.Severity), e.Source, e.Message + e.Reason})
		}
	}
	return list, nil
}

func parseSARIF(out []byte) ([]Finding, error) {
	type rule struct {
		ID            string `json:"id"`
		Configuration struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	var log struct {
		Version string `json:"version"`
		Runs    []struct {
			Tool struct {
				Driver struct {
					Rules []rule `json:"rules"`
				} `json:"driver"`
			} `json:"tool"`
			Results []struct {
				RuleID       string            `json:"ruleId"`
				Level        string            `json:"level"`
				Kind         string            `json:"kind"`
				Suppressions []json.RawMessage `json:"suppressions"`
				Message      struct {
					Text string `json:"text"`
				} `json:"message"`
				Locations []struct {
					Physical struct {
						Artifact struct {
							URI string `json:"uri"`
						} `json:"artifactLocation"`
						Region struct {
							Line   int `json:"startLine"`
							Column int `json:"startColumn"`
						} `json:"region"`
					} `json:"physicalLocation"`
				} `json:"locations"`
			} `json:"results"`
		} `json:"runs"`
	}
	if err := json.Unmarshal(out, &log); err != nil {
		return nil, fmt.Errorf("read SARIF: %w", err)
	}
	if log.Version == "" {
		return nil, errors.New("read SARIF: the JSON has no version")
	}
	var list []Finding
	for _, run := range log.Runs {
		levels := map[string]string{}
		for _, r := range run.Tool.Driver.Rules {
			levels[r.ID] = r.Configuration.Level
		}
		for _, r := range run.Results {
			if len(r.Suppressions) > 0 || r.Kind != "" && r.Kind != "fail" {
				continue // accepted by a human, or no complaint
			}
			level := r.Level
			if level == "" {
				level = levels[r.RuleID]
			}
			if level == "" {
				level = "warning" // the standard's default
			}
			f := Finding{Severity: severity(level), Rule: r.RuleID, Message: r.Message.Text}
			if len(r.Locations) > 0 {
				p := r.Locations[0].Physical
				f.Path, f.Line, f.Column = p.Artifact.URI, p.Region.Line, p.Region.Column
			}
			list = append(list, f)
		}
	}
	return list, nil
}

// severity maps the words of others to ours. What is not known is an error.
func severity(word string) string {
	switch strings.ToLower(word) {
	case "w", "warn", "warning":
		return "warning"
	case "i", "info", "information", "note", "none", "ignore", "refactor", "convention":
		return "note"
	}
	return "error"
}
