package coverage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// text writes a report as "PATH:LINE KIND COVERED/TOTAL …", a line for each file.
func text(r Report) string {
	var lines []string
	for _, f := range r {
		line := fmt.Sprintf("%s:%d", f.Path, f.Line)
		for _, kind := range Kinds() {
			if c, ok := f.Counts[kind]; ok {
				line += fmt.Sprintf(" %s %d/%d", kind, c.Covered, c.Total)
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestParseReal(t *testing.T) {
	tests := map[string]string{
		"coverage-summary.json":  "WORKSPACE/lib/price.js:0 statements 10/10 branches 5/6 functions 2/2 lines 10/10",
		"lcov.info":              "lib/price.js:0 branches 5/6 functions 2/2 lines 10/10",
		"cobertura-coverage.xml": "lib/price.js:0 branches 5/6 functions 2/2 lines 10/10",
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("../testdata/coverage", name))
			if err != nil {
				t.Fatal(err)
			}
			r, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(r); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"Go profile": {
			"mode: atomic\nm/a.go:3.1,5.2 2 0\nm/a.go:7.1,8.2 3 4\nm/b.go:1.1,1.9 1 1\n",
			"m/a.go:3 statements 3/5 lines 2/5\nm/b.go:0 statements 1/1 lines 1/1",
		},
		"Go profile of several packages": {
			"mode: set\nm/a.go:3.1,5.2 2 0\nm/a.go:3.1,5.2 2 1\n",
			"m/a.go:0 statements 2/2 lines 3/3",
		},
		"Go profile of nothing": {"mode: set\n", ""},
		"lcov, missed": {
			"SF:a.c\nFN:1,f\nFN:9,g\nFNDA:0,f\nFNDA:2,g\nBRDA:1,0,0,-\nBRDA:1,0,1,3\nDA:1,0\nDA:9,2\nend_of_record\n",
			"a.c:1 branches 1/2 functions 1/2 lines 1/2",
		},
		"lcov, twice": {
			"TN:x\nSF:a.c\nDA:1,0\nDA:2,0\nend_of_record\nSF:a.c\nDA:1,1\nDA:2,0\nend_of_record\n",
			"a.c:1 branches 0/0 functions 0/0 lines 1/2",
		},
		"Cobertura, classes of one file": {
			`<coverage><packages><package><classes>
				<class filename="a.py"><methods><method><lines><line hits="0"/></lines></method></methods><lines><line number="4" hits="0"/></lines></class>
				<class filename="a.py"><lines><line number="9" hits="1" condition-coverage="50% (1/2)"/></lines></class>
			</classes></package></packages></coverage>`,
			"a.py:4 branches 1/2 functions 0/1 lines 1/2",
		},
		"summary of nothing": {
			`{"total": {"lines":{"total":0,"covered":0,"pct":"Unknown"},"statements":{"total":0,"covered":0},"functions":{"total":0,"covered":0},"branches":{"total":0,"covered":0}}}`,
			"",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Parse([]byte(test.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := text(r); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct {
		in      string
		unknown bool
	}{
		"empty":        {"", true},
		"other JSON":   {`{"name": "storefront"}`, true},
		"half summary": {`{"total": {"lines": {"total": 1}}}`, true},
		"other XML":    {"<testsuite/>", true},
		"broken XML":   {"<coverage", false},
		"Go profile":   {"mode: set\nnonsense\n", false},
		"lcov":         {"SF:a\nDA:x\n", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Parse([]byte(test.in))
			if err == nil || errors.Is(err, errUnknown) != test.unknown {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
}

func TestTotalAndLeast(t *testing.T) {
	file := func(path string, covered, total int) File {
		return File{Path: path, Counts: map[Kind]Count{Lines: {covered, total}}}
	}
	r := Report{file("a", 9, 10), file("b", 10, 10), file("c", 10, 90), file("d", 0, 5)}
	total, ok := r.Total(Lines)
	if want := (Count{29, 115}); total != want || !ok {
		t.Errorf("total %v, %v", total, ok)
	}
	if _, ok := r.Total(Statements); ok {
		t.Error("a total of statements, which nobody counted")
	}
	var names string
	for _, f := range r.Least(Lines, 2) {
		names += f.Path
	}
	if names != "cd" {
		t.Errorf("least covered: %s, want c and d", names)
	}
	if p := (Count{}).Percent(); p != 100 {
		t.Errorf("nothing to cover is %v %%", p)
	}
}
