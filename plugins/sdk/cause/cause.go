// Package cause finds in the log of a command why it failed: the first failing test with its name and place, the
// compiler's first error, the exception, or what a tool says of itself, rather than the last line. The plugins that
// run other people's commands import it.
package cause

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a Log: the first and the last lines of a long log, each cut.
const (
	keepFirst = 1000
	keepLast  = 1500
	maxLine   = 400
	maxText   = 500
)

// Log keeps the lines of a command's output, within bounds. It is not safe for use from several goroutines.
type Log struct {
	first, last []string
}

// escapes are the sequences with which programs colour and move.
var escapes = regexp.MustCompile(`\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])`)

// Add takes a line. An event of go test -json stands for the text that it carries.
func (l *Log) Add(line string) {
	line = text(line)
	if len(line) > 4*maxLine {
		line = line[:4*maxLine]
	}
	line = strings.TrimRight(escapes.ReplaceAllString(line, ""), " \t\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:] // what a terminal would show
	}
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "")
	}
	if len(l.first) < keepFirst {
		l.first = append(l.first, line)
		return
	}
	if len(l.last) == 2*keepLast {
		l.last = append(l.last[:0], l.last[keepLast:]...)
	}
	l.last = append(l.last, line)
}

func text(line string) string {
	if !strings.HasPrefix(line, "{") || !strings.Contains(line, `"Action":`) {
		return line
	}
	var e struct{ Output string }
	if json.Unmarshal([]byte(line), &e) != nil {
		return line
	}
	return e.Output
}

// Cause is why a command failed.
type Cause struct {
	Tool string // whose words they are; empty: no known tool's
	Test string // the failing test
	File string // as the tool wrote it
	Line int
	Text string
}

// match is a Cause that is being put together.
type match struct {
	Cause
	code  string // stands before the text
	title string // stands behind the name of the test
}

func (c Cause) String() string {
	s := c.Text
	if c.Test != "" {
		s = strings.TrimSuffix(c.Test+": "+c.Text, ": ")
	}
	switch {
	case c.File != "" && c.Line > 0:
		s = fmt.Sprintf("%s:%d: %s", c.File, c.Line, s)
	case c.File != "":
		s = c.File + ": " + s
	}
	return cut(s)
}

func cut(s string) string {
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText]) + "…"
	}
	return s
}

// Find returns the cause: by the first rule, in their order, that a line of the log matches; else the lines with
// words of errors and the last ones. It is empty when the log is.
func (l *Log) Find() Cause {
	lines := append(slices.Clip(l.first), l.last...)
	for _, r := range rules() {
		if c, ok := r.find(lines); ok {
			return c
		}
	}
	return Cause{Text: cut(strings.Join(telling(lines), " | "))}
}

// Reason is the sentence for a command that failed: the cause, then the command and how it ended.
func (l *Log) Reason(command []string, end string) string {
	name := strings.Join(strings.Fields(strings.Join(command, " ")), " ")
	if r := []rune(name); len(r) > 80 {
		name = string(r[:80]) + "…"
	}
	if c := l.Find().String(); c != "" {
		return fmt.Sprintf("%s (%s: %s)", c, name, end)
	}
	return name + ": " + end + ": no output"
}

// rule describes how a tool says why it failed. The groups test, title, file, line, code and text of its expressions
// fill a Cause; what is filled stays.
type rule struct {
	tool  string
	first string   // the line that it begins with
	more  []string // searched for in the lines after it, each for itself
	until string   // ends the search; the line itself is not searched
	back  string   // searched for in the lines before it, the nearest first, up to the last first or until
	skip  string   // lines that count for nothing
	reach int      // lines that are searched; 0: 40
	need  string   // a group that must be found, else the next match of first is tried
	last  bool     // the last match of first counts
	above int      // lines before it that belong to its text
	joins int      // lines that go on with the text, as far as they match the expression that found it

	skips *regexp.Regexp // skip, compiled
}

func (r *rule) find(lines []string) (Cause, bool) {
	first := regexp.MustCompile(r.first)
	if r.skips = nil; r.skip != "" {
		r.skips = regexp.MustCompile(r.skip)
	}
	var found match
	ok := false
	for i, line := range lines {
		m := first.FindStringSubmatch(line)
		if m == nil || r.skipped(line) {
			continue
		}
		c := match{Cause: Cause{Tool: r.tool}}
		c.fill(first, m)
		r.search(&c, lines, i)
		if r.need == "file" && c.File == "" || r.need == "text" && c.Text == "" {
			if !ok && r.need == "file" && c.Test != "" {
				found, ok = c, true
			}
			continue
		}
		found, ok = c, true
		if !r.last {
			break
		}
	}
	found.Test = strings.TrimSpace(found.Test + " " + found.title)
	found.Text = strings.Join(strings.Fields(strings.TrimPrefix(found.code+": "+found.Text, ": ")), " ")
	return found.Cause, ok
}

func (r *rule) skipped(line string) bool { return r.skips != nil && r.skips.MatchString(line) }

// search completes a cause from the lines around the first.
func (r *rule) search(c *match, lines []string, at int) {
	reach := cmp.Or(r.reach, 40)
	var until *regexp.Regexp
	if r.until != "" {
		until = regexp.MustCompile(r.until)
	}
	for _, text := range r.more {
		more := regexp.MustCompile(text)
		for i := at + 1; i < len(lines) && i <= at+reach; i++ {
			if until != nil && until.MatchString(lines[i]) {
				break
			}
			if m := more.FindStringSubmatch(lines[i]); m != nil && !r.skipped(lines[i]) {
				c.fill(more, m)
				r.join(c, more, lines[i+1:])
				break
			}
		}
	}
	if r.back != "" && c.File == "" {
		back := regexp.MustCompile(r.back)
		for i := at - 1; i >= 0 && i >= at-reach; i-- {
			if until != nil && until.MatchString(lines[i]) {
				break
			}
			if m := back.FindStringSubmatch(lines[i]); m != nil && !r.skipped(lines[i]) {
				c.fill(back, m)
				break
			}
		}
	}
	var above []string
	for i := at - 1; i >= 0 && i >= at-reach && len(above) < r.above; i-- {
		if line := strings.TrimSpace(lines[i]); line != "" && !r.skipped(lines[i]) {
			above = append([]string{line}, above...)
		}
	}
	if len(above) > 0 {
		c.Text = strings.Join(above, " | ") + " | " + c.Text
	}
}

func (r *rule) join(c *match, more *regexp.Regexp, lines []string) {
	group := more.SubexpIndex("text")
	for _, line := range lines[:min(r.joins, len(lines))] {
		m := more.FindStringSubmatch(line)
		if group < 0 || m == nil || r.skipped(line) {
			return
		}
		c.Text += " " + m[group]
	}
}

// fill sets what is not set yet.
func (c *match) fill(re *regexp.Regexp, m []string) {
	for i, name := range re.SubexpNames() {
		value := strings.TrimSpace(m[i])
		switch {
		case value == "":
		case name == "test" && c.Test == "":
			c.Test = value
		case name == "title" && c.title == "":
			c.title = value
		case name == "code" && c.code == "":
			c.code = value
		case name == "file" && c.File == "":
			c.File = strings.TrimPrefix(value, "./")
		case name == "line" && c.Line == 0:
			c.Line, _ = strconv.Atoi(value)
		case name == "text" && c.Text == "":
			c.Text = value
		}
	}
}

var (
	wrong = regexp.MustCompile(`(?i)\b(?:\w*error|fatal|fail(?:ed|ure)?|cannot|can't|could not|unable to|not found|no such file|denied|refused|undefined|undeclared|unresolved|panic|exception|invalid|missing|segmentation fault|killed|out of memory|timed? ?out|abort(?:ed|ing)?)\b`)
	right = regexp.MustCompile(`(?i)\b(?:0|no) (?:\w+ )?(?:errors?|failures?|failed|warnings?)\b|\b(?:errors?|failures?|failed|fail):? *0\b|complete log of this run|^\s*# \w+ \d`)
)

// telling picks the first lines with a word of an error and the last line, or the last three.
func telling(lines []string) []string {
	var list, last []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if len(list) < 2 && wrong.MatchString(line) && !right.MatchString(line) {
			list = append(list, line)
		}
		if last = append(last, line); len(last) > 3 {
			last = last[1:]
		}
	}
	if len(list) == 0 {
		return last
	}
	if end := last[len(last)-1]; end != list[len(list)-1] && end != list[0] && !right.MatchString(end) {
		list = append(list, end)
	}
	return list
}
