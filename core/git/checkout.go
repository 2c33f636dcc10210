package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Checkout puts the files of a commit into the folder dir, which must not hold anything, and returns where the
// source folder is in it. Nothing of the user's work tree gets there: no loose file, no change that is not
// committed. Hooks do not run.
//
// The files are those that a clone by hand has, or Checkout refuses and names them: a filter of the repository's own
// configuration runs only when Filters lists it, a pointer of Git LFS is no file, and a submodule below the source
// folder is checked out from the clone's own copy. What a partial clone lacks is fetched into it first.
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
	if err := r.fill(ctx, commit, dir, filepath.Join(filepath.Dir(dir), ".git")); err != nil {
		return "", err
	}
	workspace = filepath.Join(dir, r.Path)
	if info, err := os.Stat(workspace); err != nil || !info.IsDir() {
		return "", &Error{
			fmt.Sprintf("commit %.9s has no folder %s", commit, r.Path), "commit the folder that source.path names", err,
		}
	}
	return workspace, nil
}

// mostFile is the size up to which File reads a file, in bytes.
const mostFile = 1 << 20

// File is the content of a file of a commit, which is named as in the folder that the repository was opened with.
func (r *Repository) File(ctx context.Context, commit, name string) ([]byte, error) {
	object := commit + ":" + path.Join(filepath.ToSlash(r.Path), name)
	size, err := r.git(ctx, "cat-file", "-s", object)
	if err != nil {
		return nil, err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(size)); err != nil || n > mostFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, mostFile)
	}
	out, err := r.git(ctx, "cat-file", "blob", object)
	return []byte(out), err
}

// checkout is a work tree that is being filled.
type checkout struct {
	from   *Repository
	commit string
	dir    string // the work tree
	own    string // its repository
}

// fill checks a commit out into dir, with a new repository in own.
func (r *Repository) fill(ctx context.Context, commit, dir, own string) error {
	c := &checkout{r, commit, dir, own}
	if err := r.complete(ctx, commit); err != nil {
		return err
	}
	if err := c.make(ctx); err != nil {
		return fmt.Errorf("make repository of workspace: %w", err)
	}
	if _, err := c.git(ctx, "read-tree", commit); err != nil {
		return fmt.Errorf("read commit: %w", err)
	}
	index, err := c.git(ctx, "ls-files", "--cached", "--stage", "-z")
	if err != nil {
		return fmt.Errorf("list files of commit: %w", err)
	}
	files, modules := entries(index)
	filtered, err := c.filtered(ctx, files)
	if err != nil {
		return err
	}
	settings, err := c.filters(ctx, filtered)
	if err != nil {
		return err
	}
	if _, err := c.git(ctx, append(settings, "-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "--detach", commit, "--")...); err != nil {
		return filterError(filtered, err)
	}
	if err := c.noPointers(filtered); err != nil {
		return err
	}
	for _, m := range modules {
		if !c.wants(m.folder) {
			continue
		}
		if err := c.submodule(ctx, m.folder, m.commit); err != nil {
			return err
		}
	}
	return nil
}

// module is a commit of another repository in a folder.
type module struct{ folder, commit string }

// entries reads what git ls-files --stage -z prints: MODE HASH STAGE, a tab, and the path. files keeps its form: paths
// that each end with a zero byte.
func entries(index string) (files string, modules []module) {
	var b strings.Builder
	for entry := range strings.SplitSeq(strings.TrimSuffix(index, "\x00"), "\x00") {
		meta, path, _ := strings.Cut(entry, "\t")
		if fields := strings.Fields(meta); len(fields) == 3 && fields[0] == "160000" {
			modules = append(modules, module{path, fields[1]})
		} else if path != "" {
			b.WriteString(path + "\x00")
		}
	}
	return b.String(), modules
}

func (c *checkout) git(ctx context.Context, args ...string) (string, error) {
	return run(ctx, c.dir, []string{"GIT_DIR=" + c.own}, args...)
}

// make makes the repository of the work tree. Its objects are named by the same hash as those that it borrows,
// whatever git's settings say of new repositories.
func (c *checkout) make(ctx context.Context) error {
	if _, err := run(ctx, c.dir, nil, "init", "--quiet", "--bare", "--template=", "--object-format="+c.from.format, c.own); err != nil {
		return err
	}
	if err := c.borrow(); err != nil {
		return err
	}
	// Three calls of git config would take longer than the rest. A value is quoted as git-config(1) says.
	value := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(c.dir)
	config, err := os.OpenFile(filepath.Join(c.own, "config"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(config, "[core]\n\tbare = false\n\tworktree = \"%s\"\n\thooksPath = /dev/null\n", value)
	return errors.Join(err, config.Close())
}

// borrow gives the work tree the objects of the repository that it comes from, the border of its history when it is
// shallow, and the attributes that its user has added.
func (c *checkout) borrow() error {
	common := c.from.common
	for _, dir := range []string{filepath.Join("objects", "info"), "info"} {
		if err := os.MkdirAll(filepath.Join(c.own, dir), 0o755); err != nil {
			return err
		}
	}
	objects := filepath.Join(common, "objects")
	if err := os.WriteFile(filepath.Join(c.own, "objects", "info", "alternates"), []byte(objects+"\n"), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"shallow", filepath.Join("info", "attributes")} {
		b, err := os.ReadFile(filepath.Join(common, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(c.own, name), b, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// complete fetches what a partial clone lacks of a commit, as git itself does when it is checked out there.
func (r *Repository) complete(ctx context.Context, commit string) error {
	promisors, err := r.settings(ctx, `^remote\..*\.promisor$`)
	if err != nil || len(promisors) == 0 {
		return err
	}
	remote := strings.TrimSuffix(strings.TrimPrefix(promisors[0].key, "remote."), ".promisor")
	incomplete := func(err error) error {
		return &Error{
			fmt.Sprintf("the clone is partial, and files of commit %.9s are not in it", commit),
			fmt.Sprintf("fetch them with git fetch --refetch --no-filter %s, or clone without --filter", remote), err,
		}
	}
	if _, err := r.git(ctx, "ls-tree", "-r", "--name-only", "-z", commit); err != nil { // fetches folders that are missing
		return incomplete(err)
	}
	out, err := r.git(ctx, "rev-list", "--objects", "--no-object-names", "--missing=print", commit+"^{tree}")
	if err != nil {
		return incomplete(err)
	}
	var missing strings.Builder
	for line := range strings.Lines(out) {
		if object, ok := strings.CutPrefix(line, "?"); ok {
			missing.WriteString(object)
		}
	}
	if missing.Len() == 0 {
		return nil
	}
	cmd := command(ctx, r.Root, nil, "-c", "safe.directory=*", "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet",
		"--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--no-auto-maintenance", "--filter=blob:none", "--stdin", remote)
	cmd.Stdin = strings.NewReader(missing.String())
	if _, err := output(ctx, cmd); err != nil {
		return incomplete(err)
	}
	return nil
}

// wants reports whether a submodule belongs to the source folder, or the other way round. Those elsewhere stay empty.
func (c *checkout) wants(folder string) bool {
	within := func(a, b string) bool { return a == "" || a == b || strings.HasPrefix(b, a+"/") }
	source := filepath.ToSlash(c.from.Path)
	return within(source, folder) || within(folder, source)
}

// submodule checks out a commit of another repository, from the clone's own copy of it.
func (c *checkout) submodule(ctx context.Context, folder, commit string) error {
	refusal := &Error{
		fmt.Sprintf("submodule %s of commit %.9s is not in this clone", folder, c.commit),
		fmt.Sprintf("git -C %s submodule update --init --recursive %s", quote(c.from.Root), quote(folder)), nil,
	}
	if c.from.Bare {
		refusal.Remedy = "a bare repository holds no submodules: name a clone in source.path"
	}
	name := c.gitmodules(ctx, folder, "name")
	if c.gitmodules(ctx, folder, "update") == "none" {
		return nil // its own repository says that it stays empty
	}
	for _, place := range []string{filepath.Join(c.from.common, "modules", filepath.FromSlash(name)), filepath.Join(c.from.Root, filepath.FromSlash(folder), ".git")} {
		if name == "" || c.from.Bare {
			break
		}
		if info, err := os.Stat(place); err != nil || !info.IsDir() {
			continue
		}
		from := &Repository{
			Root: place, Bare: true, Filters: c.from.Filters, dir: place, common: place, format: c.from.format, module: true,
		} // git refuses submodules of another format
		if _, err := from.git(ctx, "cat-file", "-e", commit+"^{commit}"); err != nil {
			refusal.Err = err
			continue
		}
		dir := filepath.Join(c.dir, filepath.FromSlash(folder))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folder of submodule: %w", err)
		}
		own := filepath.Join(c.own, "modules", strings.ReplaceAll(folder, "/", "%2F"))
		if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
			return fmt.Errorf("make repository of submodule: %w", err)
		}
		if err := from.fill(ctx, commit, dir, own); err != nil {
			return fmt.Errorf("submodule %s: %w", folder, err)
		}
		return nil
	}
	return refusal
}

// gitmodules reads what .gitmodules of the commit says of the submodule in a folder; "name" is what it is called there.
func (c *checkout) gitmodules(ctx context.Context, folder, key string) string {
	out, err := c.git(ctx, "config", "--blob", c.commit+":.gitmodules", "-z", "--get-regexp", `^submodule\..*\.(path|update)$`)
	if err != nil {
		return ""
	}
	values := map[string]string{} // by "NAME.KEY"
	name := ""
	for entry := range strings.SplitSeq(out, "\x00") {
		k, v, _ := strings.Cut(entry, "\n")
		k = strings.TrimPrefix(k, "submodule.")
		values[k] = v
		if n, ok := strings.CutSuffix(k, ".path"); ok && path.Clean(v) == folder {
			name = n
		}
	}
	if key == "name" {
		if slices.Contains(strings.Split(name, "/"), "..") { // as git itself refuses it
			return ""
		}
		return name
	}
	return values[name+"."+key]
}
