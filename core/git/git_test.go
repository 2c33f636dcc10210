package git_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/git"
)

// sh runs a script in a folder with a git that knows nothing of this machine's users.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// shop is a repository with two commits, the application in app/.
func shop(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sh(t, dir, `git init -q -b main
		mkdir app; echo one >app/file; echo '#!/bin/sh' >app/run; chmod +x app/run; ln -s file app/link; echo '*.log' >.gitignore
		git add .; git commit -qm 'First

body'
		echo two >app/file; echo more >app/new; git add .; git commit -qm 'Second: "quoted"'; git tag v1; git branch feature/x HEAD~1`)
	return dir
}

func open(t *testing.T, path string) *git.Repository {
	t.Helper()
	r, err := git.Open(t.Context(), path)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return r
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	empty := t.TempDir()
	sh(t, dir, `git clone -q --bare . ../bare.git 2>/dev/null || true; git worktree add -q ../tree feature/x; mkdir deep; ln -s app/ linked`)
	parent := filepath.Dir(dir)
	tests := map[string]struct {
		path       string
		root, in   string
		bare       bool
		wantRemedy string
	}{
		"root":             {path: dir, root: dir},
		"folder":           {path: filepath.Join(dir, "app"), root: dir, in: "app"},
		"link":             {path: filepath.Join(dir, "linked"), root: dir, in: "app"},
		"bare":             {path: filepath.Join(parent, "bare.git"), root: filepath.Join(parent, "bare.git"), bare: true},
		"work tree":        {path: filepath.Join(parent, "tree", "app"), root: filepath.Join(parent, "tree"), in: "app"},
		"no repository":    {path: empty, wantRemedy: "git init"},
		"git's own folder": {path: filepath.Join(dir, ".git", "refs"), wantRemedy: "name the work tree"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := git.Open(t.Context(), tt.path)
			if tt.wantRemedy != "" {
				if e := (*git.Error)(nil); !errors.As(err, &e) || !strings.Contains(e.Remedy, tt.wantRemedy) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || r.Root != tt.root || r.Path != tt.in || r.Bare != tt.bare {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
	if _, err := git.Open(t.Context(), filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was opened")
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	r := open(t, dir)
	first, second := sh(t, dir, "git rev-parse HEAD~1"), sh(t, dir, "git rev-parse HEAD")
	tests := map[string]struct{ hash, subject, branch string }{
		"HEAD":                 {second, `Second: "quoted"`, "main"},
		"main":                 {second, `Second: "quoted"`, "main"},
		"refs/heads/feature/x": {first, "First", "feature/x"},
		"feature/x":            {first, "First", "feature/x"},
		"v1":                   {second, `Second: "quoted"`, "main"},
		second[:8]:             {second, `Second: "quoted"`, "main"},
		"HEAD~1":               {first, "First", ""},
	}
	for revision, want := range tests {
		c, err := r.Resolve(t.Context(), revision)
		if err != nil || c.Hash != want.hash || c.Subject != want.subject || c.Branch != want.branch || c.Time.IsZero() {
			t.Errorf("%s: got %+v, %v, want %+v", revision, c, err, want)
		}
	}
	for _, bad := range []string{"nope", "--help", "HEAD:app", ""} {
		if _, err := r.Resolve(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "git log --oneline") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	sh(t, dir, "git checkout -q --detach")
	if c, err := r.Resolve(t.Context(), "HEAD"); err != nil || c.Branch != "" {
		t.Errorf("detached: %+v, %v", c, err)
	}

	fresh := t.TempDir()
	sh(t, fresh, "git init -q")
	if _, err := open(t, fresh).Resolve(t.Context(), "HEAD"); err == nil || !strings.Contains(err.Error(), "no commits yet") {
		t.Errorf("no commits: %v", err)
	}
	shallow := filepath.Join(t.TempDir(), "s")
	sh(t, dir, "git checkout -q main; git clone -q --depth 1 file://"+dir+" "+shallow)
	if _, err := open(t, shallow).Resolve(t.Context(), "HEAD~1"); err == nil || !strings.Contains(err.Error(), "--unshallow") {
		t.Errorf("shallow: %v", err)
	}
}

// What is checked out is the commit: not a byte of the work tree, and no hook of the repository runs.
func TestCheckout(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	sh(t, dir, `echo loose >app/loose; echo changed >app/file; git add app/loose; touch x.log
		printf '#!/bin/sh\ntouch %s/hooked\n' "$PWD" >.git/hooks/post-checkout; chmod +x .git/hooks/post-checkout
		git clone -q --bare . bare.git; git worktree add -q tree feature/x; rm -f hooked; git clone -q --depth 1 file://$PWD shallow`)
	commit := sh(t, dir, "git rev-parse main")
	for name, from := range map[string]string{
		"work tree": "app", "root": ".", "bare": "bare.git", "linked work tree": "tree/app", "shallow": "shallow/app",
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, filepath.Join(dir, from))
			src := filepath.Join(t.TempDir(), "src")
			ws, err := r.Checkout(t.Context(), commit, src)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(src, r.Path); ws != want {
				t.Errorf("workspace %s, want %s", ws, want)
			}
			if got := sh(t, src, "find . -type f -o -type l | sort | tr '\\n' ' '; cat app/file; readlink app/link; test -x app/run"); got !=
				"./.gitignore ./app/file ./app/link ./app/new ./app/run two\nfile" {
				t.Errorf("files: %s", got)
			}
			if got := sh(t, ws, "git status --porcelain; git rev-parse HEAD; git log -1 --format=%s"); got != commit+"\nSecond: \"quoted\"" {
				t.Errorf("git in the workspace: %s", got)
			}
			if _, err := r.Checkout(t.Context(), commit, src); err == nil {
				t.Error("a folder that is not empty was filled")
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "hooked")); err == nil {
		t.Error("a hook ran")
	}
	if got := sh(t, dir, "cat app/file; git worktree list | wc -l"); got != "changed\n2" {
		t.Errorf("the user's work tree: %s", got)
	}
}

func TestCheckoutOfAFolderThatIsNotCommitted(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	sh(t, dir, "mkdir other; touch other/file")
	r := open(t, filepath.Join(dir, "other"))
	_, err := r.Checkout(t.Context(), sh(t, dir, "git rev-parse HEAD"), filepath.Join(t.TempDir(), "src"))
	if e := (*git.Error)(nil); !errors.As(err, &e) || !strings.Contains(e.Summary, "no folder other") {
		t.Errorf("got %v", err)
	}
}

func TestDirty(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	r := open(t, filepath.Join(dir, "app"))
	if got, err := r.Dirty(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("clean: %q, %v", got, err)
	}
	sh(t, dir, `echo x >app/file; echo x >"app/a b
c"; git rm -q --cached app/new; touch outside app/ignored.log`)
	got, err := r.Dirty(t.Context())
	slices.Sort(got)
	if err != nil || !slices.Equal(slices.Compact(got), []string{"app/a b\nc", "app/file", "app/new"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestHookInAWorkTree(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	r := open(t, filepath.Join(dir, "app"))
	seen := filepath.Join(t.TempDir(), "it's seen")
	h := git.Hook{Command: []string{"sh", "-c", `test -z "${GIT_INDEX_FILE-}" || true; echo "$@" >>"$0"`, seen}}
	for range 2 {
		path, err := r.InstallHook(t.Context(), h)
		if err != nil || path != filepath.Join(dir, ".git", "hooks", "post-commit") {
			t.Fatalf("InstallHook: %s, %v", path, err)
		}
	}
	sh(t, dir, "git commit -q --allow-empty -m third; git checkout -q --detach; git commit -q --allow-empty -m nobranch")
	want := "--commit " + sh(t, dir, "git rev-parse main") + " --branch main"
	if b, err := os.ReadFile(seen); err != nil || strings.TrimSpace(string(b)) != want {
		t.Errorf("the command got %q, %v, want %q", b, err, want)
	}
	path, err := r.UninstallHook(t.Context())
	if err != nil || path == "" {
		t.Fatalf("UninstallHook: %s, %v", path, err)
	}
	if path, err := r.UninstallHook(t.Context()); err != nil || path != "" {
		t.Errorf("a second UninstallHook: %s, %v", path, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the hook is still there")
	}
}

func TestHookBehindTheCallersBack(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	log := filepath.Join(dir, "hook.log")
	fifo := filepath.Join(dir, "go")
	h := git.Hook{Command: []string{"sh", "-c", `read -r line <"$0"; echo "$line $2" >&2`, fifo}, Log: log}
	sh(t, dir, "mkfifo go")
	if _, err := open(t, dir).InstallHook(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	// The commit returns though the command waits; the command lives on and writes to its log.
	hash := sh(t, dir, "git commit -q --allow-empty -m third; git rev-parse HEAD")
	sh(t, dir, "echo heard >go; for i in $(seq 200); do test -s hook.log && exit 0; sleep 0.02; done; exit 1")
	if b, err := os.ReadFile(log); err != nil || strings.TrimSpace(string(b)) != "heard "+hash {
		t.Errorf("log: %q, %v, want %s", b, err, hash)
	}
}

func TestHookInABareRepository(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	bare := filepath.Join(t.TempDir(), "bare.git")
	sh(t, dir, "git clone -q --bare . "+bare)
	seen := filepath.Join(t.TempDir(), "seen")
	path, err := open(t, bare).InstallHook(t.Context(), git.Hook{Command: []string{"sh", "-c", `echo "$2 $4" >>"$0"`, seen}})
	if err != nil || path != filepath.Join(bare, "hooks", "post-receive") {
		t.Fatalf("InstallHook: %s, %v", path, err)
	}
	sh(t, dir, "git commit -q --allow-empty -m third; git push -q "+bare+" main main:new/one HEAD:refs/tags/t :feature/x")
	head := sh(t, dir, "git rev-parse HEAD")
	b, err := os.ReadFile(seen)
	got := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(got)
	if err != nil || !slices.Equal(got, []string{head + " main", head + " new/one"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestHookOfSomebodyElse(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	foreign := filepath.Join(dir, ".git", "hooks", "post-commit")
	const script = "#!/bin/sh\necho mine\n"
	if err := os.WriteFile(foreign, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r := open(t, dir)
	_, err := r.InstallHook(t.Context(), git.Hook{Command: []string{"troop", "run"}})
	e := (*git.Error)(nil)
	if !errors.As(err, &e) || !strings.Contains(e.Remedy, "'troop' 'run' --commit") {
		t.Errorf("got %v", err)
	}
	if _, err := r.UninstallHook(t.Context()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(foreign); err != nil || string(b) != script {
		t.Errorf("it was changed: %q, %v", b, err)
	}

	other := shop(t)
	sh(t, other, "git config core.hooksPath .husky")
	if _, err := open(t, other).InstallHook(t.Context(), git.Hook{}); !errors.As(err, &e) || !strings.Contains(e.Summary, ".husky") {
		t.Errorf("core.hooksPath: %v", err)
	}
	own := shop(t)
	sh(t, own, "git config core.hooksPath .git/own")
	if path, err := open(t, own).InstallHook(t.Context(), git.Hook{}); err != nil || path != filepath.Join(own, ".git", "own", "post-commit") {
		t.Errorf("core.hooksPath within the repository: %s, %v", path, err)
	}
}

// A hook's environment names a repository and an index of its own; they are not ours.
func TestEnvironmentOfAHookIsIgnored(t *testing.T) {
	dir, other := shop(t), shop(t)
	sh(t, other, "git commit -q --allow-empty -m other")
	t.Setenv("GIT_DIR", filepath.Join(other, ".git"))
	t.Setenv("GIT_WORK_TREE", other)
	t.Setenv("GIT_INDEX_FILE", filepath.Join(other, ".git", "index"))
	r := open(t, dir)
	c, err := r.Resolve(t.Context(), "HEAD")
	if err != nil || r.Root != dir || c.Hash != sh(t, dir, "git rev-parse HEAD") {
		t.Errorf("got %+v, %+v, %v", r, c, err)
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	sh(t, dir, `mkdir docs; echo x >docs/a; git mv app/new "app/b c"; git add .; git commit -qm third`)
	from, to := sh(t, dir, "git rev-parse main~2"), sh(t, dir, "git rev-parse main")
	bare := filepath.Join(t.TempDir(), "bare.git")
	sh(t, dir, "git clone -q --bare . "+bare)
	for path, want := range map[string][]string{
		dir: {"app/b c", "app/file", "docs/a"}, dir + "/app": {"b c", "file"}, bare: {"app/b c", "app/file", "docs/a"},
	} {
		got, err := open(t, path).Changed(t.Context(), from, to)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
		if got, err := open(t, path).Changed(t.Context(), to, to); err != nil || len(got) > 0 {
			t.Errorf("%s, the same commit: got %q, %v", path, got, err)
		}
	}
	if _, err := open(t, dir).Changed(t.Context(), strings.Repeat("1", 40), to); err == nil {
		t.Error("a commit that is not there: no error")
	}
}
