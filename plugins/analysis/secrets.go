package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/analysis/secrets"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// largest is the size in bytes up to which the content of a file is looked at.
const largest = 16 << 20

// judge looks at files, which are relative to dir. Findings name the place and the kind, never the secret.
func (g *secretGate) judge(ctx context.Context, job *sdk.Job, dir string, files []string) (verdict, error) {
	scanner, err := secrets.NewScanner()
	if err != nil {
		return verdict{}, err
	}
	var list []sdk.Finding
	for i, path := range files {
		if ctx.Err() != nil {
			return verdict{}, context.Cause(ctx)
		}
		if i%100 == 0 {
			job.Progress(float64(i), float64(len(files)), "looking for secrets")
		}
		if matches(g.Allow, path) {
			continue
		}
		content, err := readFile(job, dir, path)
		if err != nil {
			return verdict{}, err
		}
		for _, f := range scanner.Scan(ctx, path, content) {
			list = append(list, sdk.Finding{
				Path: f.Path, Line: f.Line, Column: f.Column, Severity: "error", Rule: f.Rule,
				Message: f.Message + " (its value is not shown)",
			})
		}
	}
	job.Logf("secrets: %s in %s", plural(len(list), "finding"), plural(len(files), "file"))
	say(job, list)
	if len(list) == 0 {
		return verdict{}, nil
	}
	return verdict{
		reason: fmt.Sprintf("secrets: %s, first %s; take it out of the commit and revoke it, or mark its line with gitleaks:allow if it is none",
			plural(len(list), "finding"), place(list[0])),
		findings: len(list),
	}, nil
}

func readFile(job *sdk.Job, dir, path string) ([]byte, error) {
	name := filepath.Join(dir, path)
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("look for secrets: %w", err)
	}
	if info.Size() > largest {
		job.Warnf("%s: its content was not searched, it has more than %d MiB", path, largest>>20)
		return nil, nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("look for secrets: %w", err)
	}
	return content, nil
}

func isFile(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().IsRegular()
}

// scan is the action. What is staged is taken out of the index into a folder of its own, because the files of
// the work tree may have changed since.
func scan(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
	gate := c.Secrets
	if gate == nil {
		gate = &secretGate{}
	}
	dir, err := filepath.Abs(args["path"])
	if err != nil {
		return fmt.Errorf("find %s: %w", args["path"], err)
	}
	var files []string
	switch info, statErr := os.Stat(dir); {
	case statErr != nil:
		return fmt.Errorf("look for secrets: %w", statErr)
	case args["staged"] == "true":
		if dir, files, err = staged(ctx, job, dir, args["index"]); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	case !info.IsDir():
		dir, files = filepath.Dir(dir), []string{filepath.Base(dir)}
	default:
		if files, err = listFiles(ctx, job, dir); err != nil {
			return err
		}
	}
	v, err := gate.judge(ctx, job, dir, files)
	if err != nil {
		return err
	}
	if v.reason != "" {
		return sdk.Failf("%s", v.reason)
	}
	return nil
}

// staged copies what the next commit adds or changes into a new folder, which the caller removes.
func staged(ctx context.Context, job *sdk.Job, dir, index string) (folder string, files []string, err error) {
	var env []string
	if index != "" {
		if !filepath.IsAbs(index) {
			index = filepath.Join(dir, index)
		}
		env = append(env, "GIT_INDEX_FILE="+index)
	}
	root, err := gitFiles(ctx, job, dir, env, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", nil, fmt.Errorf("find repository: %w", err)
	}
	names, err := gitFiles(ctx, job, dir, env, "diff", "--cached", "--name-only", "-z", "--diff-filter=ACMRT")
	if err != nil {
		return "", nil, fmt.Errorf("list staged files: %w", err)
	}
	folder, err = os.MkdirTemp("", "troop-staged-")
	if err != nil {
		return "", nil, fmt.Errorf("make folder for staged files: %w", err)
	}
	dir = strings.TrimSpace(strings.Join(root, "")) // the names are relative to it
	for batch := range slices.Chunk(names, 200) {   // a command line has a limit
		args := append([]string{"checkout-index", "--force", "--prefix=" + folder + "/", "--"}, batch...)
		if _, err := gitFiles(ctx, job, dir, env, args...); err != nil {
			_ = os.RemoveAll(folder)
			return "", nil, fmt.Errorf("copy staged files: %w", err)
		}
	}
	names = slices.DeleteFunc(names, func(path string) bool { return !isFile(filepath.Join(folder, path)) })
	return folder, names, nil
}
