// Package coverage reads what coverage tools report (Istanbul's and c8's summary, lcov, Cobertura XML, Go's
// profiles) into figures per file. The test plugin imports it.
package coverage

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"
)

// Kind is what is counted.
type Kind string

// The kinds, in the order in which people read them. A format that does not count a kind has no figure for it.
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

// File is one source file.
type File struct {
	Path   string // as reported
	Counts map[Kind]Count
	Line   int // the first that was not executed; 0: unknown, or none
}

// Report is what one or more files of a report say, sorted by path.
type Report []File

// errUnknown is the answer to a file that is no report.
var errUnknown = errors.New("neither an Istanbul summary, lcov, Cobertura XML nor a Go profile")

// Parse reads a report of any of the formats, which it recognises by its content.
func Parse(data []byte) (Report, error) {
	data = bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\uFEFF")), " \t\r\n")
	switch {
	case bytes.HasPrefix(data, []byte("{")):
		return parseSummary(data)
	case bytes.HasPrefix(data, []byte("<")):
		return parseCobertura(data)
	case bytes.HasPrefix(data, []byte("mode: ")):
		return parseGo(data)
	case bytes.HasPrefix(data, []byte("TN:")), bytes.HasPrefix(data, []byte("SF:")):
		return parseLcov(data)
	}
	return nil, errUnknown
}

// Merge joins reports. Of a file that is in several, the count with the most covered stands: reports of parallel
// parts of one suite cannot be added.
func Merge(reports ...Report) Report {
	files := map[string]File{}
	for _, r := range reports {
		for _, f := range r {
			known, ok := files[f.Path]
			if !ok {
				files[f.Path] = f
				continue
			}
			counts := maps.Clone(known.Counts)
			for kind, c := range f.Counts {
				if c.Covered >= counts[kind].Covered {
					counts[kind] = c
				}
			}
			files[f.Path] = File{Path: f.Path, Counts: counts, Line: known.Line}
		}
	}
	return sorted(slices.Collect(maps.Values(files)))
}

// Total adds up a kind over all files. It is false when no file counts it.
func (r Report) Total(kind Kind) (Count, bool) {
	var total Count
	known := false
	for _, f := range r {
		c, ok := f.Counts[kind]
		known = known || ok
		total.Covered += c.Covered
		total.Total += c.Total
	}
	return total, known
}

// Least returns at most n files that lack the most of a kind, worst first.
func (r Report) Least(kind Kind, n int) []File {
	list := slices.DeleteFunc(slices.Clone(r), func(f File) bool { return f.Counts[kind].Missing() <= 0 })
	slices.SortStableFunc(list, func(a, b File) int { return cmp.Compare(b.Counts[kind].Missing(), a.Counts[kind].Missing()) })
	return list[:min(n, len(list))]
}

func sorted(r Report) Report {
	slices.SortFunc(r, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return r
}
