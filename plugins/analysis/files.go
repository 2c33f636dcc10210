package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// listFiles returns the regular files in dir that git tracks, relative to dir; this excludes installed packages and build
// products. Without a repository it returns all files except those in node_modules and .git.
func listFiles(ctx context.Context, job *sdk.Job, dir string) ([]string, error) {
	if list, err := gitFiles(ctx, job, dir, nil, "ls-files", "-z", "--cached"); err == nil && len(list) > 0 {
		return slices.DeleteFunc(list, func(path string) bool { return !isFile(filepath.Join(dir, path)) }), nil
	}
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != dir && (d.Name() == "node_modules" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			list = append(list, filepath.ToSlash(rel))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return list, nil
}

// openFile opens a regular file under root. A command may have replaced the file: links cannot lead outside root, and pipes
// and devices are not read.
func openFile(root *os.Root, path string) (*os.File, error) {
	f, err := root.OpenFile(filepath.FromSlash(path), os.O_RDONLY|syscall.O_NONBLOCK, 0) // opening a pipe would block
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// readFile returns the first limit bytes of a regular file under root, and whether there are more.
func readFile(root *os.Root, path string, limit int64) (content []byte, more bool, err error) {
	f, err := openFile(root, path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	content, err = io.ReadAll(io.LimitReader(f, limit+1))
	if int64(len(content)) > limit {
		return content[:limit], true, err
	}
	return content, false, err
}

// eachFile calls do with the index of every file, on all processors, and returns the first error.
func eachFile(ctx context.Context, job *sdk.Job, doing string, files []string, do func(ctx context.Context, i int) error) error {
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range files {
		if each.Err() != nil {
			break
		}
		if i%100 == 0 {
			job.Progress(float64(i), float64(len(files)), doing)
		}
		group.Go(func() error { return do(each, i) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// mostOutput is the maximum number of bytes read of a command's output.
const mostOutput = 64 << 20

// capture is a writer that keeps the first bytes, up to a limit.
type capture struct {
	bytes.Buffer
	limit int
	full  bool // more were written
}

func (c *capture) Write(p []byte) (int, error) {
	if room := c.limit - c.Len(); len(p) > room {
		c.full = true
		c.Buffer.Write(p[:room])
		return len(p), nil // let the command continue
	}
	return c.Buffer.Write(p)
}

// gitFiles runs a git command that prints NUL-terminated names.
func gitFiles(ctx context.Context, job *sdk.Job, dir string, env []string, args ...string) ([]string, error) {
	out := capture{limit: mostOutput}
	err := job.Exec(ctx, sdk.Command{
		Args: append([]string{"git", "-c", "safe.directory=*"}, args...), Dir: dir, Env: env,
		Stdout: &out, Line: func(string, bool) {}, // git's messages are in its error
	})
	if err != nil {
		return nil, err
	}
	if out.full {
		return nil, fmt.Errorf("git %s: it printed more than %d MiB", args[0], mostOutput>>20)
	}
	if out.Len() == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\x00"), "\x00"), nil
}
