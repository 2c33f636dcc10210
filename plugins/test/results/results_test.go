package results

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-b96de936/troop/plugins/test/document"
)

func TestParse(t *testing.T) {
	tests := map[string][]string{ // as "STATUS NAME | FILE:LINE | MESSAGE", with ×N where a case stands for several
		"junit-two-roots.xml":          {"passed adds | :0 | ", "failed divides | div.test.js:7 | boom"},
		"junit-escape-code.xml":        {"passed adds | :0 | ", "failed prints | :0 | not equal"},
		"junit-ascii-declared.xml":     {"passed t adds | :0 | "},
		"junit-latin1.xml":             {"passed prüft den Preis | :0 | "},
		"junit-xml11.xml":              {"passed adds | :0 | "},
		"junit-suite-counts-only.xml":  {"failed×3 broken set-up | :0 | the suite counts 2 failures and 1 error, and names none"},
		"junit-skipped-and-failed.xml": {"failed odd | :0 | boom"},
		"junit-escape-reference.xml":   {"passed colour plain | :0 | ", "failed colour bright | test/colour.test.js:9 | expected 3"},
		"junit-three-declared-documents.xml": {
			"passed price adds | :0 | ", "skipped price rounds | :0 | ",
			"failed orders cancels | test/orders.test.js:22 | no such order", "passed start greets | :0 | ",
		},
		"junit-windows-1252.xml": {"passed prices costs 5 € and is “fair” | :0 | "},
		"pytest-setup-error-and-xfail.xml": {
			"passed tests.test_cart test_adds | :0 | ",
			`failed tests.test_cart test_order | :0 | failed on setup with "ConnectionError: no database"`,
			"failed tests.test_cart test_total[3-7] | :0 | assert 10 == 11",
			"skipped tests.test_cart test_rounds | :0 | ", "skipped tests.test_cart test_bank | :0 | ",
			"failed tests.test_cart test_fixed | :0 | [XPASS(strict)] was broken once",
		},
		"tap-no-plan.tap":         {"passed first | :0 | ", "passed second | :0 | ", "failed plan | :0 | no plan (1..N) was reported; the run may have ended early"},
		"tap-words-like-ok.tap":   {"passed first | :0 | "},
		"tap-plan-at-the-end.tap": {"passed adds | :0 | ", "skipped rounds | :0 | ", "passed empties | :0 | "},
		"tap-plan-in-subtest-only.tap": {
			"passed price adds | :0 | ", "passed price rounds | :0 | ",
			"failed plan | :0 | no plan (1..N) was reported; the run may have ended early",
		},
		"phpunit.xml":            {"failed CartTest testAddsUp | WORKSPACE/tests/CartTest.php:9 | CartTest::testAddsUp Failed asserting that 2 is identical to 349. WORKSPACE/tests/CartTest.php:11"},
		"tap-place-in-words.tap": {"failed adds up | :0 | # at test.sh line 12. # got -349, want 349", "passed nothing | :0 | "},
		"jest.json": {
			"passed cart adds | WORKSPACE/test/cart.test.js:0 | ",
			"failed cart empties | WORKSPACE/test/cart.test.js:0 | Error: expect(received).toBe(expected) // Object.is equality Expected: 1 Received: 0",
			"skipped cart later | WORKSPACE/test/cart.test.js:0 | ", "skipped cart one day | WORKSPACE/test/cart.test.js:0 | ",
			"failed Test suite failed to run | WORKSPACE/test/broken.test.js:0 | Cannot find module '../nope.js' from 'test/broken.test.js' > 1 | const { nope } = require('../nope.js'); | ^ 2 | test('never', () => {}); 3 |",
		},
		"mocha-after-banner.json": {"passed cart adds | :0 | ", "failed cart empties | :0 | expected 0 to equal 1"},
		"mocha-after-banner-all-passed.json": {
			"passed cart adds | /srv/shop/test/cart.test.js:0 | ", "passed cart empties | /srv/shop/test/cart.test.js:0 | ",
			"skipped cart ships abroad | /srv/shop/test/cart.test.js:0 | ",
		},
		"go-test.json": {
			"failed TestSum/empty | shop/price/price_test.go:21 | got 1, want 0", "skipped TestBank | :0 | ", "passed TestTax | :0 | ",
			"failed shop/cart | cart/cart_test.go:9 | does not build: undefined: Nope",
		},
		"go-test-panic-and-interleaved.json": {
			"passed TestTax | :0 | ", "passed TestCount | :0 | ", "passed TestSum/one | :0 | ",
			"failed TestSum/empty | example.com/shop/price/price_test.go:21 | Sum() = 1, want 0",
			"failed TestTake/none | example.com/shop/stock/stock.go:14 | index out of range [0] with length 0",
			"skipped TestBank | :0 | ",
			"failed example.com/shop/cart | cart/cart_test.go:9 | does not build: undefined: Empty",
		},
		"mocha-xunit.xml": {
			"passed discount takes a quarter off | WORKSPACE/test/price.test.js:0 | ",
			"failed discount never pays you | WORKSPACE/test/price.test.js:0 | Expected values to be strictly equal: 0 !== 1",
			"failed discount refuses more than everything | WORKSPACE/test/price.test.js:0 | more than everything",
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
			"failed discount never pays you | :0 | Expected values to be strictly equal: 0 !== 1",
			"failed discount refuses more than everything | :0 | more than everything",
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
			"passed test inner passes | :0 | ",
			"failed test inner fails | :0 | Expected values to be strictly equal:0 !== 1",
			"skipped test skipped | :0 | ",
			"skipped test todo | :0 | ",
		},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
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
		"broken suite beside others": {
			`<testsuites failures="2"><testsuite name="a" failures="1"><testcase name="x"><failure/></testcase></testsuite><testsuite name="b" errors="1"/></testsuites>`,
			[]string{"failed x | :0 | ", "failed×1 b | :0 | the suite counts 0 failures and 1 error, and names none"},
		},
		"a case with two failures":  {`<testsuite failures="2"><testcase name="x"><failure message="a"/><failure message="b"/></testcase></testsuite>`, []string{"failed x | :0 | a"}},
		"counts that are no number": {`<testsuite failures="NaN" errors=""><testcase name="x"/></testsuite>`, []string{"passed x | :0 | "}},
		"a count beyond reason":     {`<testsuite name="s" failures="99999999999999999999"/>`, []string{"failed×2147483647 s | :0 | the suite counts 2147483647 failures and 0 errors, and names none"}},
		"status attributes":         {`<testsuite><testcase name="a" status="failed"/><testcase name="b" status="run" result="suppressed"/><testcase name="c" status="run" result="completed"/></testsuite>`, []string{"failed a | :0 | failed", "skipped b | :0 | ", "passed c | :0 | "}},
		"greeting before XML":       {"Server <started> on {3000}\n<?xml version=\"1.0\"?>\n<testsuite><testcase name='a'/></testsuite>", []string{"passed a | :0 | "}},
		"TAP in the output of a case": {
			"<testsuite><testcase name='a'/><system-out>\n1..2\nnot ok 1 - x\n{\"stats\":{}}</system-out></testsuite>", []string{"passed a | :0 | "},
		},
		"declaration in CDATA": {"<testsuite><testcase name='a'><failure><![CDATA[got\n<?xml version='1.0'?><x/>]]></failure></testcase></testsuite>", []string{"failed a | :0 | got <?xml version='1.0'?><x/>"}},
		"encodings of two documents": {
			"<?xml version='1.0' encoding='latin1'?><testsuite><testcase name='\xfc'/></testsuite><?xml version='1.0' encoding='utf-8'?><testsuite><testcase name='ü'/></testsuite>",
			[]string{"passed ü | :0 | ", "passed ü | :0 | "},
		},
		"UTF-8 with a bad byte":      {"<testsuite><testcase name='a\xff'/></testsuite>", []string{"passed a\uFFFD | :0 | "}},
		"NUL, 0xFFFF and entities":   {"<testsuite><testcase name='a\x00&#0;&#xFFFF;&nbsp;b&#99999999999;'/></testsuite>", []string{"passed a\u00a0b | :0 | "}},
		"UTF-16 with a mark":         {utf16("\uFEFF<?xml version='1.0' encoding='utf-16'?><testsuite><testcase name='ä'/></testsuite>"), []string{"passed ä | :0 | "}},
		"UTF-16 without a mark":      {utf16("TAP version 13\r\nok 1 - ä\r\n1..1\r\n"), []string{"passed ä | :0 | "}},
		"two reports of Mocha":       {`{"stats":{},"passes":[{"fullTitle":"a"}],"failures":[]}` + "\nmore\n" + `{ "stats":{},"passes":[],"failures":[{"fullTitle":"b","err":{"message":"no"}}]}`, []string{"passed a | :0 | ", "failed b | :0 | no"}},
		"Mocha counts more":          {`{"stats":{"failures":2},"passes":[],"failures":[]}`, []string{"failed×2 stats | :0 | the report counts 2 failures, and names 0"}},
		"Mocha among JSON of a log":  {`{"level":"info","msg":"up {"}` + "\n" + `{"stats":{},"passes":[{"fullTitle":"a"}],"failures":[]}`, []string{"passed a | :0 | "}},
		"nothing planned":            {"TAP version 14\n1..0", nil},
		"too many":                   {"1..1\nok 1 - a\nok 2 - b", []string{"passed a | :0 | ", "passed b | :0 | ", "failed plan | :0 | 1 test planned, 2 reported"}},
		"words of a program":         {"1..1\nok then, let us go\nnot ok at all\nok 1 - a", []string{"passed a | :0 | "}},
		"without numbers":            {"1..2\nok - a\nnot ok - b", []string{"passed a | :0 | ", "failed b | :0 | "}},
		"failed and skipped":         {"1..2\nnot ok 1 - a # SKIP no time\nnot ok 2 - b # todo", []string{"failed a | :0 | ", "skipped b | :0 | "}},
		"skipped, and no mark":       {"1..3\nok 1 - a # skipped: old\nok 2 - b \\# skip\nok 3 - #1", []string{"skipped a | :0 | ", "passed b # skip | :0 | ", "passed #1 | :0 | "}},
		"a subtest that ended early": {"# Subtest: p\n    1..2\n    ok 1 - a\nok 1 - p\n1..1", []string{"passed p a | :0 | ", "failed p plan | :0 | 2 tests planned, 1 reported"}},
		"a result inside of YAML":    {"1..1\nok 1 - a\n  ---\n  actual: |\n    not ok 2 - b\n  ...", []string{"passed a | :0 | "}},
		"YAML without an end":        {"1..2\nok 1 - a\n  ---\n  x: 1\nnot ok 2 - b", []string{"passed a | :0 | ", "failed b | :0 | "}},
		"Go, a test run twice": {
			goEvents("run p TestA", "fail p TestA", "run p TestA", "pass p TestA", "fail p "),
			[]string{"failed TestA | :0 | failed without a message", "passed TestA | :0 | "},
		},
		"Go, TestMain exits": {
			goEvents("run p TestA", "pass p TestA", "output p  no database", "output p  exit status 1", "output p  FAIL\tp\t0.1s", "fail p "),
			[]string{"passed TestA | :0 | ", "failed p | :0 | no database"},
		},
		"Go, cut off": {
			goEvents("run p TestA", "pass p TestA", "run p TestB", "output p TestB === RUN   TestB"),
			[]string{"passed TestA | :0 | ", "failed TestB | :0 | did not finish", "failed p | :0 | the report ends before the result of the package"},
		},
		"Go, a timeout": {
			goEvents("run p TestA", "output p TestA panic: test timed out after 1s", "fail p "),
			[]string{"failed TestA | :0 | test timed out after 1s"},
		},
		"Go, a parent that fails itself": {
			goEvents("run p TestA", "run p TestA/x", "pass p TestA/x", "output p TestA     a_test.go:3: left over", "fail p TestA", "fail p "),
			[]string{"failed TestA | p/a_test.go:3 | left over", "passed TestA/x | :0 | "},
		},
		"Go, a log before the error": {
			goEvents("run p TestA", "output p TestA     a_test.go:3: begins", "output p TestA     a_test.go:5: got 1", "output p TestA     a_test.go:9: ends", "fail p TestA", "fail p "),
			[]string{"failed TestA | p/a_test.go:5 | got 1"},
		},
		"Go before 1.24, the compiler on standard error": {
			"# m/p [m/p.test]\np/a_test.go:4:2: undefined: X\n" + goEvents("output m/p  FAIL\tm/p [build failed]", "fail m/p "),
			[]string{"failed m/p | p/a_test.go:4 | does not build: undefined: X"},
		},
		"Go, no test files": {goEvents("output p  ?   \tp\t[no test files]", "skip p "), nil},
		"too few":           {"1..3\nok 1 - a\nok 2 - b", []string{"passed a | :0 | ", "passed b | :0 | ", "failed plan | :0 | 3 tests planned, 2 reported"}},
		"bail out":          {"1..3\nok 1\nBail out! no database", []string{"passed  | :0 | ", "failed Bail out! | :0 | no database"}},
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
	cases, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		status := map[Status]string{Passed: "passed", Failed: "failed", Skipped: "skipped"}[c.Status]
		if c.Count > 0 {
			status += fmt.Sprintf("×%d", c.Count)
		}
		got = append(got, fmt.Sprintf("%s %s | %s:%d | %s", status, c.Name, c.File, c.Line, c.Message))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// goEvents writes "ACTION PACKAGE TEST OUTPUT" as go test -json does.
func goEvents(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		part := append(strings.SplitN(e, " ", 4), "", "")
		fmt.Fprintf(&b, "{\"Action\":%q,\"Package\":%q,\"Test\":%q,\"Output\":%q}\n", part[0], part[1], part[2], part[3]+"\n")
	}
	return b.String()
}

// utf16 encodes text in little endian.
func utf16(text string) string {
	var b []byte
	for _, r := range text {
		b = append(b, byte(r), byte(r>>8))
	}
	return string(b)
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"empty":            {"", "the file is empty"},
		"blank":            {" \n", "the file is empty"},
		"prose":            {"all went well", `neither JUnit XML, TAP, Mocha JSON, Jest JSON nor go test -json: it begins with "all went well"`},
		"go test's text":   {"ok  \tshop/price\t0.01s", "neither JUnit XML"},
		"other XML":        {"<html></html>", "its element is <html>"},
		"second document":  {"<testsuite/>\n<html/>", "line 2: neither JUnit XML, TAP, Mocha JSON, Jest JSON nor go test -json: its element is <html>"},
		"other JSON":       {`{"total": 1}`, "neither JUnit XML"},
		"Mochawesome":      {`{"stats": {}, "results": []}`, "no passes and failures"},
		"broken XML":       {"<testsuite>\n<testcase", "line 2: unexpected EOF"},
		"half XML":         {"<testsuite>\n<testcase/>\n", "line 3: unexpected EOF"},
		"unknown encoding": {"<?xml version='1.0' encoding='martian'?><testsuite/>", `line 1: unknown encoding "martian"`},
		"deep XML":         {strings.Repeat("<testsuite>", 300), "elements are nested more than 200 deep"},
		"deep in a case":   {"<testsuite><testcase>" + strings.Repeat("<x>", 300), "elements are nested more than 200 deep"},
		"broken JSON":      {`{"stats": `, "it ends in the middle"},
		"deep JSON":        {`{"stats": ` + strings.Repeat("[", 20000), "exceeded max depth"},
		"compressed":       {"\x1f\x8b\x08\x00", "compressed (gzip)"},
		"too large":        {strings.Repeat(" ", document.MaxSize+1), "larger than 64 MiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := Parse(strings.NewReader(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v, want %s", list, err, test.want)
			}
		})
	}
}

// TestCostOfGoTest reads two reports that took hours when the cost grew with the square of a name's depth, or with the
// failed tests times the lines of their package.
func TestCostOfGoTest(t *testing.T) {
	deep := `{"Action":"run","Package":"p","Test":"T` + strings.Repeat("/", 8<<20) + `"}`
	if list, err := parseGoTest([]byte(deep)); err != nil || len(list) != 2 {
		t.Errorf("deep name: %d cases, %v", len(list), err)
	}
	var wide strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&wide, `{"Action":"output","Package":"p","Output":"line %d of the package\n"}`+"\n", i)
		fmt.Fprintf(&wide, `{"Action":"run","Package":"p","Test":"T%d"}`+"\n"+`{"Action":"fail","Package":"p","Test":"T%d"}`+"\n", i, i)
	}
	wide.WriteString(`{"Action":"fail","Package":"p"}`)
	if list, err := parseGoTest([]byte(wide.String())); err != nil || len(list) != 50_000 {
		t.Errorf("many tests: %d cases, %v", len(list), err)
	}
}

func TestNoColourCodes(t *testing.T) {
	data, err := os.Open("testdata/junit-escape-code.xml")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = data.Close() }()
	cases, err := Parse(data)
	if err != nil || len(cases) != 2 || cases[1].Trace != "expected 2" {
		t.Errorf("got %+v, %v", cases, err)
	}
}

// TestTook reads how long tests took in each format that says it.
func TestTook(t *testing.T) {
	for name, text := range map[string]string{
		"junit":           `<testsuite><testcase name="a" time="1.5"/><testcase name="b" time="1,200.25"/><testcase name="c" time="NaN"/><testcase name="d"/></testsuite>`,
		"mocha":           `{"stats": {}, "passes": [{"fullTitle": "a", "duration": 1500}, {"fullTitle": "b", "duration": 1200250}, {"fullTitle": "c", "duration": -1}, {"fullTitle": "d"}], "failures": []}`,
		"jest":            `{"numTotalTestSuites": 1, "testResults": [{"assertionResults": [{"fullName": "a", "status": "passed", "duration": 1500}, {"fullName": "b", "status": "passed", "duration": 1200250}, {"fullName": "c", "status": "passed", "duration": null}, {"fullName": "d", "status": "passed"}]}]}`,
		"go test, events": `{"Action":"run","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.5}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestB","Elapsed":1200.25}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestC","Elapsed":0}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestD"}` + "\n" + `{"Action":"pass","Package":"p","Elapsed":1300}`,
	} {
		cases, err := Parse(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []time.Duration
		for _, c := range cases {
			got = append(got, c.Took)
		}
		if want := []time.Duration{1500 * time.Millisecond, 1200250 * time.Millisecond, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
