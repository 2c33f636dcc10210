// Package git reads the repository that a pipeline's source lies in: it resolves revisions, checks commits out
// into clean folders, and installs the hook that starts a run. It drives the git program. The core's main
// program imports it; *Repository is the engine's Checkout.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Repository is the repository of a folder.
type Repository struct {
	Root string // of the work tree, or the bare repository itself; absolute
	Path string // the source folder within the work tree; empty: its root
	Bare bool
	// Filters are those of the repository's own configuration that Checkout may run. The user's always run.
	Filters []string

	dir    string // git's own folder of this work tree
	common string // what all work trees share: objects and branches
	format string // of the objects' names: sha1, sha256
	module bool   // it is a submodule's, whose configuration names a work tree elsewhere
}

// Commit is one commit.
type Commit struct {
	Hash    string
	Subject string // first line of the message
	Branch  string // empty: none is known
	Tag     string // empty: it was not named by a tag
	Time    time.Time
}

// Error is what is wrong with a repository, and what to do about it.
type Error struct {
	Summary, Remedy string
	Err             error // what git said; may be nil
}

func (e *Error) Error() string {
	s := e.Summary
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Open finds the repository of a folder of a work tree, or of a bare repository.
func Open(ctx context.Context, path string) (*Repository, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, &Error{"git is not installed", "a run builds a commit: install git", err}
	}
	// The folder was named by the user: whoever owns it, it is the one meant.
	out, err := run(ctx, path, nil, "-c", "safe.directory=*", "rev-parse", "--show-object-format", "--is-bare-repository",
		"--absolute-git-dir", "--git-common-dir", "--is-inside-work-tree", "--show-cdup")
	if err != nil {
		return nil, &Error{
			path + " is not in a git repository",
			"a run builds a commit: git init, git add and git commit there, or let source.path name a repository", err,
		}
	}
	fields := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(fields) != 6 && (len(fields) != 5 || fields[4] == "true") { // the last only inside a work tree
		return nil, fmt.Errorf("open repository: git rev-parse answered %q", out)
	}
	r := &Repository{format: fields[0], Bare: fields[1] == "true", dir: fields[2], common: fields[3]}
	if !filepath.IsAbs(r.common) {
		r.common = filepath.Join(path, r.common)
	}
	if r.Bare {
		r.Root = r.dir
		return r, nil
	}
	if fields[4] != "true" {
		return nil, &Error{path + " is inside git's own folder", "name the work tree", nil}
	}
	r.Root = filepath.Join(path, fields[5])
	if r.Path, err = filepath.Rel(r.Root, path); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	if r.Path == "." {
		r.Path = ""
	}
	return r, nil
}

// Head is the hash of the commit that is checked out in a folder.
func Head(ctx context.Context, path string) (string, error) {
	out, err := run(ctx, path, nil, "-c", "safe.directory=*", "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
	return strings.TrimSpace(out), err
}

// Resolve finds the commit that a revision names: a hash, a branch, a tag, HEAD. Its branch is the one named,
// or, for the commit that is checked out, the current one.
func (r *Repository) Resolve(ctx context.Context, revision string) (Commit, error) {
	hash, err := r.git(ctx, "rev-parse", "--quiet", "--verify", "--end-of-options", revision+"^{commit}")
	if err != nil && revision == "HEAD" {
		return Commit{}, &Error{r.Root + " has no commits yet", "a run builds a commit: git add and git commit first", err}
	}
	if err != nil {
		return Commit{}, r.unknown(ctx, revision, err)
	}
	hash = strings.TrimSpace(hash)
	out, err := r.git(ctx, "log", "-1", "--no-show-signature", "--format=%ct%n%s", hash)
	if err != nil {
		return Commit{}, fmt.Errorf("read commit %s: %w", hash, err)
	}
	stamp, subject, _ := strings.Cut(strings.TrimSuffix(out, "\n"), "\n")
	var unix int64
	if _, err := fmt.Sscan(stamp, &unix); err != nil {
		return Commit{}, fmt.Errorf("read time of commit %s: %w", hash, err)
	}
	c := Commit{Hash: hash, Subject: subject, Time: time.Unix(unix, 0)}
	c.Branch, c.Tag, err = r.names(ctx, revision, hash)
	return c, err
}

// names returns the branch and the tag that a revision means. The branch is the one named, or the one that is checked
// out with that commit.
func (r *Repository) names(ctx context.Context, revision, hash string) (branch, tag string, err error) {
	branch, tag = strings.TrimPrefix(revision, "refs/heads/"), strings.TrimPrefix(revision, "refs/tags/")
	out, err := r.git(ctx, "for-each-ref", "--format=%(refname)", "refs/heads/"+branch, "refs/tags/"+tag)
	if err != nil {
		return "", "", fmt.Errorf("look for branch and tag %s: %w", revision, err)
	}
	refs := strings.Split(out, "\n") // also those below a folder of that name
	if !slices.Contains(refs, "refs/heads/"+branch) {
		branch = ""
		head := hash
		if revision != "HEAD" {
			head, _ = Head(ctx, r.Root) // without one, no branch is checked out
		}
		if head == hash {
			branch = r.Current(ctx)
		}
	}
	if !slices.Contains(refs, "refs/tags/"+tag) || tag == branch {
		tag = ""
	}
	return branch, tag, nil
}

func (r *Repository) unknown(ctx context.Context, revision string, err error) error {
	e := &Error{fmt.Sprintf("there is no commit %q in %s", revision, r.Root), "git log --oneline lists the commits, git branch the branches", err}
	if out, shallowErr := r.git(ctx, "rev-parse", "--is-shallow-repository"); shallowErr == nil && strings.TrimSpace(out) == "true" {
		e.Remedy = "the repository is shallow, older commits are missing: git fetch --unshallow"
	}
	return e
}

// Current is the branch that is checked out; empty: none is, as in a rebase.
func (r *Repository) Current(ctx context.Context) string {
	current, err := r.git(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(current)
}

// Dirty lists what in the source folder differs from HEAD, or is in no commit: a run does not see it. Ignored
// files do not count.
func (r *Repository) Dirty(ctx context.Context) ([]string, error) {
	if r.Bare {
		return nil, nil
	}
	out, err := r.git(ctx, "status", "--porcelain", "-z", "--no-renames", "--", filepath.Join(r.Root, r.Path))
	if err != nil {
		return nil, fmt.Errorf("look for changes: %w", err)
	}
	var paths []string
	for entry := range strings.SplitSeq(out, "\x00") {
		if len(entry) > 3 {
			paths = append(paths, entry[3:])
		}
	}
	return paths, nil
}

// Changed lists the files below the source folder, from it on, in which two commits differ; both names of one that was
// renamed. A commit that is not in the repository any more is an error.
func (r *Repository) Changed(ctx context.Context, from, to string) ([]string, error) {
	args := []string{"diff", "--name-only", "-z", "--no-renames", "--no-ext-diff"}
	if r.Path != "" {
		args = append(args, "--relative="+r.Path+"/")
	}
	out, err := r.git(ctx, append(args, "--end-of-options", from, to, "--")...)
	if err != nil {
		return nil, fmt.Errorf("compare commits: %w", err)
	}
	return slices.DeleteFunc(strings.Split(out, "\x00"), func(file string) bool { return file == "" }), nil
}

// Snapshot makes a commit of the files of the work tree as they lie there, ignored ones left out, with HEAD as its
// parent. No branch points to it, and the user's index stays as it is. The same files give the same commit. Without a
// difference from HEAD it is HEAD's own commit, and changed is false.
func (r *Repository) Snapshot(ctx context.Context) (c Commit, changed bool, err error) {
	if r.Bare {
		return Commit{}, false, &Error{r.Root + " is a bare repository", "it has no files that are in no commit", nil}
	}
	head, err := r.Resolve(ctx, "HEAD")
	if err != nil {
		return Commit{}, false, err
	}
	index, err := r.copyIndex()
	if err != nil {
		return Commit{}, false, fmt.Errorf("copy index: %w", err)
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(index)) }()
	when := fmt.Sprintf("%d +0000", head.Time.Unix()) // so that the same files give the same commit
	env := []string{
		"GIT_INDEX_FILE=" + index, "GIT_AUTHOR_NAME=troop", "GIT_AUTHOR_EMAIL=troop@localhost", "GIT_AUTHOR_DATE=" + when,
		"GIT_COMMITTER_NAME=troop", "GIT_COMMITTER_EMAIL=troop@localhost", "GIT_COMMITTER_DATE=" + when,
	}
	git := func(args ...string) string {
		out := ""
		if err == nil {
			out, err = run(ctx, r.Root, env, append([]string{"-c", "safe.directory=*"}, args...)...)
		}
		return strings.TrimSpace(out)
	}
	git("add", "--all", "--", ":/")
	tree := git("write-tree")
	if committed := git("rev-parse", "HEAD^{tree}"); err == nil && tree == committed {
		return head, false, nil
	}
	c = Commit{Hash: git("commit-tree", "-p", head.Hash, "-m", "uncommitted changes on "+head.Subject, tree), Branch: head.Branch, Time: head.Time}
	if err != nil {
		return Commit{}, false, fmt.Errorf("make a commit of the work tree: %w", err)
	}
	c.Subject = "uncommitted changes on " + head.Subject
	return c, true, nil
}

// copyIndex copies the index into a folder of its own, which the caller removes.
func (r *Repository) copyIndex() (string, error) {
	b, err := os.ReadFile(filepath.Join(r.dir, "index"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	dir, err := os.MkdirTemp("", "troop-index-")
	if err != nil {
		return "", err
	}
	index := filepath.Join(dir, "index")
	if b != nil {
		err = os.WriteFile(index, b, 0o600)
	}
	return index, err
}

// git runs git in the repository.
func (r *Repository) git(ctx context.Context, args ...string) (string, error) {
	return run(ctx, r.Root, r.env(), append([]string{"-c", "safe.directory=*"}, args...)...)
}

func (r *Repository) env() []string {
	if r.module {
		return []string{"GIT_DIR=" + r.dir}
	}
	return nil
}

// setting is one of git's configuration.
type setting struct{ scope, key, value string }

// settings returns what git's configuration says under keys that match a pattern, the strongest last.
func (r *Repository) settings(ctx context.Context, pattern string) ([]setting, error) {
	out, err := run(ctx, r.Root, r.env(), "-c", "safe.directory=*", "config", "--show-scope", "-z", "--get-regexp", pattern)
	if code := (*exec.ExitError)(nil); errors.As(err, &code) && code.ExitCode() == 1 {
		return nil, nil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("read git's settings: %w", err)
	}
	var all []setting
	fields := strings.Split(out, "\x00")
	for i := 0; i+1 < len(fields); i += 2 {
		key, value, _ := strings.Cut(fields[i+1], "\n")
		if fields[i] != "command" { // which are our own
			all = append(all, setting{fields[i], key, value})
		}
	}
	return all, nil
}

// setting returns one setting, or nothing.
func (r *Repository) setting(ctx context.Context, key string) (string, error) {
	all, err := r.settings(ctx, "^"+regexp.QuoteMeta(strings.ToLower(key))+"$")
	if len(all) == 0 {
		return "", err
	}
	return all[len(all)-1].value, err
}

// run runs git in a folder and returns what it prints.
func run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	return output(ctx, command(ctx, dir, env, args...))
}

// command is git in a folder, with nothing of the caller's environment that names a repository: in a hook it names
// another one, or an index that is being written. No hook and no monitor of the repository is started.
func command(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	args = append([]string{"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"}, args...)
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(append(CleanEnv(os.Environ()), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0"), env...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// output runs git and returns what it prints, or an error with what it said.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if said := strings.TrimSpace(errOut.String()); said != "" {
			return "", fmt.Errorf("git: %s: %w", strings.ReplaceAll(said, "\n", "; "), err)
		}
		return "", fmt.Errorf("git: %w", err)
	}
	return out.String(), nil
}

// ofOneRepository are the variables that name a repository, as git rev-parse --local-env-vars lists them, and the
// settings that a caller gave to one command.
var ofOneRepository = []string{
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_ATTR_SOURCE", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS",
	"GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
	"GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE",
	"GIT_WORK_TREE",
}

// CleanEnv leaves out of an environment what names a repository. What is the user's, such as GIT_SSH_COMMAND or
// GIT_LFS_SKIP_SMUDGE, stays.
func CleanEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(ofOneRepository, name)
	})
}
