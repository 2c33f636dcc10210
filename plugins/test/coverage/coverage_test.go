package coverage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/test/document"
)

// text writes a report as "PATH:LINE KIND COVERED/TOTAL …", a line for each file.
func text(r Report) string {
	var lines []string
	for _, f := range r {
		line := fmt.Sprintf("%s:%d", f.Path, f.FirstMissed())
		for _, kind := range Kinds() {
			if c, ok := f.Count(kind); ok {
				line += fmt.Sprintf(" %s %d/%d", kind, c.Covered, c.Total)
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func parseFile(t testing.TB, name string) Report {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := Parse(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

// TestParseReal reads what tools have written; several files are united.
func TestParseReal(t *testing.T) {
	tests := map[string]string{
		"coverage-summary.json":                                       "WORKSPACE/lib/price.js:0 statements 10/10 branches 5/6 functions 2/2 lines 10/10",
		"lcov.info":                                                   "lib/price.js:0 branches 5/6 functions 2/2 lines 10/10",
		"cobertura-coverage.xml":                                      "lib/price.js:0 branches 5/6 functions 2/2 lines 10/10",
		"lcov-no-branches.info":                                       "a.c:4 functions 1/1 lines 1/2",
		"lcov-22-functions.info":                                      "a.c:3 functions 0/2 lines 1/2",
		"coveragepy-no-branches.xml":                                  "a.py:4 lines 3/4",
		"union-unit.out":                                              "m/a.go:6 statements 5/10 lines 5/9",
		"union-unit.out union-integration.out":                        "m/a.go:0 statements 10/10 lines 9/9",
		"istanbul-final.json":                                         "/src/a.js:3 statements 3/4 branches 1/2 functions 1/1 lines 3/4",
		"lcov-two-runs-of-one-file.info":                              "src/price.c:5 branches 1/2 functions 2/2 lines 4/5",
		"cobertura-ascii-declared.xml":                                "shop/price.py:4 branches 1/2 functions 1/2 lines 3/4",
		"cobertura-latin1-path.xml":                                   "shop/café.py:4 branches 1/2 functions 1/2 lines 3/4",
		"cobertura-union-unit.xml":                                    "shop/price.py:3 functions 1/2 lines 2/5",
		"cobertura-union-system.xml":                                  "shop/price.py:1 functions 1/2 lines 2/5",
		"cobertura-union-unit.xml cobertura-union-system.xml":         "shop/price.py:3 functions 2/2 lines 4/5",
		"coveragepy-with-branches.xml":                                "shop/price.py:4 branches 1/2 lines 3/5",
		"nyc-two-statements-on-a-line.json":                           "/srv/shop/src/cart.js:8 statements 3/5 branches 3/6 functions 1/2 lines 3/4",
		"c8-file-never-loaded.json":                                   "/srv/shop/src/price.js:4 statements 4/6 branches 2/3 functions 1/1 lines 4/6\n/srv/shop/src/stock.js:1 statements 0/3 branches 0/1 functions 0/1 lines 0/3",
		"nyc-two-statements-on-a-line.json c8-file-never-loaded.json": "/srv/shop/src/cart.js:8 statements 3/5 branches 3/6 functions 1/2 lines 3/4\n/srv/shop/src/price.js:4 statements 4/6 branches 2/3 functions 1/1 lines 4/6\n/srv/shop/src/stock.js:1 statements 0/3 branches 0/1 functions 0/1 lines 0/3",
	}
	for names, want := range tests {
		t.Run(names, func(t *testing.T) {
			var all []Report
			for name := range strings.FieldsSeq(names) {
				all = append(all, parseFile(t, name))
			}
			if got := text(Merge(all...)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	const cobertura = `<coverage %s><packages><package><classes><class filename="a.py">%s</class></classes></package></packages></coverage>`
	tests := map[string]struct{ in, want string }{
		"Go profile": {
			"mode: atomic\nm/a.go:3.1,5.2 2 0\nm/a.go:7.1,8.2 3 4\nm/b.go:1.1,1.9 1 1\n",
			"m/a.go:3 statements 3/5 lines 2/5\nm/b.go:0 statements 1/1 lines 1/1",
		},
		"Go profile of several packages": {
			"mode: set\nm/a.go:3.1,5.2 2 0\nm/a.go:3.1,5.2 2 1\n",
			"m/a.go:0 statements 2/2 lines 3/3",
		},
		"Go profiles in one file": {"mode: set\nm/a.go:3.1,5.2 2 0\nmode: set\nm/a.go:3.1,5.2 2 1\n", "m/a.go:0 statements 2/2 lines 3/3"},
		"Go blocks that overlap":  {"mode: set\nm/a.go:1.1,5.2 2 1\nm/a.go:4.1,9.2 2 0\nm/a.go:9.3,9.9 1 1\n", "m/a.go:4 statements 3/5 lines 6/9"},
		"Go profile of nothing":   {"mode: set\n", ""},
		"lcov, missed": {
			"SF:a.c\nFN:1,f\nFN:9,g\nFNDA:0,f\nFNDA:2,g\nBRDA:1,0,0,-\nBRDA:1,0,1,3\nDA:1,0\nDA:9,2\nend_of_record\n",
			"a.c:1 branches 1/2 functions 1/2 lines 1/2",
		},
		"lcov, twice":                        {"TN:x\nSF:a.c\nDA:1,0\nDA:2,0\nend_of_record\nSF:a.c\nDA:1,1\nDA:2,0\nend_of_record\n", "a.c:2 lines 1/2"},
		"lcov 2, ends and names with commas": {"SF:a.c\nFN:1,4,f<int, char>\nFN:6,9,g\nFNDA:3,f<int, char>\nFNDA:0,g\nend_of_record\n", "a.c:0 functions 1/2"},
		"lcov 2, aliases of one function":    {"# made by hand\nSF:a.c\nFNL:0,1,4\nFNA:0,0,f<int>\nFNA:0,2,f<char>\nend_of_record\n", "a.c:0 functions 1/1"},
		"lcov 2, a branch by its expression": {"SF:a.c\nBRDA:1,e0,a, b,1\nBRDA:1,0,!a,0\nend_of_record\n", "a.c:0 branches 1/2"},
		"lcov, a call without a function":    {"SF:a.c\nFNDA:1,f\nend_of_record\n", "a.c:0 functions 1/1"},
		"lcov, functions of one name":        {"SF:a.js\nFN:1,f\nFN:5,f\nFNDA:0,f\nFNDA:4,f\nend_of_record\n", "a.js:0 functions 1/2"},
		"lcov, no branch in the code":        {"SF:a.c\nDA:1,1\nBRF:0\nBRH:0\nend_of_record\n", "a.c:0 branches 0/0 lines 1/1"},
		"lcov, sums alone":                   {"SF:a.c\nLF:8\nLH:5\nend_of_record\n", "a.c:0 lines 5/8"},
		"lcov, numbers of gcov":              {"SF:a.c\nDA:1,-3\nDA:2,0.0\nDA:3,1e+06,abc\nDA:4,0e5\nend_of_record\n", "a.c:1 lines 1/4"},
		"Cobertura, classes of one file": {
			`<coverage><packages><package><classes>
				<class filename="a.py"><methods><method><lines><line hits="0"/></lines></method></methods><lines><line number="4" hits="0"/></lines></class>
				<class filename="a.py"><lines><line number="9" hits="1" condition-coverage="50% (1/2)"/></lines></class>
			</classes></package></packages></coverage>`,
			"a.py:4 branches 1/2 functions 0/1 lines 1/2",
		},
		"Cobertura, branches counted and none there": {fmt.Sprintf(cobertura, `branches-valid="0" branch-rate="1"`, `<lines><line number="4" hits="1"/></lines>`), "a.py:0 branches 0/0 lines 1/1"},
		"Cobertura, more hits than a number holds":   {fmt.Sprintf(cobertura, "", `<lines><line number="4" hits="99999999999999999999"/><line number="5" hits="1e3"/></lines>`), "a.py:0 lines 2/2"},
		"Cobertura, lines of methods alone":          {fmt.Sprintf(cobertura, "", `<methods><method name="f"><lines><line number="4" hits="1"/><line number="5" hits="0"/></lines></method></methods>`), "a.py:5 functions 1/1 lines 1/2"},
		"Cobertura, branches as a rate alone":        {fmt.Sprintf(cobertura, "", `<lines><line number="4" hits="1" condition-coverage="100%"/><line number="5" hits="1" condition-coverage="50%"/></lines>`), "a.py:0 branches 1/2 lines 2/2"},
		"Cobertura, two documents":                   {fmt.Sprintf("<?xml version='1.0'?>"+cobertura+"\n<?xml version='1.1'?>"+cobertura, "", `<lines><line number="4" hits="0"/></lines>`, "", `<lines><line number="4" hits="1"/></lines>`), "a.py:0 lines 1/1"},
		"coverage.py, each run takes the other branch": {
			fmt.Sprintf(cobertura+cobertura, "", `<lines><line number="4" hits="1" condition-coverage="50% (1/2)" missing-branches="5"/></lines>`, "", `<lines><line number="4" hits="1" condition-coverage="50% (1/2)" missing-branches="exit"/></lines>`),
			"a.py:0 branches 2/2 lines 1/1",
		},
		"Clover of PHPUnit": {
			`<?xml version="1.0"?><coverage generated="1"><project timestamp="1"><package name="Shop"><file name="/srv/Price.php">
				<class name="Price"><metrics methods="2"/></class>
				<line num="3" type="method" count="1"/><line num="5" type="stmt" count="1"/><line num="8" type="method" count="0"/><line num="9" type="stmt" count="0"/>
				<metrics loc="11" methods="2" coveredmethods="1" conditionals="0" coveredconditionals="0" statements="2" coveredstatements="1"/>
			</file></package></project></coverage>`,
			"/srv/Price.php:9 statements 1/2 functions 1/2 lines 1/2",
		},
		"Clover of Istanbul": {
			`<coverage clover="3.2.0"><project name="All files"><metrics/><file name="cart.js" path="/srv/cart.js">
				<metrics statements="5" coveredstatements="3" conditionals="6" coveredconditionals="3" methods="2" coveredmethods="1"/>
				<line num="2" count="3" type="stmt"/><line num="3" count="3" type="cond" truecount="1" falsecount="1"/><line num="8" count="0" type="stmt"/>
			</file></project></coverage>`,
			"/srv/cart.js:8 statements 3/5 branches 3/6 functions 1/2 lines 2/3",
		},
		"Istanbul 0.4": {
			`{"/a.js":{"path":"/a.js","s":{"1":1,"2":0},"b":{"1":[0,2]},"f":{"1":1},"fnMap":{"1":{"name":"f","line":1,"loc":{"start":{"line":1,"column":0},"end":{"line":1,"column":9}}}},
			"statementMap":{"1":{"start":{"line":1,"column":0},"end":{"line":3,"column":1}},"2":{"start":{"line":2,"column":0},"end":{"line":2,"column":1},"skip":true}},
			"branchMap":{"1":{"line":2,"type":"if","locations":[{"start":{"line":2,"column":0},"end":{"line":2,"column":1}},{"start":{"line":2,"column":0},"end":{"line":2,"column":1},"skip":true}]}}}}`,
			"/a.js:0 statements 2/2 branches 1/2 functions 1/1 lines 2/2",
		},
		"Istanbul, no file": {`{}`, ""},
		"summary of nothing": {
			`{"total": {"lines":{"total":0,"covered":0,"pct":"Unknown"},"statements":{"total":0,"covered":0},"functions":{"total":0,"covered":0},"branches":{"total":0,"covered":0}}}`,
			"",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Parse(strings.NewReader(test.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := text(r); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
			if got := text(Merge(r, r)); got != test.want {
				t.Errorf("united with itself:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

// TestUnionOfSums: of figures without places only the greater is certain, and places are better than figures.
func TestUnionOfSums(t *testing.T) {
	summary := func(covered, total int) Report {
		b := builder{}
		b.file("a").add(Lines, whole, hit{Count: Count{covered, total}})
		return b.report()
	}
	if got := text(Merge(summary(9, 9), summary(5, 100))); got != "a:0 lines 9/100" {
		t.Errorf("two sums: %s", got)
	}
	b := builder{}
	b.file("a").once(Lines, span{line: 4}, false)
	if got := text(Merge(summary(9, 9), b.report())); got != "a:4 lines 0/1" {
		t.Errorf("a sum and places: %s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	const unknown = "neither Istanbul JSON, lcov, Cobertura XML, Clover XML nor a Go profile"
	tests := map[string]struct{ in, want string }{
		"empty":             {"", "the file is empty"},
		"prose":             {"all lines", unknown + `: it begins with "all lines"`},
		"other JSON":        {`{"name": "storefront"}`, unknown + `: member "name" of the JSON is no file of Istanbul`},
		"coverage.py JSON":  {`{"meta": {"version": "7"}, "files": {}}`, "of the JSON has no statementMap"},
		"half summary":      {`{"total": {"lines": {"total": 1}}}`, unknown + `: statements of "total" has no total`},
		"other XML":         {"<testsuite/>", "its element is <testsuite>"},
		"JaCoCo":            {"<?xml version='1.0'?><report name='shop'/>", "its element is <report>"},
		"SonarQube":         {`<coverage version="1"><file path="a.js"><lineToCover lineNumber="1" covered="true"/></file></coverage>`, unknown + ": its <coverage> has no <packages>"},
		"broken XML":        {"<coverage>\n<packages>\n", "line 3: unexpected EOF"},
		"deep XML":          {"<coverage><packages>" + strings.Repeat("<class>", 300), "nested more than 200 deep"},
		"Go profile":        {"mode: set\nnonsense\n", "line 2: want FILE:LINE.COLUMN"},
		"Go, no such line":  {"mode: set\nm/a.go:1.1,2000000000.1 1 1\n", "line 2: 2000000000 is beyond any source file"},
		"Go, no such count": {"mode: set\nm/a.go:1.1,2.1 99999999999999999999 1\n", "beyond any source file"},
		"lcov":              {"SF:a\nDA:x\n", "line 2: want DA:LINE,TIMES"},
		"lcov, cut off":     {"SF:a\nDA:1,1\n", "it ends inside the section of a"},
		"lcov, no end":      {"SF:a\nDA:1,1\nSF:b\nend_of_record\n", "line 3: a section begins inside the section of a"},
		"compressed":        {"PK\x03\x04", "compressed (zip)"},
		"too large":         {strings.Repeat(" ", document.MaxSize+1), "larger than 64 MiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Parse(strings.NewReader(test.in))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v, want %s", r, err, test.want)
			}
		})
	}
}

// TestHugeBlockIsCheap: a block of two billion lines is refused, and the largest that is read costs no more than a
// small one.
func TestHugeBlockIsCheap(t *testing.T) {
	data, err := os.ReadFile("testdata/go-huge-block.out")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(strings.NewReader(string(data))); err == nil || !strings.Contains(err.Error(), "line 2: 2000000000 is beyond any source file") {
		t.Errorf("two billion lines: %v", err)
	}
	block := strings.Replace(string(data), "2000000000", "9000000", 1)
	if n := testing.AllocsPerRun(1, func() {
		r, err := Parse(strings.NewReader(block))
		if err != nil || text(r) != "m/a.go:0 statements 1/1 lines 9000000/9000000" {
			t.Errorf("got %s, %v", text(r), err)
		}
	}); n > 1000 {
		t.Errorf("%v allocations", n)
	}
}

func TestTotalAndLeast(t *testing.T) {
	b := builder{}
	for name, c := range map[string]Count{"a": {9, 10}, "b": {10, 10}, "c": {10, 90}, "d": {0, 5}} {
		b.file(name).add(Lines, whole, hit{Count: c})
	}
	r := b.report()
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
