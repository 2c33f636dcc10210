package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// TestFunctions holds those that are not go-cty's own.
func TestFunctions(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"VERSION": "1.2\n", "a/x.js": "", "a/b/y.js": "", "bin": "\xff"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) (string, bool, error) { return "secret", name == "SET", nil }
	ctx := &hcl.EvalContext{Functions: functions(dir, env, false), Variables: map[string]cty.Value{
		"unknown": cty.DynamicVal, "null": cty.NullVal(cty.String),
	}}
	for expr, want := range map[string]string{
		`startswith("abc", "ab")`: `true`, `endswith("abc", "ab")`: `false`, `strcontains("abc", "b")`: `true`,
		`alltrue([true, false])`: `false`, `alltrue([])`: `true`, `anytrue([false, true])`: `true`, `anytrue([])`: `false`,
		`sum([1, 2.5])`: `3.5`, `sum([1, null])`: `!item 1 is null`,
		`length("né")`: `2`, `length([1, 2])`: `2`, `length({ a = 1 })`: `1`, `length(5)`: `!it has no length`,
		`lookup({ a = 1 }, "a")`: `1`, `lookup({ a = 1 }, "b", 2)`: `2`, `lookup({ a = 1 }, "b")`: `!the map has no "b"`, `lookup([1], "b")`: `!want a map`,
		`one([])`: `null`, `one(["a"])`: `"a"`, `one([1, 2])`: `!want one item at most`, `one("a")`: `!want a list`,
		`replace("a.b", ".", "-")`: `"a-b"`, `replace("a1b22", "/[0-9]+/", "#")`: `"a#b#"`,
		`base64encode("é")`: `"w6k="`, `base64decode("w6k=")`: `"é"`, `base64decode("?")`: `!not base64`, `base64decode("/w==")`: `!not UTF-8`,
		`urlencode("a b/c")`: `"a+b%2Fc"`, `md5("")`: `"d41d8cd98f00b204e9800998ecf8427e"`, `substr(sha1(""), 0, 8)`: `"da39a3ee"`,
		`substr(sha256(""), 0, 8)`: `"e3b0c442"`, `substr(sha512(""), 0, 8)`: `"cf83e135"`,
		`basename("/a/b.c")`: `"b.c"`, `dirname("/a/b.c")`: `"/a"`,
		`file("VERSION")`: `"1.2\n"`, `file("nowhere")`: `!there is no file nowhere`, `file("bin")`: `!not UTF-8`, `file("a")`: `!not a regular file`,
		`fileexists("VERSION")`: `true`, `fileexists("a")`: `false`, `fileexists("b")`: `false`,
		`glob("**/*.js")`: `["a/b/y.js","a/x.js"]`, `glob("./a/*.js")`: `["a/x.js"]`, `glob("*.py")`: `[]`,
		`glob("/etc/*")`: `!stays below`, `glob("a/../../*")`: `!stays below`, `glob("[")`: `!not a pattern`,
		`filehash("a/x.js")`: `"{troop:filehash:a%2Fx.js}"`, `filehash("a b", "c&d")`: `"{troop:filehash:a+b,c%26d}"`,
		`filehash("../x")`: `!want the path of a file of the commit`, `filehash("/etc/passwd")`: `!want the path`,
		`tcp(80)`:    `"tcp://127.0.0.1:80"`,
		`env("SET")`: `"secret"`, `env("UNSET", "x")`: `"x"`, `env("UNSET")`: `!is not set`,
		`try(one([1, 2]), "other")`: `"other"`, `can(one([1, 2]))`: `false`,
		`length(unknown)`: `(unknown)`, `upper(unknown)`: `(unknown)`, `lookup(unknown, "a", 1)`: `(unknown)`,
	} {
		e, diags := hclsyntax.ParseExpression([]byte(expr), "x", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", expr, diags)
		}
		v, diags := e.Value(ctx)
		if message, fails := strings.CutPrefix(want, "!"); fails {
			if !diags.HasErrors() || !strings.Contains(diags.Error(), message) {
				t.Errorf("%s: got %#v, %v; want the error %q", expr, v, diags, message)
			}
			continue
		}
		got := "(unknown)"
		if v, _ = v.Unmark(); v.IsKnown() {
			text, err := ctyjson.Marshal(v, v.Type())
			if err != nil {
				t.Fatalf("%s: %v", expr, err)
			}
			got = string(text)
		}
		if diags.HasErrors() || got != want {
			t.Errorf("%s: got %s, %v; want %s", expr, got, diags, want)
		}
	}
}

// TestSensitive holds that what is made of a secret stays one.
func TestSensitive(t *testing.T) {
	env := func(string) (string, bool, error) { return "secret", true, nil }
	ctx := &hcl.EvalContext{Functions: functions(t.TempDir(), env, false)}
	for _, expr := range []string{`env("X")`, `upper(env("X"))`, `"a ${env("X")}"`, `sensitive("x")`, `length(env("X"))`, `replace(env("X"), "s", "t")`, `lookup({ a = env("X") }, "a")`} {
		e, diags := hclsyntax.ParseExpression([]byte(expr), "x", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", expr, diags)
		}
		if v, diags := e.Value(ctx); diags.HasErrors() || !v.HasMark(sensitive) {
			t.Errorf("%s: got %#v, %v", expr, v, diags)
		}
	}
}
