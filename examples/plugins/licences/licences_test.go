package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
	"golang.org/x/tools/txtar"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

// shop unpacks testdata/shop.txtar: a source, and a module cache for its go.mod, which bodies name as cache.
func shop(t *testing.T) sdktest.Options {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/shop.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range archive.Files {
		write(t, filepath.Join(dir, f.Name), string(f.Data))
	}
	return sdktest.Options{
		Info:  sdk.RunInfo{Workspace: filepath.Join(dir, "source")},
		Scope: map[string]cty.Value{"cache": cty.StringVal(filepath.Join(dir, "cache"))},
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	tests := map[string]struct {
		body     string
		findings []string
		err      string
	}{
		"npm, allow": {
			body: `files = ["package-lock.json"]` + "\n" + `allow = ["MIT", "BSD-*"]`,
			findings: []string{
				"package-lock.json:17: copyleft 2.0.0: licence GPL-3.0 is refused",
				"package-lock.json:20: both 1.0.0: licence MIT AND (GPL-2.0-only OR ISC) is refused for GPL-2.0-only, ISC",
				"package-lock.json:23: silent 1.0.0: no licence file",
				"package-lock.json:25: odd 0.1.0: SPDX knows no licence BSD-like",
				"package-lock.json:30: absent 1.0.0: no licence in the lock file, and not installed: run npm ci before this stage",
			},
			err: "5 of 12 packages are refused, first package-lock.json:17: copyleft 2.0.0: licence GPL-3.0 is refused",
		},
		"npm, deny and development": {
			body: `
				files  = ["package-lock.json"]
				deny   = ["GPL-3.0-only", "WTFPL"]
				dev    = true
				accept = { silent = "ours", odd = "read by legal", "absent@1.0.0" = "never shipped" }`,
			findings: []string{
				"package-lock.json:14: tool 3.0.0: licence WTFPL is refused",
				"package-lock.json:17: copyleft 2.0.0: licence GPL-3.0 is refused",
			},
			err: "2 of 13 packages are refused, first package-lock.json:14",
		},
		"Go": {
			body: `files = ["go.mod"]` + "\nmodule_cache = cache\n" + `allow = ["MIT"]`,
			findings: []string{
				"go.mod:7: example.com/zero v0.2.0: licence 0BSD is refused",
				"go.mod:8: example.com/bare v1.0.0: no licence file",
				"go.mod:9: example.com/own v1.0.0: LICENSE is the text of no known licence",
				"go.mod:10: example.com/missing v1.0.0: not in the module cache: run go mod download before this stage",
				"go.mod:12: example.com/fork v1.1.0: licence 0BSD is refused",
			},
			err: "5 of 7 packages are refused",
		},
		"Go, vendored": {
			body: `files = ["vendored/go.mod"]` + "\n" + `deny = ["0BSD"]`, // the second of three has no package in use
			findings: []string{
				"vendored/go.mod:6: example.com/used v1.0.0: licence 0BSD is refused",
				"vendored/go.mod:8: example.com/patched v1.0.0: licence 0BSD is refused",
			},
			err: "2 of 2 packages are refused",
		},
		"everything that a folder has": {
			body:     "module_cache = cache\n" + `deny = ["0BSD"]`,
			findings: []string{"go.mod:7: example.com/zero v0.2.0: licence 0BSD is refused"},
			err:      "of 19 packages are refused",
		},
		"no such file":  {body: `files = ["other/go.mod"]`, err: "read go.mod: open "},
		"no lock file":  {body: `files = ["broken/package-lock.json"]`, err: "read broken/package-lock.json: line 3: invalid character"},
		"old lock file": {body: `files = ["old/package-lock.json"]`, err: `read old/package-lock.json: it has no "packages"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := sdktest.Run(t, stage, test.body, shop(t))
			if got := fmt.Sprint(r.Err); test.err == "" && r.Err != nil || !strings.Contains(got, test.err) {
				t.Errorf("error %s, want %s", got, test.err)
			}
			var lines []string
			for _, f := range r.Findings {
				lines = append(lines, fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Message))
			}
			for i, want := range test.findings {
				if !slices.Contains(lines, want) {
					t.Errorf("finding %d is missing: %s", i, want)
				}
			}
			if name != "everything that a folder has" && len(lines) != len(test.findings) {
				t.Errorf("findings\n%s", strings.Join(lines, "\n"))
			}
			if len(r.Warnings) > 0 {
				t.Errorf("warnings %q", r.Warnings)
			}
			if failure := (*sdktest.Failure)(nil); len(lines) > 0 && !errors.As(r.Err, &failure) {
				t.Errorf("%v is no verdict", r.Err)
			}
			if r.Err == nil && r.Outputs["refused"] != 0. {
				t.Errorf("outputs %v", r.Outputs)
			}
		})
	}
}

func TestNothingToLookAt(t *testing.T) {
	r := sdktest.Run(t, stage, ``, sdktest.Options{Info: sdk.RunInfo{Workspace: t.TempDir()}})
	skip := (*sdktest.Skip)(nil)
	if !errors.As(r.Err, &skip) {
		t.Errorf("%v, want a skip", r.Err)
	}
}

func TestCancelled(t *testing.T) {
	o := shop(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := judge(ctx, &config{ModuleCache: t.TempDir()}, &sdk.Job{Info: o.Info})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the run", err)
	}
}

// TestModuleCache asks the go tool, as a run without module_cache does.
func TestModuleCache(t *testing.T) {
	o := shop(t)
	dir := t.TempDir()
	t.Setenv("GOMODCACHE", filepath.Join(filepath.Dir(o.Info.Workspace), "cache"))
	write(t, filepath.Join(dir, "go.mod"), "module m\n\ngo 1.26\n\nrequire example.com/Good v1.0.0\n")
	r := sdktest.Run(t, stage, `allow = ["MIT"]`, sdktest.Options{Info: sdk.RunInfo{Workspace: dir}})
	if r.Err != nil || r.Outputs["packages"] != 1. {
		t.Errorf("%v, outputs %v, findings %v", r.Err, r.Outputs, r.Findings)
	}
}

func TestReport(t *testing.T) {
	r := sdktest.Call(t, stage, "module_cache = cache\n"+`
		deny = ["GPL-*"]
		accept = { odd = "read by legal", gone = "no longer used" }`, "report", nil, shop(t))
	if r.Err != nil || len(r.Tables) != 1 {
		t.Fatalf("%v, %d tables", r.Err, len(r.Tables))
	}
	rows := r.Tables[0].Rows
	for _, want := range [][]string{
		{"copyleft", "2.0.0", "GPL-3.0", "refused", "licence GPL-3.0 is refused", "package-lock.json:17"},
		{"odd", "0.1.0", "BSD-like", "accepted", "read by legal", "package-lock.json:25"},
		{"silent", "1.0.0", "unknown", "refused", "no licence file", "package-lock.json:23"},
		{"example.com/Good", "v1.0.0", "MIT", "passes", "", "go.mod:6"},
	} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return slices.Equal(row, want) }) {
			t.Errorf("row %q is missing", want)
		}
	}
	if len(rows) != 19 || !slices.IsSortedFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) }) {
		t.Errorf("rows\n%q", rows)
	}
	if len(r.Warnings) != 1 || r.Warnings[0] != "accept names gone, which is not used: strike it" {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestPolicy(t *testing.T) {
	tests := []struct {
		policy     policy
		expression string
		refused    bool
	}{
		{policy{}, "MIT", false},
		{policy{}, "UNLICENSED", true},
		{policy{}, "SEE LICENSE IN x", true},
		{policy{allow: []string{"MIT"}}, "mit", false},
		{policy{allow: []string{"MIT"}}, "(MIT OR GPL-3.0-only)", false},
		{policy{allow: []string{"MIT"}}, "GPL-3.0-only OR MIT AND ISC", true},
		{policy{allow: []string{"MIT", "ISC"}}, "GPL-3.0-only OR MIT AND ISC", false},
		{policy{allow: []string{"MIT", "ISC"}}, "(GPL-3.0-only OR MIT) AND ISC", false},
		{policy{allow: []string{"MIT"}}, "(GPL-3.0-only OR MIT) AND ISC", true},
		{policy{allow: []string{"Apache-2.0"}}, "Apache-2.0 WITH LLVM-exception", false},
		{policy{allow: []string{"GPL-2.0-only WITH Classpath-exception-2.0"}}, "GPL-2.0-only", true},
		{policy{allow: []string{"GPL-2.0-only WITH Classpath-exception-2.0"}}, "GPL-2.0-only WITH Classpath-exception-2.0", false},
		{policy{deny: []string{"GPL-*"}}, "LGPL-3.0-only", false},
		{policy{deny: []string{"GPL-*"}}, "GPL-2.0+", true},
		{policy{deny: []string{"GPL-2.0-or-later"}}, "GPL-2.0+", true},
		{policy{deny: []string{"GPL-3.0-only"}}, "GPL-3.0", true},
		{policy{deny: []string{"GPL-3.0"}}, "GPL-3.0-only", true},
		// What a range of versions would satisfy is not for a gate to guess.
		{policy{deny: []string{"GPL-3.0-only"}}, "GPL-3.0-only AND GPL-2.0-or-later", true},
		{policy{allow: []string{"*"}, deny: []string{"MIT"}}, "MIT", true},
	}
	for _, test := range tests {
		if got := test.policy.refuse(test.expression); got != "" != test.refused {
			t.Errorf("%v of %s: %q", test.policy, test.expression, got)
		}
	}
}

func TestConformance(t *testing.T) {
	b := sdktest.Binary{
		Workspace: filepath.Join(shop(t).Info.Workspace, "vendored"),
		Pass:      `deny = ["GPL-*"]`,
		Cancel:    true,
		Valid:     `allow = ["MIT", "BSD-*"]`,
		Invalid: map[string]string{
			"allow = [\"MIT\",\n  \"Apache2\"]": `pipeline.hcl:2,3-12: Invalid licences stage; no SPDX licence is called "Apache2"`,
			`deny = ["MIT OR ISC"]`:             `pipeline.hcl:1,9-21: Invalid licences stage; no SPDX licence is called "MIT OR ISC"`,
			`deny = ["XYZ-*"]`:                  `no SPDX licence is called "XYZ-*"`,
			`allow = [""]`:                      `no SPDX licence is called ""`,
			`accept = { odd = "" }`:             "want the reason",
			`files = ["../go.mod"]`:             "inside the source",
			`files = ["yarn.lock"]`:             "want a package-lock.json or go.mod",
		},
	}
	t.Run("in process", func(t *testing.T) { sdktest.ConformanceOf(t, stage, b) })
	t.Run("binary", func(t *testing.T) { sdktest.Conformance(t, sdktest.Build(t, ".", "licences"), b) })
}
