package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/test/coverage"
	"github.com/seed-b96de936/troop/plugins/test/results"
)

const (
	maxReport = 64 << 20 // bytes; a report beyond that is somebody's mistake
	worstFew  = 5        // files that are named when coverage is too low
)

// run executes the suite and judges it. Tests that failed come before coverage, which means little then; all
// figures are reported before the verdict.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	t := newTree(job.Info.Workspace, c.Dir)
	wanted := slices.Concat(c.Reports.results(), c.Reports.coverage())
	before, err := snapshot(t, wanted)
	if err != nil {
		return err
	}

	job.Logf("$ %s", strings.Join(c.Command, " "))
	exit, err := execute(ctx, c, job)
	if err != nil {
		return err
	}

	if err := judgeTests(c, job, t, before, exit); err != nil {
		return err
	}
	if exit != nil {
		return sdk.Failf("%s: %s: %s", strings.Join(c.Command, " "), exit.Text, lastWords(exit.Last))
	}
	return judgeCoverage(c, job, t, before)
}

// execute runs the command. That it ends with a status other than 0 is no error: the reports say why.
func execute(ctx context.Context, c *config, job *sdk.Job) (*sdk.ExitError, error) {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		env = append(env, name+"="+c.Env[name])
	}
	err := job.Exec(ctx, sdk.Command{Args: c.Command, Dir: filepath.Join(job.Info.Workspace, c.Dir), Env: env})
	if exit := (*sdk.ExitError)(nil); errors.As(err, &exit) {
		return exit, nil
	}
	return nil, err
}

func judgeTests(c *config, job *sdk.Job, t *tree, before map[string]fs.FileInfo, exit *sdk.ExitError) error {
	patterns := c.Reports.results()
	if len(patterns) == 0 {
		return nil
	}
	var cases []results.Case
	found, err := read(t, patterns, before, func(data []byte) error {
		list, err := results.Parse(data)
		cases = append(cases, list...)
		return err
	})
	if err != nil {
		return err
	}
	if found == 0 && exit == nil {
		return sdk.Failf("the command wrote no %s; a file that was there before does not count", strings.Join(patterns, ", "))
	}
	if found == 0 {
		return nil
	}

	var failed []results.Case
	skipped := 0
	for _, k := range cases {
		switch k.Status {
		case results.Failed:
			failed = append(failed, k)
		case results.Skipped:
			skipped++
		case results.Passed:
		}
	}
	ran := len(cases) - skipped
	job.Logf("%d tests: %d passed, %d failed, %d skipped", len(cases), ran-len(failed), len(failed), skipped)
	job.Metric(sdk.Metric{Name: "tests", Value: float64(ran)})
	none := 0.0
	job.Metric(sdk.Metric{Name: "failed tests", Value: float64(len(failed)), Limit: &none})
	job.Output("tests", ran)
	job.Output("failures", len(failed))

	if len(failed) > 0 {
		return report(job, t, failed, ran)
	}
	if ran == 0 && !c.AllowEmpty && exit == nil {
		return sdk.Failf("the suite has no test that ran; a gate that checks nothing is not a gate (allow_empty = true lets it pass)")
	}
	return nil
}

// report names each test that failed, and makes the verdict of the first.
func report(job *sdk.Job, t *tree, failed []results.Case, ran int) error {
	first := ""
	for _, k := range failed {
		path, line := t.locate(k)
		message := cut(k.Name+": "+k.Message, 500)
		job.Finding(sdk.Finding{Path: path, Line: line, Severity: "error", Rule: "test", Message: message})
		if first == "" {
			first = message
			if path != "" {
				first = path + ":" + strconv.Itoa(line) + ": " + message
			}
		}
	}
	more := ""
	if len(failed) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(failed)-1)
	}
	return sdk.Failf("%d of %d tests failed: %s%s", len(failed), ran, first, more)
}

func judgeCoverage(c *config, job *sdk.Job, t *tree, before map[string]fs.FileInfo) error {
	patterns := c.Reports.coverage()
	if len(patterns) == 0 {
		return nil
	}
	var all []coverage.Report
	found, err := read(t, patterns, before, func(data []byte) error {
		r, err := coverage.Parse(data)
		all = append(all, r)
		return err
	})
	if err != nil {
		return err
	}
	if found == 0 {
		return sdk.Failf("the command wrote no %s; a file that was there before does not count", patterns[0])
	}
	merged := coverage.Merge(all...)

	last, err := loadSummary(job.Info.StateDir)
	if err != nil {
		job.Warnf("what changed is not known: %v", err)
	}
	now := summary{}
	var reasons []string
	for _, kind := range coverage.Kinds() {
		limit := c.Require.limit(kind)
		total, known := merged.Total(kind)
		if !known {
			if limit != nil {
				reasons = append(reasons, fmt.Sprintf("the report does not count %s, required %s %%", kind, percent(*limit)))
			}
			continue
		}
		value := total.Percent()
		now[kind] = value
		job.Metric(sdk.Metric{Name: "coverage of " + string(kind), Value: value, Unit: "%", Limit: limit})
		if was, ok := last[kind]; ok && was != value {
			job.Metric(sdk.Metric{Name: "change of " + string(kind), Value: value - was, Unit: "points"})
			job.Logf("coverage of %s was %s %%, is %s %%", kind, percent(was), percent(value))
		}
		if limit != nil && value < *limit {
			reasons = append(reasons, fmt.Sprintf("coverage of %s is %s %%, required %s %%", kind, percent(value), percent(*limit)))
			nameLeast(job, t, merged, kind)
		}
	}
	for _, kind := range []coverage.Kind{coverage.Statements, coverage.Lines} {
		if value, ok := now[kind]; ok {
			job.Output("coverage", value)
			break
		}
	}
	if err := now.save(job.Info.StateDir); err != nil {
		job.Warnf("the next run will not know what changed: %v", err)
	}
	if len(reasons) > 0 {
		return sdk.Failf("%s", strings.Join(reasons, "; "))
	}
	return nil
}

func nameLeast(job *sdk.Job, t *tree, r coverage.Report, kind coverage.Kind) {
	for _, f := range r.Least(kind, worstFew) {
		path, ok := t.relative(f.Path)
		if !ok {
			path = f.Path
		}
		n := f.Counts[kind]
		job.Finding(sdk.Finding{
			Path: path, Line: f.Line, Severity: "error", Rule: "coverage",
			Message: fmt.Sprintf("%d of %d %s are covered (%s %%)", n.Covered, n.Total, kind, percent(n.Percent())),
		})
	}
}

// percent writes a percentage, rounded down: 69.99 must not read as 70 beside a limit of 70.
func percent(v float64) string {
	return strconv.FormatFloat(math.Floor(v*100+1e-9)/100, 'f', -1, 64)
}

// snapshot remembers the reports that are there before the command has run.
func snapshot(t *tree, patterns []string) (map[string]fs.FileInfo, error) {
	files := map[string]fs.FileInfo{}
	for _, p := range patterns {
		list, err := glob(t, p)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			if info, err := os.Stat(name); err == nil {
				files[name] = info
			}
		}
	}
	return files, nil
}

// read hands the content of each report that the command has written to parse, and returns how many there were.
func read(t *tree, patterns []string, before map[string]fs.FileInfo, parse func([]byte) error) (int, error) {
	n := 0
	seen := map[string]bool{}
	for _, p := range patterns {
		list, err := glob(t, p)
		if err != nil {
			return n, err
		}
		for _, name := range list {
			info, err := os.Stat(name)
			if err != nil {
				return n, fmt.Errorf("read report: %w", err)
			}
			if was := before[name]; seen[name] || was != nil && os.SameFile(was, info) && was.ModTime().Equal(info.ModTime()) {
				continue
			}
			seen[name] = true
			n++
			if err := readOne(name, info.Size(), parse); err != nil {
				rel, _ := t.relative(name)
				return n, sdk.Failf("report %s cannot be read: %v", rel, err)
			}
		}
	}
	return n, nil
}

func readOne(name string, size int64, parse func([]byte) error) error {
	if size > maxReport {
		return fmt.Errorf("it is larger than %d MiB", maxReport>>20)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return parse(data)
}

func glob(t *tree, pattern string) ([]string, error) {
	dir := filepath.Join(t.root, t.dir)
	list, err := doublestar.Glob(os.DirFS(dir), path.Clean(pattern), doublestar.WithFilesOnly())
	if err != nil {
		return nil, fmt.Errorf("find reports: %w", err)
	}
	slices.Sort(list)
	for i, name := range list {
		list[i] = filepath.Join(dir, name)
	}
	return list, nil
}

func lastWords(lines []string) string {
	var words []string
	for _, line := range slices.Backward(lines) {
		if s := strings.TrimSpace(line); s != "" {
			words = append(words, s)
		}
		if len(words) == 3 {
			break
		}
	}
	if len(words) == 0 {
		return "no output"
	}
	slices.Reverse(words)
	return strings.Join(words, " | ")
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
