package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func text(list []Finding) string {
	var lines []string
	for _, f := range list {
		lines = append(lines, fmt.Sprintf("%s:%d:%d %s [%s] %s", f.Path, f.Line, f.Column, f.Severity, f.Rule, f.Message))
	}
	return strings.Join(lines, "\n")
}

func TestParse(t *testing.T) {
	jshint := `lib/bad.js:3:15 error [] Expected '{' and instead saw 'return'.
lib/bad.js:4:12 error [] Missing semicolon.
lib/bad.js:3:22 error [] 'y' is not defined.
lib/bad.js:1:8 error [] 'fs' is defined but never used.
lib/broken.js:1:9 error [] Expected an identifier and instead saw ';'.
lib/broken.js:1:10 error [] Missing semicolon.
lib/broken.js:1:5 error [] 'x' is defined but never used.`
	coded := `lib/bad.js:3:15 warning [W116] Expected '{' and instead saw 'return'.
lib/bad.js:4:12 warning [W033] Missing semicolon.
lib/bad.js:3:22 warning [W117] 'y' is not defined.
lib/bad.js:1:8 warning [W098] 'fs' is defined but never used.
lib/broken.js:1:9 error [E030] Expected an identifier and instead saw ';'.
lib/broken.js:1:10 warning [W033] Missing semicolon.
lib/broken.js:1:5 warning [W098] 'x' is defined but never used.`
	uncoded := strings.NewReplacer("[W116]", "[]", "[W033]", "[]", "[W117]", "[]", "[W098]", "[]", "[E030]", "[]").Replace(coded)
	prefixed := strings.ReplaceAll(strings.ReplaceAll(coded, "[W", "[jshint.W"), "[E", "[jshint.E")

	tests := []struct{ file, format, want string }{
		{"jshint.txt", "jshint", jshint},
		{"jshint-verbose.txt", "jshint", coded},
		{"jshint-unix.txt", "unix", jshint},
		{"checkstyle.xml", "checkstyle", prefixed},
		{"jslint.xml", "checkstyle", uncoded},
		{"eslint-stylish.txt", "eslint", `/work/app/lib/bad.js:1:8 error [no-unused-vars] 'fs' is defined but never used
/work/app/lib/bad.js:3:9 warning [eqeqeq] Expected '===' and instead saw '=='
/work/app/lib/broken.js:1:9 error [] Parsing error: Unexpected token ;`},
		{"eslint.json", "eslint", `/work/app/lib/bad.js:1:8 error [no-unused-vars] 'fs' is defined but never used.
/work/app/lib/bad.js:3:9 warning [eqeqeq] Expected '===' and instead saw '=='.
/work/app/lib/broken.js:1:9 error [] Parsing error: Unexpected token ;`},
		{"eslint-unix.txt", "unix", `/work/app/lib/bad.js:1:8 error [no-unused-vars] 'fs' is defined but never used.
/work/app/lib/bad.js:3:9 warning [eqeqeq] Expected '===' and instead saw '=='.`},
		{"gcc.txt", "unix", `main.c:4:9 warning [-Wunused-variable] unused variable 'x'
main.c:6:3 error [] expected ';' before '}' token
lib/a.go:12:0 error [] missing return
app.py:3:1 error [] F401 'os' imported but unused`},
		{"results.sarif", "sarif", `lib/bad.js:7:3 error [no-eval] eval is evil
/work/app/lib/bad.js:2:0 note [naming] one letter
:0:0 warning [other] without place`},
	}
	for _, test := range tests {
		for _, format := range []string{test.format, "auto"} {
			t.Run(test.file+" as "+format, func(t *testing.T) {
				out, err := os.ReadFile(filepath.Join("testdata", test.file))
				if err != nil {
					t.Fatal(err)
				}
				list, err := Parse(format, out, anywhere)
				if err != nil {
					t.Fatal(err)
				}
				if got := text(list); got != test.want {
					t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
				}
			})
		}
	}
}

func TestParseNothing(t *testing.T) {
	for _, format := range append(Formats(), "auto") {
		list, err := Parse(format, nil, anywhere)
		if err != nil || len(list) != 0 {
			t.Errorf("%s: %v, %v", format, list, err)
		}
	}
	for _, prose := range []string{"All files pass linting.", "Error: Cannot find module 'x'\n    at node:internal/modules/cjs/loader:1078:15", "took: 12:30"} {
		if list, err := Parse("auto", []byte(prose), only()); err != nil || len(list) != 0 {
			t.Errorf("%q: %v, %v", prose, list, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ format, out string }{
		{"checkstyle", "<html/>"},
		{"checkstyle", "not XML"},
		{"sarif", `{"runs": []}`},
		{"sarif", "not JSON"},
		{"eslint", `[1]`},
		{"nonsense", ""},
	} {
		if list, err := Parse(test.format, []byte(test.out), anywhere); err == nil {
			t.Errorf("%s of %q gave %v", test.format, test.out, list)
		}
	}
}
