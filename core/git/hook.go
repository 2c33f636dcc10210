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

// Hook is the command that a new commit calls, at the top of the work tree in which it was made. In a bare repository a
// push calls it with git's list of updates as its input: lines of OLD NEW REF.
type Hook struct{ Command []string }

// InstallHook makes every commit in any work tree of the repository call a command (post-commit), or every push to a
// bare repository (post-receive). It returns the hook's file. Installing again replaces our own hook; anybody else's,
// and a folder of hooks that belongs to the team's files, are left alone: the *Error holds the line to add.
func (r *Repository) InstallHook(ctx context.Context, h Hook) (string, error) {
	path, own, err := r.hookPath(ctx)
	if err != nil {
		return "", err
	}
	if !own {
		return "", &Error{
			Summary: fmt.Sprintf("core.hooksPath is %s, which is not the repository's own", filepath.Dir(path)),
			Remedy:  fmt.Sprintf("add this line to %s: %s", path, h.call()),
		}
	}
	there, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("install hook: %w", err)
	case !ours(there):
		return "", &Error{
			Summary: path + " is there already and is not troop's",
			Remedy:  "add this line to it: " + h.call(),
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("install hook: %w", err)
	}
	if err := renameio.WriteFile(path, []byte(h.script()), 0o755); err != nil {
		return "", fmt.Errorf("install hook: %w", err)
	}
	return path, nil
}

// UninstallHook removes our hook and returns its file, or nothing when there was none.
func (r *Repository) UninstallHook(ctx context.Context) (string, error) {
	path, own, err := r.hookPath(ctx)
	if err != nil || !own {
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

// hookPath is where git looks for the hook. A folder outside of git's own belongs to the team's files: it is not ours to
// write to.
func (r *Repository) hookPath(ctx context.Context) (path string, own bool, err error) {
	name := "post-commit"
	if r.Bare {
		name = "post-receive"
	}
	hooks := filepath.Join(r.common, "hooks")
	set, err := r.setting(ctx, "core.hooksPath")
	if err != nil || set == "" {
		return filepath.Join(hooks, name), true, err
	}
	if hooks = set; !filepath.IsAbs(hooks) {
		hooks = filepath.Join(r.Root, hooks)
	}
	in, err := filepath.Rel(r.common, hooks)
	return filepath.Join(hooks, name), err == nil && filepath.IsLocal(in), nil
}

// call is the hook's line. A program that is gone says so, and no commit or push fails because of it.
func (h Hook) call() string {
	var words []string
	for _, word := range h.Command {
		words = append(words, quote(word))
	}
	gone := quote(h.Command[0] + " is gone; install troop there, or troop hook install from where it is now")
	return "if test -x " + words[0] + "; then " + strings.Join(words, " ") + " || true; else echo troop: no run: " + gone + " >&2; fi"
}

func (h Hook) script() string {
	return "#!/bin/sh\n" + hookMark + ": starts a run for what is new. troop hook uninstall takes it away.\n" + h.call() + "\n"
}

// quote makes one word of a shell of a text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
