package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/test/coverage"
)

var stage = sdk.Stage[config]{
	Name:         "test",
	Version:      "0.1.0",
	Summary:      "Runs a test suite and gates on its results and its coverage",
	Capabilities: []sdk.Capability{sdk.Workspace},
	Cacheable:    true,
	Outputs: []sdk.Output{
		{Name: "tests", Doc: "number of tests that ran, without skipped ones; only with a results report"},
		{Name: "failures", Doc: "number of tests that failed; only with a results report"},
		{Name: "coverage", Doc: "covered statements in per cent, lines where statements are not counted; only with a coverage report"},
	},
	Check: check,
	Run:   run,
	Actions: []sdk.Action[config]{{
		Name:    "generate",
		Summary: "Write property-based tests for the functions that a Node module exports",
		Args: []sdk.Arg{
			{Name: "module", Doc: "file of the module; types come from its JSDoc comments, values from its constants, regular expressions and the names of parameters (date, phone, path)", Required: true},
			{Name: "out", Doc: "file to write; default test/MODULE.property.test.js", Flag: true},
			{Name: "only", Doc: "names of functions, separated by commas, including those that use more than their arguments; default all others", Flag: true},
			{Name: "force", Doc: "overwrite an existing file", Flag: true, Default: "false"},
		},
		Run: generate,
	}},
}

type config struct {
	Command    []string          `hcl:"command" doc:"the test command, as a list of words; no shell is involved"`
	Dir        string            `hcl:"dir,optional" doc:"folder, relative to the source, where the command runs and from which reports are named"`
	Env        map[string]string `hcl:"env,optional" doc:"environment variables for the command"`
	AllowEmpty bool              `hcl:"allow_empty,optional" doc:"let a suite without a single test pass"`
	Reports    *reports          `hcl:"reports,block" doc:"the reports that the command writes; patterns with ** are allowed, the format is recognised by content. Each must be written by this run and name a test that ran"`
	Require    *require          `hcl:"require,block" doc:"the least coverage, in per cent; what the report does not count fails"`
}

type reports struct {
	JUnit    string `hcl:"junit,optional" doc:"JUnit or xunit XML; \"-\" in this and the next three is the command's standard output"`
	TAP      string `hcl:"tap,optional" doc:"Test Anything Protocol, versions 12 to 14"`
	Mocha    string `hcl:"mocha,optional" doc:"Mocha's JSON"`
	Go       string `hcl:"go,optional" doc:"events of go test -json"`
	Coverage string `hcl:"coverage,optional" doc:"coverage-summary.json or coverage-final.json of Istanbul, nyc or c8, lcov.info, Cobertura XML, Clover XML or a Go cover profile"`
}

type require struct {
	Statements *float64 `hcl:"statements,optional" doc:"of statements"`
	Branches   *float64 `hcl:"branches,optional" doc:"of branches"`
	Functions  *float64 `hcl:"functions,optional" doc:"of functions"`
	Lines      *float64 `hcl:"lines,optional" doc:"of lines"`
}

// standardOutput is the name of a report that the command prints.
const standardOutput = "-"

// limit returns the threshold for a kind, nil when there is none.
func (r *require) limit(kind coverage.Kind) *float64 {
	if r == nil {
		return nil
	}
	return map[coverage.Kind]*float64{
		coverage.Statements: r.Statements, coverage.Branches: r.Branches,
		coverage.Functions: r.Functions, coverage.Lines: r.Lines,
	}[kind]
}

// results are the patterns of the reports on tests.
func (r *reports) results() []string {
	if r == nil {
		return nil
	}
	var list []string
	for _, p := range []string{r.JUnit, r.TAP, r.Mocha, r.Go} {
		if p != "" {
			list = append(list, p)
		}
	}
	return list
}

func (r *reports) coverage() []string {
	if r == nil || r.Coverage == "" {
		return nil
	}
	return []string{r.Coverage}
}

func check(c *config) error {
	var errs []error
	if c.Command != nil && len(c.Command) == 0 {
		errs = append(errs, sdk.BadAttr("command", "want a command, got an empty list"))
	}
	if c.Dir != "" && !filepath.IsLocal(c.Dir) {
		errs = append(errs, sdk.BadAttr("dir", "want a folder inside the source, got %q", c.Dir))
	}
	if r := c.Reports; r != nil {
		for name, p := range map[string]string{"junit": r.JUnit, "tap": r.TAP, "mocha": r.Mocha, "go": r.Go, "coverage": r.Coverage} {
			if p == standardOutput && name != "coverage" {
				continue
			}
			if p != "" && (!filepath.IsLocal(p) || !doublestar.ValidatePattern(p)) {
				errs = append(errs, sdk.BadAttr("reports."+name, "want a path or a pattern inside the source, got %q", p))
			}
		}
	}
	limited := false
	for _, kind := range coverage.Kinds() {
		limit := c.Require.limit(kind)
		limited = limited || limit != nil
		if limit != nil && (*limit < 0 || *limit > 100) {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("require.%s", kind), "want 0 to 100 per cent, got %v", *limit))
		}
	}
	switch {
	case limited && c.Reports == nil:
		errs = append(errs, sdk.BadAttr("require", "no coverage report to compare with; name it in reports { coverage = … }"))
	case limited && c.Reports.Coverage == "":
		errs = append(errs, sdk.BadAttr("reports.coverage", "require needs a coverage report; name it here"))
	}
	return errors.Join(errs...)
}
