package coverage

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxNumber is more than any line, column or number of statements of a source file.
const maxNumber = 10_000_000

var (
	goMode  = regexp.MustCompile(`^\s*mode: (?:set|count|atomic)\s`)
	goBlock = regexp.MustCompile(`^(.+):(\d+)\.(\d+),(\d+)\.(\d+) (\d+) (\d+)$`)
)

func isGoProfile(data []byte) bool { return goMode.Match(data) }

// parseGoProfile reads a profile of go test -coverprofile, or several in one file. With -coverpkg the same block stands in it
// once for each test binary.
func parseGoProfile(data []byte, b builder) error {
	n := 0
	for raw := range bytes.Lines(data) {
		n++
		line := strings.TrimSpace(string(raw))
		if line == "" || strings.HasPrefix(line, "mode: ") {
			continue
		}
		m := goBlock.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("read Go profile: line %d: want FILE:LINE.COLUMN,LINE.COLUMN STATEMENTS COUNT, got %.200q", n, line)
		}
		var v [5]int
		for i, text := range m[2:7] {
			x, err := strconv.Atoi(text)
			if err != nil || x > maxNumber {
				return fmt.Errorf("read Go profile: line %d: %s is beyond any source file", n, text)
			}
			v[i] = x
		}
		h := hit{Count: Count{0, v[4]}}
		if positive(m[7]) {
			h.Covered = h.Total
		}
		b.file(m[1]).add(Statements, span{line: v[0], column: v[1], endLine: v[2], endColumn: v[3]}, h)
	}
	return nil
}

// blockLines counts the lines of a file whose statements are blocks of lines. A line is covered when one of its
// blocks is. It costs the same for long blocks as for short ones.
func (f *File) blockLines() (Count, bool) {
	type edge struct{ line, all, covered int }
	var edges []edge
	for at, h := range f.hits[Statements] {
		if at.endLine < at.line || at == whole {
			continue
		}
		reached := min(h.Covered, 1)
		edges = append(edges, edge{at.line, 1, reached}, edge{at.endLine + 1, -1, -reached})
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.line, b.line) })
	var c Count
	all, covered := 0, 0
	for i, e := range edges {
		if i > 0 {
			if all > 0 {
				c.Total += e.line - edges[i-1].line
			}
			if covered > 0 {
				c.Covered += e.line - edges[i-1].line
			}
		}
		all, covered = all+e.all, covered+e.covered
	}
	return c, len(edges) > 0
}
