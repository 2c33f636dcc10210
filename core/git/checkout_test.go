package git_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-b96de936/troop/core/git"
)

// checkout checks HEAD out and returns the content of a file, or the refusal.
func checkout(t *testing.T, r *git.Repository, revision, file string) (string, error) {
	t.Helper()
	at, err := r.Resolve(t.Context(), revision)
	if err != nil {
		t.Fatalf("Resolve: %v", err)
	}
	ws, err := r.Checkout(t.Context(), at.Hash, filepath.Join(t.TempDir(), "src"))
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(ws, file))
	return string(b), err
}

// refused checks for an *git.Error with all words in it.
func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if e := (*git.Error)(nil); !errors.As(err, &e) || e.Remedy == "" {
		t.Fatalf("got %v, want a refusal with a remedy", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not name %q", err, w)
		}
	}
}

const cryptRepository = `git init -q .
	git config filter.crypt.clean "tr a-z b-za"; git config filter.crypt.smudge "tr b-za a-z"; git config filter.crypt.required true
	echo "*.key filter=crypt" >.gitattributes; echo hello >x.key; git add -A; git commit -qm one`

func TestFilterOfTheRepository(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sh(t, dir, cryptRepository)
	r := open(t, dir)
	_, err := checkout(t, r, "HEAD", "x.key")
	refused(t, err, `"crypt"`, "x.key", "tr b-za a-z", `filters = ["crypt"]`)
	r.Filters = []string{"crypt"}
	if got, err := checkout(t, r, "HEAD", "x.key"); got != "hello\n" || err != nil {
		t.Errorf("listed: %q, %v", got, err)
	}

	// What the command does wrong is said, also when git's configuration would let it pass.
	sh(t, dir, `git config filter.crypt.smudge false; git config filter.crypt.required false`)
	_, err = checkout(t, r, "HEAD", "x.key")
	refused(t, err, `"crypt"`, "x.key")

	// A clone whose git does not know the filter has the encrypted word.
	clone := filepath.Join(t.TempDir(), "clone")
	sh(t, dir, "git clone -q . "+clone)
	r = open(t, clone)
	_, err = checkout(t, r, "HEAD", "x.key")
	refused(t, err, `"crypt"`, "x.key", "git config --global filter.crypt.smudge")
	r.Filters = []string{"crypt"}
	if got, err := checkout(t, r, "HEAD", "x.key"); got != "ifmmp\n" || err != nil {
		t.Errorf("taken as it is committed: %q, %v", got, err)
	}
}

func TestFilterThatOnlyCleans(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sh(t, dir, `git init -q .; git config filter.strip.clean "sed '/^output/d'"
		echo "*.txt filter=strip" >.gitattributes; printf 'source 1\noutput 2\n' >a.txt; git add -A; git commit -qm one`)
	if got, err := checkout(t, open(t, dir), "HEAD", "a.txt"); got != "source 1\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFilterOfTheUser(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	sh(t, dir, cryptRepository+`; git config --remove-section filter.crypt`)
	sh(t, home, `git config --file .gitconfig filter.crypt.smudge "tr b-za a-z"`)
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, ".gitconfig"))
	if got, err := checkout(t, open(t, dir), "HEAD", "x.key"); got != "hello\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// lfsRepository has a pointer logo.png. git-lfs is a stand-in that keeps objects where git-lfs does.
const lfsRepository = `git init -q .
	echo "*.png filter=lfs diff=lfs merge=lfs -text" >.gitattributes
	printf "version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n" 7 >logo.png
	git -c filter.lfs.clean=cat -c filter.lfs.required=false add -A
	git -c filter.lfs.clean=cat commit -qm one`

const lfsStandIn = `#!/bin/sh
case "$1" in
clean) exec cat ;;
smudge) [ "${GIT_LFS_SKIP_SMUDGE:-0}" != 1 ] || exec cat
	cat >/dev/null
	object=$(git config lfs.storage)/object
	[ ! -e "$object" ] || exec cat "$object"
	echo "Error downloading object: $2: not found on the server" >&2; exit 2 ;;
fetch) mkdir -p "$(git rev-parse --git-common-dir)/lfs"; echo picture >"$(git rev-parse --git-common-dir)/lfs/object"; exit 0 ;;
esac
exit 1
`

func TestLFS(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	sh(t, dir, lfsRepository)
	r := open(t, dir)
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, "none"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	_, err := checkout(t, r, "HEAD", "logo.png")
	refused(t, err, "Git LFS", "logo.png", "install git-lfs")

	program := filepath.Join(home, "git-lfs")
	if err := os.WriteFile(program, []byte(lfsStandIn), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", home+":"+os.Getenv("PATH"))
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, "config"))
	sh(t, home, `git config --file config filter.lfs.smudge "git-lfs smudge %f"; git config --file config filter.lfs.required true`)
	_, err = checkout(t, r, "HEAD", "logo.png")
	refused(t, err, "LFS", "logo.png", "not found on the server")

	t.Setenv("GIT_LFS_SKIP_SMUDGE", "1")
	_, err = checkout(t, r, "HEAD", "logo.png")
	refused(t, err, "LFS", "logo.png", "GIT_LFS_SKIP_SMUDGE")

	t.Setenv("GIT_LFS_SKIP_SMUDGE", "")
	sh(t, dir, "git remote add origin file:///nowhere")
	if got, err := checkout(t, r, "HEAD", "logo.png"); got != "picture\n" || err != nil {
		t.Errorf("fetched: %q, %v", got, err)
	}
}

func TestSubmodule(t *testing.T) {
	t.Parallel()
	lib, dir := t.TempDir(), t.TempDir()
	sh(t, lib, `git init -q .; echo a >f; git add -A; git commit -qm one`)
	sh(t, dir, `git init -q -b main .; mkdir app; echo x >app/x; git -c protocol.file.allow=always submodule --quiet add file://`+lib+` app/lib; git add -A; git commit -qm one`)
	for _, folder := range []string{"", "app"} {
		r := open(t, filepath.Join(dir, folder))
		file := "lib/f"
		if folder == "" {
			file = "app/lib/f"
		}
		if got, err := checkout(t, r, "HEAD", file); got != "a\n" || err != nil {
			t.Errorf("in %q: %q, %v", folder, got, err)
		}
	}
	clone := filepath.Join(t.TempDir(), "clone")
	sh(t, dir, "git clone -q . "+clone+"; git clone -q --bare . "+clone+".git")
	_, err := checkout(t, open(t, clone), "HEAD", "app/lib/f")
	refused(t, err, "app/lib", "submodule update --init")
	_, err = checkout(t, open(t, clone+".git"), "HEAD", "app/lib/f")
	refused(t, err, "app/lib", "bare")
	// It is none of the source folder's business.
	sh(t, clone, "mkdir other; echo x >other/x; git add other; git commit -qm two")
	if got, err := checkout(t, open(t, filepath.Join(clone, "other")), "HEAD", "x"); got != "x\n" || err != nil {
		t.Errorf("elsewhere: %q, %v", got, err)
	}
}

func TestPartialAndSparseClone(t *testing.T) {
	t.Parallel()
	origin, dir := t.TempDir(), filepath.Join(t.TempDir(), "clone")
	sh(t, origin, `git init -q .; git config uploadpack.allowFilter true; mkdir app lib; echo a >app/f; echo first >lib/f
		git add -A; git commit -qm one; echo second >lib/f; git commit -qam two
		git clone -q --filter=blob:none --sparse file://$PWD `+dir+`; cd `+dir+`; git sparse-checkout set app`)
	r := open(t, dir)
	for revision, want := range map[string]string{"HEAD": "second\n", "HEAD~1": "first\n"} {
		if got, err := checkout(t, r, revision, "lib/f"); got != want || err != nil {
			t.Errorf("%s: %q, %v", revision, got, err)
		}
	}
	sh(t, origin, "echo third >lib/f; git commit -qam three")
	sh(t, dir, "git fetch -q; git reset -q --soft origin/HEAD")
	if err := os.Rename(origin, origin+".gone"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(origin + ".gone") })
	_, err := checkout(t, r, "HEAD", "lib/f")
	refused(t, err, "partial", "git fetch --refetch")
}

func TestHashOfTheRepository(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	sh(t, home, "git config --file config init.defaultObjectFormat sha256")
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, "config"))
	t.Setenv("GIT_DEFAULT_HASH", "sha256") // as the setting, in the git of Debian 12
	for _, format := range []string{"sha1", "sha256"} {
		at := filepath.Join(dir, format)
		sh(t, dir, "git init -q --object-format="+format+" "+at+"; cd "+at+"; echo a >f; git add -A; git commit -qm one")
		if got, err := checkout(t, open(t, at), "HEAD", "f"); got != "a\n" || err != nil {
			t.Errorf("%s: %q, %v", format, got, err)
		}
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	r := open(t, filepath.Join(dir, "app"))
	if c, changed, err := r.Snapshot(t.Context()); err != nil || changed || c.Hash != sh(t, dir, "git rev-parse HEAD") {
		t.Fatalf("nothing changed: %+v, %v, %v", c, changed, err)
	}
	sh(t, dir, "echo staged >app/file; git add app/file; echo changed >app/file; echo loose >app/loose; echo x >app/x.log; rm app/new")
	const state = "git status --porcelain; git for-each-ref; git rev-parse HEAD; sha256sum .git/index"
	before := sh(t, dir, state)
	c, changed, err := r.Snapshot(t.Context())
	if err != nil || !changed || c.Branch != "main" || !strings.Contains(c.Subject, "Second") {
		t.Fatalf("got %+v, %v, %v", c, changed, err)
	}
	if after := sh(t, dir, state); after != before {
		t.Errorf("the user's index or refs changed: %s, before %s", after, before)
	}
	if again, _, err := r.Snapshot(t.Context()); err != nil || again.Hash != c.Hash {
		t.Errorf("the same files gave %s, then %s, %v", c.Hash, again.Hash, err)
	}
	ws, err := r.Checkout(t.Context(), c.Hash, filepath.Join(t.TempDir(), "src"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(sh(t, ws, "cat file; ls"))
	if want := []string{"changed", "file", "link", "loose", "run"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
