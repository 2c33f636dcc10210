package results

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// junitSuite is a <testsuites> or a <testsuite>: writers nest them as they like.
type junitSuite struct {
	XMLName xml.Name
	Name    string       `xml:"name,attr"`
	File    string       `xml:"file,attr"`
	Suites  []junitSuite `xml:"testsuite"`
	Cases   []junitCase  `xml:"testcase"`
	Errors  []junitFault `xml:"error"` // a suite that could not be loaded has no case
}

type junitCase struct {
	Name      string       `xml:"name,attr"`
	ClassName string       `xml:"classname,attr"`
	File      string       `xml:"file,attr"`
	Line      int          `xml:"line,attr"`
	Failures  []junitFault `xml:"failure"`
	Errors    []junitFault `xml:"error"`
	Skipped   *struct{}    `xml:"skipped"`
}

type junitFault struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

func parseJUnit(data []byte) ([]Case, error) {
	var root junitSuite
	if err := xml.NewDecoder(bytes.NewReader(data)).Decode(&root); err != nil {
		return nil, fmt.Errorf("read XML: %w", err)
	}
	switch root.XMLName.Local {
	case "testsuites", "testsuite":
		return root.cases(nil), nil
	}
	return nil, fmt.Errorf("%w: its element is <%s>", errUnknown, root.XMLName.Local)
}

func (s *junitSuite) cases(list []Case) []Case {
	for _, e := range s.Errors {
		list = append(list, e.of(Case{Name: s.Name, File: s.File}))
	}
	for _, c := range s.Cases {
		out := Case{Name: strings.TrimSpace(c.ClassName + " " + c.Name), File: c.File, Line: c.Line}
		if out.File == "" {
			out.File = s.File
		}
		faults := append(c.Failures, c.Errors...)
		switch {
		case c.Skipped != nil:
			out.Status = Skipped
		case len(faults) > 0:
			out = faults[0].of(out)
		}
		list = append(list, out)
	}
	for i := range s.Suites {
		list = s.Suites[i].cases(list)
	}
	return list
}

// of makes c a case that failed because of f.
func (f junitFault) of(c Case) Case {
	c.Status, c.Trace, c.Message = Failed, f.Text, oneLine(f.Message)
	if c.Message == "" {
		c.Message = firstParagraph(f.Text)
	}
	if c.Message == "" {
		c.Message = f.Type
	}
	return c
}

// firstParagraph is the message of a failure that has nothing but a trace: all that stands before the first
// frame, or before the runner's drawing of a difference.
func firstParagraph(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "at ") || strings.HasPrefix(line, "+ expected") || strings.HasPrefix(line, "Traceback ") {
			break
		}
		lines = append(lines, line)
		if len(lines) == 6 {
			break
		}
	}
	return oneLine(strings.Join(lines, " "))
}
