package results

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	tapStart    = regexp.MustCompile(`(?m)^(?:TAP version \d+|1\.\.\d+(?: *#.*)?|(?:not )?ok +\d+(?:[ \t].*)?)\r?$`)
	tapLine     = regexp.MustCompile(`^(\s*)(ok|not ok)(?:\s+(\d+))?(?:\s+-)?(?:\s+(.*))?$`)
	tapPlan     = regexp.MustCompile(`^(\s*)1\.\.(\d+)(?:\s*#.*)?$`)
	tapMark     = regexp.MustCompile(`(?i)(?:^|\s)#\s*(skip|todo)\S*(?:\s.*)?$`)
	tapLocation = regexp.MustCompile(`(?m)^\s*location: *'?(.+?):(\d+)(?::\d+)?'?$`)
)

// tapTest is a line of TAP with the lines that belong to it.
type tapTest struct {
	Case
	indent int
	text   []string
}

// tapLevel is what stands at one indentation: a file, or the subtests of one test.
type tapLevel struct {
	indent, count, planned int
}

type tapReader struct {
	numbered bool // only lines with a number are results; others are output of the program
	tests    []tapTest
	levels   []tapLevel // by indentation, the outermost first
	yaml     int        // the indentation of the YAML block that is open; -1: none
	before   bool       // the line before was a result: a YAML block may begin
	bailed   bool
}

func startTAP(data []byte) int { return startOf(tapStart, data) }

// parseTAP reads TAP 12 to 14. Subtests count in the place of the test that holds them, unless that one failed
// on its own account.
func parseTAP(data []byte) ([]Case, error) {
	r := tapReader{yaml: -1}
	for line := range bytes.Lines(data) {
		if m := tapLine.FindSubmatch(bytes.TrimRight(line, " \t\r\n")); m != nil && len(m[3]) > 0 {
			r.numbered = true
			break
		}
	}
	for line := range strings.Lines(string(data)) {
		r.line(strings.TrimRight(line, " \t\r\n"))
	}
	r.level(0)
	list := make([]Case, 0, len(r.tests)+1)
	for _, t := range r.tests {
		list = append(list, t.finish())
	}
	if r.bailed {
		return list, nil
	}
	return append(list, r.levels[0].check("")...), nil
}

func (r *tapReader) line(line string) {
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	if r.inYAML(line, indent) {
		r.text(line)
		return
	}
	r.before = false
	if m := tapPlan.FindStringSubmatch(line); m != nil {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			n = 1 << 30
		}
		r.level(indent).planned = n
		return
	}
	if reason, ok := strings.CutPrefix(line[indent:], "Bail out!"); ok {
		r.tests = append(r.tests, tapTest{Case: Case{Name: "Bail out!", Status: Failed, Message: oneLine(reason)}})
		r.bailed = true
		return
	}
	m := tapLine.FindStringSubmatch(line)
	if m == nil || r.numbered && m[3] == "" {
		r.text(line)
		return
	}
	r.before = true
	r.result(newTAPTest(indent, m[2] == "ok", m[4]))
}

// inYAML reports whether a line belongs to a YAML block: it may look like a result.
func (r *tapReader) inYAML(line string, indent int) bool {
	if r.yaml < 0 {
		if !r.before || line[indent:] != "---" || indent <= r.tests[len(r.tests)-1].indent {
			return false
		}
		r.yaml = indent
		return true
	}
	if line != "" && indent < r.yaml { // the end of the block is missing
		r.yaml = -1
		return false
	}
	if indent == r.yaml && line[indent:] == "..." {
		r.yaml = -1
	}
	return true
}

func (r *tapReader) text(line string) {
	if n := len(r.tests); n > 0 {
		r.tests[n-1].text = append(r.tests[n-1].text, line)
	}
}

// level returns the level of an indentation. The deeper ones are over.
func (r *tapReader) level(indent int) *tapLevel {
	n := len(r.levels)
	for n > 0 && r.levels[n-1].indent > indent {
		n--
	}
	r.levels = r.levels[:n]
	if n == 0 || r.levels[n-1].indent < indent {
		r.levels = append(r.levels, tapLevel{indent: indent, planned: -1})
	}
	return &r.levels[len(r.levels)-1]
}

// result appends a test. When it holds the subtests before it, they get its name and it goes, unless it failed and
// none of them did.
func (r *tapReader) result(t tapTest) {
	first, failed := len(r.tests), false
	for first > 0 && r.tests[first-1].indent > t.indent {
		first--
		r.tests[first].Name = t.Name + " " + r.tests[first].Name
		r.tests[first].indent = t.indent // so that the parent of t adds its name too, once
		failed = failed || r.tests[first].Status == Failed
	}
	if t.Status != Skipped {
		for _, l := range r.levels {
			if l.indent > t.indent && l.planned >= 0 {
				for _, c := range l.check(t.Name) {
					r.tests, failed = append(r.tests, tapTest{Case: c, indent: t.indent}), true
				}
			}
		}
	}
	r.level(t.indent).count++
	if first == len(r.tests) || t.Status == Failed && !failed {
		r.tests = append(r.tests, t)
	}
}

// check compares a level with its plan.
func (l tapLevel) check(name string) []Case {
	c := Case{Name: strings.TrimSpace(name + " plan"), Status: Failed}
	switch {
	case l.planned < 0:
		c.Message = "no plan (1..N) was reported; the run may have ended early"
	case l.count != l.planned:
		c.Message = fmt.Sprintf("%s planned, %d reported", plural(l.planned, "test"), l.count)
	default:
		return nil
	}
	return []Case{c}
}

// newTAPTest judges a line. A test that is to be done may fail; one that was skipped may not.
func newTAPTest(indent int, ok bool, name string) tapTest {
	t := tapTest{indent: indent}
	mark := tapMark.FindStringSubmatch(name)
	switch {
	case mark != nil && (ok || strings.EqualFold(mark[1], "todo")):
		t.Status = Skipped
	case !ok:
		t.Status = Failed
	}
	t.Name = strings.ReplaceAll(strings.TrimSpace(tapMark.ReplaceAllString(name, "")), `\#`, "#")
	return t
}

func (t tapTest) finish() Case {
	c := t.Case
	if c.Status != Failed {
		return c
	}
	c.Trace = strings.Join(t.text, "\n")
	if m := tapLocation.FindStringSubmatch(c.Trace); m != nil {
		c.File = m[1]
		c.Line, _ = strconv.Atoi(m[2])
	}
	if c.Message == "" {
		c.Message = tapMessage(t.text)
	}
	return c
}

// tapMessage finds the message in the lines after a test: the YAML's error or message, else the first lines.
func tapMessage(lines []string) string {
	for i, line := range lines {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key != "error" && key != "message" {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `'"`)
		if !strings.HasPrefix(value, "|") && !strings.HasPrefix(value, ">") {
			return oneLine(value)
		}
		var block []string
		indent := len(line) - len(strings.TrimLeft(line, " "))
		for _, next := range lines[i+1:] {
			if next != "" && len(next)-len(strings.TrimLeft(next, " ")) <= indent {
				break
			}
			block = append(block, next)
		}
		return oneLine(strings.Join(block, " "))
	}
	return firstParagraph(strings.Join(lines, "\n"))
}
