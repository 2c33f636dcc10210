package contract

import (
	"fmt"
	"slices"
	"strings"
)

// Description is a plugin's self-description.
type Description struct {
	Name, Version, Summary string
	Stage                  bool // has Run
	// Cacheable says that Run's result depends on the commit, the configuration and the plugin alone; identical
	// inputs skip it.
	Cacheable    bool
	Agent        *Agent // nil: has no Watch
	Config       BlockSchema
	Outputs      []OutputDoc
	Actions      []Action
	Capabilities []Capability // of Run
}

// AllCapabilities returns the capabilities of the stage, the agent and all actions.
func (d Description) AllCapabilities() []Capability {
	all := slices.Clone(d.Capabilities)
	add := func(list []Capability) {
		for _, c := range list {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	if d.Agent != nil {
		add(d.Agent.Capabilities)
	}
	for _, a := range d.Actions {
		add(a.Capabilities)
	}
	return all
}

// Action returns an action by name, or a *NotFoundError.
func (d Description) Action(name string) (Action, error) {
	var names []string
	for _, a := range d.Actions {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	return Action{}, &NotFoundError{What: "action", Name: name, Remedy: fmt.Sprintf("plugin %s has %s", d.Name, strings.Join(names, ", "))}
}

// BlockSchema describes the arguments and nested blocks of a block.
type BlockSchema struct {
	Attributes []Attribute
	Blocks     []NestedBlock
}

// Attribute is one argument. Type is an HCL type constraint, or duration or size; Default is HCL source.
type Attribute struct {
	Name, Type, Default, Doc string
	Required, Sensitive      bool
}

// NestedBlock is a block within a block.
type NestedBlock struct {
	Type           string
	Labels         []string
	Required, Many bool
	Doc            string
	Block          BlockSchema
}

// OutputDoc describes an output of a stage. Manifests refer to it as stage.TYPE.NAME.OUTPUT.
type OutputDoc struct{ Name, Doc string }

// Action is a command that a plugin offers: `troop TYPE NAME`.
type Action struct {
	Name, Summary string
	Args          []Arg
	Capabilities  []Capability
	ReadOnly      bool // changes nothing: whoever may look may call it
	// Whole: it is about the environment, which it has alone while it works, and not about one stage of the plugin: the
	// block of any of them does.
	Whole bool
}

// Arg describes one argument of an action: a flag --NAME, or a positional argument in the order of the list.
type Arg struct {
	Name, Doc, Default string
	Flag, Required     bool
}

// Agent is the configuration of a plugin's agent as a system service of its host.
type Agent struct {
	User              string   // empty: the system user "troop"; avoid "root"
	LinuxCapabilities []string // such as CAP_KILL
	Groups            []string // supplementary groups
	WritablePaths     []string // in addition to the state folder
	Capabilities      []Capability
}

// Faces lists what the plugin can be used as.
func (d Description) Faces() []string {
	var list []string
	if d.Stage {
		list = append(list, "stage")
	}
	if d.Agent != nil {
		list = append(list, "agent")
	}
	if len(d.Actions) > 0 {
		list = append(list, "actions")
	}
	return list
}

// Named gives positional arguments their names, in the order of a.Args, and returns those that are left over.
func (a Action) Named(args []string) (values map[string]string, rest []string, err error) {
	values = map[string]string{}
	for _, arg := range a.Args {
		switch {
		case arg.Flag:
		case len(args) > 0:
			values[arg.Name], args = args[0], args[1:]
		case arg.Required:
			return nil, nil, fmt.Errorf("%s is missing: %s", strings.ToUpper(arg.Name), arg.Doc)
		default:
			values[arg.Name] = arg.Default
		}
	}
	return values, args, nil
}
