package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

type eslintFile struct {
	Path     string `json:"filePath"`
	Messages []struct {
		Rule     *string `json:"ruleId"`
		Severity int     `json:"severity"`
		Fatal    bool    `json:"fatal"`
		Message  string  `json:"message"`
		Line     int     `json:"line"`
		Column   int     `json:"column"`
	} `json:"messages"`
}

func eslint(f eslintFile) ([]Finding, error) {
	var list []Finding
	for _, m := range f.Messages {
		word := "error"
		if m.Severity == 1 && !m.Fatal {
			word = "warning"
		}
		list = append(list, Finding{f.Path, m.Line, m.Column, word, deref(m.Rule), m.Message})
	}
	return list, nil
}

func eslintWithMetadata(doc struct {
	Results []json.RawMessage `json:"results"`
},
) ([]Finding, error) {
	return each(eslint)(doc.Results)
}

func stylelint(f struct {
	Source   string `json:"source"`
	Errored  bool   `json:"errored"`
	Warnings []struct {
		Line     int    `json:"line"`
		Column   int    `json:"column"`
		Rule     string `json:"rule"`
		Severity string `json:"severity"`
		Text     string `json:"text"`
	} `json:"warnings"`
	ParseErrors []struct {
		Line   int    `json:"line"`
		Column int    `json:"column"`
		Text   string `json:"text"`
	} `json:"parseErrors"`
	InvalidOptions []struct {
		Text string `json:"text"`
	} `json:"invalidOptionWarnings"`
},
) ([]Finding, error) {
	var list []Finding
	for _, w := range f.Warnings {
		list = append(list, Finding{f.Source, w.Line, w.Column, severity(w.Severity), w.Rule, strings.TrimSuffix(w.Text, " ("+w.Rule+")")})
	}
	for _, e := range f.ParseErrors {
		list = append(list, Finding{f.Source, e.Line, e.Column, "error", "parseError", e.Text})
	}
	for _, o := range f.InvalidOptions { // a rule that did not run
		list = append(list, Finding{Path: f.Source, Severity: "error", Rule: "invalidOption", Message: o.Text})
	}
	if f.Errored && !slices.ContainsFunc(list, isError) {
		list = append(list, Finding{Path: f.Source, Severity: "error", Message: "stylelint reports an error in this file without a reason"})
	}
	return list, nil
}

// ruff has no levels: every finding is an error.
func ruff(d struct {
	Path     string  `json:"filename"`
	Code     *string `json:"code"`
	Cell     *int    `json:"cell"`
	Message  string  `json:"message"`
	Location *struct {
		Row    int `json:"row"`
		Column int `json:"column"`
	} `json:"location"`
	Severity string `json:"severity"` // newer versions
},
) ([]Finding, error) {
	f := Finding{Path: d.Path, Severity: severity(d.Severity), Rule: deref(d.Code), Message: d.Message}
	if d.Location != nil {
		f.Line, f.Column = d.Location.Row, d.Location.Column
	}
	if d.Cell != nil { // a notebook; lines are relative to the cell
		f.Message += fmt.Sprintf(" (cell %d)", *d.Cell)
	}
	return []Finding{f}, nil
}

// pylintMessage is a message of pylint, whose columns count from 0.
type pylintMessage struct {
	Type    string `json:"type"`
	Path    string `json:"path"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Symbol  string `json:"symbol"`
	Message string `json:"message"`
}

func pylint(m pylintMessage) ([]Finding, error) {
	return []Finding{{m.Path, m.Line, m.Column + 1, severity(m.Type), m.Symbol, m.Message}}, nil
}

// pylint2 reads pylint's newer format.
func pylint2(doc struct {
	Messages []pylintMessage `json:"messages"`
},
) (list []Finding, err error) {
	for _, m := range doc.Messages {
		found, _ := pylint(m)
		list = append(list, found...)
	}
	return list, nil
}

func bandit(doc struct {
	Errors []struct {
		Path   string `json:"filename"`
		Reason string `json:"reason"`
	} `json:"errors"`
	Results []struct {
		Path     string `json:"filename"`
		Line     int    `json:"line_number"`
		Column   *int   `json:"col_offset"` // from 0
		Severity string `json:"issue_severity"`
		Rule     string `json:"test_id"`
		Text     string `json:"issue_text"`
	} `json:"results"`
},
) ([]Finding, error) {
	var list []Finding
	for _, r := range doc.Results {
		f := Finding{Path: r.Path, Line: r.Line, Severity: severity(r.Severity), Rule: r.Rule, Message: r.Text}
		if r.Column != nil {
			f.Column = *r.Column + 1
		}
		list = append(list, f)
	}
	for _, e := range doc.Errors {
		list = append(list, Finding{Path: e.Path, Severity: "error", Message: "could not be read: " + e.Reason})
	}
	return list, nil
}

func semgrep(doc struct {
	Results []struct {
		Rule  string          `json:"check_id"`
		Path  string          `json:"path"`
		Start semgrepPosition `json:"start"`
		Extra struct {
			Message  string `json:"message"`
			Severity string `json:"severity"`
			Ignored  bool   `json:"is_ignored"`
		} `json:"extra"`
	} `json:"results"`
	Errors []struct {
		Level   string          `json:"level"`
		Type    json.RawMessage `json:"type"` // a string, or a list that starts with one
		Message string          `json:"message"`
		Path    string          `json:"path"`
		Spans   []struct {
			File  string          `json:"file"`
			Start semgrepPosition `json:"start"`
		} `json:"spans"`
	} `json:"errors"`
},
) ([]Finding, error) {
	var list []Finding
	for _, r := range doc.Results {
		if !r.Extra.Ignored {
			list = append(list, Finding{r.Path, r.Start.Line, r.Start.Column, severity(r.Extra.Severity), r.Rule, r.Extra.Message})
		}
	}
	for _, e := range doc.Errors {
		f := Finding{Path: e.Path, Severity: severity(e.Level), Rule: firstWord(e.Type), Message: e.Message}
		if len(e.Spans) > 0 {
			s := e.Spans[0]
			f.Line, f.Column = s.Start.Line, s.Start.Column
			if f.Path == "" {
				f.Path = s.File
			}
		}
		if f.Rule == "PartialParsing" {
			f.Message = "parsed in part: " + f.Message
		}
		list = append(list, f)
	}
	return list, nil
}

type semgrepPosition struct {
	Line   int `json:"line"`
	Column int `json:"col"`
}

// firstWord returns a JSON string, or the first element of an array of strings.
func firstWord(raw json.RawMessage) string {
	word := ""
	if json.Unmarshal(raw, &word) == nil {
		return word
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) == nil && len(parts) > 0 {
		_ = json.Unmarshal(parts[0], &word)
	}
	return word
}

func golangci(doc struct {
	Issues []struct {
		Linter   string `json:"FromLinter"`
		Text     string `json:"Text"`
		Severity string `json:"Severity"`
		Pos      *struct {
			Path   string `json:"Filename"`
			Line   int    `json:"Line"`
			Column int    `json:"Column"`
		} `json:"Pos"`
	} `json:"Issues"`
	Report struct {
		Error string `json:"Error"`
	} `json:"Report"`
},
) ([]Finding, error) {
	var list []Finding
	for _, i := range doc.Issues {
		if i.Pos == nil || i.Linter == "" {
			return nil, errors.New("an issue without linter or position")
		}
		list = append(list, Finding{i.Pos.Path, i.Pos.Line, i.Pos.Column, severity(i.Severity), i.Linter, i.Text})
	}
	if doc.Report.Error != "" {
		list = append(list, Finding{Severity: "error", Message: doc.Report.Error})
	}
	return list, nil
}

func phpcs(doc struct {
	Files map[string]struct {
		Messages []struct {
			Type    string `json:"type"` // "severity" is an unrelated number
			Source  string `json:"source"`
			Message string `json:"message"`
			Line    int    `json:"line"`
			Column  int    `json:"column"`
		} `json:"messages"`
	} `json:"files"`
},
) ([]Finding, error) {
	var list []Finding
	for _, name := range slices.Sorted(maps.Keys(doc.Files)) {
		for _, m := range doc.Files[name].Messages {
			if m.Type != "ERROR" && m.Type != "WARNING" {
				return nil, fmt.Errorf("want a message of type ERROR or WARNING, got %q", m.Type)
			}
			list = append(list, Finding{name, m.Line, m.Column, severity(m.Type), m.Source, m.Message})
		}
	}
	return list, nil
}

func rubocop(doc struct {
	Files []struct {
		Path     string `json:"path"`
		Offenses []struct {
			Severity string `json:"severity"`
			Cop      string `json:"cop_name"`
			Message  string `json:"message"`
			Location struct {
				Line   int `json:"line"`
				Column int `json:"column"`
			} `json:"location"`
		} `json:"offenses"`
	} `json:"files"`
},
) ([]Finding, error) {
	var list []Finding
	for _, f := range doc.Files {
		for _, o := range f.Offenses {
			list = append(list, Finding{f.Path, o.Location.Line, o.Location.Column, severity(o.Severity), o.Cop, strings.TrimPrefix(o.Message, o.Cop+": ")})
		}
	}
	return list, nil
}

type shellcheckLine struct {
	Path    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Level   string `json:"level"`
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func shellcheckComment(c shellcheckLine) ([]Finding, error) {
	return []Finding{{c.Path, c.Line, c.Column, severity(c.Level), fmt.Sprintf("SC%d", c.Code), c.Message}}, nil
}

func shellcheck(doc struct {
	Comments []shellcheckLine `json:"comments"`
},
) ([]Finding, error) {
	var list []Finding
	for _, c := range doc.Comments {
		if c.Path == "" || c.Code == 0 {
			return nil, errors.New("a comment without file or code")
		}
		found, _ := shellcheckComment(c)
		list = append(list, found...)
	}
	return list, nil
}

func hadolint(l struct {
	Path    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Level   string `json:"level"`
	Code    string `json:"code"`
	Message string `json:"message"`
},
) ([]Finding, error) {
	return []Finding{{l.Path, l.Line, l.Column, severity(l.Level), l.Code, l.Message}}, nil
}

type rustSpan struct {
	Path      string `json:"file_name"`
	Line      int    `json:"line_start"`
	Column    int    `json:"column_start"`
	Primary   bool   `json:"is_primary"`
	Expansion *struct {
		Span rustSpan `json:"span"`
	} `json:"expansion"`
}

// rustSummary matches diagnostics that only count others.
var rustSummary = regexp.MustCompile(`^(?:\d+ warnings? emitted|aborting due to .*|.* generated \d+ warnings?.*)$`)

// clippy reads cargo's messages, one object per line. Targets that share a file report it twice.
func clippy(records []json.RawMessage) ([]Finding, error) {
	var list []Finding
	seen := map[Finding]bool{}
	failed := false
	for _, r := range records {
		var line struct {
			Reason  string `json:"reason"`
			Success *bool  `json:"success"`
			Message struct {
				Level   string     `json:"level"`
				Message string     `json:"message"`
				Spans   []rustSpan `json:"spans"`
				Code    *struct {
					Code string `json:"code"`
				} `json:"code"`
			} `json:"message"`
		}
		if err := json.Unmarshal(r, &line); err != nil {
			return nil, err
		}
		m := line.Message
		switch line.Reason {
		case "compiler-artifact", "build-script-executed", "timing-info":
			continue
		case "build-finished":
			failed = failed || line.Success != nil && !*line.Success
			continue
		case "compiler-message":
		default:
			return nil, fmt.Errorf("cargo has no message with the reason %q", line.Reason)
		}
		if m.Level == "failure-note" || len(m.Spans) == 0 && rustSummary.MatchString(m.Message) {
			continue
		}
		f := Finding{Severity: severity(m.Level), Message: m.Message}
		if m.Code != nil {
			f.Rule = m.Code.Code
		}
		if i := slices.IndexFunc(m.Spans, func(s rustSpan) bool { return s.Primary }); i >= 0 {
			s := m.Spans[i]
			for s.Expansion != nil && (strings.HasPrefix(s.Path, "<") || path.IsAbs(s.Path)) { // inside a macro of another crate
				s = s.Expansion.Span
			}
			f.Path, f.Line, f.Column = s.Path, s.Line, s.Column
		}
		if !seen[f] {
			seen[f] = true
			list = append(list, f)
		}
	}
	if failed && !slices.ContainsFunc(list, isError) {
		list = append(list, Finding{Severity: "error", Message: "cargo reports a failed build without a reason"})
	}
	return list, nil
}

func biome(doc struct {
	Summary struct {
		Errors     int `json:"errors"`
		NotPrinted int `json:"diagnosticsNotPrinted"`
	} `json:"summary"`
	Diagnostics []struct {
		Category    string          `json:"category"`
		Severity    string          `json:"severity"`
		Description string          `json:"description"`
		Message     json.RawMessage `json:"message"` // a string in newer versions
		Location    struct {
			Path   json.RawMessage `json:"path"` // a string in newer versions
			Span   []int           `json:"span"` // offsets in bytes
			Source string          `json:"sourceCode"`
			Start  struct {
				Line   int `json:"line"`
				Column int `json:"column"`
			} `json:"start"`
		} `json:"location"`
	} `json:"diagnostics"`
},
) ([]Finding, error) {
	var list []Finding
	errs := 0
	for _, d := range doc.Diagnostics {
		l := d.Location
		f := Finding{Line: l.Start.Line, Column: l.Start.Column, Severity: severity(d.Severity), Rule: path.Base(d.Category), Message: d.Description}
		if d.Category == "" {
			f.Rule = ""
		}
		if f.Message == "" {
			f.Message = firstWord(d.Message)
		}
		var file struct {
			File string `json:"file"`
		}
		if f.Path = firstWord(l.Path); f.Path == "" && json.Unmarshal(l.Path, &file) == nil {
			f.Path = file.File
		}
		if len(l.Span) > 0 && f.Line == 0 && l.Source != "" {
			f.Line, f.Column = position(l.Source, l.Span[0])
		}
		if isError(f) {
			errs++
		}
		list = append(list, f)
	}
	if more := doc.Summary.Errors - errs; more > 0 && doc.Summary.NotPrinted > 0 {
		list = append(list, Finding{Severity: "error", Message: fmt.Sprintf("%d more errors, which Biome did not print; --max-diagnostics=none prints all", more)})
	}
	return list, nil
}

// position converts an offset in bytes to line and column, in characters.
func position(text string, offset int) (line, column int) {
	before := text[:min(max(offset, 0), len(text))]
	line = strings.Count(before, "\n") + 1
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

func isError(f Finding) bool { return f.Severity == "error" }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
