package results

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/plugins/test/document"
)

type junitCase struct {
	Name      string       `xml:"name,attr"`
	ClassName string       `xml:"classname,attr"`
	File      string       `xml:"file,attr"`
	Line      string       `xml:"line,attr"`
	Time      string       `xml:"time,attr"`
	Status    string       `xml:"status,attr"`
	Result    string       `xml:"result,attr"`
	Failures  []junitFault `xml:"failure"`
	Errors    []junitFault `xml:"error"`
	Skipped   *junitFault  `xml:"skipped"`
	Disabled  *struct{}    `xml:"disabled"`
}

type junitFault struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// junitSuite is a <testsuites> or a <testsuite> that is open. Writers nest them as they like.
type junitSuite struct {
	depth            int
	name, file       string
	failures, errors int // as its attributes count them, with or without the suites inside
	found            int // failures and errors that are in it as elements
}

type junitReader struct {
	open  []*junitSuite
	cases []Case
	seen  bool
}

func startJUnit(data []byte) int { return document.StartXML(data, "testsuites", "testsuite") }

// parseJUnit reads all documents of a file. Elements that it does not know are ignored inside of a suite, and
// refused as roots.
func parseJUnit(data []byte) ([]Case, error) {
	var r junitReader
	if err := document.Elements(data, startJUnit(data), r.element); err != nil {
		return nil, fmt.Errorf("read XML: %w", err)
	}
	r.close(0)
	if !r.seen {
		return nil, fmt.Errorf("%w: the XML has no element", ErrUnknown)
	}
	return r.cases, nil
}

func (r *junitReader) element(d *xml.Decoder, e *xml.StartElement, depth int) error {
	r.close(depth)
	name := e.Name.Local
	switch {
	case name == "testsuites" || name == "testsuite":
		r.seen = true
		r.openSuite(e, depth)
	case depth == 0:
		return fmt.Errorf("%w: its element is <%s>", ErrUnknown, name)
	case name == "testcase":
		var c junitCase
		if err := d.DecodeElement(&c, e); err != nil {
			return err
		}
		r.add(c)
	case name == "error" || name == "failure": // of a suite that could not be loaded
		var f junitFault
		if err := d.DecodeElement(&f, e); err != nil {
			return err
		}
		s := r.suite()
		s.found++
		r.cases = append(r.cases, f.of(Case{Name: s.name, File: s.file}))
	}
	return nil
}

func (r *junitReader) suite() *junitSuite {
	if len(r.open) == 0 {
		return &junitSuite{}
	}
	return r.open[len(r.open)-1]
}

func (r *junitReader) openSuite(e *xml.StartElement, depth int) {
	s := &junitSuite{depth: depth}
	if len(r.open) > 0 {
		s.file = r.suite().file
	}
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "name":
			s.name = a.Value
		case "file":
			s.file = a.Value
		case "failures":
			s.failures = count(a.Value)
		case "errors":
			s.errors = count(a.Value)
		}
	}
	r.open = append(r.open, s)
}

// count reads a number. Writers leave it empty, or write NaN: that counts nothing.
func count(value string) int {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return int(n)
}

// close ends the suites from a depth on. What a suite counts beyond its elements are failures without a case.
func (r *junitReader) close(depth int) {
	for len(r.open) > 0 && r.suite().depth >= depth {
		s := r.suite()
		r.open = r.open[:len(r.open)-1]
		if missing := s.failures + s.errors - s.found; missing > 0 {
			message := fmt.Sprintf("the suite counts %s and %s", plural(s.failures, "failure"), plural(s.errors, "error"))
			if s.found == 0 {
				message += ", and names none"
			} else {
				message += fmt.Sprintf(", and names %d", s.found)
			}
			r.cases = append(r.cases, Case{Name: s.name, File: s.file, Status: Failed, Count: missing, Message: message})
			s.found += missing
		}
		if len(r.open) > 0 {
			r.suite().found += s.found
		}
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// add appends a case. A failure outweighs a mark as skipped, but not Node's mark as to be done. Writers without
// elements say it in an attribute.
func (r *junitReader) add(c junitCase) {
	s := r.suite()
	out := Case{Name: strings.TrimSpace(c.ClassName + " " + c.Name), File: cmp.Or(c.File, s.file)}
	out.Line, _ = strconv.Atoi(c.Line)
	if sec, err := strconv.ParseFloat(strings.ReplaceAll(c.Time, ",", ""), 64); err == nil { // some write 1,234.5
		out.Took = took(sec)
	}
	said := []string{strings.ToLower(c.Status), strings.ToLower(c.Result)}
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(said, w) })
	}
	faults := append(c.Failures, c.Errors...)
	s.found += len(faults)
	switch {
	case c.Skipped != nil && strings.EqualFold(c.Skipped.Type, "todo"):
		out.Status = Skipped
	case len(faults) > 0:
		out = faults[0].of(out)
	case says("failed", "failure", "fail", "error", "errored", "broken"):
		s.found++
		out.Status, out.Message = Failed, cmp.Or(c.Status, c.Result)
	case c.Skipped != nil, c.Disabled != nil, says("skipped", "disabled", "notrun", "ignored", "suppressed"):
		out.Status = Skipped
	}
	r.cases = append(r.cases, out)
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
