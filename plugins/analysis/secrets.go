package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/analysis/secrets"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

// allowedFile has the fingerprints of allowed findings, as in gitleaks.
const allowedFile = ".gitleaksignore"

// judge scans files, which are relative to dir. A finding has the position and the kind, never the secret.
func (g *secretGate) judge(ctx context.Context, job *sdk.Job, dir string, files []string) (verdict, error) {
	scanner, err := secrets.NewScanner()
	if err != nil {
		return verdict{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return verdict{}, fmt.Errorf("scan for secrets: %w", err)
	}
	defer func() { _ = root.Close() }()
	allowed, err := readAllowed(root)
	if err != nil {
		return verdict{}, err
	}
	files = slices.DeleteFunc(slices.Clone(files), func(path string) bool { return matches(g.Allow, path) })
	found, err := scanAll(ctx, job, scanner, root, files)
	if err != nil {
		return verdict{}, err
	}
	var list []sdk.Finding
	for _, f := range found {
		if !allowed[f.Fingerprint()] {
			list = append(list, sdk.Finding{
				Path: f.Path, Line: f.Line, Column: f.Column, Severity: "error", Rule: f.Rule,
				Message: f.Message + " (value not shown); " + howAllowed(f),
			})
		}
	}
	job.Logf("secrets: %s in %s", plural(len(list), "finding"), plural(len(files), "file"))
	say(job, list)
	if len(list) == 0 {
		return verdict{}, nil
	}
	return verdict{
		reason:   fmt.Sprintf("secrets: %s, first %s; if it is a secret, remove it from the commit and revoke it", plural(len(list), "finding"), place(list[0])),
		findings: len(list),
	}, nil
}

// howAllowed is the remedy for a false positive.
func howAllowed(f secrets.Finding) string {
	file := fmt.Sprintf("the line %s in %s", f.Fingerprint(), allowedFile)
	if f.Line == 0 {
		return "if it is not a secret, allow it with " + file
	}
	return "if it is not a secret, allow it with the comment gitleaks:allow on its line, or with " + file
}

// readAllowed reads the fingerprints in the root of a tree.
func readAllowed(root *os.Root) (secrets.Allowed, error) {
	const limit = 1 << 20
	content, more, err := readFile(root, allowedFile, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read fingerprints: %w", err)
	case more:
		return nil, sdk.Failf("%s has more than %d MiB", allowedFile, limit>>20)
	}
	allowed, err := secrets.ReadAllowed(content)
	if err != nil {
		return nil, sdk.Failf("%s: %v", allowedFile, err)
	}
	return allowed, nil
}

// scanAll scans files on all processors and returns the findings in the order of files.
func scanAll(ctx context.Context, job *sdk.Job, scanner *secrets.Scanner, root *os.Root, files []string) ([]secrets.Finding, error) {
	found := make([][]secrets.Finding, len(files))
	err := eachFile(ctx, job, "scanning for secrets", files, func(ctx context.Context, i int) error {
		f, err := openFile(root, files[i])
		if err != nil {
			return fmt.Errorf("scan for secrets: %w", err)
		}
		defer func() { _ = f.Close() }()
		if found[i], err = scanner.Scan(ctx, files[i], f); err != nil {
			return fmt.Errorf("scan %s for secrets: %w", files[i], err)
		}
		return nil
	})
	return slices.Concat(found...), err
}

func isFile(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().IsRegular()
}

// scan is the action scan. Staged files are copied from the index to a temporary folder, because the work tree may have
// changed since.
func scan(ctx context.Context, c *config, args sdk.Args, job *sdk.Job) error {
	gate := c.Secrets
	if gate == nil {
		gate = &secretGate{}
	}
	dir, err := filepath.Abs(args["path"])
	if err != nil {
		return fmt.Errorf("find %s: %w", args["path"], err)
	}
	var files []string
	switch info, statErr := os.Stat(dir); {
	case statErr != nil:
		return fmt.Errorf("scan for secrets: %w", statErr)
	case args["staged"] == "true":
		if dir, files, err = staged(ctx, job, dir, args["index"]); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	case !info.IsDir():
		dir, files = filepath.Dir(dir), []string{filepath.Base(dir)}
	default:
		if files, err = listFiles(ctx, job, dir); err != nil {
			return err
		}
	}
	v, err := gate.judge(ctx, job, dir, files)
	if err != nil {
		return err
	}
	if v.reason != "" {
		return sdk.Failf("%s", v.reason)
	}
	return nil
}

// staged copies the files that the next commit adds or changes to a new folder, which the caller removes.
func staged(ctx context.Context, job *sdk.Job, dir, index string) (folder string, files []string, err error) {
	var env []string
	if index != "" {
		if !filepath.IsAbs(index) {
			index = filepath.Join(dir, index)
		}
		env = append(env, "GIT_INDEX_FILE="+index)
	}
	root, err := gitFiles(ctx, job, dir, env, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", nil, fmt.Errorf("find repository: %w", err)
	}
	names, err := gitFiles(ctx, job, dir, env, "diff", "--cached", "--name-only", "-z", "--diff-filter=ACMRT")
	if err != nil {
		return "", nil, fmt.Errorf("list staged files: %w", err)
	}
	folder, err = os.MkdirTemp("", "troop-staged-")
	if err != nil {
		return "", nil, fmt.Errorf("make folder for staged files: %w", err)
	}
	dir = strings.TrimSpace(strings.Join(root, "")) // names are relative to it
	for batch := range slices.Chunk(names, 200) {   // limits the length of a command line
		args := append([]string{"checkout-index", "--force", "--prefix=" + folder + "/", "--"}, batch...)
		if _, err := gitFiles(ctx, job, dir, env, args...); err != nil {
			_ = os.RemoveAll(folder)
			return "", nil, fmt.Errorf("copy staged files: %w", err)
		}
	}
	names = slices.DeleteFunc(names, func(path string) bool { return !isFile(filepath.Join(folder, path)) })
	// The fingerprints are needed even if unchanged. A repository may have none.
	_, _ = gitFiles(ctx, job, dir, env, "checkout-index", "--quiet", "--force", "--prefix="+folder+"/", "--", allowedFile)
	return folder, names, nil
}
