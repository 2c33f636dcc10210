package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCases reads output in the shape in which real tools write it, each file with something special. A place is
// compared as far as the value names one, and a message if it does.
func TestCases(t *testing.T) {
	tests := map[string][]string{ // SEVERITY PATH[:LINE[:COLUMN]][ RULE][ | part of the message]
		"sarif-level-by-rule-index.json":         {"error a.js:3 r0"},
		"sarif-rule-in-extension.json":           {"error a.js:4 js/sql"},
		"sarif-tool-failed.json":                 {"error | could not parse a.js"},
		"sarif-rejected-suppression.json":        {"error a.js:5"},
		"sarif-rule-by-index-of-extension.json":  {"note lib/a.js:3 b/one", "error lib/a.js:8 a/zero", "warning lib/b.js:2 b/two"},
		"sarif-suppressions-by-status.json":      {"error lib/a.js:3 r3", "error lib/a.js:4 r4", "error lib/a.js:5 r5"},
		"sarif-configuration-failed.json":        {"error | rule set not found: strict"},
		"sarif-warned-but-successful.json":       {},
		"checkstyle-exception.xml":               {"error A.java | cannot parse A.java"},
		"checkstyle-latin1.xml":                  {"error src/Laden.java:4:2 | Methode 'prüfe' ohne Rückgabe", "warning src/Laden.java:9 | überlange Zeile", "note src/Laden.java:1"},
		"text-times.txt":                         {},
		"text-times-and-one-finding.txt":         {"error lib/cart.js:3:7 | 'total' is never used"},
		"ruff.json":                              {"error a.py:1:8 F401"},
		"ruff-notebook-and-syntax-error.json":    {"error cart.py:1:8 F401", "error report.ipynb:2:9 E711 | (cell 3)", "error broken.py:4:9 | SyntaxError"},
		"pylint.json":                            {"error a.py:3:5 undefined-variable", "warning a.py:7", "note a.py:1"},
		"pylint-five-kinds.json":                 {"note shop/cart.py:1 missing-module-docstring", "note shop/cart.py:9 no-else-return", "warning shop/cart.py:14 unused-variable", "error shop/cart.py:21 no-member", "error shop/stock.py:1 astroid-error"},
		"stylelint.json":                         {"error a.css:2:5", "warning a.css:9:1"},
		"stylelint-three-files.json":             {"error web/page.css:4:10 color-no-invalid-hex", "warning web/page.css:7:1 block-no-empty", "error web/broken.css:2:1 CssSyntaxError"},
		"golangci-v2.json":                       {"error a.go:12:3 errcheck", "warning b.go:4:1 revive"},
		"golangci-v2-three-severities.json":      {"error stock/file.go:18:15 errcheck", "warning stock/stock.go:7:1 revive", "note price/price.go:11:2 modernize", "error cart/cart.go:9:7 typecheck"},
		"phpcs.json":                             {"error a.php:2:1", "warning a.php:8:90"},
		"phpcs-number-is-no-severity.json":       {"error Cart.php:6:29 Squiz.Functions.MultiLineFunctionDeclaration.BraceOnSameLine", "warning Cart.php:12:133 Generic.Files.LineLength.TooLong"},
		"semgrep.json":                           {"error a.js:5:3", "note a.js:9:1", "warning b.js | parsed in part"},
		"semgrep-three-severities.json":          {"error web/pay.js:12:3 rules.eval-of-input", "warning web/pay.js:20:9 rules.weak-hash", "note web/pay.js:31:1 rules.left-over-log", "warning web/old.js:5 | parsed in part"},
		"rubocop.json":                           {"error a.rb:3:1", "note a.rb:5:7"},
		"rubocop-five-severities.json":           {"note lib/cart.rb:3:9 Style/StringLiterals", "note lib/cart.rb:5:3 Metrics/MethodLength", "warning lib/cart.rb:8:5 Lint/UselessAssignment", "error lib/cart.rb:15:7 Lint/MixedRegexpCaptureTypes", "error lib/broken.rb:10:1 Lint/Syntax"},
		"bandit.json":                            {"error a.py:1 B307", "error b.py | could not be read"},
		"bandit-severity-not-confidence.json":    {"note shop/pay.py:4 B101", "error shop/pay.py:17 B602", "warning shop/pay.py:25 B608"},
		"hadolint.json":                          {"warning Dockerfile:1:1 DL3006", "error Dockerfile:4:1 DL1000"},
		"hadolint-four-levels.json":              {"error image/Dockerfile:5:1 DL3004", "warning image/Dockerfile:3:1 DL3008", "note image/Dockerfile:6:1 DL3059", "note image/Dockerfile:7:5 SC2006"},
		"shellcheck.json1":                       {"error a.sh:2:6", "note a.sh:3:6"},
		"shellcheck-four-levels.json1":           {"warning bin/deploy.sh:3:1 SC2164", "error bin/deploy.sh:4:10 SC2068", "note bin/deploy.sh:5:8 SC2086", "note bin/deploy.sh:7:7 SC2006"},
		"clippy.jsonl":                           {"error src/main.rs:2:13", "warning src/main.rs:6:5"},
		"clippy-summaries-and-second-span.jsonl": {"error src/main.rs:4:13 clippy::approx_constant", "error src/main.rs:14:20 E0382", "warning src/main.rs:9:5 clippy::needless_return"},
		"biome.json":                             {"error a.js:1:1", "warning a.js:2:1"},
		"biome-span-in-bytes.json":               {"error web/price.js:3:12 noDoubleEquals", "warning web/price.js:5:1 noVar", "note web/price.js:6:26 noForEach"},
	}
	for file, want := range tests {
		t.Run(file, func(t *testing.T) {
			list, err := Parse("auto", read(t, file), only("lib/cart.js"))
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != len(want) {
				t.Fatalf("got %d findings, want %d:\n%s", len(list), len(want), text(list))
			}
			for i, f := range list {
				if !fits(f, want[i]) {
					t.Errorf("got %s\nwant %s", text(list[i:i+1]), want[i])
				}
			}
		})
	}
	for _, file := range []string{"unknown-array.json", "unknown-object.json"} {
		if list, err := Parse("auto", read(t, file), only()); err == nil || !strings.Contains(err.Error(), "not the JSON of a known linter: an object with the keys ") {
			t.Errorf("%s: got %v, %v", file, list, err)
		}
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	out, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// only says that a workspace has these files.
func only(paths ...string) func(string) bool {
	return func(path string) bool { return slices.Contains(paths, path) }
}

func anywhere(string) bool { return true }

func fits(f Finding, want string) bool {
	want, message, _ := strings.Cut(want, " | ")
	word, rest, _ := strings.Cut(strings.TrimSuffix(want, " |"), " ")
	place, rule, _ := strings.Cut(rest, " ")
	if word != f.Severity || rule != "" && rule != f.Rule || !strings.Contains(f.Message, message) || f.Message == "" {
		return false
	}
	path := f.Path
	for _, root := range []string{"/srv/shop/", "/src/", "./"} {
		path = strings.TrimPrefix(path, root)
	}
	switch strings.Count(place, ":") {
	case 0:
		return place == path
	case 1:
		return place == fmt.Sprintf("%s:%d", path, f.Line)
	}
	return place == fmt.Sprintf("%s:%d:%d", path, f.Line, f.Column)
}
