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
		"nothing to hold": {body: "command = [\"a\"]\nrequire {\n  lines = 10\n}", want: "there is nothing to hold it against"},
		"no coverage":     {body: "command = [\"a\"]\nreports {\n  tap = \"a\"\n}\nrequire {\n  lines = 10\n}", want: "pipeline.hcl:2,1-8: Invalid test stage; require has nothing to hold against"},
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
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	put := fmt.Sprintf("mkdir -p reports\nwhile [ $# -gt 1 ]; do sed \"s#WORKSPACE#$PWD#g\" %s/$1 > reports/$2; shift 2; done\n", testdata)
	for name, text := range map[string]string{
		"put.sh": put, "test/price.test.js": "", "lib/price.js": "", "node.test.mjs": "", "node_modules/mocha/lib/mocha.js": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
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
			"test/price.test.js:14 discount refuses more than everything: more than everything RangeError: more than everything",
		}},
		"mocha": {"results/mocha.json", []string{
			"test/price.test.js:10 discount never pays you: Expected values to be strictly equal: 0 !== 1",
			"test/price.test.js:14 discount refuses more than everything: more than everything",
		}},
		"tap without files": {"results/mocha.tap", []string{
			"test/price.test.js:10 discount never pays you: Expected values to be strictly equal: 0 !== 1 AssertionError [ERR_ASSERTION]: Expected values to be strictly equal:",
			"lib/price.js:3 discount refuses more than everything: more than everything RangeError: more than everything",
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
		"fails, no report":     {`command = ["sh", "-c", "echo one >&2; echo cannot find module >&2; exit 1"]`, "exit status 1: one | cannot find module"},
		"report is missing":    {`command = ["true"]` + junit, "the command wrote no reports/r.xml"},
		"fails before reports": {`command = ["sh", "-c", "echo syntax error; exit 1"]` + junit, "exit status 1: syntax error"},
		"no tests":             {`command = ["sh", "-c", "mkdir reports; echo '<testsuites/>' > reports/r.xml"]` + junit, "no test that ran"},
		"no tests, allowed":    {"allow_empty = true\ncommand = [\"sh\", \"-c\", \"mkdir reports; echo '<testsuites/>' > reports/r.xml\"]" + junit, ""},
		"all passed, status 1": {`command = ["sh", "-c", "mkdir reports; echo '<testsuite><testcase name=\"a\"/></testsuite>' > reports/r.xml; echo leaked handle; exit 1"]` + junit, "exit status 1: leaked handle"},
		"failed, status 0":     {`command = ["sh", "-c", "mkdir reports; echo '<testsuite><testcase name=\"a\"><failure message=\"no\"/></testcase></testsuite>' > reports/r.xml"]` + junit, "1 of 1 tests failed: a: no"},
		"no report format":     {`command = ["sh", "-c", "mkdir reports; echo hello > reports/r.xml"]` + junit, "report reports/r.xml cannot be read: neither JUnit XML, TAP nor Mocha JSON"},
		"no program":           {`command = ["no-such-program"]`, "no-such-program"},
		"covered":              {`command = ["sh", "put.sh", "coverage/coverage-summary.json", "c"]` + covered + "require {\n statements = 100\n branches = 83.3\n}", ""},
		"not covered":          {`command = ["sh", "put.sh", "coverage/coverage-summary.json", "c"]` + covered + "require { branches = 83.34 }", "coverage of branches is 83.33 %, required 83.34 %"},
		"not counted":          {`command = ["sh", "put.sh", "coverage/lcov.info", "c"]` + covered + "require { statements = 10 }", "the report does not count statements, required 10 %"},
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
