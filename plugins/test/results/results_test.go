package results

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := map[string][]string{ // as "STATUS NAME | FILE:LINE | MESSAGE"
		"mocha-xunit.xml": {
			"passed discount takes a quarter off | WORKSPACE/test/price.test.js:0 | ",
			"failed discount never pays you | WORKSPACE/test/price.test.js:0 | Expected values to be strictly equal: 0 !== 1",
			"failed discount refuses more than everything | WORKSPACE/test/price.test.js:0 | more than everything RangeError: more than everything",
			"skipped discount knows nothing of time | WORKSPACE/test/price.test.js:0 | ",
			"passed label says free | WORKSPACE/test/price.test.js:0 | ",
		},
		"mocha.json": {
			"passed discount takes a quarter off | WORKSPACE/test/price.test.js:0 | ",
			"passed label says free | WORKSPACE/test/price.test.js:0 | ",
			"failed discount never pays you | WORKSPACE/test/price.test.js:0 | Expected values to be strictly equal: 0 !== 1",
			"failed discount refuses more than everything | WORKSPACE/test/price.test.js:0 | more than everything",
			"skipped discount knows nothing of time | WORKSPACE/test/price.test.js:0 | ",
		},
		"mocha.tap": {
			"passed discount takes a quarter off | :0 | ",
			"failed discount never pays you | :0 | Expected values to be strictly equal: 0 !== 1 AssertionError [ERR_ASSERTION]: Expected values to be strictly equal:",
			"failed discount refuses more than everything | :0 | more than everything RangeError: more than everything",
			"skipped discount knows nothing of time | :0 | ",
			"passed label says free | :0 | ",
		},
		"node.tap": {
			"passed outer inner passes | :0 | ",
			"failed outer inner fails | WORKSPACE/node.test.mjs:6 | Expected values to be strictly equal: 0 !== 1",
			"skipped skipped | :0 | ",
			"skipped todo | :0 | ",
		},
		"node-junit.xml": {
			"skipped test skipped | :0 | ",
			"skipped test todo | :0 | ",
			"passed test inner passes | :0 | ",
			"failed test inner fails | :0 | Expected values to be strictly equal:0 !== 1",
		},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("../testdata/results", name))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, string(data), want)
		})
	}
}

func TestParseOthers(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"empty suites":     {"<?xml version=\"1.0\"?>\n<testsuites/>", nil},
		"suite that broke": {`<testsuite name="boot"><error message="cannot load"/></testsuite>`, []string{"failed boot | :0 | cannot load"}},
		"line attribute":   {`<testsuite><testcase name="a" file="a_test.py" line="12"><error type="ZeroDivisionError"/></testcase></testsuite>`, []string{"failed a | a_test.py:12 | ZeroDivisionError"}},
		"file of suite":    {`<testsuite file="a.js"><testcase name="a"/></testsuite>`, []string{"passed a | a.js:0 | "}},
		"byte order mark":  {"\uFEFF<testsuite><testcase name='a'/></testsuite>", []string{"passed a | :0 | "}},
		"nothing planned":  {"TAP version 14\n1..0", nil},
		"too few":          {"1..3\nok 1 - a\nok 2 - b", []string{"passed a | :0 | ", "passed b | :0 | ", "failed plan | :0 | 3 tests were planned, 2 were reported"}},
		"bail out":         {"1..3\nok 1\nBail out! no database", []string{"passed  | :0 | ", "failed Bail out! | :0 | no database"}},
		"own failure of a parent": {
			"TAP version 14\n# Subtest: p\n    ok 1 - child\n    1..1\nnot ok 1 - p\n  ---\n  message: 'teardown'\n  ...\n1..1",
			[]string{"passed p child | :0 | ", "failed p | :0 | teardown"},
		},
		"two levels": {
			"        ok 1 - c\n    ok 1 - b\n    ok 2 - d\nok 1 - a\nok 2 - e\n1..2",
			[]string{"passed a b c | :0 | ", "passed a d | :0 | ", "passed e | :0 | "},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { expect(t, test.text, test.want) })
	}
}

func expect(t *testing.T, text string, want []string) {
	t.Helper()
	cases, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		status := map[Status]string{Passed: "passed", Failed: "failed", Skipped: "skipped"}[c.Status]
		got = append(got, fmt.Sprintf("%s %s | %s:%d | %s", status, c.Name, c.File, c.Line, c.Message))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct {
		text    string
		unknown bool
	}{
		"empty":       {"", true},
		"prose":       {"all went well", true},
		"other XML":   {"<html></html>", true},
		"other JSON":  {`{"total": 1}`, true},
		"broken XML":  {"<testsuite><testcase", false},
		"broken JSON": {`{"stats": `, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := Parse([]byte(test.text))
			if err == nil || errors.Is(err, errUnknown) != test.unknown {
				t.Errorf("got %v, %v", list, err)
			}
		})
	}
}
