package coverage

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/plugins/test/document"
)

type coberturaLine struct {
	Number    int    `xml:"number,attr"`
	Hits      string `xml:"hits,attr"`
	Condition string `xml:"condition-coverage,attr"`
	Missing   string `xml:"missing-branches,attr"` // of coverage.py: where the branches lead that were not taken
}

type coberturaClass struct {
	Name    string `xml:"name,attr"`
	File    string `xml:"filename,attr"`
	Methods []struct {
		Name      string          `xml:"name,attr"`
		Signature string          `xml:"signature,attr"`
		Hits      string          `xml:"hits,attr"`
		Rate      string          `xml:"line-rate,attr"`
		Lines     []coberturaLine `xml:"lines>line"`
	} `xml:"methods>method"`
	Lines []coberturaLine `xml:"lines>line"`
}

var conditions = regexp.MustCompile(`(\d+(?:\.\d+)?)\s*%(?:\s*\((\d+)/(\d+)\))?`)

func startCoverage(data []byte) int { return document.StartXML(data, "coverage") }

func isCobertura(data []byte) bool { return startCoverage(data) >= 0 }

// parseCobertura reads coverage.xml, or several in one file.
func parseCobertura(data []byte, b builder) error {
	var files []*File
	packages, roots, branches := 0, 0, false
	err := document.Elements(data, startCoverage(data), func(d *xml.Decoder, e *xml.StartElement, depth int) error {
		switch {
		case depth == 0 && e.Name.Local != "coverage":
			return fmt.Errorf("%w: its element is <%s>", ErrUnknown, e.Name.Local)
		case depth == 0:
			roots++
			branches = branches || countsBranches(e)
		case depth == 1 && e.Name.Local == "packages":
			packages++
		case e.Name.Local == "class":
			var class coberturaClass
			if err := d.DecodeElement(&class, e); err != nil {
				return err
			}
			files = append(files, class.into(b))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read Cobertura XML: %w", err)
	}
	if packages < roots {
		return fmt.Errorf("%w: its <coverage> has no <packages>", ErrUnknown)
	}
	for _, f := range files {
		if branches {
			f.counts(Branches)
		}
	}
	return nil
}

// countsBranches reports whether a report counts branches although the code may have none: a tool that does not
// count them writes a rate of 0, one that found none writes 1.
func countsBranches(root *xml.StartElement) bool {
	for _, a := range root.Attr {
		if n, err := strconv.ParseFloat(a.Value, 64); err == nil && n > 0 && (a.Name.Local == "branches-valid" || a.Name.Local == "branch-rate") {
			return true
		}
	}
	return false
}

// into adds the class. Several classes may stand in one file; the lines of a class hold those of its methods, as a
// rule.
func (c *coberturaClass) into(b builder) *File {
	f := b.file(c.File)
	f.counts(Lines)
	for _, l := range c.Lines {
		l.into(f)
	}
	for _, m := range c.Methods {
		at := span{name: c.Name + " " + m.Name + " " + m.Signature}
		covered := positive(m.Hits)
		if m.Hits == "" && len(m.Lines) == 0 {
			covered = positive(m.Rate)
		}
		for _, l := range m.Lines {
			if at.line == 0 {
				at.line = l.Number
			}
			covered = covered || positive(l.Hits)
			l.into(f)
		}
		f.once(Functions, at, covered)
	}
	return f
}

func (l coberturaLine) into(f *File) {
	if l.Number <= 0 {
		return
	}
	f.once(Lines, span{line: l.Number}, positive(l.Hits))
	m := conditions.FindStringSubmatch(l.Condition)
	if m == nil {
		return
	}
	h := hit{Count: Count{0, 1}}
	if m[3] != "" {
		h.Covered, _ = strconv.Atoi(m[2])
		h.Total, _ = strconv.Atoi(m[3])
		h.Total = min(h.Total, maxNumber)
		h.missed = strings.FieldsFunc(l.Missing, func(r rune) bool { return r == ',' || r == ' ' })
	} else if percent, _ := strconv.ParseFloat(m[1], 64); percent >= 100 {
		h.Covered = 1
	}
	f.add(Branches, span{line: l.Number}, h)
}
