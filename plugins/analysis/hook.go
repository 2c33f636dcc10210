package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// hookMark tells a hook of ours from one that somebody wrote.
const hookMark = "# troop analysis: refuse secrets"

// installHook is the action. It writes the hook anew when it is ours, and touches no other.
func installHook(ctx context.Context, _ *config, _ sdk.Args, job *sdk.Job) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find folder: %w", err)
	}
	lines, err := gitFiles(ctx, job, dir, nil, "rev-parse", "--path-format=absolute", "--git-path", "hooks/pre-commit")
	if err != nil || len(lines) == 0 {
		return sdk.Failf("%s is in no git repository", dir)
	}
	prefix, err := gitFiles(ctx, job, dir, nil, "rev-parse", "--show-prefix")
	if err != nil {
		return fmt.Errorf("find folder in repository: %w", err)
	}
	path := strings.TrimSpace(lines[0])

	switch old, err := os.ReadFile(path); {
	case err == nil && !strings.Contains(string(old), hookMark):
		return sdk.Failf("%s is somebody else's; add this line to it: troop analysis scan --quiet --staged --index \"$GIT_INDEX_FILE\"", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read hook: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write hook: %w", err)
	}
	if err := os.WriteFile(path, []byte(hookScript(strings.TrimSpace(strings.Join(prefix, "")))), 0o755); err != nil {
		return fmt.Errorf("write hook: %w", err)
	}
	job.Logf("%s looks at what is about to be committed; git commit --no-verify passes it by", path)
	return nil
}

// hookScript is run by git at the top of the work tree. The manifest is in folder, where the hook was installed.
func hookScript(folder string) string {
	troop := "troop"
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid())); err == nil && filepath.Base(exe) == "troop" {
		troop = exe
	}
	script := "#!/bin/sh\n" + hookMark + "\n" +
		"# git commit -a and git commit FILE use an index of their own.\n" +
		"index=${GIT_INDEX_FILE:+$(realpath \"$GIT_INDEX_FILE\")}\n"
	if folder != "" {
		script += "cd " + quote(folder) + " || exit\n"
	}
	return script + "exec " + quote(troop) + ` analysis scan --quiet --staged --index "$index"` + "\n"
}

func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
