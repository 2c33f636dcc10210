package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

// dependency is a package that the source uses.
type dependency struct {
	name, version string
	file          string // where the source names it
	line          int
	licence       string // SPDX expression, or what else the package says
	unknown       string // why licence is empty
}

// verdict is what the gate says of a package, which passes when refusal is empty.
type verdict struct {
	dependency
	accepted string // why a package passes whatever its licence
	refusal  string
}

func (v verdict) String() string { return v.name + " " + v.version + ": " + v.refusal }
func (v verdict) place() string  { return fmt.Sprintf("%s:%d", v.file, v.line) }

// kinds are the files that name dependencies.
var kinds = []string{"package-lock.json", "go.mod"}

// run tells everything that is wrong before it says no.
func run(ctx context.Context, c *config, job *sdk.Job) error {
	verdicts, err := judge(ctx, c, job)
	if err != nil {
		return err
	}
	var refused []verdict
	for _, v := range verdicts {
		if v.refusal != "" {
			refused = append(refused, v)
			job.Finding(sdk.Finding{Path: v.file, Line: v.line, Severity: "error", Rule: "licence", Message: v.String()})
		}
	}
	job.Metric(sdk.Metric{Name: "packages", Value: float64(len(verdicts))})
	job.Output("packages", len(verdicts))
	job.Output("refused", len(refused))
	if len(refused) > 0 {
		return sdk.Failf("%d of %d packages are refused, first %s: %s", len(refused), len(verdicts), refused[0].place(), refused[0])
	}
	return nil
}

// report is the action. It judges the work tree as it lies there.
func report(ctx context.Context, c *config, _ sdk.Args, job *sdk.Job) error {
	verdicts, err := judge(ctx, c, job)
	if err != nil {
		return err
	}
	slices.SortStableFunc(verdicts, func(a, b verdict) int { return cmp.Compare(a.name, b.name) })
	t := sdk.Table{Columns: []string{"package", "version", "licence", "verdict", "why", "place"}}
	for _, v := range verdicts {
		said := "passes"
		switch {
		case v.refusal != "":
			said = "refused"
		case v.accepted != "":
			said = "accepted"
		}
		t.Rows = append(t.Rows, []string{v.name, v.version, cmp.Or(v.licence, "unknown"), said, v.refusal + v.accepted, v.place()})
	}
	job.Table(t)
	return nil
}

// judge finds the packages and holds each against the configuration. Nothing to look at is a skip.
func judge(ctx context.Context, c *config, job *sdk.Job) ([]verdict, error) {
	files, err := chooseFiles(c, job.Info.Workspace)
	if err != nil {
		return nil, err
	}
	p := policy{c.Allow, c.Deny}
	used := map[string]bool{}
	var verdicts []verdict
	for _, file := range files {
		deps, err := dependencies(ctx, c, job, file)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // what was found is not the whole
		}
		if err != nil {
			return nil, err
		}
		for _, d := range deps {
			v := verdict{dependency: d}
			for _, key := range []string{d.name + "@" + d.version, d.name} {
				if reason, ok := c.Accept[key]; ok && v.accepted == "" {
					v.accepted, used[key] = reason, true
				}
			}
			switch {
			case v.accepted != "":
			case d.licence == "":
				v.refusal = d.unknown
			default:
				v.refusal = p.refuse(d.licence)
			}
			verdicts = append(verdicts, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Accept)) {
		if !used[name] {
			job.Warnf("accept names %s, which is not used: strike it", name)
		}
	}
	return verdicts, nil
}

func chooseFiles(c *config, workspace string) ([]string, error) {
	if len(c.Files) > 0 {
		return c.Files, nil
	}
	var files []string
	for _, name := range kinds {
		if _, err := os.Stat(filepath.Join(workspace, name)); err == nil {
			files = append(files, name)
		}
	}
	if len(files) == 0 {
		return nil, sdk.Skipf("the source has no %s at its top", strings.Join(kinds, " and no "))
	}
	return files, nil
}

func dependencies(ctx context.Context, c *config, job *sdk.Job, file string) ([]dependency, error) {
	if filepath.Base(file) == "go.mod" {
		return goModules(ctx, c, job, file)
	}
	return npmPackages(ctx, job.Info.Workspace, file, c.Dev)
}
