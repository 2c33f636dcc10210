package manifest

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/seed-b96de936/troop/core"
)

// decode is what the SDK does with a scope.
func decode(t *testing.T, s core.Scope) cty.Value {
	t.Helper()
	typ, err := ctyjson.UnmarshalType(s.Type)
	if err != nil {
		t.Fatal(err)
	}
	v, err := msgpack.Unmarshal(s.Value, typ)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// scopeJSON shows unknown values as the text "(unknown)".
func scopeJSON(t *testing.T, s core.Stage, env string, outputs map[core.StageID]map[string]any) json.RawMessage {
	t.Helper()
	scope, err := s.Scope(env, outputs)
	if err != nil {
		t.Fatal(err)
	}
	v, err := cty.Transform(decode(t, scope), func(_ cty.Path, x cty.Value) (cty.Value, error) {
		if !x.IsKnown() {
			return cty.StringVal("(unknown)"), nil
		}
		return x, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// loadText loads a manifest with a few environment variables.
func loadText(t *testing.T, src string) *core.Pipeline {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"TOKEN_A": "secret-of-a", "TOKEN_B": "secret-of-b"}
	p, sources, diags := Load(file, Options{Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if len(diags) > 0 {
		t.Fatal(Format(diags, sources, false))
	}
	return p
}

// arguments evaluates a block as the SDK does: with its scope and nothing else.
func arguments(t *testing.T, s core.Stage, outputs map[core.StageID]map[string]any) (map[string]cty.Value, *hclsyntax.Body) {
	t.Helper()
	scope, err := s.Scope("lab", outputs)
	if err != nil {
		t.Fatal(err)
	}
	start := hcl.Pos{Line: s.Block.Start.Line, Column: s.Block.Start.Column, Byte: s.Block.Start.Byte}
	f, diags := hclsyntax.ParseConfig(s.Block.Source, s.Block.File, start)
	if diags.HasErrors() {
		t.Fatalf("%v in\n%s", diags, s.Block.Source)
	}
	body, _ := f.Body.(*hclsyntax.Body)
	ctx := &hcl.EvalContext{Variables: decode(t, scope).AsValueMap()}
	values := map[string]cty.Value{}
	for name, a := range body.Attributes {
		v, diags := a.Expr.Value(ctx)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", name, diags)
		}
		values[name] = v
	}
	return values, body
}

// TestComputed holds what a plugin cannot evaluate by itself: it reads the values, and finds every argument where the
// manifest has it.
func TestComputed(t *testing.T) {
	const src = `pipeline "p" {}
locals { hosts = ["a", "b"] }
stage "x" "y" {
  call      = upper("é") /* after */
  inside    = "_${upper("a")}_${lower("B")}."
  both      = [upper("a"), "b", lower("C")]
  loop      = [for h in local.hosts : upper(h)]
  plain     = [for h in local.hosts : h]
  nested    = { for h in local.hosts : h => [for i in range(2) : "${h}${i}"] }
  index     = split(",", "a,b")[1]
  attr      = jsondecode("{\"a\": 1}").a
  key       = { (upper("k")) = 1, l = max(1, 2) }
  paren     = (abs(-1) + 2) * 3
  condition = length(local.hosts) > 1 ? "many" : "one"
  lines     = join("-", [
    "a",
    "b",
  ])
  last      = pipeline.name
  text      = <<EOT
%{ for h in local.hosts }${upper(h)},%{ endfor }
EOT
  end       = trimspace(<<EOT
  x
  EOT
  )
}
`
	p := loadText(t, src)
	values, body := arguments(t, p.Stages[0], nil)
	for name, want := range map[string]string{
		"call": `"É"`, "inside": `"_A_b."`, "both": `["A","b","c"]`, "loop": `["A","B"]`, "plain": `["a","b"]`,
		"nested": `{"a":["a0","a1"],"b":["b0","b1"]}`, "index": `"b"`, "attr": `1`, "key": `{"K":1,"l":2}`,
		"paren": `9`, "condition": `"many"`, "lines": `"a-b"`, "last": `"p"`, "text": `"A,B,\n"`, "end": `"x"`,
	} {
		got, err := ctyjson.Marshal(values[name], values[name].Type())
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, want)
		}
	}
	whole, diags := hclsyntax.ParseConfig([]byte(src), p.File, hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	manifest, _ := whole.Body.(*hclsyntax.Body)
	for name, a := range manifest.Blocks[2].Body.Attributes {
		got := body.Attributes[name]
		for i, r := range []hcl.Range{got.NameRange, got.Expr.Range()} {
			want := []hcl.Range{a.NameRange, a.Expr.Range()}[i]
			if exact(rangeOf(r), []byte(src)) != rangeOf(want) {
				t.Errorf("%s: at %v, in the manifest at %v", name, r, want)
			}
		}
	}
}

// TestScopeIsOwn holds that a stage's plugin never gets what only another stage refers to.
func TestScopeIsOwn(t *testing.T) {
	p := loadText(t, `pipeline "p" {}
variable "v" { default = "of-a" }
stage "x" "a" {
  token = env.TOKEN_A
  v     = var.v
}
stage "x" "b" {
  token = "Bearer ${env.TOKEN_B}"
  a     = stage.x.a.out
}
stage "x" "c" {
}
`)
	want := []string{
		`{"env":{"TOKEN_A":"secret-of-a"},"var":{"v":"of-a"}}`,
		`{"env":{"TOKEN_B":"secret-of-b"},"stage":{"x":{"a":{"out":1}}}}`,
		`{}`,
	}
	outputs := map[core.StageID]map[string]any{"x.a": {"out": 1}, "x.b": {"other": 2}}
	for i, s := range p.Stages {
		if got := string(scopeJSON(t, s, "lab", outputs)); got != want[i] {
			t.Errorf("%s: got %s, want %s", s.ID(), got, want[i])
		}
	}
	if want := []string{"secret-of-a", "secret-of-b"}; !slices.Equal(p.Secrets, want) {
		t.Errorf("secrets: got %q, want %q", p.Secrets, want)
	}
}

// TestScopeInARun holds mistakes that only the outputs of a run show: they have a place, and hide secrets.
func TestScopeInARun(t *testing.T) {
	p := loadText(t, `pipeline "p" {}
stage "x" "a" {
}
stage "x" "b" {
  number = parseint("${env.TOKEN_A}${stage.x.a.out}", 10)
}
`)
	b := p.Stages[1]
	if _, err := b.Scope("lab", nil); err != nil {
		t.Errorf("before the run: %v", err)
	}
	_, err := b.Scope("lab", map[core.StageID]map[string]any{"x.a": {"out": "-"}})
	var diags core.Diagnostics
	if !errors.As(err, &diags) || len(diags) != 1 || diags[0].Range.Start.Line != 5 || strings.Contains(err.Error(), "secret-of-a") {
		t.Errorf("got %v; want one diagnostic in line 5 without the secret", err)
	}
}

// TestScopeConcurrently is for the race detector: the stages of a run start at the same time.
func TestScopeConcurrently(t *testing.T) {
	p := loadText(t, `pipeline "p" {}
locals {
  a = upper("${stage.x.a.out}${environment.name}")
}
stage "x" "a" {
  token = env("TOKEN_A")
  other = env("TOKEN_C", "none")
  files = glob("*")
}
stage "x" "b" {
  a    = lower(local.a)
  name = env("TOKEN_${stage.x.a.out}")
}
`)
	outputs := map[core.StageID]map[string]any{"x.a": {"out": "A"}}
	var wg sync.WaitGroup
	for range 4 {
		for _, s := range p.Stages {
			wg.Go(func() {
				if _, err := s.Scope("lab", outputs); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	_, err := p.Stages[1].Scope("lab", map[core.StageID]map[string]any{"x.a": {"out": "B"}})
	if err == nil || !strings.Contains(err.Error(), "known before the run") {
		t.Errorf("a secret that nobody would mask: got %v", err)
	}
}

// TestScopeLenient holds that a secret that may be missing is an unknown value to the plugin, not a wrong name.
func TestScopeLenient(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	src := "pipeline \"p\" {}\nstage \"x\" \"a\" {\n  a = env.NONE\n  b = upper(env(\"NONE\"))\n}\n"
	if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	p, _, diags := Load(file, Options{Need: Nothing, Env: func(string) (string, bool) { return "", false }})
	if diags.HasErrors() || len(diags) != 1 {
		t.Fatalf("got %v, want one warning", diags)
	}
	if got, want := string(scopeJSON(t, p.Stages[0], "lab", nil)), `{"_0":"(unknown)","env":{"NONE":"(unknown)"}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestScopeSecrets holds which secrets a plugin may ask for by name: those that the stage's own block leads to.
func TestScopeSecrets(t *testing.T) {
	text := `pipeline "shop" {}
		secret "a" { file = "a" }
		secret "b" { file = "b" }
		secret "c" { file = "c" }
		secret "d" { file = "d" }
		locals {
			outer = "${local.inner}!"
			inner = secret.b
		}
		stage "dummy" "one" {
			direct   = secret.a
			local    = [local.outer, local.outer]
			computed = { deep = upper(secret.c) }
			block {
				env = [env.TOKEN, env.a, env.NONE]
			}
		}
		stage "dummy" "two" { d = secret.d }
		stage "dummy" "three" {}`
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, sources, diags := Load(file, Options{
		Need:   EnvironmentOnly,
		Env:    func(name string) (string, bool) { return "value of env." + name, name != "NONE" },
		Secret: func(s core.SecretSource) (string, error) { return "value of " + s.Name, nil },
	})
	if diags.HasErrors() {
		t.Fatal(Format(diags, sources, false))
	}
	for i, want := range []map[string]string{
		{"a": "value of a", "b": "value of b", "c": "value of c", "TOKEN": "value of env.TOKEN"},
		{"d": "value of d"},
		{},
	} {
		scope, err := p.Stages[i].Scope("", nil)
		if err != nil || !maps.Equal(scope.Secrets, want) {
			t.Errorf("%s: %v, %v, want %v", p.Stages[i].ID(), scope.Secrets, err, want)
		}
	}
}

// TestScopeReadsSecrets holds which secrets are read when: for an action, those of its stage and no others.
func TestScopeReadsSecrets(t *testing.T) {
	text := `pipeline "shop" {}
		secret "a" { file = "a" }
		secret "b" { file = "b" }
		secret "c" { file = "c" }
		environment "lab" {
			ansible {
				playbook  = "site.yml"
				variables = { c = secret.c }
			}
		}
		stage "dummy" "one" { a = secret.a }
		stage "dummy" "two" { b = upper(secret.b) }`
	file := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for need, want := range map[Need][2]string{Everything: {"abc", "abc"}, EnvironmentOnly: {"c", "ac"}, Nothing: {"", "a"}} {
		var read string
		p, sources, diags := Load(file, Options{Need: need, Secret: func(s core.SecretSource) (string, error) {
			read += s.Name
			return "value of " + s.Name, nil
		}})
		if len(diags) > 0 {
			t.Fatal(Format(diags, sources, false))
		}
		if got := sorted(read); got != want[0] {
			t.Errorf("need %d: loading read %q, want %q", need, got, want[0])
		}
		if got := scopeJSON(t, p.Stages[0], "lab", nil); string(got) != `{"secret":{"a":"value of a"}}` {
			t.Errorf("need %d: scope %s", need, got)
		}
		if got := sorted(read); got != want[1] {
			t.Errorf("need %d: then the scope of stage one read %q, want %q", need, got, want[1])
		}
		scope, err := p.Stages[0].Scope("lab", nil)
		if err != nil || len(scope.Secrets) != 1 || scope.Secrets["a"] != "value of a" {
			t.Errorf("need %d: secrets %q, %v", need, scope.Secrets, err)
		}
		if !slices.Contains(p.Hidden(), "value of a") {
			t.Errorf("need %d: what was read is not among %q", need, p.Hidden())
		}
	}
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}
