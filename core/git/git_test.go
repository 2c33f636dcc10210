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

// The command of a commit is called at the top of the work tree in which the commit was made.
func TestHookInAWorkTree(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	sh(t, dir, "git worktree add -q ../tree-$(basename $PWD) feature/x")
	linked := filepath.Join(filepath.Dir(dir), "tree-"+filepath.Base(dir))
	t.Cleanup(func() { _ = os.RemoveAll(linked) })
	program := filepath.Join(t.TempDir(), "it's troop")
	seen := program + " seen"
	if err := os.WriteFile(program, []byte("#!/bin/sh\npwd >>\"$2\"; echo \"$1\" >>\"$2\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := git.Hook{Command: []string{program, "app/pipeline.hcl", seen}}
	for _, from := range []string{"app", linked} { // installed from either, it is the same hook
		if !filepath.IsAbs(from) {
			from = filepath.Join(dir, from)
		}
		path, err := open(t, from).InstallHook(t.Context(), h)
		if err != nil || path != filepath.Join(dir, ".git", "hooks", "post-commit") {
			t.Fatalf("InstallHook: %s, %v", path, err)
		}
	}
	sh(t, dir, "cd app; git commit -q --allow-empty -m third")
	sh(t, linked, "git commit -q --allow-empty -m third")
	want := dir + "\napp/pipeline.hcl\n" + linked + "\napp/pipeline.hcl\n"
	if b, err := os.ReadFile(seen); err != nil || string(b) != want {
		t.Errorf("the command got %q, %v, want %q", b, err, want)
	}

	// A work tree that is gone, and a program that is gone, break no commit.
	sh(t, dir, "git worktree remove --force "+linked+"; git commit -q --allow-empty -m fourth")
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if said := sh(t, dir, "git commit -q --allow-empty -m fifth 2>&1"); !strings.Contains(said, "troop: no run: "+program+" is gone") || strings.Contains(said, "\n") {
		t.Errorf("said %q", said)
	}

	r := open(t, dir)
	path, err := r.UninstallHook(t.Context())
	if err != nil || path == "" {
		t.Fatalf("UninstallHook: %s, %v", path, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the hook is still there")
	}
	if path, err := r.UninstallHook(t.Context()); err != nil || path != "" {
		t.Errorf("a second UninstallHook: %s, %v", path, err)
	}
}

func TestHookInABareRepository(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	bare := filepath.Join(t.TempDir(), "bare.git")
	sh(t, dir, "git clone -q --bare . "+bare)
	path, err := open(t, bare).InstallHook(t.Context(), git.Hook{Command: []string{"/bin/sh", "-c", "sort -k3 >seen"}})
	if err != nil || path != filepath.Join(bare, "hooks", "post-receive") {
		t.Fatalf("InstallHook: %s, %v", path, err)
	}
	sh(t, dir, "git commit -q --allow-empty -m third; git push -q "+bare+" main main:new/one HEAD:refs/tags/t :feature/x")
	head, old, none := sh(t, dir, "git rev-parse HEAD"), sh(t, dir, "git rev-parse HEAD~1"), strings.Repeat("0", 40)
	want := sh(t, dir, "git rev-parse feature/x") + " " + none + " refs/heads/feature/x\n" + old + " " + head + " refs/heads/main\n" +
		none + " " + head + " refs/heads/new/one\n" + none + " " + head + " refs/tags/t\n"
	if b, err := os.ReadFile(filepath.Join(bare, "seen")); err != nil || string(b) != want {
		t.Errorf("got %q, %v, want %q", b, err, want)
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
	h := git.Hook{Command: []string{"troop", "hook", "commit"}}
	const line = "add this line to "
	r := open(t, dir)
	_, err := r.InstallHook(t.Context(), h)
	e := (*git.Error)(nil)
	if !errors.As(err, &e) || !strings.Contains(e.Remedy, line) || !strings.Contains(e.Remedy, "'troop' 'hook' 'commit'") {
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
	_, err = open(t, other).InstallHook(t.Context(), h)
	if !errors.As(err, &e) || !strings.Contains(e.Summary, ".husky") || !strings.Contains(e.Remedy, line+filepath.Join(other, ".husky", "post-commit")) ||
		!strings.Contains(e.Remedy, "'troop' 'hook' 'commit'") {
		t.Errorf("core.hooksPath: %v", err)
	}
	own := shop(t)
	sh(t, own, "git config core.hooksPath .git/own")
	if path, err := open(t, own).InstallHook(t.Context(), h); err != nil || path != filepath.Join(own, ".git", "own", "post-commit") {
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
