package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// hookMark identifies our own hooks.
const hookMark = "# troop analysis: refuse secrets"

// installHook is the action hook. It updates our own hook. It does not touch another hook or a hooks folder outside the
// repository's .git; the error then contains the line to add.
func installHook(ctx context.Context, _ *config, _ sdk.Args, job *sdk.Job) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find folder: %w", err)
	}
	common, err := gitLine(ctx, job, dir, "rev-parse", "--path-format=absolute", "--git-common-dir")
	if err != nil {
		return sdk.Failf("%s is not in a git repository", dir)
	}
	path, err := gitLine(ctx, job, dir, "rev-parse", "--path-format=absolute", "--git-path", "hooks/pre-commit") // honours core.hooksPath
	if err != nil {
		return fmt.Errorf("find hooks: %w", err)
	}
	folder, err := gitLine(ctx, job, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return fmt.Errorf("find folder in repository: %w", err)
	}
	if rel, err := filepath.Rel(common, path); err != nil || !filepath.IsLocal(rel) {
		return sdk.Failf("core.hooksPath is %s, outside this repository's .git; add this line to %s: %s",
			filepath.Dir(path), path, hookLine(folder))
	}

	switch old, err := script(path); {
	case err == nil && !strings.Contains(old, hookMark):
		return sdk.Failf("%s exists and is not troop's; add this line to it: %s", path, hookLine(folder))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read hook: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write hook: %w", err)
	}
	text := "#!/bin/sh\n" + hookMark + "\n" + hookLine(folder) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		return fmt.Errorf("write hook: %w", err)
	}
	job.Logf("%s scans staged files for secrets; git commit --no-verify skips it", path)
	return nil
}

// script reads the first MiB of a hook, which holds the mark if it is ours.
func script(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b), errors.Join(err, f.Close())
}

// gitLine runs a git command and returns its one line of output.
func gitLine(ctx context.Context, job *sdk.Job, dir string, args ...string) (string, error) {
	lines, err := gitFiles(ctx, job, dir, nil, args...)
	return strings.TrimSuffix(strings.Join(lines, ""), "\n"), err
}

// hookLine returns the shell line of the hook. Git runs it in the root of the work tree; the manifest is in folder, where
// the hook was installed. Some commits, such as git commit -a, use a temporary index.
func hookLine(folder string) string {
	troop := "troop"
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid())); err == nil && filepath.Base(exe) == "troop" {
		troop = exe
	}
	scan := quote(troop) + ` analysis scan --quiet --staged --index "$index"`
	if folder != "" {
		scan = "(cd " + quote(folder) + " && " + scan + ")"
	}
	gone := "echo troop: not searched for secrets: " + quote(troop+" is gone; install troop there, or troop analysis hook from where it is now") + " >&2; exit 1"
	return "command -v " + quote(troop) + " >/dev/null || { " + gone + `; }; index=${GIT_INDEX_FILE:+$(realpath "$GIT_INDEX_FILE")}; ` + scan + " || exit 1"
}

func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
