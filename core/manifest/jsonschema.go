package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/seed-b96de936/troop/core"
)

// jsonSchema is the part of JSON Schema that is needed here.
type jsonSchema struct {
	Schema               string                 `json:"$schema,omitempty"`
	Title                string                 `json:"title,omitempty"`
	Description          string                 `json:"description,omitempty"`
	Type                 any                    `json:"type,omitempty"` // a name or several
	Default              json.RawMessage        `json:"default,omitempty"`
	Properties           map[string]*jsonSchema `json:"properties,omitempty"`
	AdditionalProperties any                    `json:"additionalProperties,omitempty"` // a schema or false
	Items                *jsonSchema            `json:"items,omitempty"`
	Required             []string               `json:"required,omitempty"`
	OneOf                []*jsonSchema          `json:"oneOf,omitempty"`
}

// Schema is the JSON Schema of a manifest whose stages may be those of plugins: what editors complete from. It
// describes a manifest in the JSON form of HCL: a block is an object in an object for each of its labels.
func Schema(plugins []core.Description) ([]byte, error) {
	root := schemaOf(&manifestGrammar)
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "pipeline.hcl"
	root.Properties["locals"] = &jsonSchema{Description: localsGrammar.doc, Type: "object"}
	stages := map[string]*jsonSchema{}
	for _, p := range plugins {
		if !p.Stage {
			continue
		}
		s := schemaOf(&stageGrammar)
		s.Description = stageDoc(p)
		s.merge(pluginSchema(p.Config))
		stages[p.Name] = &jsonSchema{Description: p.Summary, Type: "object", AdditionalProperties: s}
	}
	root.Properties["stage"] = &jsonSchema{
		Description: stageGrammar.doc, Type: "object", Properties: stages, AdditionalProperties: false,
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(text, '\n'), nil
}

func stageDoc(p core.Description) string {
	var doc strings.Builder
	fmt.Fprintf(&doc, "%s (%s %s)", p.Summary, p.Name, p.Version)
	for _, o := range p.Outputs {
		fmt.Fprintf(&doc, "\nOutput %s: %s", o.Name, o.Doc)
	}
	return doc.String()
}

func (s *jsonSchema) merge(other *jsonSchema) {
	maps.Copy(s.Properties, other.Properties)
	s.Required = append(s.Required, other.Required...)
}

func schemaOf(g *schema) *jsonSchema {
	s := &jsonSchema{Description: g.doc, Type: "object", Properties: map[string]*jsonSchema{}, AdditionalProperties: false}
	if g.open {
		return &jsonSchema{Description: g.doc, Type: "object"}
	}
	for _, a := range g.arguments {
		s.Properties[a.name] = typeSchema(a.typ)
		s.Properties[a.name].Description = a.doc
		if a.must {
			s.Required = append(s.Required, a.name)
		}
	}
	for _, b := range g.blocks {
		s.Properties[b.typ] = labelled(schemaOf(b.body), len(b.labels), b.many && len(b.labels) == 0)
	}
	return s
}

func pluginSchema(c core.BlockSchema) *jsonSchema {
	s := &jsonSchema{Type: "object", Properties: map[string]*jsonSchema{}, AdditionalProperties: false}
	for _, a := range c.Attributes {
		p := typeSchema(a.Type)
		p.Description = a.Doc
		if json.Valid([]byte(a.Default)) {
			p.Default = json.RawMessage(a.Default)
		}
		s.Properties[a.Name] = p
		if a.Required {
			s.Required = append(s.Required, a.Name)
		}
	}
	for _, b := range c.Blocks {
		inner := pluginSchema(b.Block)
		inner.Description = b.Doc
		s.Properties[b.Type] = labelled(inner, len(b.Labels), b.Many && len(b.Labels) == 0)
		if b.Required {
			s.Required = append(s.Required, b.Type)
		}
	}
	return s
}

// labelled puts a block into an object for each label; a block that may stand several times may be a list.
func labelled(body *jsonSchema, labels int, many bool) *jsonSchema {
	doc := body.Description
	if many {
		return &jsonSchema{Description: doc, OneOf: []*jsonSchema{body, {Type: "array", Items: body}}}
	}
	for range labels {
		body = &jsonSchema{Description: doc, Type: "object", AdditionalProperties: body}
	}
	return body
}

// typeSchema takes the types of core.Attribute. What is no string may also be given as an expression, "${…}".
func typeSchema(typ string) *jsonSchema {
	inner := func() *jsonSchema {
		_, rest, _ := strings.Cut(typ, "(")
		return typeSchema(strings.TrimSuffix(rest, ")"))
	}
	switch {
	case typ == "number":
		return &jsonSchema{Type: []string{"number", "string"}}
	case typ == "bool":
		return &jsonSchema{Type: []string{"boolean", "string"}}
	case typ == "any":
		return &jsonSchema{}
	case strings.HasPrefix(typ, "list("), strings.HasPrefix(typ, "set("):
		return &jsonSchema{Type: []string{"array", "string"}, Items: inner()}
	case strings.HasPrefix(typ, "map("):
		return &jsonSchema{Type: []string{"object", "string"}, AdditionalProperties: inner()}
	}
	return &jsonSchema{Type: "string"}
}
