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

// parseLines reads output whose findings are lines of their own.
func parseLines(out []byte, one func(line string) (Finding, bool)) []Finding {
	var list []Finding
	for line := range strings.Lines(string(out)) {
		if f, ok := one(strings.TrimRight(line, "\r\n")); ok {
			list = append(list, f)
		}
	}
	return list
}

func jshintLine(line string) (Finding, bool) {
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

func unixLine(line string) (Finding, bool) {
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

// parseStylish reads ESLint's default reporter: a line with the file, and indented lines with its findings.
func parseStylish(out []byte) []Finding {
	var list []Finding
	path := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\r\n")
		m := stylishForm.FindStringSubmatch(line)
		switch {
		case m != nil && path != "":
			list = append(list, Finding{path, number(m[1]), number(m[2]), m[3], m[5], m[4]})
		case line != "" && line[0] != ' ' && line[0] != '\t':
			path = line
		}
	}
	return list
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // digits by its expression, or empty
	return n
}
