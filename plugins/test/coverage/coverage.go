// Package coverage reads what coverage tools report (Istanbul's and c8's JSON, lcov, Cobertura and Clover XML, Go's
// profiles) into figures per file. The test plugin imports it.
package coverage

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/test/document"
)

// Kind is what is counted.
type Kind string

// The kinds, in the order in which people read them. A report need not count each of them.
const (
	Statements Kind = "statements"
	Branches   Kind = "branches"
	Functions  Kind = "functions"
	Lines      Kind = "lines"
)

// Kinds lists them all.
func Kinds() []Kind { return []Kind{Statements, Branches, Functions, Lines} }

// Count is how many there are, and how many were executed.
type Count struct{ Covered, Total int }

// Percent is 100 when there is nothing to cover.
func (c Count) Percent() float64 {
	if c.Total == 0 {
		return 100
	}
	return 100 * float64(c.Covered) / float64(c.Total)
}

// Missing is how many were not executed.
func (c Count) Missing() int { return c.Total - c.Covered }

// span is a place in a file. It tells whether two reports speak of the same statement, branch, function or line.
type span struct {
	line, column, endLine, endColumn int
	name                             string // tells apart what stands at one place
}

// whole is the place of figures that a report gives for a file and no more.
var whole = span{line: -1}

// hit is what was executed at a place: all of its Total, none, or some branches of a line.
type hit struct {
	Count
	missed []string // names of the branches that were not taken, where the report has them
}

// unite joins what two reports say of one place. Without names of branches the greater count is all that is certain.
func (h hit) unite(other hit) hit {
	total := max(h.Total, other.Total)
	covered := max(h.Covered, other.Covered)
	if h.Total != other.Total || len(h.missed) != h.Missing() || len(other.missed) != other.Missing() {
		return hit{Count{covered, total}, nil}
	}
	missed := slices.DeleteFunc(slices.Clone(h.missed), func(name string) bool { return !slices.Contains(other.missed, name) })
	return hit{Count{total - len(missed), total}, missed}
}

// File is one source file.
type File struct {
	Path string // as reported
	hits map[Kind]map[span]hit
}

// add unites one place with what is known of it.
func (f *File) add(kind Kind, at span, h hit) {
	h.Total = min(max(h.Total, 0), maxNumber)
	h.Covered = min(max(h.Covered, 0), h.Total)
	f.counts(kind)
	if known, ok := f.hits[kind][at]; ok {
		h = known.unite(h)
	}
	f.hits[kind][at] = h
}

// once adds a place that counts as one.
func (f *File) once(kind Kind, at span, covered bool) {
	h := hit{Count: Count{0, 1}}
	if covered {
		h.Covered = 1
	}
	f.add(kind, at, h)
}

// counts says that the report counts a kind in this file, if only to 0.
func (f *File) counts(kind Kind) {
	if f.hits == nil {
		f.hits = map[Kind]map[span]hit{}
	}
	if f.hits[kind] == nil {
		f.hits[kind] = map[span]hit{}
	}
}

// Count adds up a kind. It is false when the report does not count it. Figures for the whole file stand back behind
// places.
func (f *File) Count(kind Kind) (Count, bool) {
	places, ok := f.hits[kind]
	if !ok && kind == Lines {
		return f.blockLines()
	}
	var c Count
	for at, h := range places {
		if at != whole || len(places) == 1 {
			c.Covered, c.Total = c.Covered+h.Covered, c.Total+h.Total
		}
	}
	return c, ok
}

// FirstMissed is the first line of which something was not executed; 0: unknown, or none.
func (f *File) FirstMissed() int {
	first := 0
	for _, kind := range []Kind{Lines, Statements} {
		for at, h := range f.hits[kind] {
			if h.Missing() > 0 && at.line > 0 && (first == 0 || at.line < first) {
				first = at.line
			}
		}
		if first > 0 {
			break
		}
	}
	return first
}

// Report is what one or more files of a report say, sorted by path.
type Report []*File

// builder collects the files of a report.
type builder map[string]*File

func (b builder) file(path string) *File {
	f := b[path]
	if f == nil {
		f = &File{Path: path}
		b[path] = f
	}
	return f
}

func (b builder) report() Report {
	return slices.SortedFunc(maps.Values(b), func(a, b *File) int { return cmp.Compare(a.Path, b.Path) })
}

// ErrUnknown is the error for content of no known format.
var ErrUnknown = errors.New("neither Istanbul JSON, lcov, Cobertura XML, Clover XML nor a Go profile")

type format struct {
	is    func([]byte) bool
	parse func([]byte, builder) error
}

func formats() []format {
	return []format{
		{isGoProfile, parseGoProfile}, {isLcov, parseLcov}, {isIstanbul, parseIstanbul}, {isClover, parseClover}, {isCobertura, parseCobertura},
	}
}

// Parse reads a report of any of the formats, which it recognises by its content.
func Parse(r io.Reader) (Report, error) {
	data, err := document.Read(r)
	if err != nil {
		return nil, err
	}
	for _, f := range formats() {
		if f.is(data) {
			b := builder{}
			if err := f.parse(data, b); err != nil {
				return nil, err
			}
			return b.report(), nil
		}
	}
	return nil, fmt.Errorf("%w: it begins with %q", ErrUnknown, document.Start(data))
}

// Merge unites reports: what one of them reached is covered.
func Merge(reports ...Report) Report {
	b := builder{}
	for _, r := range reports {
		for _, f := range r {
			to := b.file(f.Path)
			for kind, places := range f.hits {
				to.counts(kind)
				for at, h := range places {
					to.add(kind, at, h)
				}
			}
		}
	}
	return b.report()
}

// Total adds up a kind over all files. It is false when no file counts it.
func (r Report) Total(kind Kind) (Count, bool) {
	var total Count
	known := false
	for _, f := range r {
		c, ok := f.Count(kind)
		known = known || ok
		total.Covered += c.Covered
		total.Total += c.Total
	}
	return total, known
}

// Least returns at most n files that lack the most of a kind, worst first.
func (r Report) Least(kind Kind, n int) []*File {
	type entry struct {
		file    *File
		missing int
	}
	var list []entry
	for _, f := range r {
		if c, _ := f.Count(kind); c.Missing() > 0 {
			list = append(list, entry{f, c.Missing()})
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(b.missing, a.missing) })
	var files []*File
	for _, e := range list[:min(n, len(list))] {
		files = append(files, e.file)
	}
	return files
}

// positive reports whether a number of hits is more than none. Writers use integers, floats and exponents.
func positive(text string) bool {
	text = strings.TrimSpace(text)
	return !strings.HasPrefix(text, "-") && strings.ContainsAny(strings.SplitN(strings.ToLower(text), "e", 2)[0], "123456789")
}
