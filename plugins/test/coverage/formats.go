package coverage

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parseSummary reads coverage-summary.json: a path, or "total", to its four counts.
func parseSummary(data []byte) (Report, error) {
	type count struct {
		Total   *int `json:"total"`
		Covered int  `json:"covered"`
	}
	var files map[string]map[Kind]json.RawMessage
	if err := json.Unmarshal(data, &files); err != nil {
		return nil, fmt.Errorf("%w: read JSON: %w", errUnknown, err)
	}
	if files["total"] == nil {
		return nil, fmt.Errorf("%w: the JSON has no total", errUnknown)
	}
	var r Report
	for path, kinds := range files {
		f := File{Path: path, Counts: map[Kind]Count{}}
		for _, kind := range Kinds() {
			var c count
			if err := json.Unmarshal(kinds[kind], &c); err != nil || c.Total == nil {
				return nil, fmt.Errorf("%w: %s of %s has no total", errUnknown, kind, path)
			}
			f.Counts[kind] = Count{c.Covered, *c.Total}
		}
		if path != "total" {
			r = append(r, f)
		}
	}
	return sorted(r), nil
}

// parseLcov reads a tracefile. A section stands for one file; a file may have several.
func parseLcov(data []byte) (Report, error) {
	var reports []Report
	var f File
	var lines, branches, functions Count
	hit := map[string]bool{}
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		key, value, _ := strings.Cut(strings.TrimSpace(in.Text()), ":")
		switch key {
		case "SF":
			f, lines, branches, functions, hit = File{Path: value}, Count{}, Count{}, Count{}, map[string]bool{}
		case "FN":
			functions.Total++
		case "FNDA":
			times, name, _ := strings.Cut(value, ",")
			if times != "0" && !hit[name] {
				hit[name] = true
				functions.Covered++
			}
		case "BRDA":
			branches.Total++
			if taken := value[strings.LastIndexByte(value, ',')+1:]; taken != "0" && taken != "-" {
				branches.Covered++
			}
		case "DA":
			fields := strings.Split(value, ",")
			line, err := strconv.Atoi(fields[0])
			if err != nil || len(fields) < 2 {
				return nil, fmt.Errorf("read lcov: line %d: want DA:LINE,TIMES, got %q", n, in.Text())
			}
			lines.Total++
			if fields[1] != "0" {
				lines.Covered++
			} else if f.Line == 0 {
				f.Line = line
			}
		case "end_of_record":
			f.Counts = map[Kind]Count{Lines: lines, Branches: branches, Functions: functions}
			reports = append(reports, Report{f})
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read lcov: %w", err)
	}
	return Merge(reports...), nil
}

var conditions = regexp.MustCompile(`\((\d+)/(\d+)\)`)

// parseCobertura reads coverage.xml. The lines of a class hold those of its methods too.
func parseCobertura(data []byte) (Report, error) {
	var root struct {
		XMLName xml.Name
		Classes []struct {
			File    string `xml:"filename,attr"`
			Methods []struct {
				Lines []struct {
					Hits int `xml:"hits,attr"`
				} `xml:"lines>line"`
			} `xml:"methods>method"`
			Lines []struct {
				Number    int    `xml:"number,attr"`
				Hits      int    `xml:"hits,attr"`
				Condition string `xml:"condition-coverage,attr"`
			} `xml:"lines>line"`
		} `xml:"packages>package>classes>class"`
	}
	if err := xml.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("read XML: %w", err)
	}
	if root.XMLName.Local != "coverage" {
		return nil, fmt.Errorf("%w: its element is <%s>", errUnknown, root.XMLName.Local)
	}
	files := map[string]*File{}
	for _, class := range root.Classes {
		f := files[class.File] // several classes may stand in one file
		if f == nil {
			f = &File{Path: class.File, Counts: map[Kind]Count{}}
			files[class.File] = f
		}
		lines, branches, functions := f.Counts[Lines], f.Counts[Branches], f.Counts[Functions]
		for _, l := range class.Lines {
			lines.Total++
			if l.Hits > 0 {
				lines.Covered++
			} else if f.Line == 0 {
				f.Line = l.Number
			}
			if m := conditions.FindStringSubmatch(l.Condition); m != nil {
				covered, _ := strconv.Atoi(m[1])
				total, _ := strconv.Atoi(m[2])
				branches.Covered, branches.Total = branches.Covered+covered, branches.Total+total
			}
		}
		for _, m := range class.Methods {
			functions.Total++
			for _, l := range m.Lines {
				if l.Hits > 0 {
					functions.Covered++
					break
				}
			}
		}
		f.Counts[Lines], f.Counts[Branches], f.Counts[Functions] = lines, branches, functions
	}
	var r Report
	for _, f := range files {
		r = append(r, *f)
	}
	return sorted(r), nil
}

var goBlock = regexp.MustCompile(`^(.+):(\d+)\.\d+,(\d+)\.\d+ (\d+) (\d+)$`)

// parseGo reads a profile of go test -coverprofile. With -coverpkg the same block stands in it once for each
// test binary; it is covered when one of them reached it.
func parseGo(data []byte) (Report, error) {
	type block struct {
		path                    string
		first, last, statements int
		covered                 bool
	}
	blocks := map[string]*block{}
	in := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "mode: ") {
			continue
		}
		m := goBlock.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("read Go profile: line %d: want FILE:LINE.COLUMN,LINE.COLUMN STATEMENTS COUNT, got %q", n, line)
		}
		key := line[:strings.IndexByte(line, ' ')]
		b := blocks[key]
		if b == nil {
			b = &block{path: m[1]}
			b.first, _ = strconv.Atoi(m[2])
			b.last, _ = strconv.Atoi(m[3])
			b.statements, _ = strconv.Atoi(m[4])
			blocks[key] = b
		}
		b.covered = b.covered || m[5] != "0"
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read Go profile: %w", err)
	}

	files, lines := map[string]*File{}, map[string]map[int]bool{}
	for _, b := range blocks {
		f := files[b.path]
		if f == nil {
			f = &File{Path: b.path, Counts: map[Kind]Count{}}
			files[b.path], lines[b.path] = f, map[int]bool{}
		}
		c := f.Counts[Statements]
		c.Total += b.statements
		if b.covered {
			c.Covered += b.statements
		} else if b.statements > 0 && (f.Line == 0 || b.first < f.Line) {
			f.Line = b.first
		}
		f.Counts[Statements] = c
		for n := b.first; n <= b.last; n++ {
			lines[b.path][n] = lines[b.path][n] || b.covered
		}
	}
	var r Report
	for path, f := range files {
		covered := 0
		for hit := range maps.Values(lines[path]) {
			if hit {
				covered++
			}
		}
		f.Counts[Lines] = Count{covered, len(lines[path])}
		r = append(r, *f)
	}
	return sorted(slices.Clip(r)), nil
}
