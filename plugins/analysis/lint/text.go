package lint

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	jshintForm  = regexp.MustCompile(`^(.+): line (\d+), col (\d+), (.+?)(?: \(([EWI]\d+)\))?$`)
	unixForm    = regexp.MustCompile(`^([^\s:][^:]*):(\d+):(?:(\d+):)? *(?:(?i:(error|warning|note|info)): *)?(.+?)(?: [\[(]((?:(?i:error|warning)/)?[\w@./-]+)[\])])?$`)
	stylishForm = regexp.MustCompile(`^\s+(\d+):(\d+)\s+(error|warning)\s+(.+?)(?:\s{2,}(\S+))?$`)
)

// longestLine is the maximum length of a line in bytes: a longer one is a bundle, not a finding.
const longestLine = 16 << 10

// textForm parses one line of text. heading is the last unindented line before it.
type textForm func(line, heading string) (Finding, bool)

// textForms are the parsers by format. No format has lines that another would parse differently.
func textForms(format string) []textForm {
	switch format {
	case "jshint":
		return []textForm{jshintLine}
	case "unix":
		return []textForm{unixLine}
	case "eslint":
		return []textForm{stylishLine}
	case "auto":
		return []textForm{jshintLine, stylishLine, unixLine}
	}
	return nil
}

func parseText(text []byte, forms []textForm, exists func(path string) bool) []Finding {
	var list []Finding
	heading := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) > longestLine {
			continue
		}
		for _, form := range forms {
			if f, ok := form(line, heading); ok && exists(f.Path) {
				list = append(list, f)
				break
			}
		}
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			heading = line
		}
	}
	return list
}

func jshintLine(line, _ string) (Finding, bool) {
	m := jshintForm.FindStringSubmatch(line)
	if m == nil {
		return Finding{}, false
	}
	f := Finding{Path: m[1], Line: number(m[2]), Column: number(m[3]), Severity: "error", Rule: m[5], Message: m[4]}
	if m[5] != "" {
		f.Severity = severity(m[5][:1])
	}
	return f, true
}

func unixLine(line, _ string) (Finding, bool) {
	m := unixForm.FindStringSubmatch(line)
	if m == nil {
		return Finding{}, false
	}
	f := Finding{Path: m[1], Line: number(m[2]), Column: number(m[3]), Severity: severity(m[4]), Rule: m[6], Message: m[5]}
	if word, rule, ok := strings.Cut(m[6], "/"); ok && (word == "Error" || word == "Warning") { // ESLint's own unix reporter
		f.Severity, f.Rule = severity(word), rule
	}
	return f, true
}

// stylishLine reads ESLint's default reporter: a line with the file, and indented lines with its findings.
func stylishLine(line, heading string) (Finding, bool) {
	m := stylishForm.FindStringSubmatch(line)
	if m == nil || heading == "" {
		return Finding{}, false
	}
	return Finding{heading, number(m[1]), number(m[2]), m[3], m[5], m[4]}, true
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // digits or empty, by the expression
	return n
}
