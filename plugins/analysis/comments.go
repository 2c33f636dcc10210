package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-b96de936/troop/plugins/analysis/comments"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// worstFew is how many files are named when the ratio of all together is out of bounds.
const worstFew = 10

type measured struct {
	path  string
	count comments.Count
}

func (g *commentGate) judge(job *sdk.Job, files []string) (verdict, error) {
	var list []measured
	var total comments.Count
	for _, path := range files {
		known, source := comments.Known(path)
		if !known || len(g.Files) == 0 && !source || len(g.Files) > 0 && !matches(g.Files, path) || matches(g.Exclude, path) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(job.Info.Workspace, path))
		if err != nil {
			return verdict{}, fmt.Errorf("measure comments: %w", err)
		}
		count, _ := comments.Of(path, text)
		if count.Lines == 0 || strings.Contains(string(text[:min(len(text), 2000)]), "Code generated ") {
			continue
		}
		list = append(list, measured{path, count})
		total = total.Add(count)
	}
	if len(list) == 0 {
		return verdict{reason: "comments: no file of a known language was found to measure"}, nil
	}

	job.Logf("comments: %d of %d lines in %s (%s)", total.Comment, total.Lines, plural(len(list), "file"), ratio(total))
	limit := g.Min
	if total.Ratio() > g.Max {
		limit = g.Max
	}
	job.Metric(sdk.Metric{Name: "comment ratio", Value: total.Ratio(), Limit: &limit})
	job.Output("comment_ratio", total.Ratio())
	if g.PerFile {
		return g.judgeEach(job, list)
	}
	if g.holds(total) {
		return verdict{}, nil
	}
	findings := g.findings(worst(list, total.Ratio() < g.Min))
	say(job, findings)
	first := ""
	if len(findings) > 0 {
		first = ", most of all " + place(findings[0])
	}
	return verdict{
		reason:   fmt.Sprintf("comments: the ratio is %s, required %s%s", ratio(total), g.bounds(), first),
		findings: len(findings),
	}, nil
}

// judgeEach holds every file against the bounds. Files of a few lines are let off: a single comment decides
// there.
func (g *commentGate) judgeEach(job *sdk.Job, list []measured) (verdict, error) {
	const few = 10
	list = slices.DeleteFunc(list, func(m measured) bool { return m.count.Lines < few })
	findings := g.findings(list)
	say(job, findings)
	if len(findings) == 0 {
		return verdict{}, nil
	}
	return verdict{
		reason:   fmt.Sprintf("comments: %s out of bounds, required %s, first %s", plural(len(findings), "file"), g.bounds(), place(findings[0])),
		findings: len(findings),
	}, nil
}

// worst orders files by how much they pull the ratio in the wrong direction, and returns the first few.
func worst(list []measured, low bool) []measured {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b measured) int {
		if low {
			return cmp.Compare(b.count.Lines-b.count.Comment, a.count.Lines-a.count.Comment)
		}
		return cmp.Compare(b.count.Comment, a.count.Comment)
	})
	return list[:min(len(list), worstFew)]
}

// findings makes a finding of each file that is out of bounds.
func (g *commentGate) findings(list []measured) []sdk.Finding {
	var out []sdk.Finding
	for _, m := range list {
		if g.holds(m.count) {
			continue
		}
		word := "few"
		if m.count.Ratio() > g.Max {
			word = "many"
		}
		out = append(out, sdk.Finding{
			Path: m.path, Line: 1, Severity: "error", Rule: "comments",
			Message: fmt.Sprintf("too %s comments: %d of %d lines (%s)", word, m.count.Comment, m.count.Lines, ratio(m.count)),
		})
	}
	return out
}

func (g *commentGate) holds(c comments.Count) bool { return c.Ratio() >= g.Min && c.Ratio() <= g.Max }

func (g *commentGate) bounds() string {
	return fmt.Sprintf("%s to %s", strconv.FormatFloat(g.Min, 'f', 2, 64), strconv.FormatFloat(g.Max, 'f', 2, 64))
}

func ratio(c comments.Count) string { return strconv.FormatFloat(c.Ratio(), 'f', 3, 64) }
