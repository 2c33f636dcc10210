package results

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	tapLine     = regexp.MustCompile(`^( *)(ok|not ok)\b *(\d+)?(?: +-)? *(.*)$`)
	tapPlan     = regexp.MustCompile(`^( *)1\.\.(\d+)(?: *#.*)?$`)
	tapMark     = regexp.MustCompile(`(?i)(^|\s)# *(skip|todo)\b.*$`)
	tapLocation = regexp.MustCompile(`(?m)^ *location: *'?(.+?):(\d+)(?::\d+)?'?$`)
)

// tapTest is a line of TAP with the lines that belong to it.
type tapTest struct {
	Case
	indent int
	text   []string
}

// parseTAP reads TAP 12 to 14. Subtests count in the place of the test that holds them, unless that one failed
// on its own account.
func parseTAP(data []byte) ([]Case, error) {
	var tests []tapTest
	planned, known := -1, bytes.HasPrefix(data, []byte("TAP version"))
	top := 0
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := strings.TrimRight(in.Text(), " \t\r")
		if m := tapPlan.FindStringSubmatch(line); m != nil {
			known = true
			if m[1] == "" {
				planned, _ = strconv.Atoi(m[2])
			}
			continue
		}
		if reason, ok := strings.CutPrefix(line, "Bail out!"); ok {
			tests = append(tests, tapTest{Case: Case{Name: "Bail out!", Status: Failed, Message: oneLine(reason)}})
			known, planned = true, -1
			continue
		}
		m := tapLine.FindStringSubmatch(line)
		if m == nil {
			if n := len(tests); n > 0 {
				tests[n-1].text = append(tests[n-1].text, line)
			}
			continue
		}
		known = true
		if m[1] == "" {
			top++
		}
		tests = closeSubtests(tests, newTAPTest(len(m[1]), m[2] == "ok", m[4]))
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read TAP: %w", err)
	}
	if !known {
		return nil, errUnknown
	}

	list := make([]Case, 0, len(tests))
	for _, t := range tests {
		list = append(list, t.finish())
	}
	if planned >= 0 && top < planned {
		list = append(list, Case{Name: "plan", Status: Failed, Message: fmt.Sprintf("%d tests were planned, %d were reported", planned, top)})
	}
	return list, nil
}

func newTAPTest(indent int, ok bool, name string) tapTest {
	t := tapTest{indent: indent}
	switch {
	case tapMark.MatchString(name):
		t.Status = Skipped
	case !ok:
		t.Status = Failed
	}
	t.Name = strings.TrimSpace(tapMark.ReplaceAllString(name, ""))
	return t
}

// closeSubtests appends t. When t holds the subtests before it, they get its name and it goes, unless it failed
// and none of them did.
func closeSubtests(tests []tapTest, t tapTest) []tapTest {
	first, failed := len(tests), false
	for first > 0 && tests[first-1].indent > t.indent {
		first--
		tests[first].Name = t.Name + " " + tests[first].Name
		tests[first].indent = t.indent // so that the parent of t adds its name too, once
		failed = failed || tests[first].Status == Failed
	}
	if first == len(tests) || (t.Status == Failed && !failed) {
		return append(tests, t)
	}
	return tests
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
