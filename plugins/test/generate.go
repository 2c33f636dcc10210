package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/cause"
)

//go:embed generate.mjs
var generator []byte

// generated is what the generator prints.
type generated struct {
	Functions int         `json:"functions"`
	Seed      int         `json:"seed"` // of the made-up values
	Text      string      `json:"text"`
	Skipped   [][2]string `json:"skipped"` // function, reason
}

// generate is the action. It calls the functions with made-up values, so Node runs without the right to write files
// and to start programs or threads. Node cannot deny the network.
func generate(ctx context.Context, _ *config, args sdk.Args, job *sdk.Job) error {
	module, err := filepath.Abs(args["module"])
	if err != nil {
		return fmt.Errorf("find module: %w", err)
	}
	if info, err := os.Stat(module); err != nil || !info.Mode().IsRegular() {
		return sdk.Failf("%s is not a file", args["module"])
	}
	out := args["out"]
	if out == "" {
		name := strings.TrimSuffix(filepath.Base(module), filepath.Ext(module))
		out = filepath.Join("test", name+".property.test"+filepath.Ext(module))
	}
	if out, err = filepath.Abs(out); err != nil {
		return fmt.Errorf("find folder of the tests: %w", err)
	}
	switch _, err := os.Lstat(out); {
	case err == nil && args["force"] != "true":
		return sdk.Failf("%s exists; --force overwrites it", out)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("find folder of the tests: %w", err)
	}

	result, err := tryModule(ctx, job, module, out, args["only"])
	if err != nil {
		return err
	}
	for _, s := range result.Skipped {
		job.Logf("%s skipped: %s", s[0], s[1])
	}
	if result.Functions == 0 {
		return sdk.Failf("%s exports no function for which tests can be made", args["module"])
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("write tests: %w", err)
	}
	if err := renameio.WriteFile(out, []byte(result.Text), 0o644); err != nil {
		return fmt.Errorf("write tests: %w", err)
	}
	job.Logf("wrote tests for %d functions to %s (seed %d: the same module gives the same tests)", result.Functions, out, result.Seed)
	return nil
}

func tryModule(ctx context.Context, job *sdk.Job, module, out, only string) (*generated, error) {
	dir, err := os.MkdirTemp("", "troop-generate-")
	if err != nil {
		return nil, fmt.Errorf("prepare generator: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	script := filepath.Join(dir, "generate.mjs")
	if err := os.WriteFile(script, generator, 0o600); err != nil {
		return nil, fmt.Errorf("prepare generator: %w", err)
	}
	permission, err := permissionFlag(ctx, job)
	if err != nil {
		return nil, err
	}

	var text strings.Builder
	err = job.Exec(ctx, sdk.Command{
		Args: []string{"node", permission, "--allow-fs-read=*", "--no-warnings", script, module, out, only},
		Dir:  filepath.Dir(module), Stdout: &text,
	})
	if exit := (*sdk.ExitError)(nil); errors.As(err, &exit) {
		said := strings.Join(exit.Last, "\n")
		if strings.Contains(said, "Cannot find module 'fast-check'") {
			return nil, sdk.Failf("the tests need fast-check; install it first: npm install --save-dev fast-check")
		}
		var log cause.Log
		for _, line := range exit.Last {
			log.Add(line)
		}
		return nil, sdk.Failf("%s cannot be run: %s", module, log.Find())
	}
	if err != nil {
		return nil, err
	}
	// A module may print while it is loaded; the answer is the last line.
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	var result generated
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
		return nil, fmt.Errorf("read answer of the generator: %w", err)
	}
	return &result, nil
}

// permissionFlag is the flag of Node's permission model: its name changed after Node 20, which introduced it.
func permissionFlag(ctx context.Context, job *sdk.Job) (string, error) {
	for _, flag := range []string{"--permission", "--experimental-permission"} {
		err := job.Exec(ctx, sdk.Command{
			Args: []string{"node", flag, "--no-warnings", "--eval", "0"}, Dir: os.TempDir(), Line: func(string, bool) {},
		})
		if err == nil {
			return flag, nil
		}
		if exit := (*sdk.ExitError)(nil); !errors.As(err, &exit) {
			return "", err
		}
	}
	return "", sdk.Failf("Node 20 or newer is needed: older versions cannot deny access to files")
}
