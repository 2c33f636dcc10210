package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/analysis/lint"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// judge runs the linter. The gate fails if the linter reports an error or exits with a status other than 0.
func (g lintGate) judge(ctx context.Context, job *sdk.Job) (verdict, error) {
	name := strings.Join(g.Command, " ")
	var env []string
	for _, key := range slices.Sorted(maps.Keys(g.Env)) {
		env = append(env, key+"="+g.Env[key])
	}
	out := capture{limit: mostOutput}
	job.Logf("$ %s", name)
	err := job.Exec(ctx, sdk.Command{
		Args: g.Command, Dir: filepath.Join(job.Info.Workspace, g.Dir), Env: env, Stdout: &out,
	})
	exit := (*sdk.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		return verdict{}, err
	}
	if out.full {
		return verdict{reason: fmt.Sprintf("%s: it printed more than %d MiB, which is too much to read; let it check fewer files", name, mostOutput>>20)}, nil
	}

	at, err := openPlaces(job.Info.Workspace, g.Dir)
	if err != nil {
		return verdict{}, fmt.Errorf("open workspace: %w", err)
	}
	defer at.close()
	found, parseErr := lint.Parse(g.Format, out.Bytes(), at.isFile)
	if len(found) == 0 {
		logHead(job, out.String())
	}
	list, worst := at.report(found)
	say(job, list)
	job.Metric(sdk.Metric{Name: "findings of " + g.Command[0], Value: float64(len(list))})

	switch {
	case exit != nil && parseErr != nil:
		return verdict{reason: fmt.Sprintf("%s: %s without a readable finding: %s (%v)", name, exit.Text, lastWords(exit.Last), parseErr)}, nil
	case exit != nil && len(list) == 0:
		return verdict{reason: fmt.Sprintf("%s: %s without a readable finding: %s", name, exit.Text, lastWords(exit.Last))}, nil
	case parseErr != nil && g.Format == "auto":
		return verdict{reason: fmt.Sprintf("%s: its output cannot be read: %v", name, parseErr)}, nil
	case parseErr != nil:
		return verdict{reason: fmt.Sprintf("%s: its output is not %s: %v", name, g.Format, parseErr)}, nil
	case exit != nil || worst != nil:
		if worst == nil {
			worst = &list[0]
		}
		return verdict{reason: fmt.Sprintf("%s: %s, first %s", name, plural(len(list), "finding"), place(*worst)), findings: len(list)}, nil
	}
	return verdict{findings: len(list)}, nil
}

// places maps paths printed by a linter to the workspace.
type places struct {
	root  *os.Root
	roots []string // paths of the workspace: a linter may print it with symlinks resolved
	dir   string   // where the linter ran, relative to the workspace
}

func openPlaces(workspace, dir string) (*places, error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, err
	}
	p := &places{root: root, roots: []string{workspace}, dir: dir}
	if real, err := filepath.EvalSymlinks(workspace); err == nil {
		p.roots = append(p.roots, real)
	}
	return p, nil
}

func (p *places) close() { _ = p.root.Close() }

// isFile reports whether the path is a file of the workspace.
func (p *places) isFile(path string) bool {
	path = p.relative(path)
	if !filepath.IsLocal(path) {
		return false
	}
	info, err := p.root.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// relative returns a path relative to the workspace. A path outside is returned unchanged.
func (p *places) relative(path string) string {
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		return filepath.ToSlash(filepath.Join(p.dir, path))
	}
	for _, root := range p.roots {
		if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	return path
}

// report reports the findings of the stage and returns the first error among them.
func (p *places) report(found []lint.Finding) (list []sdk.Finding, worst *sdk.Finding) {
	for _, f := range found {
		list = append(list, sdk.Finding{
			Path: p.relative(f.Path), Line: f.Line, Column: f.Column,
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

// logHead logs the first lines of output without findings.
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

// place formats a finding as FILE:LINE:COLUMN: MESSAGE, without unknown parts.
func place(f sdk.Finding) string {
	if f.Path == "" {
		return f.Message
	}
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
