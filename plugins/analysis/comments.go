package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/seed-b96de936/troop/plugins/analysis/comments"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// worstFew is the number of files named if the total ratio is out of bounds.
const worstFew = 10

type measured struct {
	path  string
	count comments.Count
}

// largestSource is the maximum size of a measured file in bytes. Larger ones are generated.
const largestSource = 1 << 20

func (g *commentGate) judge(ctx context.Context, job *sdk.Job, files []string) (verdict, error) {
	list, err := g.measure(ctx, job, files)
	if err != nil {
		return verdict{}, err
	}
	var total comments.Count
	for _, m := range list {
		total = total.Add(m.count)
	}
	if len(list) == 0 {
		return verdict{reason: "comments: no file of a known language found"}, nil
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
		first = ", worst " + place(findings[0])
	}
	return verdict{
		reason:   fmt.Sprintf("comments: the ratio is %s, required %s%s", ratio(total), g.bounds(), first),
		findings: len(findings),
	}, nil
}

// measure counts the selected files, on all processors, and returns those that are not empty.
func (g *commentGate) measure(ctx context.Context, job *sdk.Job, files []string) ([]measured, error) {
	files = slices.DeleteFunc(slices.Clone(files), func(path string) bool {
		known, source := comments.Known(path)
		return !known || len(g.Files) == 0 && !source || len(g.Files) > 0 && !matches(g.Files, path) || matches(g.Exclude, path)
	})
	root, err := os.OpenRoot(job.Info.Workspace)
	if err != nil {
		return nil, fmt.Errorf("measure comments: %w", err)
	}
	defer func() { _ = root.Close() }()
	list := make([]measured, len(files))
	err = eachFile(ctx, job, "measuring comments", files, func(_ context.Context, i int) error {
		text, more, err := readFile(root, files[i], largestSource)
		switch {
		case err != nil:
			return fmt.Errorf("measure comments: %w", err)
		case more:
			job.Logf("comments: %s is not measured, it is larger than %d MiB", files[i], largestSource>>20)
		case !bytes.Contains(text[:min(len(text), 2000)], []byte("Code generated ")):
			count, _ := comments.Of(files[i], text)
			list[i] = measured{files[i], count}
		}
		return nil
	})
	return slices.DeleteFunc(list, func(m measured) bool { return m.count.Lines == 0 }), err
}

// judgeEach applies the bounds to every file. Files of a few lines pass, because a single comment would decide.
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

// worst returns the files that contribute most to the ratio being out of bounds.
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

// findings returns a finding for each file that is out of bounds.
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
