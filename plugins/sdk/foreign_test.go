package sdk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// described is what a plugin in another language says of its block.
func described() contract.Description {
	return contract.Description{Name: "all", Config: contract.BlockSchema{
		Attributes: []contract.Attribute{
			{Name: "text", Type: "string", Required: true},
			{Name: "count", Type: "number", Default: "3"},
			{Name: "on", Type: "bool"},
			{Name: "wait", Type: "duration", Default: `"1m30s"`},
			{Name: "limit", Type: "size"},
			{Name: "table", Type: "map(list(string))"},
			{Name: "waits", Type: "list(duration)"},
		},
		Blocks: []contract.NestedBlock{
			{Type: "rule", Labels: []string{"name"}, Many: true, Block: contract.BlockSchema{Attributes: []contract.Attribute{{Name: "paths", Type: "list(string)", Required: true}}}},
			{Type: "canary", Block: contract.BlockSchema{Attributes: []contract.Attribute{{Name: "weight", Type: "number"}}}},
		},
	}}
}

// written is a block as the core sends it; in it, var.a is "b", and stage.later is not known.
func written(t *testing.T, body string) contract.Config {
	t.Helper()
	scope := cty.ObjectVal(map[string]cty.Value{
		"var":   cty.ObjectVal(map[string]cty.Value{"a": cty.StringVal("b")}),
		"stage": cty.ObjectVal(map[string]cty.Value{"later": cty.DynamicVal}),
	})
	typ, err := ctyjson.MarshalType(scope.Type())
	if err != nil {
		t.Fatal(err)
	}
	v, err := msgpack.Marshal(scope, scope.Type())
	if err != nil {
		t.Fatal(err)
	}
	return contract.Config{
		Block: contract.Block{File: "p.hcl", Source: []byte(body), Start: contract.Pos{Line: 1, Column: 1}},
		Scope: contract.Scope{Type: typ, Value: v},
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body   string
		say    []*wire.Diagnostic // what the plugin answers
		run    bool               // nothing may be unknown
		values string             // what it is given; "": it is not asked
		want   string
	}{
		"everything": {
			body:   "needs = []\ntext = var.a\non = false\nlimit = \"5KiB\"\ntable = { x = [\"1\", 2] }\nwaits = [\"250ms\"]\nrule \"one\" {\n  paths = []\n}\nrule \"two\" {\n  paths = [\"/a\"]\n}\ncanary {}",
			values: `{"text":"b","count":3,"on":false,"wait":90,"limit":5120,"table":{"x":["1","2"]},"waits":[0.25],"rule":[{"name":"one","paths":[]},{"name":"two","paths":["/a"]}],"canary":{}}`,
		},
		"absent":              {body: `text = ""`, values: `{"text":"","count":3,"wait":90}`},
		"null":                {body: "text = \"\"\ncount = null\non = null", values: `{"text":"","count":3,"wait":90}`},
		"unknown":             {body: "text = stage.later.x", values: `{"count":3,"wait":90}`},
		"unknown at run":      {body: "text = stage.later.x", run: true, want: `p.hcl:1,8 Unknown value; The value of "text" is unknown: the stage that it comes from has not run, or has no such output.`},
		"misspelt":            {body: "txet = 1", want: "p.hcl:1,1 Unsupported argument; A all stage has no argument \"txet\". Did you mean \"text\"?\np.hcl:1,1 Missing argument; A all stage needs the argument \"text\" (string)."},
		"type":                {body: "text = \"\"\nwaits = [\"1s\", \"soon\"]", want: `p.hcl:2,16 Wrong value; Want a duration such as "30s" or "1m30s", got "soon".`},
		"complaint":           {body: "text = \"x\"\nrule \"one\" {\n  paths = [\"/a\", \"/b\"]\n}", say: []*wire.Diagnostic{{Path: "rule[0].paths[1]", Detail: "no"}, {Path: "text", Summary: "Hm", Detail: "why"}}, values: `{"text":"x","count":3,"wait":90,"rule":[{"name":"one","paths":["/a","/b"]}]}`, want: "p.hcl:1,1 Hm; why\np.hcl:3,18 Invalid all stage; no"},
		"complaint of nought": {body: "text = stage.later.x", say: []*wire.Diagnostic{{Path: "text", Detail: "it is empty"}}, values: `{"count":3,"wait":90}`},
		"no place":            {body: "text = \"x\"", say: []*wire.Diagnostic{{Detail: "no"}}, values: `{"text":"x","count":3,"wait":90}`, want: "p.hcl:1,1 Invalid all stage; no"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := sdk.NewForeign(described())
			if err != nil {
				t.Fatal(err)
			}
			values, diags, err := f.Decode(written(t, test.body), !test.run, func([]byte) ([]*wire.Diagnostic, error) { return test.say, nil })
			if err != nil || string(values) != test.values {
				t.Errorf("values %s, %v\nwant   %s", values, err, test.values)
			}
			var got []string
			for _, d := range diags {
				got = append(got, fmt.Sprintf("%s:%d,%d %s; %s", d.Range.File, d.Range.Start.Line, d.Range.Start.Column, d.Summary, d.Detail))
			}
			if got := strings.Join(got, "\n"); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

func TestForeignTrouble(t *testing.T) {
	t.Parallel()
	f, err := sdk.NewForeign(described())
	if err != nil {
		t.Fatal(err)
	}
	died := errors.New("died")
	if _, _, err := f.Decode(written(t, `text = ""`), true, func([]byte) ([]*wire.Diagnostic, error) { return nil, died }); !errors.Is(err, died) {
		t.Errorf("a plugin that cannot answer: %v", err)
	}
	deep := contract.BlockSchema{}
	for range 100 {
		deep = contract.BlockSchema{Blocks: []contract.NestedBlock{{Type: "b", Block: deep}}}
	}
	attr := func(a ...contract.Attribute) contract.BlockSchema { return contract.BlockSchema{Attributes: a} }
	for want, block := range map[string]contract.BlockSchema{
		`argument "a": type "text": want string, bool`: attr(contract.Attribute{Name: "a", Type: "text"}),
		`argument "a": type "list": want string`:       attr(contract.Attribute{Name: "a", Type: "list"}),
		`argument "a": default "x": `:                  attr(contract.Attribute{Name: "a", Type: "string", Default: "x"}),
		`default "\"soon\"": want a duration`:          attr(contract.Attribute{Name: "a", Type: "duration", Default: `"soon"`}),
		`"a b": want an identifier`:                    attr(contract.Attribute{Name: "a b", Type: "string"}),
		`"a": want an identifier, once in a block`:     attr(contract.Attribute{Name: "a", Type: "string"}, contract.Attribute{Name: "a", Type: "string"}),
		`default "1e9999999": `:                        attr(contract.Attribute{Name: "a", Type: "string", Default: "1e9999999"}),
		"nested more than 16 deep":                     deep,
	} {
		if _, err := sdk.NewForeign(contract.Description{Config: block}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
