package coverage

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"regexp"

	"github.com/seed-b96de936/troop/plugins/test/document"
)

type cloverFile struct {
	Name    string `xml:"name,attr"`
	Path    string `xml:"path,attr"`
	Metrics struct {
		Statements   int `xml:"statements,attr"`
		Covered      int `xml:"coveredstatements,attr"`
		Conditionals int `xml:"conditionals,attr"`
		Taken        int `xml:"coveredconditionals,attr"`
		Methods      int `xml:"methods,attr"`
		Called       int `xml:"coveredmethods,attr"`
	} `xml:"metrics"`
	Lines []struct {
		Number int    `xml:"num,attr"`
		Type   string `xml:"type,attr"`
		Count  string `xml:"count,attr"`
	} `xml:"line"`
}

// cloverStart tells Clover from Cobertura, whose root has the same name.
var cloverStart = regexp.MustCompile(`<coverage\b[^>]*>\s*(?:<!--[^>]*-->\s*)*<project[\s/>]`)

func isClover(data []byte) bool { return cloverStart.Match(data) }

// parseClover reads clover.xml of OpenClover, PHPUnit and Istanbul.
func parseClover(data []byte, b builder) error {
	var files []*File
	branches := false
	err := document.Elements(data, startCoverage(data), func(d *xml.Decoder, e *xml.StartElement, depth int) error {
		switch {
		case depth == 0 && e.Name.Local != "coverage":
			return fmt.Errorf("%w: its element is <%s>", ErrUnknown, e.Name.Local)
		case depth > 0 && e.Name.Local == "file":
			var f cloverFile
			if err := d.DecodeElement(&f, e); err != nil {
				return err
			}
			branches = branches || f.Metrics.Conditionals > 0
			files = append(files, f.into(b))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read Clover XML: %w", err)
	}
	for _, f := range files {
		if branches { // PHPUnit writes 0 where it does not count them
			f.counts(Branches)
		}
	}
	return nil
}

// into adds the file. Statements and functions are places when the file lists as many lines of them as it counts;
// branches are only counted: the tools do not agree on what truecount and falsecount mean.
func (c *cloverFile) into(b builder) *File {
	f := b.file(cmp.Or(c.Path, c.Name))
	f.counts(Lines)
	listed := map[Kind]int{}
	kinds := map[string]Kind{"stmt": Statements, "cond": Statements, "method": Functions}
	for _, l := range c.Lines {
		listed[kinds[l.Type]]++
		if l.Type != "method" {
			f.once(Lines, span{line: l.Number}, positive(l.Count))
		}
	}
	m := c.Metrics
	for kind, sum := range map[Kind]Count{Statements: {m.Covered, m.Statements}, Functions: {m.Called, m.Methods}} {
		f.counts(kind)
		if listed[kind] != sum.Total {
			f.add(kind, whole, hit{Count: sum})
			continue
		}
		for i, l := range c.Lines {
			if kinds[l.Type] == kind {
				f.once(kind, span{line: l.Number, column: i}, positive(l.Count))
			}
		}
	}
	if m.Conditionals > 0 {
		f.add(Branches, whole, hit{Count: Count{m.Taken, m.Conditionals}})
	}
	return f
}
