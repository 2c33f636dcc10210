package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// hookMark is how a hook of ours is known.
const hookMark = "# troop hook"

// Hook is what a new commit starts.
type Hook struct {
	Command []string // gets --commit HASH --branch NAME
	Log     string   // file to which the command's output is added; it runs behind the caller's back then. Empty: in front
}

// InstallHook makes every new commit start a command: those made in a work tree (post-commit; not while no
// branch is checked out, as in a rebase), or those pushed to a bare repository (post-receive). It returns the
// hook's file. Installing again replaces our own hook; anybody else's is left alone, and is an *Error with the
// line to add to it.
func (r *Repository) InstallHook(ctx context.Context, h Hook) (string, error) {
	path, err := r.hookPath(ctx)
	if err != nil {
		return "", err
	}
	there, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("install hook: %w", err)
	case !ours(there):
		return "", &Error{
			Summary: path + " is there already and is not troop's",
			Remedy:  "add to it: " + h.line(r.Bare),
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("install hook: %w", err)
	}
	if err := renameio.WriteFile(path, []byte(h.script(r.Bare)), 0o755); err != nil {
		return "", fmt.Errorf("install hook: %w", err)
	}
	return path, nil
}

// UninstallHook removes our hook and returns its file, or nothing when there was none.
func (r *Repository) UninstallHook(ctx context.Context) (string, error) {
	path, err := r.hookPath(ctx)
	if err != nil {
		return "", err
	}
	there, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !ours(there) {
		return "", nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return "", fmt.Errorf("uninstall hook: %w", err)
	}
	return path, nil
}

func ours(script []byte) bool { return strings.Contains(string(script), "\n"+hookMark) }

// hookPath is where git looks for the hook. A folder that belongs to the team's files is not ours to write to.
func (r *Repository) hookPath(ctx context.Context) (string, error) {
	name := "post-commit"
	if r.Bare {
		name = "post-receive"
	}
	hooks := filepath.Join(r.common, "hooks")
	// Not through r.git, which turns hooks off by the very setting that is asked for.
	own, err := r.setting(ctx, "core.hooksPath")
	if err != nil {
		return "", err
	}
	if own != "" {
		if hooks = own; !filepath.IsAbs(hooks) {
			hooks = filepath.Join(r.Root, hooks)
		}
		if in, err := filepath.Rel(r.common, hooks); err != nil || strings.HasPrefix(in, "..") {
			return "", &Error{
				Summary: fmt.Sprintf("core.hooksPath is %s, which is not the repository's own", own),
				Remedy:  fmt.Sprintf("start troop from %s there, or git config --unset core.hooksPath", name),
			}
		}
	}
	return filepath.Join(hooks, name), nil
}

// call is the command in a shell, after $commit and $branch are set.
func (h Hook) call() string {
	var b strings.Builder
	for _, a := range h.Command {
		b.WriteString(quote(a) + " ")
	}
	b.WriteString(`--commit "$commit" --branch "$branch" </dev/null`)
	if h.Log == "" {
		return b.String()
	}
	return "setsid " + b.String() + " >>" + quote(h.Log) + " 2>&1 &"
}

// line is what somebody else's hook needs to do the same.
func (h Hook) line(bare bool) string {
	if bare {
		return `while read -r old commit ref; do branch=${ref#refs/heads/}; ` + h.call() + `; done`
	}
	return `commit=$(git rev-parse HEAD) branch=$(git symbolic-ref --short HEAD); ` + h.call()
}

func (h Hook) script(bare bool) string {
	head := "#!/bin/sh\n" + hookMark + ": starts a run for every new commit. troop hook uninstall takes it away.\n"
	if bare {
		return head + `while read -r _ commit ref; do
	case $ref in refs/heads/*) branch=${ref#refs/heads/} ;; *) continue ;; esac
	case $commit in *[!0]*) ;; *) continue ;; esac # the branch is gone
	` + h.call() + `
done
exit 0
`
	}
	return head + `commit=$(git rev-parse HEAD)
branch=$(git symbolic-ref --quiet --short HEAD) || exit 0 # a rebase, not a change of a branch
` + h.call() + `
`
}

// quote makes one word of a shell of a text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
