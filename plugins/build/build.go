package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-b96de936/troop/plugins/build/archive"
	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/cache"
	"github.com/seed-b96de936/troop/plugins/sdk/cause"
	"github.com/seed-b96de936/troop/plugins/sdk/service"
)

var stage = sdk.Stage[config]{
	Name:         "build",
	Version:      "0.1.0",
	Summary:      "Builds a commit and packs the result into a content-addressed artifact",
	Capabilities: []sdk.Capability{sdk.Workspace, sdk.Artifacts},
	Cacheable:    true,
	Outputs: []sdk.Output{
		{Name: "artifact", Doc: "digest of the artifact, sha256:HEX; only with a package block"},
		{Name: "path", Doc: "file of the artifact (tar.zst) on this machine; only with a package block"},
		{Name: "size", Doc: "size of the artifact in bytes; only with a package block"},
	},
	Check: check,
	Run:   run,
}

type config struct {
	Command  []string          `hcl:"command,optional" doc:"the build command, as a list of words; no shell is involved"`
	Commands [][]string        `hcl:"commands,optional" doc:"several commands, run in this order, after command"`
	Dir      string            `hcl:"dir,optional" doc:"folder, relative to the source, where the commands run and which is packed"`
	Env      map[string]string `hcl:"env,optional" doc:"environment variables for the commands"`
	Cache    *cache.Config     `hcl:"cache,block" doc:"folders of downloads that are kept between runs; saved when the commands have passed"`
	Services []service.Config  `hcl:"service,block" doc:"programs that run beside the commands, each on a free port; the commands find it in NAME_PORT"`
	Package  *packing          `hcl:"package,block" doc:"what goes into the artifact; without it there is none"`
}

type packing struct {
	Prepare []string `hcl:"prepare,optional" doc:"command that trims a copy of the tree before it is packed, such as [\"npm\", \"prune\", \"--omit=dev\"]"`
	Include []string `hcl:"include,optional" doc:"patterns of files to pack, with ** for any folders; all when empty"`
	Exclude []string `hcl:"exclude,optional" doc:"patterns of files and folders to leave out; exclude beats include, .git is never packed"`
}

func check(c *config) error {
	var errs []error
	if c.Dir != "" && !filepath.IsLocal(c.Dir) {
		errs = append(errs, sdk.BadAttr("dir", "want a folder inside the source, got %q", c.Dir))
	}
	for i, args := range c.Commands {
		if len(args) == 0 {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("commands[%d]", i), "want a command, got an empty list"))
		}
	}
	for name := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			errs = append(errs, sdk.BadAttr("env", "%q is no name of an environment variable", name))
		}
	}
	errs = append(errs, service.Check(c.Services))
	if c.Cache != nil {
		errs = append(errs, c.Cache.Check("cache"))
	}
	if c.Package != nil {
		errs = append(errs, checkPatterns("package.include", c.Package.Include), checkPatterns("package.exclude", c.Package.Exclude))
	}
	return errors.Join(errs...)
}

func checkPatterns(path string, patterns []string) error {
	var errs []error
	for i, p := range patterns {
		if err := archive.CheckPattern(p); err != nil {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("%s[%d]", path, i), "%v", err))
		}
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, c *config, job *sdk.Job) error {
	kept, err := cache.Open(c.Cache, job)
	if err != nil {
		return err
	}
	if err := kept.Restore(ctx, job); err != nil {
		return err
	}
	dir := filepath.Join(job.Info.Workspace, c.Dir)
	if err := runCommands(ctx, c, job, dir); err != nil {
		return err
	}
	kept.Save(ctx, job)
	if c.Package == nil {
		return nil
	}
	return pack(ctx, c, job, dir)
}

// runCommands runs the build commands beside their services.
func runCommands(ctx context.Context, c *config, job *sdk.Job, dir string) error {
	services, err := service.Start(ctx, job, c.Services)
	if err != nil {
		return err
	}
	defer services.Stop()
	commands := c.Commands
	if len(c.Command) > 0 {
		commands = append([][]string{c.Command}, commands...)
	}
	for i, args := range commands {
		job.Progress(float64(i), float64(len(commands)), strings.Join(args, " "))
		args, env, err := services.Command(args, c.Env)
		if err == nil {
			err = execute(ctx, job, args, dir, env)
		}
		if err != nil {
			return services.Explain(err)
		}
	}
	return nil
}

// execute runs one of the user's commands. Its failure is the stage's verdict, with the cause found in its log.
func execute(ctx context.Context, job *sdk.Job, args []string, dir string, env []string) error {
	start := time.Now()
	job.Logf("$ %s", strings.Join(args, " "))
	var log cause.Log
	err := job.Exec(ctx, sdk.Command{Args: args, Dir: dir, Env: env, Line: func(line string, stderr bool) {
		log.Add(line)
		if stderr {
			job.Warnf("%s", line)
		} else {
			job.Logf("%s", line)
		}
	}})
	if exit := (*sdk.ExitError)(nil); errors.As(err, &exit) {
		return sdk.Failf("%s", log.Reason(args, exit.Text))
	}
	if err != nil {
		return err
	}
	job.Logf("%s took %s", args[0], time.Since(start).Round(10*time.Millisecond))
	return nil
}

// pack makes the artifact of dir. With a prepare command it packs a copy, because the stages after this one still
// want what the command takes away.
func pack(ctx context.Context, c *config, job *sdk.Job, dir string) error {
	scratch, err := os.MkdirTemp(job.Info.StateDir, "build-")
	if err != nil {
		return fmt.Errorf("make folder for the package: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	if len(c.Package.Prepare) > 0 {
		staging := filepath.Join(scratch, "tree")
		job.Progress(0, 0, "copying the tree")
		if err := archive.Copy(ctx, dir, staging); err != nil {
			return err
		}
		var env []string
		for _, name := range slices.Sorted(maps.Keys(c.Env)) {
			env = append(env, name+"="+c.Env[name])
		}
		if err := execute(ctx, job, c.Package.Prepare, staging, env); err != nil {
			return err
		}
		dir = staging
	}

	file := filepath.Join(scratch, "package.tar.zst")
	stats, err := archive.Write(ctx, file, dir, archive.Options{
		Include: c.Package.Include,
		Exclude: c.Package.Exclude,
		Time:    commitTime(ctx, job),
		Comment: builtWith(ctx, job, dir),
		Progress: func(files int) {
			job.Progress(0, 0, fmt.Sprintf("packing: %d files", files))
		},
	})
	if left := (*archive.LeavesError)(nil); errors.As(err, &left) {
		return sdk.Failf("%v", left)
	}
	if err != nil {
		return err
	}
	if stats.Files == 0 {
		return sdk.Failf("nothing to pack: no file of the source is chosen by include and exclude")
	}

	artifact, err := job.PutArtifact(ctx, file)
	if err != nil {
		return fmt.Errorf("store artifact: %w", err)
	}
	job.Logf("packed %d files, %s, into %s (%s)", stats.Files, size(stats.Bytes), artifact.Digest, size(artifact.Size))
	job.Metric(sdk.Metric{Name: "artifact size", Value: float64(artifact.Size) / (1 << 20), Unit: "MiB"})
	job.Output("artifact", artifact.Digest)
	job.Output("path", artifact.Path)
	job.Output("size", artifact.Size)
	return nil
}

// commitTime is what every file of the artifact is dated: the same commit gives the same bytes, and a web server
// that makes validators of time and size sees that a new release is new. Without git's help it is a fixed time.
func commitTime(ctx context.Context, job *sdk.Job) time.Time {
	fixed := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	if job.Info.Commit == "" {
		return fixed
	}
	var out string
	err := job.Exec(ctx, sdk.Command{
		Args: []string{"git", "log", "-1", "--format=%ct", job.Info.Commit},
		Line: func(line string, stderr bool) {
			if !stderr {
				out += line
			}
		},
	})
	seconds, parseErr := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil || parseErr != nil {
		return fixed
	}
	return time.Unix(seconds, 0)
}

// size writes a size for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
