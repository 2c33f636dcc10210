package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Checkout puts the files of a commit into the folder dir, which must not hold anything, and returns where the
// source folder is in it. Nothing of the user's work tree gets there: no loose file, no change that is not
// committed. Hooks do not run and submodules stay empty.
//
// The repository of the new work tree lies beside dir, in .git, and borrows all objects. So git works in the
// workspace and knows the commit (git describe), and an artifact of the workspace has no .git in it.
func (r *Repository) Checkout(ctx context.Context, commit, dir string) (workspace string, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", fmt.Errorf("check out into %s: it is not empty", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make workspace: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fmt.Errorf("make workspace: %w", err)
	}
	own := filepath.Join(filepath.Dir(dir), ".git")
	if _, err := run(ctx, dir, nil, "init", "--quiet", "--bare", "--template=", own); err != nil {
		return "", fmt.Errorf("make repository of workspace: %w", err)
	}
	if err := r.lend(own); err != nil {
		return "", fmt.Errorf("make repository of workspace: %w", err)
	}
	for _, args := range [][]string{
		{"config", "core.bare", "false"},
		{"config", "core.worktree", dir},
		{"config", "core.hooksPath", "/dev/null"},
		{"-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "--detach", commit, "--"},
	} {
		if _, err := run(ctx, dir, []string{"GIT_DIR=" + own}, args...); err != nil {
			return "", fmt.Errorf("fill workspace: %w", err)
		}
	}
	workspace = filepath.Join(dir, r.Path)
	if info, err := os.Stat(workspace); err != nil || !info.IsDir() {
		return "", &Error{
			fmt.Sprintf("commit %s has no folder %s", commit, r.Path), "commit the folder that source.path names", err,
		}
	}
	return workspace, nil
}

// lend gives another repository this one's objects, and the border of its history when it is shallow.
func (r *Repository) lend(to string) error {
	objects := filepath.Join(r.common, "objects")
	if err := os.MkdirAll(filepath.Join(to, "objects", "info"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(to, "objects", "info", "alternates"), []byte(objects+"\n"), 0o644); err != nil {
		return err
	}
	border, err := os.ReadFile(filepath.Join(r.common, "shallow"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "shallow"), border, 0o644)
}
