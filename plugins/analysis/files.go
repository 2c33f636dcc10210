package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// listFiles names the files in dir that belong to the commit, relative to dir: what git tracks there, so that
// installed packages and build products do not count. Without a repository it is everything but node_modules
// and .git.
func listFiles(ctx context.Context, job *sdk.Job, dir string) ([]string, error) {
	if list, err := gitFiles(ctx, job, dir, nil, "ls-files", "-z", "--cached"); err == nil && len(list) > 0 {
		return slices.DeleteFunc(list, func(path string) bool { return !isFile(filepath.Join(dir, path)) }), nil
	}
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != dir && (d.Name() == "node_modules" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			list = append(list, filepath.ToSlash(rel))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return list, nil
}

// gitFiles runs a git command that prints names, each ended by a zero byte.
func gitFiles(ctx context.Context, job *sdk.Job, dir string, env []string, args ...string) ([]string, error) {
	var out strings.Builder
	err := job.Exec(ctx, sdk.Command{
		Args: append([]string{"git", "-c", "safe.directory=*"}, args...), Dir: dir, Env: env,
		Stdout: &out, Line: func(string, bool) {}, // what git complains of is in its error
	})
	if err != nil {
		return nil, err
	}
	if out.Len() == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\x00"), "\x00"), nil
}
