package reference

import (
	"encoding/json"

	"github.com/seed-b96de936/troop/core"
)

// The JSON form of the page. Its names must not change.
type (
	page struct {
		Name         string            `json:"name"`
		Version      string            `json:"version"`
		Summary      string            `json:"summary"`
		Stage        bool              `json:"stage"` // has a stage block
		Cacheable    bool              `json:"cacheable"`
		Config       block             `json:"config"`
		Outputs      []named           `json:"outputs"`
		Actions      []action          `json:"actions"`
		Agent        *runs             `json:"agent,omitempty"`
		Capabilities []core.Capability `json:"capabilities"`
	}
	block struct {
		Attributes []attribute `json:"attributes"`
		Blocks     []nested    `json:"blocks"`
	}
	attribute struct {
		Name      string `json:"name"`
		Type      string `json:"type"`
		Default   string `json:"default,omitempty"` // HCL
		Doc       string `json:"doc"`
		Required  bool   `json:"required"`
		Sensitive bool   `json:"sensitive"`
	}
	nested struct {
		Type     string   `json:"type"`
		Labels   []string `json:"labels"`
		Doc      string   `json:"doc"`
		Required bool     `json:"required"`
		Many     bool     `json:"many"`
		block
	}
	named struct {
		Name string `json:"name"`
		Doc  string `json:"doc"`
	}
	action struct {
		Name    string     `json:"name"`
		Summary string     `json:"summary"`
		Args    []argument `json:"args"`
	}
	argument struct {
		Name     string `json:"name"`
		Doc      string `json:"doc"`
		Default  string `json:"default,omitempty"`
		Flag     bool   `json:"flag"`
		Required bool   `json:"required"`
	}
	runs struct {
		User              string   `json:"user"` // empty: troop
		LinuxCapabilities []string `json:"linux_capabilities"`
		Groups            []string `json:"groups"`
		WritablePaths     []string `json:"writable_paths"`
	}
)

// JSON returns the page as JSON.
func JSON(d core.Description) ([]byte, error) {
	p := page{
		Name: d.Name, Version: d.Version, Summary: d.Summary, Stage: d.Stage, Cacheable: d.Cacheable, Config: blockOf(d.Config),
		Outputs: []named{}, Actions: []action{}, Capabilities: filled(d.AllCapabilities()),
	}
	for _, o := range d.Outputs {
		p.Outputs = append(p.Outputs, named(o))
	}
	for _, a := range d.Actions {
		x := action{Name: a.Name, Summary: a.Summary, Args: []argument{}}
		for _, arg := range a.Args {
			x.Args = append(x.Args, argument(arg))
		}
		p.Actions = append(p.Actions, x)
	}
	if a := d.Agent; a != nil {
		p.Agent = &runs{a.User, filled(a.LinuxCapabilities), filled(a.Groups), filled(a.WritablePaths)}
	}
	text, err := json.MarshalIndent(p, "", "  ")
	return append(text, '\n'), err
}

func blockOf(s core.BlockSchema) block {
	b := block{Attributes: []attribute{}, Blocks: []nested{}}
	for _, a := range s.Attributes {
		b.Attributes = append(b.Attributes, attribute(a))
	}
	for _, n := range s.Blocks {
		b.Blocks = append(b.Blocks, nested{n.Type, filled(n.Labels), n.Doc, n.Required, n.Many, blockOf(n.Block)})
	}
	return b
}

// filled makes JSON write an empty list as [], not null.
func filled[T any](list []T) []T { return append([]T{}, list...) }
