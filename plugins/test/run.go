package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/cache"
	"github.com/seed-b96de936/troop/plugins/sdk/cause"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
	"github.com/seed-b96de936/troop/plugins/sdk/service"
	"github.com/seed-b96de936/troop/plugins/test/coverage"
	"github.com/seed-b96de936/troop/plugins/test/document"
	"github.com/seed-b96de936/troop/plugins/test/results"
)

const worstFew = 5 // files that are named when coverage is too low

// suite is one execution of the command.
type suite struct {
	config *config
	job    *sdk.Job
	tree   *tree
	before map[string]stamp // the reports from before the command
	exit   *sdk.ExitError   // nil: the status was 0

	mu     sync.Mutex // of what follows, while the command runs
	log    cause.Log
	stdout []byte // what a report on standard output has, up to one byte more than is read
}

// run executes the suite and judges it. Failed tests come before coverage, which means little then: it is shown and
// held against no limit. All figures are reported before the verdict. What the cache restores is there before the
// command, so that a report in it is no result of it.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	kept, err := cache.Open(c.Cache, job)
	if err != nil {
		return err
	}
	if err := kept.Restore(ctx, job); err != nil {
		return err
	}
	s := &suite{config: c, job: job, tree: newTree(job.Info.Workspace, c.Dir)}
	if s.before, err = snapshot(s.tree, slices.Concat(c.Reports.results(), c.Reports.coverage())); err != nil {
		return err
	}
	services, err := service.Start(ctx, job, c.Services)
	if err != nil {
		return err
	}
	err = s.execute(ctx, services)
	if err == nil {
		err = services.Explain(s.judge())
	}
	services.Stop()
	if err == nil {
		kept.Save(ctx, job)
	}
	return err
}

// judge is the verdict on what the command has left.
func (s *suite) judge() error {
	err := s.judgeTests()
	if err == nil && s.exit != nil {
		err = s.explain()
	}
	coverageErr := s.judgeCoverage(err == nil)
	if err == nil {
		err = coverageErr
	}
	return err
}

// execute runs the command. A status other than 0 is no error yet: the reports say why.
func (s *suite) execute(ctx context.Context, services *service.Group) error {
	c := s.config
	args, env, err := services.Command(c.Command, c.Env)
	if err != nil {
		return err
	}
	s.job.Logf("$ %s", strings.Join(args, " "))
	command := sdk.Command{Args: args, Dir: filepath.Join(s.job.Info.Workspace, c.Dir), Env: env, Line: s.line}
	out := &proc.Lines{Max: 1 << 20, Each: func(line string) { s.line(line, false) }}
	if slices.Contains(c.Reports.results(), standardOutput) {
		command.Stdout = writer(func(b []byte) {
			_, _ = out.Write(b)
			s.stdout = append(s.stdout, b[:min(len(b), document.MaxSize+1-len(s.stdout))]...)
		})
	}
	err = s.job.Exec(ctx, command)
	out.Flush()
	if errors.As(err, &s.exit) {
		return nil
	}
	return err
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// line logs a line of the command. Of an event of go test -json the log gets the text.
func (s *suite) line(line string, stderr bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Add(line)
	text, ok := results.GoOutput(line)
	switch {
	case ok && text == "":
	case stderr:
		s.job.Warnf("%s", text)
	default:
		s.job.Logf("%s", text)
	}
}

// explain is the verdict on a command that failed and left no report of a failed test: what its log says. A place
// in the workspace is a finding.
func (s *suite) explain() error {
	c := s.log.Find()
	if path, ok := s.tree.relative(c.File); c.File != "" && ok {
		message := strings.TrimPrefix(c.Test+": "+c.Text, ": ")
		s.job.Finding(sdk.Finding{Path: path, Line: c.Line, Severity: "error", Rule: "test", Message: message})
	}
	return sdk.Failf("%s", s.log.Reason(s.config.Command, s.exit.Text))
}

func (s *suite) judgeTests() error {
	patterns := s.config.Reports.results()
	if len(patterns) == 0 {
		return nil
	}
	var cases []results.Case
	var empty []string // expected reports that name no test that ran
	for _, p := range patterns {
		list, found, err := s.parse(p)
		switch {
		case err != nil && s.exit == nil:
			return err
		case err != nil:
			s.job.Warnf("%v", err) // how the command ended says more
		case !found && s.exit == nil:
			return notWritten(p)
		case !slices.ContainsFunc(list, func(c results.Case) bool { return c.Status != results.Skipped }):
			empty = append(empty, p)
		}
		cases = append(cases, list...)
	}
	failed, ran := s.count(cases)
	if len(failed) > 0 {
		return s.report(failed, ran)
	}
	if len(empty) > 0 && s.exit == nil && !s.config.AllowEmpty {
		return sdk.Failf("%s names no test that ran; a gate that checks nothing is not a gate (allow_empty = true lets it pass)", strings.Join(empty, ", "))
	}
	return nil
}

// parse reads the reports of a pattern. found is false when the command has written none.
func (s *suite) parse(pattern string) (cases []results.Case, found bool, err error) {
	if pattern == standardOutput {
		if len(s.stdout) == 0 {
			return nil, false, nil
		}
		cases, err = results.Parse(strings.NewReader(string(s.stdout)))
		if err != nil {
			err = sdk.Failf("the report on standard output cannot be read: %v", err)
		}
		return cases, true, err
	}
	err = readNew(s.tree, pattern, s.before, func(r *reportFile) error {
		found = true
		list, err := results.Parse(r)
		cases = append(cases, list...)
		return err
	})
	return cases, found, err
}

// count reports the figures, in the log also by package.
func (s *suite) count(cases []results.Case) (failed []results.Case, ran int) {
	type sums struct{ passed, failed, skipped int }
	var total sums
	packages := map[string]*sums{}
	for _, k := range cases {
		p := packages[k.Package]
		if p == nil {
			p = &sums{}
			packages[k.Package] = p
		}
		for _, to := range []*sums{p, &total} {
			switch k.Status {
			case results.Passed:
				to.passed += k.Tests()
			case results.Failed:
				to.failed += k.Tests()
			case results.Skipped:
				to.skipped += k.Tests()
			}
		}
		if k.Status == results.Failed {
			failed = append(failed, k)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if p := packages[name]; name != "" {
			s.job.Logf("%s: %d passed, %d failed, %d skipped", name, p.passed, p.failed, p.skipped)
		}
	}
	ran = total.passed + total.failed
	s.job.Logf("%d tests: %d passed, %d failed, %d skipped", ran+total.skipped, total.passed, total.failed, total.skipped)
	s.job.Metric(sdk.Metric{Name: "tests", Value: float64(ran)})
	none := 0.0
	s.job.Metric(sdk.Metric{Name: "failed tests", Value: float64(total.failed), Limit: &none})
	s.slowest(cases)
	s.job.Output("tests", ran)
	s.job.Output("failures", total.failed)
	return failed, ran
}

// slowest reports the tests that took longest, if the report says how long.
func (s *suite) slowest(cases []results.Case) {
	list := slices.Clone(cases)
	slices.SortStableFunc(list, func(a, b results.Case) int { return cmp.Compare(b.Took, a.Took) })
	var names []string
	for _, k := range list[:min(3, len(list))] {
		if k.Took > 0 {
			names = append(names, fmt.Sprintf("%s (%.3g s)", k.Name, k.Took.Seconds()))
		}
	}
	if len(names) > 0 {
		s.job.Metric(sdk.Metric{Name: "slowest test", Value: list[0].Took.Seconds(), Unit: "s", Detail: strings.Join(names, ", ")})
	}
}

// report names each failed test, and makes the verdict of the first.
func (s *suite) report(failed []results.Case, ran int) error {
	first, count := "", 0
	for _, k := range failed {
		path, line := s.tree.locate(k)
		why := cause.Cause{Test: k.Name, Text: k.Message}
		message := why.String()
		s.job.Finding(sdk.Finding{Path: path, Line: line, Severity: "error", Rule: "test", Message: message})
		if count == 0 {
			why.File, why.Line = path, line
			first = why.String()
		}
		count += k.Tests()
	}
	more := ""
	if len(failed) > 1 {
		more = fmt.Sprintf(" (and %d more)", count-failed[0].Tests())
	}
	return sdk.Failf("%d of %d tests failed: %s%s", count, ran, first, more)
}

func notWritten(pattern string) error {
	if pattern == standardOutput {
		return sdk.Failf("the command wrote nothing to standard output")
	}
	return sdk.Failf("the command wrote no %s; a file that was there before does not count", pattern)
}

// judgeCoverage reports the coverage and compares it with the limits. When tests have failed, which is not gate, it only
// reports what there is.
func (s *suite) judgeCoverage(gate bool) error {
	patterns := s.config.Reports.coverage()
	if len(patterns) == 0 {
		return nil
	}
	var all []coverage.Report
	err := readNew(s.tree, patterns[0], s.before, func(f *reportFile) error {
		r, err := coverage.Parse(f)
		all = append(all, r)
		return err
	})
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return notWritten(patterns[0])
	}
	merged := coverage.Merge(all...)
	if len(merged) == 0 && s.config.Require != nil && gate {
		return sdk.Failf("the coverage report %s names no file", patterns[0])
	}

	last, err := loadSummary(s.job.Info.StateDir)
	if err != nil {
		s.job.Warnf("cannot compare with the last run: %v", err)
	}
	now := summary{}
	var reasons []string
	for _, kind := range coverage.Kinds() {
		limit := s.config.Require.limit(kind)
		if !gate {
			limit = nil
		}
		total, known := merged.Total(kind)
		if !known {
			s.job.Logf("coverage of %s: not counted by the report", kind)
			if limit != nil {
				reasons = append(reasons, fmt.Sprintf("%s: not counted by the coverage report, required %s %%", kind, percent(*limit)))
			}
			continue
		}
		value := total.Percent()
		now[kind] = value
		s.job.Metric(sdk.Metric{Name: "coverage of " + string(kind), Value: value, Unit: "%", Limit: limit})
		if was, ok := last[kind]; ok && was != value {
			s.job.Metric(sdk.Metric{Name: "change of " + string(kind), Value: value - was, Unit: "points"})
			s.job.Logf("coverage of %s was %s %%, is %s %%", kind, percent(was), percent(value))
		}
		if limit != nil && value < *limit {
			reasons = append(reasons, fmt.Sprintf("coverage of %s is %s %%, required %s %%", kind, percent(value), percent(*limit)))
			s.nameLeast(merged, kind)
		}
	}
	for _, kind := range []coverage.Kind{coverage.Statements, coverage.Lines} {
		if value, ok := now[kind]; ok {
			s.job.Output("coverage", value)
			break
		}
	}
	if !gate {
		return nil // the next run compares itself with a suite that passed
	}
	if err := now.save(s.job.Info.StateDir); err != nil {
		s.job.Warnf("the next run cannot compare with this one: %v", err)
	}
	if len(reasons) > 0 {
		return sdk.Failf("%s", strings.Join(reasons, "; "))
	}
	return nil
}

func (s *suite) nameLeast(r coverage.Report, kind coverage.Kind) {
	for _, f := range r.Least(kind, worstFew) {
		path, ok := s.tree.relative(f.Path)
		if !ok {
			path = f.Path
		}
		n, _ := f.Count(kind)
		s.job.Finding(sdk.Finding{
			Path: path, Line: f.FirstMissed(), Severity: "error", Rule: "coverage",
			Message: fmt.Sprintf("%d of %d %s are covered (%s %%)", n.Covered, n.Total, kind, percent(n.Percent())),
		})
	}
}

// percent writes a percentage, rounded down: 69.99 must not read as 70 beside a limit of 70.
func percent(v float64) string {
	return strconv.FormatFloat(math.Floor(v*100+1e-9)/100, 'f', -1, 64)
}
