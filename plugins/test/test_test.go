package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

func TestMain(m *testing.M) {
	proc.Main()
	m.Run()
}

func TestCheck(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"whole":           {body: "command = [\"npm\", \"test\"]\nreports {\n  junit = \"reports/**/*.xml\"\n  coverage = \"c.json\"\n}\nrequire {\n  statements = 70\n  branches = 0\n}"},
		"no command":      {body: ``, want: `needs the argument "command"`},
		"empty command":   {body: `command = []`, want: "want a command, got an empty list"},
		"too much":        {body: "command = [\"a\"]\nreports {\n  coverage = \"c\"\n}\nrequire {\n  lines = 101\n}", want: `pipeline.hcl:6,3-14: Invalid test stage; want 0 to 100 per cent, got 101`},
		"outside":         {body: "command = [\"a\"]\nreports {\n  tap = \"../x.tap\"\n}", want: `pipeline.hcl:3,3-19: Invalid test stage; want a path or a pattern inside the source, got "../x.tap"`},
		"cached report":   {body: "command = [\"a\"]\nreports {\n  junit = \"cache/all.xml\"\n}\ncache {\n  paths = [\"cache\"]\n  key = \"1\"\n}", want: `pipeline.hcl:3,3-26: Invalid test stage; "cache/all.xml" is in a folder of the cache; a report must be of its own commit`},
		"nothing to hold": {body: "command = [\"a\"]\nrequire {\n  lines = 10\n}", want: "no coverage report to compare with"},
		"no coverage":     {body: "command = [\"a\"]\nreports {\n  tap = \"a\"\n}\nrequire {\n  lines = 10\n}", want: "pipeline.hcl:2,1-8: Invalid test stage; require needs a coverage report"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := sdktest.Check(t, stage, test.body)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("unexpected: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// project is a workspace with the sources that the recorded reports speak of. The command `sh put.sh FROM TO …`
// writes recorded reports, as the tools would have written them here.
func project(t *testing.T) sdktest.Options {
	t.Helper()
	dir := t.TempDir()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	put := fmt.Sprintf("mkdir -p reports\nwhile [ $# -gt 1 ]; do sed \"s#WORKSPACE#$PWD#g\" %s/${1%%%%/*}/testdata/${1#*/} > reports/$2; shift 2; done\n", here)
	for name, text := range map[string]string{
		"put.sh": put, "test/price.test.js": "", "lib/price.js": "", "node.test.mjs": "", "node_modules/mocha/lib/mocha.js": "",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	return sdktest.Options{Info: sdk.RunInfo{Workspace: dir, StateDir: t.TempDir()}}
}

func TestFailingTestsAreNamed(t *testing.T) {
	tests := map[string]struct {
		report   string
		findings []string
	}{
		"xunit": {"results/mocha-xunit.xml", []string{
			"test/price.test.js:10 discount never pays you: Expected values to be strictly equal: 0 !== 1",
			"test/price.test.js:14 discount refuses more than everything: more than everything",
		}},
		"mocha": {"results/mocha.json", []string{
			"test/price.test.js:10 discount never pays you: Expected values to be strictly equal: 0 !== 1",
			"test/price.test.js:14 discount refuses more than everything: more than everything",
		}},
		"tap without files": {"results/mocha.tap", []string{
			"test/price.test.js:10 discount never pays you: Expected values to be strictly equal: 0 !== 1",
			"lib/price.js:3 discount refuses more than everything: more than everything",
		}},
		"node's tap":   {"results/node.tap", []string{"node.test.mjs:6 outer inner fails: Expected values to be strictly equal: 0 !== 1"}},
		"node's junit": {"results/node-junit.xml", []string{"node.test.mjs:6 test inner fails: Expected values to be strictly equal:0 !== 1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := project(t)
			r := sdktest.Run(t, stage, `
				command = ["sh", "-c", "sh put.sh `+test.report+` r.out; exit 2"]
				reports { junit = "reports/*.out" }`, o)
			var got []string
			for _, f := range r.Findings {
				got = append(got, fmt.Sprintf("%s:%d %s", f.Path, f.Line, f.Message))
			}
			if !slices.Equal(got, test.findings) {
				t.Errorf("findings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.findings, "\n"))
			}
			place, message, _ := strings.Cut(test.findings[0], " ")
			failure := (*sdktest.Failure)(nil)
			if !errors.As(r.Err, &failure) || !strings.Contains(r.Err.Error(), "tests failed: "+place+": "+message) {
				t.Errorf("verdict %v", r.Err)
			}
			if r.Outputs["failures"] != float64(len(got)) {
				t.Errorf("outputs %v", r.Outputs)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	const junit = "\nreports { junit = \"reports/r.xml\" }"
	const covered = "\nreports { coverage = \"reports/c\" }\n"
	tests := map[string]struct{ body, want string }{
		"passes":               {`command = ["true"]`, ""},
		"fails, no report":     {`command = ["sh", "-c", "echo one >&2; echo cannot find module >&2; exit 1"]`, "cannot find module (sh -c echo one >&2; echo cannot find module >&2; exit 1: exit status 1)"},
		"report is missing":    {`command = ["true"]` + junit, "the command wrote no reports/r.xml"},
		"fails before reports": {`command = ["sh", "-c", "echo syntax error; exit 1"]` + junit, "syntax error (sh -c echo syntax error; exit 1: exit status 1)"},
		"no tests":             {`command = ["sh", "-c", "mkdir reports; echo '<testsuites/>' > reports/r.xml"]` + junit, "reports/r.xml names no test that ran"},
		"no tests, allowed":    {"allow_empty = true\ncommand = [\"sh\", \"-c\", \"mkdir reports; echo '<testsuites/>' > reports/r.xml\"]" + junit, ""},
		"all passed, status 1": {`command = ["sh", "-c", "mkdir reports; echo '<testsuite><testcase name=\"a\"/></testsuite>' > reports/r.xml; echo leaked handle; exit 1"]` + junit, "leaked handle (sh -c"},
		"failed, status 0":     {`command = ["sh", "-c", "mkdir reports; echo '<testsuite><testcase name=\"a\"><failure message=\"no\"/></testcase></testsuite>' > reports/r.xml"]` + junit, "1 of 1 tests failed: a: no"},
		"no report format":     {`command = ["sh", "-c", "mkdir reports; echo hello > reports/r.xml"]` + junit, "report reports/r.xml cannot be read: neither JUnit XML, TAP, Mocha JSON, Jest JSON nor go test -json: it begins with \"hello\""},
		"no program":           {`command = ["no-such-program"]`, "no-such-program"},
		"one of two missing":   {`command = ["sh", "-c", "mkdir reports; echo '<testsuite><testcase name=\"a\"/></testsuite>' > reports/r.xml"]` + "\nreports {\n junit = \"reports/r.xml\"\n tap = \"reports/r.tap\"\n}", "the command wrote no reports/r.tap"},
		"one of two empty":     {`command = ["sh", "-c", "mkdir reports; echo '<testsuite><testcase name=\"a\"/></testsuite>' > reports/r.xml; echo 1..0 > reports/r.tap"]` + "\nreports {\n junit = \"reports/r.xml\"\n tap = \"reports/r.tap\"\n}", "reports/r.tap names no test that ran"},
		"all skipped":          {`command = ["sh", "-c", "printf '1..1\\nok 1 - a # SKIP\\n'"]` + "\nreports { tap = \"-\" }", "- names no test that ran"},
		"half a report":        {`command = ["sh", "-c", "mkdir reports; echo '<testsuite>' > reports/r.xml; echo Killed; exit 137"]` + junit, "Killed (sh -c"},
		"standard output":      {`command = ["sh", "-c", "echo started; printf '1..2\\nok 1 - a\\nnot ok 2 - b\\n'"]` + "\nreports { tap = \"-\" }", "1 of 2 tests failed: b"},
		"nothing printed":      {`command = ["true"]` + "\nreports { tap = \"-\" }", "the command wrote nothing to standard output"},
		"log without a report": {`command = ["sh", "-c", "printf 'not ok 1 - adds\\n  ---\\n  location: %s/lib/price.js:3:1\\n  error: no\\n' $PWD; echo '# todo 0'; exit 1"]`, "/lib/price.js:3: adds: no (sh -c"},
		"covers no file":       {`command = ["sh", "-c", "mkdir reports; echo 'mode: set' > reports/c"]` + covered + "require { lines = 1 }", "the coverage report reports/c names no file"},
		"covered":              {`command = ["sh", "put.sh", "coverage/coverage-summary.json", "c"]` + covered + "require {\n statements = 100\n branches = 83.3\n}", ""},
		"not covered":          {`command = ["sh", "put.sh", "coverage/coverage-summary.json", "c"]` + covered + "require { branches = 83.34 }", "coverage of branches is 83.33 %, required 83.34 %"},
		"not counted":          {`command = ["sh", "put.sh", "coverage/lcov.info", "c"]` + covered + "require { statements = 10 }", "statements: not counted by the coverage report, required 10 %"},
		"no coverage":          {`command = ["true"]` + covered, "the command wrote no reports/c"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := sdktest.Run(t, stage, test.body, project(t))
			switch {
			case test.want == "" && r.Err != nil:
				t.Errorf("unexpected: %v", r.Err)
			case test.want != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), test.want)):
				t.Errorf("got %v, want %s", r.Err, test.want)
			}
		})
	}
}

// TestCoverageBesideFailures: the coverage of a suite with failed tests is shown, and is no gate then.
func TestCoverageBesideFailures(t *testing.T) {
	for name, end := range map[string]string{"a report": "exit 0", "no report": "rm reports/r; exit 1"} {
		r := sdktest.Run(t, stage, `
			command = ["sh", "-c", "sh put.sh results/mocha.json r coverage/coverage-summary.json c; `+end+`"]
			reports {
				mocha    = "reports/r"
				coverage = "reports/c"
			}
			require { branches = 99 }`, project(t))
		if r.Err == nil || strings.Contains(r.Err.Error(), "required") {
			t.Errorf("%s: verdict %v", name, r.Err)
		}
		found := slices.ContainsFunc(r.Metrics, func(m sdk.Metric) bool { return m.Name == "coverage of branches" && m.Value > 83 && m.Limit == nil })
		if !found {
			t.Errorf("%s: metrics %v", name, r.Metrics)
		}
	}
}

// TestRecordedReports judges reports of all kinds as the whole stage does.
func TestRecordedReports(t *testing.T) {
	tests := map[string]struct {
		status int
		want   string // empty: passes
		tests  float64
	}{
		"junit-two-roots.xml":                {0, "1 of 2 tests failed: div.test.js:7: divides: boom", 2},
		"junit-escape-code.xml":              {1, "1 of 2 tests failed: prints: not equal", 2},
		"junit-ascii-declared.xml":           {0, "", 1},
		"junit-latin1.xml":                   {0, "", 1},
		"junit-xml11.xml":                    {0, "", 1},
		"junit-suite-counts-only.xml":        {0, "3 of 3 tests failed: broken set-up: the suite counts 2 failures and 1 error, and names none", 3},
		"junit-skipped-and-failed.xml":       {0, "1 of 1 tests failed: odd: boom", 1},
		"junit-escape-reference.xml":         {0, "1 of 2 tests failed: test/colour.test.js:9: colour bright: expected 3", 2},
		"junit-three-declared-documents.xml": {0, "1 of 3 tests failed: test/orders.test.js:22: orders cancels: no such order", 3},
		"junit-windows-1252.xml":             {0, "", 1},
		"tap-no-plan.tap":                    {0, "1 of 3 tests failed: plan: no plan (1..N) was reported; the run may have ended early", 3},
		"tap-words-like-ok.tap":              {0, "", 1},
		"tap-plan-at-the-end.tap":            {0, "", 2},
		"tap-plan-in-subtest-only.tap":       {0, "plan: no plan (1..N) was reported", 3},
		"phpunit.xml":                        {1, "1 of 1 tests failed: tests/CartTest.php:11: CartTest testAddsUp: ", 1}, // not where the test begins
		"tap-place-in-words.tap":             {0, "1 of 2 tests failed: test.sh:12: adds up: ", 2},
		"jest.json":                          {1, "2 of 3 tests failed: test/cart.test.js:5: cart empties: Error: expect(received).toBe(expected)", 3},
		"mocha-after-banner.json":            {1, "1 of 2 tests failed: test/cart.test.js:12: cart empties: expected 0 to equal 1", 2},
		"mocha-after-banner-all-passed.json": {0, "", 2},
		"go-test.json":                       {1, "2 of 3 tests failed: price/price_test.go:21: TestSum/empty: got 1, want 0 (and 1 more)", 3},
		"go-test-panic-and-interleaved.json": {1, "3 of 6 tests failed: price/price_test.go:21: TestSum/empty: Sum() = 1, want 0 (and 2 more)", 6},
		"pytest-setup-error-and-xfail.xml":   {1, `3 of 4 tests failed: tests/test_cart.py:12: tests.test_cart test_order: failed on setup with "ConnectionError: no database" (and 2 more)`, 4},
	}
	places := map[string][]string{
		"jest.json":                          {"test/cart.test.js:5", "test/broken.test.js:1"},
		"go-test-panic-and-interleaved.json": {"price/price_test.go:21", "stock/stock.go:14", "cart/cart_test.go:9"},
		"pytest-setup-error-and-xfail.xml":   {"tests/test_cart.py:12", "tests/test_cart.py:27", ":0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := project(t)
			for _, file := range []string{
				"div.test.js", "test/broken.test.js", "tests/CartTest.php", "test.sh", "test/colour.test.js", "test/orders.test.js", "test/cart.test.js", "tests/test_cart.py",
				"price/price_test.go", "cart/cart_test.go", "stock/stock.go", "stock/stock_test.go",
			} {
				write(t, filepath.Join(o.Info.Workspace, file), "")
			}
			r := sdktest.Run(t, stage, fmt.Sprintf("command = [\"sh\", \"-c\", \"sh put.sh results/%s r; exit %d\"]\nreports { junit = \"reports/r\" }", name, test.status), o)
			if got := fmt.Sprint(r.Err); test.want == "" && r.Err != nil || !strings.Contains(got, test.want) {
				t.Errorf("got  %v\nwant %s", r.Err, test.want)
			}
			if r.Outputs["tests"] != test.tests {
				t.Errorf("%v tests, want %v", r.Outputs["tests"], test.tests)
			}
			if name == "junit-escape-reference.xml" {
				i := slices.IndexFunc(r.Metrics, func(m sdk.Metric) bool { return m.Name == "slowest test" })
				if i < 0 || r.Metrics[i].Value != 0.004 || r.Metrics[i].Detail != "colour bright (0.004 s), colour plain (0.002 s)" {
					t.Errorf("the slowest tests: %v", r.Metrics)
				}
			}
			var got []string
			for _, f := range r.Findings {
				got = append(got, fmt.Sprintf("%s:%d", f.Path, f.Line))
			}
			if want := places[name]; want != nil && !slices.Equal(got, want) {
				t.Errorf("places %v, want %v", got, want)
			}
		})
	}
}

// TestGoTest runs go itself: its events are the report, and its log reads as without -json.
func TestGoTest(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "svc/go.mod"), "module example.com/shop\n\ngo 1.24\n")
	write(t, filepath.Join(dir, "svc/price/price_test.go"), "package price\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tt.Run(\"empty\", func(t *testing.T) {\n\t\tt.Log(\"begins\")\n\t\tt.Errorf(\"got 1, want 0\")\n\t})\n}\n\nfunc TestTax(t *testing.T) {}\n")
	write(t, filepath.Join(dir, "svc/cart/cart_test.go"), "package cart\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { Empty() }\n")
	o := sdktest.Options{Info: sdk.RunInfo{Workspace: dir, StateDir: t.TempDir()}}
	r := sdktest.Run(t, stage, "command = [\"go\", \"test\", \"-json\", \"./...\"]\ndir = \"svc\"\nreports { go = \"-\" }", o)
	if want := "2 of 3 tests failed: svc/price/price_test.go:8: TestSum/empty: got 1, want 0 (and 1 more)"; r.Err == nil || r.Err.Error() != want {
		t.Errorf("got  %v\nwant %s", r.Err, want)
	}
	if want := (sdk.Finding{Path: "svc/cart/cart_test.go", Line: 5, Severity: "error", Rule: "test", Message: "example.com/shop/cart: does not build: undefined: Empty"}); len(r.Findings) != 2 || r.Findings[1] != want {
		t.Errorf("findings %v", r.Findings)
	}
	log := strings.Join(r.Logs, "\n")
	for _, want := range []string{"price_test.go:8: got 1, want 0", "example.com/shop/price: 1 passed, 1 failed, 0 skipped", "example.com/shop/cart: 0 passed, 1 failed"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log, `"Action"`) || strings.Contains(log, "=== RUN") {
		t.Errorf("events in the log:\n%s", log)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReportsAreReadWithinBounds: a command may leave anything where its report should be.
func TestReportsAreReadWithinBounds(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "r.xml")
	write(t, outside, `<testsuite><testcase name="a"/></testsuite>`)
	tests := map[string]struct {
		make, want string
	}{
		"pipe":               {"mkfifo r.xml", "it is a named pipe, not a file"},
		"link to a pipe":     {"mkfifo p; ln -s p r.xml", "it is a named pipe, not a file"},
		"link to a device":   {"ln -s /dev/zero r.xml", "it is a link to /dev/zero, outside of the workspace"},
		"link to a link":     {"ln -s /dev/zero p; ln -s p r.xml", "outside of the workspace"},
		"link outside":       {"ln -s " + outside + " r.xml", "outside of the workspace"},
		"two gigabytes":      {"truncate -s 2G r.xml", "it is larger than 64 MiB"},
		"broken link":        {"ln -s nowhere r.xml", "the command wrote no reports/r.xml"},
		"link to itself":     {"ln -s r.xml r.xml", "the command wrote no reports/r.xml"},
		"folder":             {"mkdir r.xml", "the command wrote no reports/r.xml"},
		"link to a folder":   {"mkdir p; ln -s p r.xml", "the command wrote no reports/r.xml"},
		"compressed":         {"echo | gzip > r.xml", "compressed (gzip)"},
		"empty":              {": > r.xml", "the file is empty"},
		"link in the source": {"mkdir -p ../real; echo \\\"<testsuite><testcase name='a'/></testsuite>\\\" > ../real/r.xml; ln -s ../real/r.xml r.xml", ""},
		"absolute link":      {"echo \\\"<testsuite><testcase name='a'/></testsuite>\\\" > q; ln -s $PWD/q r.xml", ""},
	}
	for name, test := range tests {
		for _, pattern := range []string{"reports/r.xml", "reports/r.*"} {
			t.Run(name+" "+pattern, func(t *testing.T) {
				r := sdktest.Run(t, stage, `command = ["sh", "-c", "mkdir reports; cd reports; `+test.make+`"]`+"\nreports { junit = \""+pattern+"\" }", project(t))
				want := strings.ReplaceAll(test.want, "no reports/r.xml", "no "+pattern)
				if strings.Contains(pattern, "*") && strings.HasPrefix(test.make, "ln -s nowhere") {
					want = "report reports/r.xml cannot be read: no such file or directory"
				} else if strings.Contains(pattern, "*") && strings.Contains(test.make, "ln -s r.xml") {
					want = "report reports/r.xml cannot be read: too many levels of symbolic links"
				} else if strings.Contains(pattern, "*") && strings.Contains(test.make, "mkdir p") {
					want = "report reports/r.xml cannot be read: it is a folder"
				}
				if got := fmt.Sprint(r.Err); want == "" && r.Err != nil || !strings.Contains(got, want) {
					t.Errorf("got %v, want %s", r.Err, want)
				}
			})
		}
	}
}

func TestStaleReportsDoNotCount(t *testing.T) {
	o := project(t)
	reports := filepath.Join(o.Info.Workspace, "reports")
	if err := os.Mkdir(reports, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(reports, "r.xml"), []byte(`<testsuite><testcase name="old"/></testsuite>`), 0o644); err != nil {
		t.Fatal(err)
	}
	body := `command = ["sh", "-c", "%s"]` + "\nreports { junit = \"./reports/r.xml\" }"
	if r := sdktest.Run(t, stage, fmt.Sprintf(body, "true"), o); r.Err == nil || !strings.Contains(r.Err.Error(), "there before does not count") {
		t.Errorf("a report of another run was read: %v", r.Err)
	}
	if r := sdktest.Run(t, stage, fmt.Sprintf(body, "cat reports/r.xml > new; cat new > reports/r.xml"), o); r.Err != nil {
		t.Errorf("a report that was written again: %v", r.Err)
	}
}

func TestCoverageIsReported(t *testing.T) {
	o := project(t)
	body := `command = ["sh", "put.sh", "coverage/coverage-summary.json", "c"]` + "\nreports { coverage = \"reports/c\" }\nrequire { branches = 90 }"
	r := sdktest.Run(t, stage, body, o)
	if want := (sdk.Finding{Path: "lib/price.js", Severity: "error", Rule: "coverage", Message: "5 of 6 branches are covered (83.33 %)"}); len(r.Findings) != 1 || r.Findings[0] != want {
		t.Errorf("findings %v, want %v", r.Findings, want)
	}
	if r.Outputs["coverage"] != 100.0 {
		t.Errorf("outputs %v", r.Outputs)
	}
	if m := metric(r, "coverage of branches"); m == nil || m.Limit == nil || *m.Limit != 90 || m.Unit != "%" {
		t.Errorf("metrics %v", r.Metrics)
	}
	if m := metric(r, "change of branches"); m != nil {
		t.Errorf("the first run has a change: %v", m)
	}

	body = `command = ["sh", "-c", "mkdir -p reports; printf 'SF:lib/price.js\\nBRDA:1,0,0,1\\nDA:1,1\\nend_of_record\\n' > reports/c"]` + "\nreports { coverage = \"reports/c\" }"
	r = sdktest.Run(t, stage, body, o)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if m := metric(r, "change of branches"); m == nil || m.Value < 16.66 || m.Value > 16.67 {
		t.Errorf("metrics of the second run: %v", r.Metrics)
	}
}

func metric(r sdktest.Result, name string) *sdk.Metric {
	for i := range r.Metrics {
		if r.Metrics[i].Name == name {
			return &r.Metrics[i]
		}
	}
	return nil
}

func TestPercentNeverRoundsUp(t *testing.T) {
	for v, want := range map[float64]string{69.999: "69.99", 70: "70", 63.2: "63.2", 100: "100", 0: "0"} {
		if got := percent(v); got != want {
			t.Errorf("percent(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Valid:   `command = ["sleep", "60"]`,
		Invalid: map[string]string{``: `needs the argument "command"`, `command = []`: "got an empty list"},
		Cancel:  true,
		Pass:    `command = ["true"]`,
		Flood:   `command = ["seq", "20000"]`,
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "test"), b) })
}
