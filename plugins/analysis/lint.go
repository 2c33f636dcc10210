package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/analysis/lint"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// judge runs the linter. Its exit status is its verdict; a status other than 0 without a finding means that it
// did not do its work, and an error among the findings of one that ends with 0 counts all the same.
func (g lintGate) judge(ctx context.Context, job *sdk.Job) (verdict, error) {
	name := strings.Join(g.Command, " ")
	var env []string
	for _, key := range slices.Sorted(maps.Keys(g.Env)) {
		env = append(env, key+"="+g.Env[key])
	}
	var out strings.Builder
	job.Logf("$ %s", name)
	err := job.Exec(ctx, sdk.Command{
		Args: g.Command, Dir: filepath.Join(job.Info.Workspace, g.Dir), Env: env, Stdout: &out,
	})
	exit := (*sdk.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		return verdict{}, err
	}

	found, parseErr := lint.Parse(g.Format, []byte(out.String()))
	if len(found) == 0 {
		logHead(job, out.String())
	}
	list, worst := g.report(job, found)
	say(job, list)
	job.Metric(sdk.Metric{Name: "findings of " + g.Command[0], Value: float64(len(list))})

	switch {
	case exit != nil && len(list) == 0:
		return verdict{reason: fmt.Sprintf("%s: %s without a finding that could be read: %s", name, exit.Text, lastWords(exit.Last))}, nil
	case parseErr != nil:
		return verdict{reason: fmt.Sprintf("%s: its output is no %s: %v", name, g.Format, parseErr)}, nil
	case exit != nil || worst != nil:
		if worst == nil {
			worst = &list[0]
		}
		return verdict{reason: fmt.Sprintf("%s: %s, first %s", name, plural(len(list), "finding"), place(*worst)), findings: len(list)}, nil
	}
	return verdict{findings: len(list)}, nil
}

// report maps what the linter named to the workspace, and returns the first error in it.
func (g lintGate) report(job *sdk.Job, found []lint.Finding) (list []sdk.Finding, worst *sdk.Finding) {
	for _, f := range found {
		list = append(list, sdk.Finding{
			Path: relative(job.Info.Workspace, g.Dir, f.Path), Line: f.Line, Column: f.Column,
			Severity: f.Severity, Rule: f.Rule, Message: f.Message,
		})
	}
	for i := range list {
		if list[i].Severity == "error" {
			return list, &list[i]
		}
	}
	return list, nil
}

// relative maps a path as a linter printed it to one relative to the workspace. What is outside stays as it is.
func relative(workspace, dir, path string) string {
	if rest, ok := strings.CutPrefix(path, "file://"); ok {
		if u, err := url.PathUnescape(rest); err == nil {
			path = u
		}
	}
	if !filepath.IsAbs(path) {
		return filepath.ToSlash(filepath.Join(dir, path))
	}
	roots := []string{workspace}
	if real, err := filepath.EvalSymlinks(workspace); err == nil {
		roots = append(roots, real)
	}
	for _, root := range roots {
		if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	return path
}

// logHead shows what a linter said that was no finding.
func logHead(job *sdk.Job, text string) {
	n := 0
	for line := range strings.Lines(text) {
		if n++; n > 50 {
			job.Logf("…")
			return
		}
		job.Logf("%s", line)
	}
}

func lastWords(lines []string) string {
	for _, line := range slices.Backward(lines) {
		if s := strings.TrimSpace(line); s != "" {
			return s
		}
	}
	return "no output"
}

// place writes a finding as FILE:LINE:COLUMN: MESSAGE.
func place(f sdk.Finding) string {
	s := f.Path
	if f.Line > 0 {
		s += fmt.Sprintf(":%d", f.Line)
	}
	if f.Column > 0 {
		s += fmt.Sprintf(":%d", f.Column)
	}
	return s + ": " + f.Message
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
