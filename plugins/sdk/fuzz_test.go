package sdk

import (
	"reflect"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/protobuf/proto"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

type fuzzed struct {
	Text   string            `hcl:"text"`
	Number uint16            `hcl:"number" default:"3"`
	Wait   Duration          `hcl:"wait,optional"`
	Sizes  []Size            `hcl:"sizes,optional"`
	Map    map[string][]bool `hcl:"map,optional"`
	Rules  []*struct {
		Name  string   `hcl:"name,label"`
		Paths []string `hcl:"paths,optional"`
	} `hcl:"rule,block"`
	Inner *struct {
		Deep *float64 `hcl:"deep"`
	} `hcl:"inner,block"`
}

const fuzzedBody = `
needs  = [stage.a.b]
text   = "${var.a}-${upper("x")}"
number = 1 + 2
wait   = "1m"
sizes  = ["5MiB", 3]
map    = { "a" = [true], (var.a) = [] }
rule "one" { paths = [for x in ["a"] : x if x != stage.later] }
inner {
  deep = null
}
`

// FuzzConfig looks for blocks, scopes and paths of complaints that break the decoder, for plugins with HCL and
// for those without.
func FuzzConfig(f *testing.F) {
	scope := cty.ObjectVal(map[string]cty.Value{
		"var":   cty.ObjectVal(map[string]cty.Value{"a": cty.StringVal("ü").Mark("secret")}),
		"stage": cty.ObjectVal(map[string]cty.Value{"later": cty.UnknownVal(cty.Number).RefineNotNull()}),
	})
	scope, _ = scope.UnmarkDeep()
	typ, err := ctyjson.MarshalType(scope.Type())
	if err != nil {
		f.Fatal(err)
	}
	value, err := msgpack.Marshal(scope, scope.Type())
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{"", "text", "rule[0].paths[0]", `rule["one"]`, `map["a"][0]`, "inner.deep", "[[.]"} {
		f.Add([]byte(fuzzedBody), typ, value, path, int32(7))
	}
	f.Add([]byte("text = 1e9999999\nnumber = 1e-9999999"), typ, value, "text", int32(1)) // took minutes
	f.Add([]byte("text = \"a"), []byte(nil), []byte(nil), "text", int32(-1))
	f.Add([]byte("rule {}\ntext {}\ninner = 1\nsizes = [null, {}]"), []byte(`"dynamic"`), []byte("\xc0"), "rule", int32(0))
	schema, err := schemaOf(reflect.TypeFor[fuzzed]())
	if err != nil {
		f.Fatal(err)
	}
	foreign, err := NewForeign(contract.Description{Name: "fuzzed", Config: schema.describe()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source, typ, value []byte, path string, at int32) {
		defer quick()()
		c := wire.DecodeConfig(&wire.Config{File: "p.hcl", Source: source, Line: at, Column: at, Byte: at, ScopeType: typ, ScopeValue: value})
		s := server[fuzzed]{schema: schema, stage: Stage[fuzzed]{Name: "fuzzed", Check: func(*fuzzed) error { return BadAttr(path, "no") }}}
		for _, partial := range []bool{true, false} {
			if _, diags, err := s.decode(c, partial); err == nil {
				wire.EncodeDiagnostics(diagnostics(diags))
			}
			refuse := func([]byte) ([]*wire.Diagnostic, error) { return []*wire.Diagnostic{{Path: path}}, nil }
			if values, diags, err := foreign.Decode(c, partial, refuse); err == nil && len(diags) == 0 && len(values) == 0 {
				t.Error("neither values nor a mistake")
			}
		}
	})
}

// quick ends the process, and so gives the input away, when one takes a time that depends on what it claims to hold.
func quick() (done func() bool) {
	return time.AfterFunc(10*time.Second, func() { panic("this input takes more than 10 s") }).Stop
}

// FuzzDescription looks for descriptions of blocks that break the decoder of plugins without HCL.
func FuzzDescription(f *testing.F) {
	schema, err := schemaOf(reflect.TypeFor[fuzzed]())
	if err != nil {
		f.Fatal(err)
	}
	for _, d := range []*wire.Description{
		{Name: "fuzzed", Values: true, Config: wire.EncodeDescription(contract.Description{Config: schema.describe()}).GetConfig()},
		{Config: &wire.Block{Attributes: []*wire.Attribute{{Name: "a", Type: "map(list(size))", Default: `{ a = ["1kB"] }`}}}},
		{Config: &wire.Block{Blocks: []*wire.NestedBlock{{Type: "a", Labels: []string{"b", "c"}, Required: true}, {Type: "a"}}}},
	} {
		b, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte(fuzzedBody))
	}
	f.Fuzz(func(t *testing.T, description, source []byte) {
		defer quick()()
		var d wire.Description
		if proto.Unmarshal(description, &d) != nil {
			return
		}
		foreign, err := NewForeign(wire.DecodeDescription(&d))
		if err != nil {
			return
		}
		_, _, err = foreign.Decode(contract.Config{Block: contract.Block{Source: source}}, true, func([]byte) ([]*wire.Diagnostic, error) { return nil, nil })
		if err != nil {
			t.Error(err)
		}
	})
}
