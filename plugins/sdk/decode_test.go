package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/sdktest"
)

type everything struct {
	Text     string            `hcl:"text" doc:"A text."`
	Bool     bool              `hcl:"bool,optional"`
	Int      int               `hcl:"int,optional"`
	Small    uint8             `hcl:"small,optional"`
	Float    float64           `hcl:"float,optional"`
	List     []string          `hcl:"list,optional"`
	Waits    []sdk.Duration    `hcl:"waits,optional"`
	Map      map[string]int    `hcl:"map,optional"`
	Pointer  *int              `hcl:"pointer"`
	Duration sdk.Duration      `hcl:"duration" default:"\"10s\""`
	Size     sdk.Size          `hcl:"size,optional"`
	Addr     netip.Addr        `hcl:"addr,optional"`
	Percent  float64           `hcl:"percent" default:"70"`
	Weights  map[string]int    `hcl:"weights" default:"{ production = 2, canary = 1 }"`
	Password string            `hcl:"password,optional" sensitive:"true"`
	Canary   *canary           `hcl:"canary,block" doc:"A canary."`
	Rules    []rule            `hcl:"rule,block"`
	hidden   map[string]string //nolint:unused // a field without a tag is the author's own
}

type canary struct {
	Watch sdk.Duration `hcl:"watch" default:"\"30s\""`
	Inner struct {
		Deep string `hcl:"deep,optional"`
	} `hcl:"inner,block"`
}

type rule struct {
	Name  string   `hcl:"name,label"`
	Paths []string `hcl:"paths"`
}

func stageOf(check func(*everything) error, run func(*everything) error) sdk.Stage[everything] {
	return sdk.Stage[everything]{
		Name: "all", Version: "1.0.0", Check: check,
		Run: func(_ context.Context, c *everything, _ *sdk.Job) error { return run(c) },
	}
}

func pass(*everything) error { return nil }

func TestDecode(t *testing.T) {
	body := `
  needs   = [stage.build.app]  # the core's: never reaches the struct
  retries = 3
  when { branches = ["main"] }

  text     = "a ${var.name}"
  bool     = true
  int      = "7"
  small    = 255
  float    = 1.5
  list     = ["a", var.name]
  waits    = ["1s", "2m"]
  map      = { a = 1 }
  pointer  = 0
  size     = "5MiB"
  addr     = "10.0.0.1"
  password = null
  canary {
    inner { deep = "x" }
  }
  rule "one" { paths = ["/a"] }
  rule "two" { paths = [] }
`
	zero := 0
	want := everything{
		Text: "a b", Bool: true, Int: 7, Small: 255, Float: 1.5, List: []string{"a", "b"},
		Waits: []sdk.Duration{sdk.Duration(time.Second), sdk.Duration(2 * time.Minute)}, Map: map[string]int{"a": 1}, Pointer: &zero,
		Duration: sdk.Duration(10 * time.Second), Size: 5 << 20, Addr: netip.MustParseAddr("10.0.0.1"), Percent: 70,
		Weights: map[string]int{"production": 2, "canary": 1},
		Canary:  &canary{Watch: sdk.Duration(30 * time.Second)},
		Rules:   []rule{{"one", []string{"/a"}}, {"two", []string{}}},
	}
	want.Canary.Inner.Deep = "x"
	var got everything
	r := sdktest.Run(t, stageOf(nil, func(c *everything) error { got = *c; return nil }), body, sdktest.Options{
		Scope: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal("b")})},
	})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The left side is the body, the right side all diagnostics, with exact positions.
func TestDiagnostics(t *testing.T) {
	scope := map[string]cty.Value{
		"var":   cty.ObjectVal(map[string]cty.Value{"list": cty.ListVal([]cty.Value{cty.StringVal("a")})}),
		"stage": cty.ObjectVal(map[string]cty.Value{"later": cty.DynamicVal}),
	}
	tests := map[string]struct{ body, want string }{
		"syntax":            {"text = ", "1,8-8: Missing expression; Expected the start of an expression, but found the end of the file."},
		"misspelt":          {"text = \"\"\n  lsit = []", "2,3-7: Unsupported argument; A all stage has no argument \"lsit\". Did you mean \"list\"?"},
		"far off":           {"text = \"\"\ncanary {\n  xyz = 1\n  inner {}\n}", "3,3-6: Unsupported argument; A canary block has no argument \"xyz\". It has watch."},
		"missing":           {"", `1,1-1: Missing argument; A all stage needs the argument "text" (string).`},
		"missing in block":  {"text = \"\"\nrule \"a\" {\n}", `2,1-9: Missing argument; A rule block needs the argument "paths" (list(string)).`},
		"missing block":     {"text = \"\"\ncanary {}", "2,1-7: Missing block; A canary block needs a block: inner { … }."},
		"unknown block":     {"text = \"\"\nrules \"a\" {}", `2,1-6: Unsupported block; A all stage has no block "rules". Did you mean "rule"?`},
		"block as argument": {"text = \"\"\ncanary = {}", `2,1-7: Unsupported argument; "canary" is a block here: write canary { … }, without an equals sign.`},
		"argument as block": {"text {\n}", "1,1-5: Unsupported block; \"text\" is an argument here: write text = …, with an equals sign.\n1,1-1: Missing argument; A all stage needs the argument \"text\" (string)."},
		"two blocks":        {"text = \"\"\ncanary {\n  inner {}\n}\ncanary {\n  inner {}\n}", `5,1-7: Duplicate block; A all stage takes one block "canary".`},
		"no label":          {"text = \"\"\nrule {\n  paths = []\n}", `2,1-5: Wrong labels; Write rule "NAME" { … }.`},
		"type":              {"text = []", `1,8-10: Wrong type; The argument "text" is a string: string required, but have tuple.`},
		"type in list":      {"text = \"\"\nlist = [\"a\", [\"b\"]]", `2,14-19: Wrong type; The argument "list" is a list(string): string required, but have tuple.`},
		"type in map":       {"text = \"\"\nmap = { a = 1, b = \"x\" }", `2,20-23: Wrong type; The argument "map" is a map(number): a number is required.`},
		"fraction":          {"text = \"\"\nint = 1.5", "2,7-10: Wrong value; Value must be a whole number, between -9223372036854775808 and 9223372036854775807."},
		"immense":           {"text = \"${1e9999999}\"\nint = 1e-9999999", "1,11-20: Wrong value; The number is too large, or has too many decimals.\n2,7-17: Wrong value; The number is too large, or has too many decimals."},
		"too large":         {"text = \"\"\nsmall = 256", "2,9-12: Wrong value; Value must be a whole number, between 0 and 255 inclusive."},
		"duration":          {"text = \"\"\nwaits = [\"1s\", \"soon\"]", `2,16-22: Wrong value; Want a duration such as "30s" or "1m30s", got "soon".`},
		"size":              {"text = \"\"\nsize = \"5 apples\"", `2,8-18: Wrong value; Want a size such as "512KiB", "5MiB" or "1GB", got "5 apples".`},
		"null":              {"text = null", `1,8-12: Missing value; The argument "text" must not be null.`},
		"null element":      {"text = \"\"\nlist = [null]", "2,9-13: Wrong value; Want a value, got null."},
		"no such reference": {"text = vra.x", `1,8-11: Unknown variable; There is no variable named "vra". Did you mean "var"?`},
		"no such attribute": {"text = var.x", `1,11-13: Unsupported attribute; This object does not have an attribute named "x".`},
		"all at once":       {"txet = 1\nint = []\ncanary {}", "1,1-5: Unsupported argument; A all stage has no argument \"txet\". Did you mean \"text\"?\n1,1-1: Missing argument; A all stage needs the argument \"text\" (string).\n2,7-9: Wrong type; The argument \"int\" is a number: number required, but have tuple.\n3,1-7: Missing block; A canary block needs a block: inner { … }."},
		"unknown":           {"text = stage.later.x\nlist = [\"a\", stage.later.y]", ""},
		"unknown but wrong": {"text = stage.later.x\nlist = [[], stage.later.y]", `2,9-11: Wrong type; The argument "list" is a list(string): string required, but have tuple.`},
		"after characters":  {"text = \"ü😀\", x", "1,12-13: Unexpected comma after argument; Argument definitions must be separated by newlines, not commas. An argument definition must end with a newline."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := sdktest.Check(t, stageOf(pass, pass), test.body, sdktest.Options{Scope: scope}); err != nil {
				got = strings.ReplaceAll(err.Error(), sdktest.File+":", "")
			}
			if got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestUnknownAtRun(t *testing.T) {
	scope := map[string]cty.Value{"stage": cty.ObjectVal(map[string]cty.Value{"later": cty.DynamicVal})}
	r := sdktest.Run(t, stageOf(pass, pass), "text = stage.later.x", sdktest.Options{Scope: scope})
	var f *sdktest.Failure
	if !errors.As(r.Err, &f) || len(f.Diagnostics) != 1 || f.Diagnostics[0].Summary != "Unknown value" {
		t.Errorf("%+v", r.Err)
	}
}

func TestBadAttr(t *testing.T) {
	body := "text = stage.later.x\nlist = [\"a\", \"b\"]\nmap = { a = 1 }\nrule \"one\" {\n  paths = []\n}\nrule \"two\" {\n  paths = [\"/x\", \"/y\"]\n}\ncanary {\n  inner {}\n}"
	tests := map[string]string{
		"list":               "2,1-18",
		"list[1]":            "2,14-17",
		"list[9]":            "2,1-18",
		`map["a"]`:           "3,13-14",
		"rule":               "4,1-11",
		"rule[1]":            "7,1-11",
		"rule[1].paths[1]":   "8,18-22",
		`rule["two"].paths`:  "8,3-23",
		"rule[1].nothing":    "7,1-11",
		"canary.watch":       "10,1-7",
		"canary.inner.deep":  "11,3-8",
		"":                   "1,1-1",
		"nothing[0].at.all[": "1,1-1",
		"text":               "", // not known yet: nothing can be wrong with it
	}
	for path, want := range tests {
		t.Run(path, func(t *testing.T) {
			check := func(*everything) error { return fmt.Errorf("rule: %w", sdk.BadAttr(path, "bad %d", 7)) }
			err := sdktest.Check(t, stageOf(check, pass), body, sdktest.Options{
				Scope: map[string]cty.Value{"stage": cty.ObjectVal(map[string]cty.Value{"later": cty.DynamicVal})},
			})
			if want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if full := sdktest.File + ":" + want + ": Invalid all stage; rule: bad 7"; err == nil || err.Error() != full {
				t.Errorf("got:\n%v\nwant:\n%s", err, full)
			}
		})
	}
	check := func(*everything) error {
		return errors.Join(sdk.BadAttr("list", "one"), errors.New("three"), errors.Join(sdk.BadAttr("map", "two")))
	}
	err := sdktest.Check(t, stageOf(check, pass), "text = \"\"\nlist = []\nmap = {}")
	if want := "1,1-1: Invalid all stage; three 2,1-10: Invalid all stage; one 3,1-9: Invalid all stage; two"; err == nil ||
		strings.ReplaceAll(strings.ReplaceAll(err.Error(), sdktest.File+":", ""), "\n", " ") != want {
		t.Errorf("joined: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	d := sdktest.Describe(t, stageOf(nil, pass))
	types := map[string]string{}
	for _, a := range d.Config.Attributes {
		types[a.Name] = a.Type
		if required := a.Name == "text"; a.Required != required {
			t.Errorf("%s: required %v", a.Name, a.Required)
		}
	}
	want := map[string]string{
		"text": "string", "bool": "bool", "int": "number", "small": "number", "float": "number", "list": "list(string)",
		"waits": "list(duration)", "map": "map(number)", "pointer": "number", "duration": "duration", "size": "size",
		"addr": "string", "percent": "number", "weights": "map(number)", "password": "string",
	}
	if !reflect.DeepEqual(types, want) {
		t.Errorf("types %v", types)
	}
	b := d.Config.Blocks
	if len(b) != 2 || b[0].Type != "canary" || b[0].Required || b[0].Many || b[0].Doc != "A canary." || !b[0].Block.Blocks[0].Required ||
		!b[1].Many || !reflect.DeepEqual(b[1].Labels, []string{"name"}) {
		t.Errorf("blocks %+v", b)
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]sdk.Size{"0": 0, "512": 512, "1B": 1, "1 kB": 1000, "1.5KiB": 1536, "5MiB": 5 << 20, "2GB": 2e9, "1TiB": 1 << 40} {
		var s sdk.Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want {
			t.Errorf("%s is %d, %v", in, s, err)
		}
		var back sdk.Size
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%s is written %s", in, s)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1XB", "1e30", "NaN", "five"} {
		if err := new(sdk.Size).UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}
