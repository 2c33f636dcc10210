package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/seed-b96de936/troop/plugins/analysis/lint"
	"github.com/seed-b96de936/troop/plugins/sdk"
)

var stage = sdk.Stage[config]{
	Name:         "analysis",
	Version:      "0.1.0",
	Summary:      "Gates on linters, the ratio of comments and secrets in the tree",
	Capabilities: []sdk.Capability{sdk.Workspace},
	Cacheable:    true,
	Outputs: []sdk.Output{
		{Name: "findings", Doc: "number of findings of all gates, including those that passed"},
		{Name: "comment_ratio", Doc: "comment ratio of all files together, 0 to 1; only with a comments block"},
	},
	Check: check,
	Run:   run,
	Actions: []sdk.Action[config]{{
		Name:    "scan",
		Summary: "Scan a folder, or the staged files, for secrets",
		Args: []sdk.Arg{
			{Name: "path", Doc: "folder or file; default: the current folder", Default: "."},
			{Name: "staged", Doc: "scan the index, not the files (for a pre-commit hook)", Flag: true, Default: "false"},
			{Name: "index", Doc: "index file to scan; in a hook, $GIT_INDEX_FILE", Flag: true},
		},
		Run: scan,
	}, {
		Name:    "hook",
		Summary: "Install a pre-commit hook that scans the staged files for secrets",
		Run:     installHook,
	}},
}

type config struct {
	Lint     []lintGate   `hcl:"lint,block" doc:"a linter and the format of its output"`
	Comments *commentGate `hcl:"comments,block" doc:"bounds for the ratio of comments"`
	Secrets  *secretGate  `hcl:"secrets,block" doc:"fails on secrets and key files in the tree"`
}

type lintGate struct {
	Command []string          `hcl:"command" doc:"the linter's command line, as a list of words without a shell"`
	Dir     string            `hcl:"dir,optional" doc:"working folder, relative to the source"`
	Env     map[string]string `hcl:"env,optional" doc:"additional environment variables"`
	Format  string            `hcl:"format,optional" doc:"auto (the content decides), unix (FILE:LINE:COLUMN: MESSAGE), jshint, checkstyle (or JSLint's XML), sarif, or the JSON of eslint, stylelint, biome, ruff, pylint, bandit, semgrep, golangci, phpcs, rubocop, clippy, shellcheck or hadolint" default:"\"auto\""`
}

type commentGate struct {
	Min     float64  `hcl:"min,optional" doc:"minimum ratio of lines with a comment to non-blank lines" default:"0"`
	Max     float64  `hcl:"max,optional" doc:"maximum ratio" default:"1"`
	Files   []string `hcl:"files,optional" doc:"patterns of files to measure; empty: all source code"`
	Exclude []string `hcl:"exclude,optional" doc:"patterns of files to exclude"`
	PerFile bool     `hcl:"per_file,optional" doc:"apply the bounds to every file, not only to all of them together"`
}

type secretGate struct {
	Allow []string `hcl:"allow,optional" doc:"patterns of files that may hold secrets; the comment gitleaks:allow allows a line, and a line FILE:RULE:LINE in .gitleaksignore a finding"`
}

func check(c *config) error {
	var errs []error
	for i, l := range c.Lint {
		path := fmt.Sprintf("lint[%d]", i)
		if l.Command != nil && len(l.Command) == 0 {
			errs = append(errs, sdk.BadAttr(path+".command", "want a command, got an empty list"))
		}
		if l.Dir != "" && !filepath.IsLocal(l.Dir) {
			errs = append(errs, sdk.BadAttr(path+".dir", "want a folder inside the source, got %q", l.Dir))
		}
		if l.Format != "" && l.Format != "auto" && !slices.Contains(lint.Formats(), l.Format) {
			errs = append(errs, sdk.BadAttr(path+".format", "want auto, %s, got %q", strings.Join(lint.Formats(), ", "), l.Format))
		}
	}
	if g := c.Comments; g != nil {
		if g.Min < 0 || g.Min > 1 {
			errs = append(errs, sdk.BadAttr("comments.min", "want a ratio from 0 to 1, got %v", g.Min))
		}
		if g.Max < 0 || g.Max > 1 {
			errs = append(errs, sdk.BadAttr("comments.max", "want a ratio from 0 to 1, got %v", g.Max))
		}
		if g.Max > 0 && g.Min > g.Max {
			errs = append(errs, sdk.BadAttr("comments.min", "%v is greater than max, %v: no file could pass", g.Min, g.Max))
		}
		errs = append(errs, checkPatterns("comments.files", g.Files), checkPatterns("comments.exclude", g.Exclude))
	}
	if g := c.Secrets; g != nil {
		errs = append(errs, checkPatterns("secrets.allow", g.Allow))
	}
	return errors.Join(errs...)
}

func checkPatterns(path string, patterns []string) error {
	var errs []error
	for i, p := range patterns {
		if !doublestar.ValidatePattern(p) || strings.HasPrefix(p, "/") || strings.HasPrefix(p, "./") {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("%s[%d]", path, i), "want a pattern relative to the source, such as lib/**, got %q", p))
		}
	}
	return errors.Join(errs...)
}

// matches reports whether one of the patterns matches path. Patterns have been checked.
func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := doublestar.Match(p, path)
		return ok
	})
}
