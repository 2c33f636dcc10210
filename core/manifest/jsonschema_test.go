package manifest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/seed-b96de936/troop/core"
)

var waitPlugin = core.Description{
	Name: "wait", Version: "0.1.0", Summary: "Waits for an address.", Stage: true,
	Config: core.BlockSchema{
		Attributes: []core.Attribute{
			{Name: "address", Type: "string", Required: true, Doc: "host:port"},
			{Name: "times", Type: "number", Default: "3"},
			{Name: "labels", Type: "map(string)"},
		},
		Blocks: []core.NestedBlock{
			{Type: "rule", Labels: []string{"name"}, Many: true, Block: core.BlockSchema{
				Attributes: []core.Attribute{{Name: "paths", Type: "list(string)", Required: true}},
			}},
			{Type: "retry", Many: true, Block: core.BlockSchema{}},
		},
	},
	Outputs: []core.OutputDoc{{Name: "took", Doc: "seconds"}},
}

// TestSchema validates manifests in the JSON form of HCL against the schema.
func TestSchema(t *testing.T) {
	text, err := Schema([]core.Description{waitPlugin, {Name: "agent-only"}})
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler() // which holds the schema against that of JSON Schema 2020-12
	if err := compiler.AddResource("pipeline.json", document); err != nil {
		t.Fatal(err)
	}
	loaded, err := compiler.Compile("pipeline.json")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for _, tt := range []struct {
		name, doc string
		valid     bool
	}{
		{"small", `{"pipeline": {"p": {"source": {"path": "."}}}, "locals": {"a": [1]}}`, true},
		{"stage", `{"stage": {"wait": {"db": {"address": "db:1", "times": "${var.n}", "labels": {"a": "b"}, "needs": ["stage.a.b"], "timeout": "1m",
			"rule": {"x": {"paths": ["a"]}}, "retry": [{}, {}], "when": {"branches": ["main"]}}}}}`, true},
		{"unknown type", `{"stage": {"agent-only": {"db": {}}}}`, false},
		{"unknown argument", `{"stage": {"wait": {"db": {"address": "db:1", "host": "x"}}}}`, false},
		{"missing argument", `{"stage": {"wait": {"db": {}}}}`, false},
		{"wrong type", `{"stage": {"wait": {"db": {"address": "db:1", "retries": ["x"]}}}}`, false},
		{"unknown block", `{"stages": {}}`, false},
		{"environment", `{"environment": {"lab": {"terraform": {"module": "lab", "variables": {"a": 1}, "review": {"approve": true}}}}}`, true},
		{"secret", `{"secret": {"token": {"command": ["pass", "show", "token"]}}}`, true},
		{"secret in the manifest", `{"secret": {"token": {"value": "x"}}}`, false},
		{"condition", `{"stage": {"wait": {"db": {"address": "db:1", "when": {"paths": ["web/**", "!docs"]}}}}}`, true},
		{"unknown condition", `{"stage": {"wait": {"db": {"address": "db:1", "when": {"path": "web"}}}}}`, false},
		{"environment without module", `{"environment": {"lab": {"terraform": {}}}}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if err := loaded.Validate(doc); (err == nil) != tt.valid {
				t.Errorf("valid: %v, want %v: %v", err == nil, tt.valid, err)
			}
		})
	}
	var root struct {
		Properties struct {
			Stage struct {
				Properties map[string]struct {
					AdditionalProperties struct {
						Description string
						Properties  map[string]struct {
							Default     json.RawMessage
							Description string
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	wait := root.Properties.Stage.Properties["wait"].AdditionalProperties
	if string(wait.Properties["times"].Default) != "3" || wait.Properties["address"].Description != "host:port" ||
		!strings.Contains(wait.Description, "Output took: seconds") {
		t.Errorf("got %+v", wait)
	}
}

// TestGrammarHasDocs keeps editors and the reference from showing empty lines.
func TestGrammarHasDocs(t *testing.T) {
	var visit func(s *schema)
	visit = func(s *schema) {
		if s.doc == "" || s.name == "" {
			t.Errorf("%q has no doc or no name", s.name)
		}
		for _, a := range s.arguments {
			if a.doc == "" || a.typ == "" {
				t.Errorf("%s: %q has no doc or no type", s.name, a.name)
			}
		}
		for _, b := range s.blocks {
			visit(b.body)
		}
	}
	visit(&manifestGrammar)
}
