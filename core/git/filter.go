package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	lfs = "lfs"
	// pointerStart is what a file of Git LFS begins with where its content is not.
	pointerStart = "version https://git-lfs.github.com/spec/"
)

// driver is a filter of git's configuration: what it runs when files are checked out.
type driver struct {
	settings map[string]string // smudge, process, required …
	users    bool              // by the user's or the machine's configuration, not the repository's
}

func (d driver) checksOut() bool { return d.settings["smudge"] != "" || d.settings["process"] != "" }

// command is what it runs, for people.
func (d driver) command() string {
	if d.settings["process"] != "" {
		return d.settings["process"]
	}
	return d.settings["smudge"]
}

// filtered returns those of the files that have a filter, by its name.
func (c *checkout) filtered(ctx context.Context, files string) (map[string][]string, error) {
	cmd := command(ctx, c.dir, []string{"GIT_DIR=" + c.own}, "check-attr", "--cached", "-z", "--stdin", "filter")
	cmd.Stdin = strings.NewReader(files)
	out, err := output(ctx, cmd)
	if err != nil {
		return nil, fmt.Errorf("read attributes: %w", err)
	}
	found := map[string][]string{}
	fields := strings.Split(out, "\x00")
	for i := 0; i+2 < len(fields); i += 3 { // path, attribute, value
		if name := fields[i+2]; !slices.Contains([]string{"unspecified", "unset", "set", ""}, name) {
			found[name] = append(found[name], fields[i])
		}
	}
	return found, nil
}

// filters returns the settings with which git checks out the filtered files, or refuses.
func (c *checkout) filters(ctx context.Context, filtered map[string][]string) ([]string, error) {
	if len(filtered) == 0 {
		return nil, nil
	}
	drivers, err := c.from.drivers(ctx)
	if err != nil {
		return nil, err
	}
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(filtered)) {
		d, files := drivers[name], filtered[name]
		listed := slices.Contains(c.from.Filters, name)
		if name == lfs && listed && !d.checksOut() {
			d = driver{settings: map[string]string{"process": "git-lfs filter-process", "smudge": "git-lfs smudge -- %f", "clean": "git-lfs clean -- %f"}}
		}
		switch {
		case d.checksOut() && (d.users || listed):
			settings = append(settings, d.arguments(name)...)
			if err := c.support(ctx, name); err != nil {
				return nil, err
			}
		case d.checksOut():
			return nil, &Error{
				fmt.Sprintf("%s of commit %.9s goes through the filter %q of the repository's own configuration (%s)", some(files), c.commit, name, d.command()),
				fmt.Sprintf("let it run with filters = [%q] in the source block of the manifest, or set it for this user with git config --global", name), nil,
			}
		case name == lfs:
			return nil, &Error{
				fmt.Sprintf("%s of commit %.9s is kept by Git LFS, which is not set up here", some(files), c.commit),
				"install git-lfs and run git lfs install, or, with git-lfs installed, write filters = [\"lfs\"] in the source block of the manifest", nil,
			}
		case len(d.settings) == 0 && !listed:
			return nil, &Error{
				fmt.Sprintf("%s of commit %.9s wants the filter %q, which git does not know here", some(files), c.commit, name),
				fmt.Sprintf("set it with git config --global filter.%s.smudge COMMAND, or take the files as they are committed with filters = [%q] in the source block of the manifest", name, name), nil,
			}
		}
	}
	return settings, nil
}

// arguments give git the filter. One that fails fails the checkout: what it leaves is not what a work tree has.
func (d driver) arguments(name string) []string {
	d.settings["required"] = "true"
	var args []string
	for _, key := range slices.Sorted(maps.Keys(d.settings)) {
		args = append(args, "-c", "filter."+name+"."+key+"="+d.settings[key])
	}
	return args
}

// drivers are the filters that git knows in the repository, those of the repository's own configuration included.
func (r *Repository) drivers(ctx context.Context) (map[string]driver, error) {
	all, err := r.settings(ctx, `^filter\..*\..*$`)
	if err != nil {
		return nil, err
	}
	drivers := map[string]driver{}
	for _, s := range all {
		key := strings.TrimPrefix(s.key, "filter.")
		dot := strings.LastIndexByte(key, '.')
		name, key := key[:dot], key[dot+1:]
		users := s.scope != "local" && s.scope != "worktree"
		if d, known := drivers[name]; !known || d.users != users { // the repository's changes the user's
			drivers[name] = driver{settings: maps.Clone(d.settings), users: users}
		}
		if drivers[name].settings == nil {
			drivers[name] = driver{settings: map[string]string{}, users: users}
		}
		drivers[name].settings[key] = s.value
	}
	return drivers, nil
}

// support gives a filter what it looks for in git's folder: the objects of Git LFS, the keys of git-crypt.
func (c *checkout) support(ctx context.Context, name string) error {
	if name == lfs {
		if os.Getenv("GIT_LFS_SKIP_SMUDGE") == "" {
			// Without a remote the objects may be here all the same; what is missing is said when files are checked out.
			if remote := c.from.remote(ctx); remote != "" {
				_, _ = c.from.git(ctx, "lfs", "fetch", remote, c.commit)
			}
		}
		_, err := c.git(ctx, "config", "lfs.storage", filepath.Join(c.from.common, "lfs"))
		return err
	}
	keys := filepath.Join(c.from.common, "git-crypt")
	if _, err := os.Stat(keys); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.Symlink(keys, filepath.Join(c.own, "git-crypt")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// remote is where the repository comes from; empty: nowhere.
func (r *Repository) remote(ctx context.Context) string {
	const usual = "origin"
	out, _ := r.git(ctx, "remote")
	remotes := strings.Fields(out)
	switch {
	case len(remotes) == 0:
		return ""
	case slices.Contains(remotes, usual):
		return usual
	}
	return remotes[0]
}

// noPointers refuses a work tree in which a file of Git LFS is only the pointer to it.
func (c *checkout) noPointers(filtered map[string][]string) error {
	var pointers []string
	for _, file := range filtered[lfs] {
		f, err := os.Open(filepath.Join(c.dir, filepath.FromSlash(file)))
		if err != nil {
			continue // a link
		}
		start := make([]byte, len(pointerStart))
		n, _ := io.ReadFull(f, start)
		_ = f.Close()
		if string(start[:n]) == pointerStart {
			pointers = append(pointers, file)
		}
	}
	if len(pointers) == 0 {
		return nil
	}
	remedy := "git lfs fetch, and look at git lfs status"
	if os.Getenv("GIT_LFS_SKIP_SMUDGE") != "" {
		remedy = "unset GIT_LFS_SKIP_SMUDGE"
	}
	return &Error{fmt.Sprintf("Git LFS did not give the content of %s in commit %.9s, only the pointer", some(pointers), c.commit), remedy, nil}
}

// filterError names the filters when a checkout failed.
func filterError(filtered map[string][]string, err error) error {
	for name, files := range filtered {
		if !strings.Contains(err.Error(), "filter") && !strings.Contains(err.Error(), name) {
			continue
		}
		if name == lfs {
			return &Error{fmt.Sprintf("Git LFS could not give %s: %v", some(files), err), "git lfs fetch, and look at git lfs status", err}
		}
		if strings.Contains(err.Error(), "filter "+name) || strings.Contains(err.Error(), "filter '") {
			return &Error{fmt.Sprintf("filter %q failed for %s: %v", name, some(files), err), "try git checkout in a fresh clone", err}
		}
	}
	return fmt.Errorf("fill workspace: %w", err)
}

// some names a few files.
func some(files []string) string {
	const most = 3
	s := strings.Join(files[:min(len(files), most)], ", ")
	if more := len(files) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
