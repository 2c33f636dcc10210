package git

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// Mirror makes a bare repository in a folder a copy of another one, with all its branches and tags, or brings the copy up to
// date. Nobody is asked for a password: what the other repository wants to see must be in git's configuration or an agent.
func Mirror(ctx context.Context, url, dir string) (*Repository, error) {
	if strings.HasPrefix(url, "-") {
		return nil, &Error{Summary: "the address " + url + " begins with a dash"}
	}
	args := []string{"fetch", "--quiet", "--prune"}
	in := dir
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return nil, err
		}
		in, args = filepath.Dir(dir), []string{"clone", "--quiet", "--mirror", "--", url, dir}
	}
	if _, err := run(ctx, in, nil, args...); err != nil {
		return nil, &Error{Summary: "cannot read " + url, Remedy: "try it by hand as the user that runs troop: git ls-remote " + url, Err: err}
	}
	return Open(ctx, dir)
}
