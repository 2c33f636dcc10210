package project

import (
	"context"
	"os"
	"path/filepath"

	"github.com/seed-b96de936/troop/core"
	"github.com/seed-b96de936/troop/core/git"
)

// CheckOut checks a commit of a bare repository out, beside the workspace of the run that it is for, and returns the path of
// the manifest in it: such a run goes by the commit's own. name is the manifest's path in the commit. One that is not there
// is an fs.ErrNotExist.
func CheckOut(ctx context.Context, repo *git.Repository, o core.RunOptions, with Options, name string) (string, error) {
	files := OpenLocal(repo.Root, with)
	defer func() { _ = files.Close() }()
	workspace, err := files.Workspace(o.ID)
	if err == nil {
		workspace, err = repo.Checkout(ctx, o.Commit, filepath.Join(filepath.Dir(workspace), "manifest", "src"))
	}
	if err != nil {
		return "", err
	}
	file := filepath.Join(workspace, name)
	_, err = os.Stat(file)
	return file, err
}

// RunArguments are the arguments of the troop program for a run of a commit on this machine, by the manifest in a file.
func RunArguments(file string, o core.RunOptions, with Options) []string {
	args := []string{"run", file, "--local", "--commit", o.Commit, "--id", string(o.ID)}
	for _, f := range [][2]string{{"--branch", o.Branch}, {"--tag", o.Tag}, {"--env", o.Environment}, {"--until", string(o.Until)}, {"--from", string(o.From)}, {"--state", with.State}} {
		if f[1] != "" {
			args = append(args, f[0], f[1])
		}
	}
	if o.Force {
		args = append(args, "--force")
	}
	return args
}
