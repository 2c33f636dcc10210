// Command troop-plugin-licences is a gate on the licences of what a project is made of: npm packages and Go modules.
// It shows what a team's own plugin may look like when it is more than one file: main.go says what it is, gate.go
// what it does, packages of npm and Go modules are found in npm.go and modules.go, and judged in policy.go.
package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/seed-b96de936/troop/plugins/sdk"
)

var stage = sdk.Stage[config]{
	Name:         "licences",
	Version:      "0.1.0",
	Summary:      "Gates on the licences of npm packages and Go modules",
	Capabilities: []sdk.Capability{sdk.Workspace},
	Cacheable:    true,
	Outputs: []sdk.Output{
		{Name: "packages", Doc: "number of packages looked at"},
		{Name: "refused", Doc: "number of packages that were refused"},
	},
	Check: check,
	Run:   run,
	Actions: []sdk.Action[config]{{
		Name:    "report",
		Summary: "List every package with its licence, and what the gate says of it",
		Run:     report,
	}},
}

type config struct {
	Allow       []string          `hcl:"allow,optional" doc:"SPDX licences that a package may have, such as MIT or BSD-*; every known one when empty"`
	Deny        []string          `hcl:"deny,optional" doc:"SPDX licences that a package may not have, such as GPL-*, whatever is allowed"`
	Accept      map[string]string `hcl:"accept,optional" doc:"packages that pass whatever their licence, NAME or NAME@VERSION, each with the reason"`
	Files       []string          `hcl:"files,optional" doc:"the package-lock.json and go.mod files to read; those at the top of the source when empty"`
	Dev         bool              `hcl:"dev,optional" doc:"look at npm's development dependencies, too" default:"false"`
	ModuleCache string            `hcl:"module_cache,optional" doc:"folder of downloaded Go modules; what go env GOMODCACHE prints when empty"`
}

func main() { sdk.Serve(stage) }

func check(c *config) error {
	var errs []error
	errs = append(errs, checkLicences("allow", c.Allow), checkLicences("deny", c.Deny))
	for _, name := range slices.Sorted(maps.Keys(c.Accept)) {
		if c.Accept[name] == "" {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("accept[%q]", name), "want the reason, such as who decided it and when"))
		}
	}
	for i, f := range c.Files {
		if !filepath.IsLocal(f) || !slices.Contains(kinds, filepath.Base(f)) {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("files[%d]", i), "want a package-lock.json or go.mod inside the source, got %q", f))
		}
	}
	return errors.Join(errs...)
}

func checkLicences(name string, patterns []string) error {
	var errs []error
	for i, p := range patterns {
		if !matchesAny(p) {
			errs = append(errs, sdk.BadAttr(fmt.Sprintf("%s[%d]", name, i), "no SPDX licence is called %q; want an identifier such as Apache-2.0, or a pattern such as BSD-*", p))
		}
	}
	return errors.Join(errs...)
}
